"""What a publisher gives: samples, labels as they are, and what else is known about them.

A source is a dataset as published, before anybody splits it or makes it noisy. What fits into
memory is a tensor; what does not is a list of image files, decoded when rows are asked for. A
reader of this room turns the files of one publisher into a `Source`, and says which file is wrong
where one is. Splits, noise and normalisation are left to `nlmeta.data.load`.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nlmeta._checks import check_count, check_labels

__all__ = ["ImageFiles", "Part", "Source", "data_folder"]


def data_folder(folder: str | Path | None = None) -> Path:
    """Where the datasets lie, each in a folder of its own.

    Parameters
    ----------
    folder : str or Path, optional
        Default: what the environment variable ``NLMETA_DATA`` says; without it
        ``~/.cache/nlmeta/data``.

    Returns
    -------
    Path
        It need not exist.
    """
    given = folder if folder is not None else os.environ.get("NLMETA_DATA")
    return Path(given or "~/.cache/nlmeta/data").expanduser()


class ImageFiles:
    """Images that stay on disk until rows are asked for.

    ``files[rows]`` decodes with several threads: converted to RGB, the shorter side brought to
    `size` (bilinear), the middle square kept. A training crop of 224 pixels then comes out of the
    square.

    Parameters
    ----------
    folder : Path
        The names are relative to it.
    names : sequence of str
        One for each image, with ``/`` between folders.
    size : int
        Side of the square in pixels. Default 256 (the side to which the released code of MSLG
        resizes; that code squeezes the image instead of cutting it, the square is ours).
    threads : int
        Default 8 (ours).
    """

    def __init__(
        self, folder: Path, names: Sequence[str], *, size: int = 256, threads: int = 8
    ) -> None:
        check_count("size", size)
        check_count("threads", threads)
        self.folder = Path(folder)
        self.names = tuple(names)
        self.size = size
        self.threads = threads

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, 3, size, size), what all of them would be in memory."""
        return len(self), 3, self.size, self.size

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        """Decode some images.

        Parameters
        ----------
        rows : int, slice or Tensor of int64, shape (m,)
            Which.

        Returns
        -------
        Tensor of uint8, shape (m, 3, size, size)
            Without its first axis for a single row.

        Raises
        ------
        ValueError
            An image does not decode; the message has its path.
        """
        if isinstance(rows, int):
            return self._decode(self.names[rows])
        if isinstance(rows, slice):
            wanted = self.names[rows]
        else:
            if rows.dtype != torch.int64 or rows.ndim != 1:
                raise ValueError(
                    f"`rows` is {rows.dtype} of shape {tuple(rows.shape)}; it must be torch.int64 "
                    "of shape (m,)"
                )
            wanted = tuple(self.names[row] for row in rows.tolist())
        images = torch.empty((len(wanted), *self.shape[1:]), dtype=torch.uint8, device="cpu")
        with ThreadPoolExecutor(self.threads) as pool:
            for i, image in enumerate(pool.map(self._decode, wanted)):
                images[i] = image
        return images

    def missing(self) -> list[str]:
        """Names without a file. Each folder is listed once, so a million names take seconds."""
        parents = {name.rpartition("/")[0] for name in self.names}
        there = {parent: _file_names(self.folder / parent) for parent in parents}
        split = ((name, *name.rpartition("/")[::2]) for name in self.names)
        return [name for name, parent, file in split if file not in there[parent]]

    def check(self, *, every: int = 1) -> None:
        """Decode every image, or a sample at even distances, and name those that do not decode.

        Parameters
        ----------
        every : int
            1 (default): all of them. k: the first of every k.

        Raises
        ------
        ValueError
            With the number of damaged images and the paths of the first ten.
        """
        check_count("every", every)
        names = self.names[::every]
        with ThreadPoolExecutor(self.threads) as pool:
            damaged = [text for text in pool.map(self._damage, names) if text]
        if damaged:
            raise ValueError(
                f"{len(damaged)} of {len(names)} images looked at do not decode:\n"
                + "\n".join(damaged[:10])
            )

    def _decode(self, name: str) -> Tensor:
        path = self.folder / name
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} does not decode as an image ({error})") from error
        scale = self.size / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + self.size, top + self.size))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, size, size)

    def _damage(self, name: str) -> str | None:
        try:
            self._decode(name)
        except ValueError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class Part:
    """Samples with the labels that their publisher gives.

    Attributes
    ----------
    x : Tensor or ImageFiles, n rows
        Images are uint8 of shape (n, channels, height, width), from 0 to 255. Windows of words are
        int64 of shape (n, words).
    y : Tensor of int64, shape (n,)
        The main label. Whether it is to be trusted is the source's `noisy`.
    annotations : mapping of str to Tensor of int64, shape (n,)
        Other labels of the same samples; -1 where the publisher has none.
    ids : sequence of str, optional
        The publisher's own names of the samples.
    """

    x: Tensor | ImageFiles
    y: Tensor
    annotations: Mapping[str, Tensor] = field(default_factory=dict)
    ids: Sequence[str] | None = None

    def __post_init__(self) -> None:
        columns: dict[str, Sequence[str] | Tensor] = {"y": self.y, **self.annotations}
        if self.ids is not None:
            columns["ids"] = self.ids
        for name, column in columns.items():
            if len(column) != len(self.x):
                raise ValueError(
                    f"`{name}` has {len(column)} entries for {len(self.x)} samples; "
                    "it needs one for each"
                )

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Source:
    """A dataset as published.

    Attributes
    ----------
    name : str
        As given to `nlmeta.data.sources.read`.
    class_names : tuple of str
        C names, in the order of the labels.
    train : Part
        The publisher's training part.
    test : Part or None
        The publisher's test part. None where it is another dataset that is not there; then `notes`
        says so.
    noisy : bool
        Whether ``train.y`` is known to be wrong in places, with the truth unknown. False: it is
        what the field takes for the truth.
    attribution : str
        Whom to cite, and the terms of use where they are known.
    validation, clean_train : Part, optional
        What the publisher sets apart; see each reader.
    superclasses : Tensor of int64, shape (C,), optional
        Of each class its superclass.
    superclass_names : tuple of str
        Their names.
    notes : tuple of str
        What a user should know about these very files.
    """

    name: str
    class_names: tuple[str, ...]
    train: Part
    test: Part | None
    noisy: bool
    attribution: str
    validation: Part | None = None
    clean_train: Part | None = None
    superclasses: Tensor | None = None
    superclass_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, samples in self.parts.items():
            check_labels(f"{self.name}: {part} labels", samples.y, self.num_classes)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def parts(self) -> dict[str, Part]:
        """The parts there are, by name."""
        all_parts = {
            "train": self.train,
            "clean_train": self.clean_train,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: part for name, part in all_parts.items() if part is not None}

    def check(self, *, every: int = 1) -> None:
        """Decode the image files of every part, before any training; see `ImageFiles.check`.

        Parameters
        ----------
        every : int
            1 (default): all of them. k: the first of every k.

        Raises
        ------
        ValueError
            Names the images that do not decode. Images in memory have been decoded already.
        """
        check_count("every", every)
        for part in self.parts.values():
            if isinstance(part.x, ImageFiles):
                part.x.check(every=every)


def _file_names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}
