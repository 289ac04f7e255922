"""A dataset that is ready to train on: four parts, and the truth apart, for evaluation alone."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nlmeta._arrays import Array, as_tensor
from nlmeta._checks import check_choice, check_class_indices, check_count
from nlmeta._interface import Inputs, check_inputs, each, length, rows_of
from nlmeta.data._copies import among, take, together
from nlmeta.data._notes import counted, unchecked
from nlmeta.data.images import Augmentation, Images
from nlmeta.seeding import generator

__all__ = ["Samples", "Split", "without_training"]


@dataclass(frozen=True)
class Samples:
    """Inputs with labels.

    Attributes
    ----------
    x : Tensor, tuple or dict of Tensor, or Images, n rows
        Inputs: floats of shape (n, ...) for a network, int64 indices of a vocabulary, a tuple or a
        dict of such tensors for a network with several arguments, or `Images`, which are bytes
        until rows are taken.
    y : Tensor of int64, shape (n,)
        The labels that may be used: noisy ones in a training part, clean ones elsewhere.
    sample_ids : sequence of str or int, optional
        The owner's names of the samples: file names, keys, numbers of a table.
    groups : Tensor of int64, shape (n,), optional
        Group numbers, on the CPU. Samples with the same number are copies of one input. Default:
        there are no copies.
    """

    x: Inputs | Images
    y: Tensor
    sample_ids: Sequence[str | int] | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        check_class_indices("y", self.y)
        if not isinstance(self.x, Images):
            check_inputs(self.x)
        if length(self.x) != len(self.y):
            raise ValueError(
                f"`y` has {len(self.y)} labels for {length(self.x)} inputs; it must have one for "
                "each"
            )
        if self.sample_ids is not None and len(self.sample_ids) != len(self.y):
            raise ValueError(
                f"`sample_ids` has {len(self.sample_ids)} entries for {len(self.y)} samples; "
                "it must have one for each"
            )
        if self.groups is not None and len(self.groups) != len(self.y):
            raise ValueError(
                f"`groups` has {len(self.groups)} entries for {len(self.y)} samples; "
                "it must have one for each"
            )

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Samples":
        """The same samples on a device, the inputs in a floating-point type.

        Inputs of int64 are indices of a vocabulary, and those of bool masks. They keep their type.
        """

        def moved(part: Tensor | Images) -> Tensor | Images:
            kind = None if part.dtype in (torch.int64, torch.bool) else dtype
            return part.to(device=device, dtype=kind)

        return replace(self, x=each(moved, self.x), y=self.y.to(device))

    def subset(self, rows: Array) -> "Samples":
        """Some of the samples.

        Parameters
        ----------
        rows : array of int64, shape (m,), or of bool, shape (n,)
            The rows to keep: a tensor, a NumPy array or a column of a frame.

        Returns
        -------
        Samples
            The samples of these rows. Images stay bytes, on their device or on disk.
        """
        rows = as_tensor("rows", rows)
        if rows.dtype == torch.bool:
            rows = rows.nonzero().flatten()
        there = rows.to(self.y.device)
        x = self.x.subset(rows) if isinstance(self.x, Images) else rows_of(self.x, there)
        ids = None if self.sample_ids is None else [self.sample_ids[row] for row in rows.tolist()]
        groups = None if self.groups is None else self.groups[rows.cpu()]
        return Samples(x, self.y[there], ids, groups)


@dataclass(frozen=True, repr=False)
class Split:
    """A dataset split into parts, its training labels made noisy.

    Attributes
    ----------
    name : str
        Name of the dataset.
    train : Samples
        Training part; `train.y` are the given, noisy labels. The id of a sample is its row here.
    meta : Samples
        Small clean set, class-balanced; or a noisy one, see `with_noisy_meta`.
    validation, test : Samples
        Clean parts. Nothing in the package selects by the test part.
    true_labels : Tensor of int64, shape (N,), or None
        The true labels behind `train.y`, for evaluation alone: no method uses them. None if they
        are unknown.
    transition : Tensor of float64, shape (C, C), or None
        The matrix that the noise was drawn from; row: true class, column: given label. None if it
        was not drawn from a matrix.
    indices : mapping of str to Tensor
        Rows of the original dataset for each part; `origins` names the part that they refer to.
    class_names : tuple of str
        Names of the C classes.
    settings : mapping
        The arguments that made this split.
    origins : mapping of str to str
        The part of the original dataset that each part comes from, mostly ``"train"``.
    manifest : mapping
        All that is known about the noise, see `nlmeta.noise.Corruption`. It is empty if the truth
        is unknown.
    attribution : str
        Work to cite, and terms of use.
    notes : tuple of str
        Remarks on this split for the user.
    vocabulary : tuple of str
        The V words of a text dataset, in the order of the indices in the inputs.
    vectors : Tensor of float32, shape (V, E), or None
        Vectors of these words, if a file has them.
    meta_is_clean : bool
        Whether all labels of the meta set count as true.
    """

    name: str
    train: Samples
    meta: Samples
    validation: Samples
    test: Samples
    true_labels: Tensor | None
    transition: Tensor | None
    indices: Mapping[str, Tensor]
    class_names: tuple[str, ...]
    settings: Mapping[str, object]
    origins: Mapping[str, str] = field(default_factory=dict)
    manifest: Mapping[str, object] = field(default_factory=dict)
    attribution: str = ""
    notes: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    vectors: Tensor | None = None
    meta_is_clean: bool = True

    def __repr__(self) -> str:
        parts = ("train", "meta", "validation", "test")
        sizes = ", ".join(f"{part} {len(getattr(self, part)):,}" for part in parts)
        wrong = "unknown" if self.true_labels is None else f"{self.wrong.double().mean():.1%}"
        notes = f"; notes: {len(self.notes)}" if self.notes else ""
        return (
            f"Split of {self.name!r}: {sizes}; {self.num_classes} classes; wrong training labels: "
            f"{wrong}; digest {self.digest[:12]}{notes}"
        )

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.class_names)

    @property
    def wrong(self) -> Tensor:
        """Whether each given label is wrong; bool, shape (N,). For evaluation alone."""
        if self.true_labels is None:
            raise ValueError(
                f"the true labels of {self.name!r} are unknown, so its wrong labels are too"
            )
        return self.train.y != self.true_labels

    @property
    def digest(self) -> str:
        """SHA-256 over the rows and labels of every part.

        Equal digests of one dataset mean the same samples with the same labels in each part. The
        inputs themselves and their scale are not part of it.
        """
        sha = hashlib.sha256()
        for part in ("train", "meta", "validation", "test"):
            for tensor in (self.indices[part], getattr(self, part).y):
                sha.update(tensor.cpu().numpy().tobytes())
        return sha.hexdigest()

    def is_checked(self, part: str) -> bool:
        """Whether a part has samples, and their labels count as right.

        Parameters
        ----------
        part : {"meta", "validation", "test"}
            The part.

        Returns
        -------
        bool
        """
        check_choice("part", part, ("meta", "validation", "test"))
        clean = self.meta_is_clean if part == "meta" else unchecked(part) not in self.notes
        return clean and len(getattr(self, part)) > 0

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Split":
        """The same split on a device."""
        parts = ("train", "meta", "validation", "test")
        moved = {part: getattr(self, part).to(device, dtype) for part in parts}
        truth = None if self.true_labels is None else self.true_labels.to(device)
        return replace(self, **moved, true_labels=truth)

    def augmented(self, augmentation: Augmentation, *, meta: bool = False) -> "Split":
        """The split whose training images are changed at random each time they are taken.

        Parameters
        ----------
        augmentation : Augmentation
            The random change of images, see `nlmeta.data.augmentation`. Parts that are not
            augmented go through its `for_evaluation`.
        meta : bool
            Whether the meta set is augmented too, as in CLID-MU's released code. Default False, as
            in MSLG's; MLC augments nothing.

        Returns
        -------
        Split
            The augmented split.
        """
        drawn = {"train": True, "meta": meta, "validation": False, "test": False}
        parts = {}
        for name, draws in drawn.items():
            samples = getattr(self, name)
            if not isinstance(samples.x, Images):
                kind = samples.x.dtype if isinstance(samples.x, Tensor) else "several tensors"
                raise ValueError(
                    f"`augmentation` is given, and the {name} part of {self.name!r} holds {kind}; "
                    "only images kept as bytes can be augmented"
                )
            parts[name] = replace(samples, x=samples.x.augmented(augmentation, augment=draws))
        return replace(self, **parts)

    def on_meta_set(self) -> "Split":
        """The split with the meta set as its training part.

        Its images are augmented like those of the training part before.
        """
        train = self.meta
        if isinstance(train.x, Images) and isinstance(self.train.x, Images):
            x = train.x.augmented(self.train.x.augmentation, augment=self.train.x.augment)
            train = replace(train, x=x)
        return replace(
            self,
            train=train,
            true_labels=self.meta.y if self.meta_is_clean else None,
            indices={**self.indices, "train": self.indices["meta"]},
            origins={**self.origins, "train": self.origins.get("meta", "train")},
        )

    def keep(self, kept: Array) -> "Split":
        """The split with only some of its training samples. Their ids are counted anew from 0.

        A note names the classes that lose all samples.

        Parameters
        ----------
        kept : array of bool, shape (N,)
            True for the training samples that stay: a tensor, a NumPy array or a column of a frame,
            in the order of the training part.
        """
        kept = as_tensor("kept", kept)
        if kept.dtype != torch.bool or kept.shape != self.train.y.shape:
            raise ValueError(
                f"`kept` is {kept.dtype} of shape {tuple(kept.shape)}; it must be torch.bool of "
                f"shape {tuple(self.train.y.shape)}, True for the training samples that stay"
            )
        if not kept.any():
            raise ValueError("`kept` keeps no sample; a training part needs at least one")
        indices = {**self.indices, "train": self.indices["train"][kept.cpu()]}
        truth = None if self.true_labels is None else self.true_labels[kept]
        train = self.train.subset(kept)
        gone = without_training(self.class_names, self.train.y, train.y)
        return replace(
            self,
            train=train,
            true_labels=truth,
            indices=indices,
            notes=(*self.notes, *gone),
        )

    def with_noisy_meta(self, size: int, *, seed: int, held_out: bool = False) -> "Split":
        """The split with a meta set from the noisy training part, for use without clean samples.

        Parameters
        ----------
        size : int
            Number of samples in the meta set; they have their given labels.
        seed : int
            Seed of the draw.
        held_out : bool
            If False (default), any training samples are drawn, and they stay in the training part,
            as in CLID-MU, which uses no label. If True, the same number is drawn of each given
            label, and the samples leave the training part with all their copies, as in CLID-MU's
            released code for objectives that use the noisy labels.
        """
        check_count("size", size)
        given = self.train.y.cpu()
        order = torch.randperm(len(given), generator=generator(seed, "noisy meta"), device="cpu")
        if held_out:
            if size % self.num_classes:
                raise ValueError(
                    f"`size` is {size}; with the same number of each given label it must be a "
                    f"multiple of {self.num_classes}"
                )
            per_class = size // self.num_classes
            groups = self.train.groups
            pool = together(order, groups, given)
            rows = [
                take(pool[given[pool] == c], groups, per_class) for c in range(self.num_classes)
            ]
            drawn = torch.cat(rows).sort().values
        else:
            drawn = order[:size].sort().values
        if len(drawn) < size or (held_out and size == len(given)):
            raise ValueError(
                f"`size` is {size}; the training part of {len(given)} samples is too small"
            )
        meta = self.train.subset(drawn)
        if isinstance(meta.x, Images) and isinstance(self.meta.x, Images):
            x = meta.x.augmented(meta.x.augmentation, augment=self.meta.x.augment)
            meta = replace(meta, x=x)
        changed = replace(
            self,
            meta=meta,
            meta_is_clean=False,
            indices={**self.indices, "meta": self.indices["train"][drawn]},
            origins={**self.origins, "meta": self.origins.get("train", "train")},
            settings={**self.settings, "meta_size": size, "meta_from": "train, noisy"},
        )
        if not held_out:
            return changed
        stays = ~among(drawn, self.train.groups, len(given))
        return changed.keep(stays.to(self.train.y.device))


def without_training(names: Sequence[str], before: Tensor, after: Tensor) -> tuple[str, ...]:
    """A note on classes that have lost all their training samples.

    Parameters
    ----------
    names : sequence of str
        Names of the C classes.
    before, after : Tensor of int64, shapes (n,) and (m,)
        Labels of the samples before, and of those that are left.
    """
    had, has = (labels.cpu().bincount(minlength=len(names)).tolist() for labels in (before, after))
    gone = [
        f"{name!r} had {count}"
        for name, count, left in zip(names, had, has, strict=True)
        if count and not left
    ]
    if not gone:
        return ()
    return (f"no training sample is left of {counted('class', gone, many='classes')}",)
