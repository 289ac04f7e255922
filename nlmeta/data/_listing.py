"""The images of a folder: links are followed, and notes name files that are skipped."""

from collections.abc import Iterator
from pathlib import Path

from nlmeta.data._notes import counted

__all__ = ["existing_folder", "listed"]

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def existing_folder(argument: str, folder: str | Path) -> Path:
    """The path of a folder, which must exist."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"`{argument}` is {str(folder)!r}; there is no such folder")
    return root


def listed(argument: str, root: Path) -> tuple[list[str], list[str], tuple[str, ...]]:
    """The images of a folder that holds one folder for each class.

    Parameters
    ----------
    argument : str
        The argument's name, for notes and errors.
    root : Path
        The folder.

    Returns
    -------
    paths : list of str, n entries
        Paths relative to the root, in order.
    labels : list of str, n entries
        The folder of the root that contains each image, at any depth.
    notes : tuple of str
        Notes on skipped files that are not hidden.
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
                    f"`{argument}` holds {ascii(path)}, a name that is not in UTF-8 and could not "
                    "be written into a table; rename it"
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
    """The entries of a folder that are not hidden, in order; hidden ones may be system copies."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _below(entry: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    """A file, or all files below a folder, in order; links are followed unless in a circle."""
    if not entry.is_dir():
        yield entry, "file" if entry.is_file() else "lost" if entry.is_symlink() else "other"
    elif (real := entry.resolve()) in above:
        yield entry, "circle"
    else:
        for child in _entries(entry):
            yield from _below(child, (*above, real))
