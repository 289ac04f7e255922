"""Datasets as published: samples, their labels, and all that is known about them.

A source is a dataset as published, before it is split or made noisy. Data that fit into memory are
a tensor; others are a list of image files, which are decoded when rows are taken. A reader turns
the files of one publisher into a `Source`, and names a file that is wrong. `nlmeta.data.load` does
the splits, the noise and the normalisation.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from nlmeta._checks import check_choice, check_labels
from nlmeta._interface import Inputs, length
from nlmeta.data.images import ImageFiles

__all__ = ["COARSE", "VERIFIED", "Part", "Source", "data_folder"]

VERIFIED = "verified"  # the annotation that is 1 where a label is known to be right
COARSE = "coarse"  # the annotation that is the superclass of a label


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder of all datasets, in which each has a folder of its own.

    Parameters
    ----------
    folder : str or Path, optional
        The folder. Default: the value of the environment variable ``NLMETA_DATA``; without it
        ``~/.cache/nlmeta/data``.

    Returns
    -------
    Path
        The folder, which need not exist.
    """
    given = folder if folder is not None else os.environ.get("NLMETA_DATA")
    return Path(given or "~/.cache/nlmeta/data").expanduser()


@dataclass(frozen=True)
class Part:
    """Samples with the labels of their publisher.

    Attributes
    ----------
    x : Tensor, tuple or dict of Tensor, or ImageFiles, n rows
        Inputs. Images are uint8 of shape (n, channels, height, width), from 0 to 255. Windows of
        words are int64 of shape (n, words). Several tensors are the arguments of a network.
    y : Tensor of int64, shape (n,)
        The main label. The source's `noisy` says whether it can be trusted.
    annotations : mapping of str to Tensor of int64, shape (n,)
        Other labels of the same samples; -1 where the publisher has none. Two of them are not
        labels to train on: ``"verified"`` is 1 where `y` is known to be right and 0 where it is
        known to be wrong; ``"coarse"`` is the superclass of `y`.
    ids : sequence of str or int, optional
        The publisher's own names of the samples.
    groups : Tensor of int64, shape (n,), optional
        Group numbers. Samples with the same number are copies of one input, which a split keeps in
        one part. Default: there are no copies.
    """

    x: Inputs | ImageFiles
    y: Tensor
    annotations: Mapping[str, Tensor] = field(default_factory=dict)
    ids: Sequence[str | int] | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        columns = {"y": self.y, **self.annotations, "ids": self.ids, "groups": self.groups}
        for name, column in columns.items():
            if column is not None and len(column) != length(self.x):
                raise ValueError(
                    f"`{name}` has {len(column)} entries for {length(self.x)} samples; "
                    "it must have one for each"
                )

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Source:
    """A dataset as published.

    Attributes
    ----------
    name : str
        The dataset's name in `nlmeta.data.sources.read`.
    class_names : tuple of str
        Names of the C classes, in the order of the labels.
    train : Part
        The publisher's training part.
    test : Part or None
        The publisher's test part. None if it is a different dataset that is missing; a note then
        says so.
    noisy : bool
        True if ``train.y`` is known to be partly wrong and the truth is unknown. False if it is
        generally used as the truth.
    attribution : str
        Work to cite, and the terms of use if they are known.
    validation, clean_train : Part, optional
        Further parts of the publisher; each reader describes them.
    superclasses : Tensor of int64, shape (C,), optional
        The superclass of each class.
    superclass_names : tuple of str
        Names of the superclasses.
    notes : tuple of str
        Remarks on these files for the user.
    human_annotations : tuple of str
        Annotations of the training part that are labels given by people. If there are any,
        `nlmeta.data.load` needs the name of the ones to train on.
    superclass_annotations : tuple of str
        Annotations of the training part whose labels are superclasses; labels of others are
        classes.
    vocabulary : tuple of str
        The V words in the order of their indices, if the inputs are windows of words. Index 0 is
        used beyond the end of a text, and 1 for every other word.
    vectors : Tensor of float32, shape (V, E), optional
        Given word vectors.
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
    human_annotations: tuple[str, ...] = ()
    superclass_annotations: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    vectors: Tensor | None = None

    def __post_init__(self) -> None:
        for argument in ("human_annotations", "superclass_annotations"):
            for name in getattr(self, argument):
                check_choice(f"{argument} of {self.name}", name, self.label_sets)
        for part, samples in self.parts.items():
            check_labels(f"{self.name}: {part} labels", samples.y, self.num_classes)

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.class_names)

    @property
    def parts(self) -> dict[str, Part]:
        """The existing parts by name."""
        all_parts = {
            "train": self.train,
            "clean_train": self.clean_train,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: part for name, part in all_parts.items() if part is not None}

    @property
    def label_sets(self) -> tuple[str, ...]:
        """Annotations of the training part that can replace its labels in training."""
        return tuple(name for name in self.train.annotations if name not in (VERIFIED, COARSE))

    def label_space_of(self, annotation: str) -> Literal["classes", "superclasses"] | None:
        """The meaning of the numbers of an annotation; None if it does not hold labels."""
        if annotation == VERIFIED:
            return None
        coarse = annotation == COARSE or annotation in self.superclass_annotations
        return "superclasses" if coarse else "classes"

    def in_superclasses(self) -> "Source":
        """The same samples as a problem of superclasses.

        Raises
        ------
        ValueError
            A part has no annotation ``"coarse"``.
        """
        parts: dict[str, Any] = {}
        for name, part in self.parts.items():
            if COARSE not in part.annotations:
                raise ValueError(
                    f"the {name} part of {self.name!r} has no superclasses, so it cannot be a "
                    "problem of superclasses"
                )
            kept = {
                annotation: labels
                for annotation, labels in part.annotations.items()
                if self.label_space_of(annotation) != "classes"
            }
            parts[name] = replace(part, y=part.annotations[COARSE], annotations=kept)
        human = [a for a in self.human_annotations if self.label_space_of(a) != "classes"]
        return replace(
            self,
            **parts,
            class_names=self.superclass_names,
            superclasses=None,
            superclass_names=(),
            human_annotations=tuple(human),
            superclass_annotations=(),
        )

    def check(self, *, every: int | None = 1) -> dict[str, int]:
        """Decode the image files of every part, before any training.

        Parameters
        ----------
        every : int, optional
            The same as in `ImageFiles.check`, for each part.

        Returns
        -------
        dict of str to int
            Number of decoded images by the name of the part. Parts in memory are left out, since
            they are decoded already.

        Raises
        ------
        ValueError
            Images do not decode; the message names them.
        """
        return {
            name: part.x.check(every=every)
            for name, part in self.parts.items()
            if isinstance(part.x, ImageFiles)
        }
