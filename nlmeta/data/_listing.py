"""What lies in a folder of images: links are followed, and all that is passed over is told."""

from collections.abc import Iterator
from pathlib import Path

from nlmeta.data._notes import counted

__all__ = ["existing_folder", "listed"]

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def existing_folder(argument: str, folder: str | Path) -> Path:
    """The path of a folder that is there."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"`{argument}` is {str(folder)!r}; there is no such folder")
    return root


def listed(argument: str, root: Path) -> tuple[list[str], list[str], tuple[str, ...]]:
    """The images of a folder that holds one folder for each class.

    Parameters
    ----------
    argument : str
        What a reader calls the folder, for notes and errors.
    root : Path
        The folder.

    Returns
    -------
    paths : list of str, n entries
        Relative to the root, in order.
    labels : list of str, n entries
        The folder of the root that each lies in, at whatever depth.
    notes : tuple of str
        What is passed over, unless it is hidden.
    """
    rule = f"images lie in the folder of a class and end in {', '.join(ENDINGS)}"
    paths: list[str] = []
    labels: list[str] = []
    others: list[str] = []
    circles: list[str] = []
    empty: list[str] = []
    lost: list[str] = []
    for entry in _entries(root):
        images: list[str] = []
        for file, kind in _below(entry, (root.resolve(),)):
            path = file.relative_to(root).as_posix()
            if path.encode(errors="replace").decode() != path:
                raise ValueError(
                    f"`{argument}` holds {ascii(path)}, a name that is not in UTF-8 and could be "
                    "written into no table; rename it"
                )
            if kind in ("file", "lost") and file != entry and file.suffix.lower() in ENDINGS:
                (images if kind == "file" else lost).append(path)
            else:
                (circles if kind == "circle" else others).append(path)
        paths += images
        labels += [entry.name] * len(images)
        if entry.is_dir() and not images and entry.name not in circles:
            empty.append(entry.name)
    if lost:
        raise FileNotFoundError(
            f"`{argument}` has {counted('link', lost)} to an image that is not there"
        )
    if not paths:
        raise ValueError(f"{root} has no images in folders; {rule}")
    if empty:
        raise ValueError(
            f"`{argument}` has no image in {counted('class folder', empty)}; {rule}. Put some "
            f"there, or take the folder out of {root}"
        )
    notes = []
    if others:
        notes.append(f"passed over in `{argument}`: {counted('file', others)}; {rule}")
    if circles:
        notes.append(
            f"passed over in `{argument}`: {counted('link', circles)} to a folder that the link is "
            "in"
        )
    return paths, labels, tuple(notes)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, in order, but for what is hidden: systems leave copies behind there."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _below(entry: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    """A file, or all that are below a folder, in order; links are followed, but in no circle."""
    if not entry.is_dir():
        yield entry, "file" if entry.is_file() else "lost" if entry.is_symlink() else "other"
    elif (real := entry.resolve()) in above:
        yield entry, "circle"
    else:
        for child in _entries(entry):
            yield from _below(child, (*above, real))
