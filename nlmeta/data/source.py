"""What a publisher gives: samples, labels as they are, and what else is known about them.

A source is a dataset as published, before anybody splits it or makes it noisy. What fits into
memory is a tensor; what does not is a list of image files, decoded when rows are asked for. A
reader of this room turns the files of one publisher into a `Source`, and says which file is wrong
where one is. Splits, noise and normalisation are left to `nlmeta.data.load`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from nlmeta._checks import check_choice, check_labels
from nlmeta.data.images import ImageFiles

__all__ = ["COARSE", "VERIFIED", "Part", "Source", "data_folder"]

VERIFIED = "verified"  # the annotation that is 1 where a label is known to be right
COARSE = "coarse"  # the annotation that is the superclass of a label


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
        Other labels of the same samples; -1 where the publisher has none. Two of them are no
        labels to train on: ``"verified"`` is 1 where `y` is known to be right and 0 where it is
        known to be wrong; ``"coarse"`` is the superclass of `y`.
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
    human_annotations : tuple of str
        Annotations of the training part that are labels given by people. Where there are any,
        `nlmeta.data.load` needs the name of the ones to train on.
    superclass_annotations : tuple of str
        Annotations of the training part whose labels are superclasses. Those of others are
        classes.
    vocabulary : tuple of str
        V words in the order of their indices, where the inputs are windows of words. 0 stands
        beyond the end of a text, 1 for every word that is not here.
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

    @property
    def label_sets(self) -> tuple[str, ...]:
        """Annotations of the training part that can be trained on in place of its labels."""
        return tuple(name for name in self.train.annotations if name not in (VERIFIED, COARSE))

    def label_space_of(self, annotation: str) -> Literal["classes", "superclasses"] | None:
        """What the numbers of an annotation stand for; None if it holds no labels."""
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
                raise ValueError(f"the {name} part of {self.name!r} has no superclasses")
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
            As in `ImageFiles.check`, for each part.

        Returns
        -------
        dict of str to int
            How many images were decoded, by the name of the part. Parts in memory are not in it;
            they have been decoded already.

        Raises
        ------
        ValueError
            Names the images that do not decode.
        """
        return {
            name: part.x.check(every=every)
            for name, part in self.parts.items()
            if isinstance(part.x, ImageFiles)
        }
