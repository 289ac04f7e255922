"""What a publisher gives: samples, labels as they are, and what else is known about them.

A source is a dataset as published, before anybody splits it or makes it noisy. What fits into
memory is a tensor; what does not is a list of image files, decoded when rows are asked for. A
reader of this room turns the files of one publisher into a `Source`, and says which file is wrong
where one is. Splits, noise and normalisation are left to `nlmeta.data.load`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from nlmeta._checks import check_count, check_labels
from nlmeta.data.images import ImageFiles

__all__ = ["Part", "Source", "data_folder"]


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
    ids : sequence of str or int, optional
        The publisher's own names of the samples.
    groups : Tensor of int64, shape (n,), optional
        Samples with the same number are copies of one input, which a split keeps in one part.
        Default: there are no copies.
    """

    x: Tensor | ImageFiles
    y: Tensor
    annotations: Mapping[str, Tensor] = field(default_factory=dict)
    ids: Sequence[str | int] | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        columns = {"y": self.y, **self.annotations, "ids": self.ids, "groups": self.groups}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.x):
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
