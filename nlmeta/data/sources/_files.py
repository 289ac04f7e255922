"""Files that must be there and be whole, shared by the readers."""

import hashlib
import os
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from nlmeta.data.images import ImageFiles

__all__ = [
    "check_published",
    "check_whole",
    "download",
    "read_images",
    "read_labelled_names",
    "read_lines",
    "refuse_download",
    "require",
]


def require(path: Path, how: str) -> Path:
    """The path, if there is something. `how` tells where to get it."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there.\n{how}")
    return path


def refuse_download(download: bool, how: str) -> None:
    """For what nobody may fetch without asking, or without a hand. `how` tells how to."""
    if download:
        raise ValueError(f"`download` is True; this dataset has to be got by hand.\n{how}")


def check_whole(folder: Path, checksums: Mapping[str, str], how: str) -> None:
    """Require files of known md5 below a folder."""
    for name, expected in checksums.items():
        found = _md5(require(folder / name, how))
        if found != expected:
            raise ValueError(
                f"{folder / name} is not the published file: its md5 is {found}, not {expected}. "
                f"It may be cut short or another version.\n{how}"
            )


def download(
    folder: Path, checksums: Mapping[str, str], fetch: Callable[[Path], object], how: str
) -> None:
    """Get files that are not there or not whole; leave nothing behind if that breaks off.

    `fetch` writes into an empty folder beside the final one. Only files of the right md5 leave it,
    each by one renaming, so that none is ever there in part.
    """
    if all((folder / n).exists() and _md5(folder / n) == md5 for n, md5 in checksums.items()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".download-") as fresh:
        try:
            fetch(Path(fresh))
        except (OSError, RuntimeError, EOFError, HTTPException) as error:
            raise OSError(
                f"the download into {folder} broke off ({error}); nothing of it was kept.\n{how}"
            ) from error
        check_whole(Path(fresh), checksums, how)
        for name in checksums:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(fresh) / name, folder / name)


def check_published(path: Path, found: int, published: int, what: str) -> None:
    """Require about as many entries as published; a list cut short is further away than 0.1 %."""
    if abs(found - published) > 0.001 * published:
        raise ValueError(
            f"{path} gives {found} {what}, where {published} were published; "
            "it is cut short, or of another version"
        )


def read_lines(path: Path, how: str) -> list[str]:
    """The lines of a text file that hold something, without the ends of lines."""
    try:
        text = require(path, how).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error})") from error
    return [line for line in text.split("\n") if line.strip()]


def read_labelled_names(path: Path, num_classes: int, how: str) -> dict[str, int]:
    """A file of lines ``name label``, the label an integer from 0 to `num_classes` - 1."""
    labels: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, how), start=1):
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdecimal() or int(label) >= num_classes:
            raise ValueError(
                f"{path}, line {number}: {line!r} is not a file name and a label from 0 to "
                f"{num_classes - 1}"
            )
        if labels.setdefault(name, int(label)) != int(label):
            raise ValueError(f"{path}, line {number}: {name} has two labels")
    return labels


def read_images(folder: Path, names: list[str], listed_in: Path, size: int) -> ImageFiles:
    """Images of a list, all of which are there."""
    files = ImageFiles(folder, names, size=size)
    missing = files.missing()
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(names)} images that {listed_in} names are not in "
            f"{folder}, for example {', '.join(missing[:3])}"
        )
    return files


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
