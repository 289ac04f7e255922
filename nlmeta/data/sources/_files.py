"""Files that must exist and be whole, for all readers of this folder.

`ByHand` and `Downloaded` list the files of a dataset and how to get them. ``missing`` checks that
they exist, without reading any; ``get`` returns their folder if all of them exist.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from nlmeta.data.images import ImageFiles
from nlmeta.data.source import data_folder

__all__ = [
    "ByHand",
    "Downloaded",
    "check_published",
    "integers",
    "read_images",
    "read_labelled_names",
    "read_lines",
    "read_list",
    "require",
]


@dataclass(frozen=True)
class ByHand:
    """Files that must be requested or unpacked by hand.

    Attributes
    ----------
    below : str
        Folder of the files, relative to the folder of all datasets.
    layouts : tuple of str, one or several
        Files and folders that must exist, with ``*`` for anything; one layout is enough.
    how : str
        Instructions to get the files. ``{folder}`` is replaced by their folder.
    """

    below: str
    layouts: tuple[tuple[str, ...], ...]
    how: str

    def missing(self, folder: str | Path | None = None) -> str | None:
        """The first missing file and how to get it; None if all files exist."""
        root = data_folder(folder) / self.below
        absent = [[n for n in names if not any(root.glob(n))] for names in self.layouts]
        if not all(absent):
            return None
        begun = min(absent, key=len)  # of several layouts the one that was unpacked
        path = root / begun[0] if root.exists() else root
        return f"{path} is not there.\n{self.how.format(folder=root)}"

    def get(self, folder: str | Path | None, download: bool) -> Path:
        """The folder of the files, all of which must exist. A `download` is refused."""
        root = data_folder(folder) / self.below
        if download:
            raise ValueError(
                "`download` is True; this dataset must be downloaded by hand.\n"
                + self.how.format(folder=root)
            )
        if missing := self.missing(folder):
            raise FileNotFoundError(missing)
        return root


@dataclass(frozen=True)
class Downloaded:
    """Files of known md5 that a program may fetch.

    Attributes
    ----------
    below, how : str
        Folder and instructions, as in `ByHand`.
    checksums : mapping of str to str
        The md5 of each file, by its path below that folder.
    fetch : callable
        A function that writes the files into a given empty folder.
    """

    below: str
    checksums: Mapping[str, str]
    fetch: Callable[[Path], object]
    how: str

    def missing(self, folder: str | Path | None = None) -> str | None:
        """The first missing file and how to get it; None if all files exist."""
        root = data_folder(folder) / self.below
        absent = [root / name for name in self.checksums if not (root / name).exists()]
        return f"{absent[0]} is not there.\n{self.how.format(folder=root)}" if absent else None

    def get(self, folder: str | Path | None, download: bool) -> Path:
        """The folder of the files, all of which are whole.

        With `download`, missing or damaged files are fetched into an empty folder beside the final
        one. Files of the right md5 are then renamed into the final folder, so that no partial file
        is ever there, and nothing is left if the download fails.
        """
        root = data_folder(folder) / self.below
        how = self.how.format(folder=root)
        if download and not all(
            (root / name).exists() and _md5(root / name) == md5
            for name, md5 in self.checksums.items()
        ):
            root.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=root, prefix=".download-") as fresh:
                try:
                    self.fetch(Path(fresh))
                except (OSError, RuntimeError, EOFError, HTTPException) as error:
                    raise OSError(
                        f"the download into {root} failed ({error}); no file of it was kept.\n{how}"
                    ) from error
                _check_whole(Path(fresh), self.checksums, how)
                for name in self.checksums:
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(Path(fresh) / name, root / name)
        _check_whole(root, self.checksums, how)
        return root


def require(path: Path, how: str) -> Path:
    """The path, which must exist; `how` says how to get it."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there.\n{how}")
    return path


def check_published(path: Path, found: int, published: int, what: str) -> None:
    """Require the published number of entries within 0.1 %; a truncated list is further away."""
    if abs(found - published) > 0.001 * published:
        raise ValueError(
            f"{path} gives {found} {what}, where {published} were published; "
            "it is truncated, or another version. Get it again"
        )


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends."""
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error})") from error


def read_list(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without spaces around them."""
    return [line.strip() for line in read_lines(path) if line.strip()]


def read_labelled_names(path: Path, num_classes: int) -> dict[str, int]:
    """A file of lines ``name label``, the label an integer from 0 to `num_classes` - 1."""
    labels: dict[str, int] = {}
    for number, line in enumerate(read_list(path), start=1):
        name, _, label = line.rpartition(" ")
        if not name or not label.isdecimal() or int(label) >= num_classes:
            raise ValueError(
                f"{path}, line {number}: {line!r} is not a file name and a label from 0 to "
                f"{num_classes - 1}"
            )
        if labels.setdefault(name, int(label)) != int(label):
            raise ValueError(f"{path}, line {number}: {name} has two labels; it must have one")
    return labels


def read_images(folder: Path, names: Sequence[str], listed_in: Path, size: int) -> ImageFiles:
    """Images of a list, all of which must exist."""
    files = ImageFiles(folder, names, size=size)
    missing = files.missing()
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(names)} images that {listed_in} names are not in "
            f"{folder}, for example {', '.join(missing[:3])}"
        )
    return files


def integers(values: Sequence[int]) -> Tensor:
    """Labels as int64, on the CPU."""
    return torch.tensor(values, dtype=torch.int64, device="cpu")


def _check_whole(folder: Path, checksums: Mapping[str, str], how: str) -> None:
    for name, expected in checksums.items():
        found = _md5(require(folder / name, how))
        if found != expected:
            raise ValueError(
                f"{folder / name} is not the published file: its md5 is {found}, not {expected}. "
                f"It may be truncated or another version.\n{how}"
            )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
