"""Test, validation and meta samples set apart from a dataset as published.

Only samples whose labels are known to be right are taken for these parts. The seed determines the
order of each part of the dataset, and the test set is taken first, so it does not change with the
other sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nlmeta._checks import check_choice, check_count, check_rate
from nlmeta.data._copies import among, take, together
from nlmeta.data._notes import counted, unchecked
from nlmeta.data.source import VERIFIED, Part, Source
from nlmeta.data.split import without_training
from nlmeta.noise import KINDS
from nlmeta.seeding import generator

__all__ = ["Rows", "SplitOptions", "notes_on", "set_apart"]


@dataclass(frozen=True, eq=False, kw_only=True)
class SplitOptions:
    """Options of `nlmeta.data.make_split`: sizes, noise and seed.

    Attributes
    ----------
    noise, rate, labels, seed, meta_from, meta_rate, class_map, predictions, scale
        The same as in `nlmeta.data.load`, with the same defaults.
    meta_size : int
        Number of clean samples. Default 0.
    validation_size, test_size : int, optional
        Sizes of these parts. Default: the publisher's whole part, or 0 if there is none.
    balanced_meta : bool
        The same as in `nlmeta.data.load`. Default True.
    standardise : bool
        Whether inputs that are already floats are scaled to mean 0 and deviation 1 over all numbers
        of the training part. Default True.

    Raises
    ------
    ValueError
        An option is wrong; the message names it, what was given and what is allowed.
    """

    noise: str = "symmetric"
    rate: float = 0.0
    labels: str | Tensor | None = None
    seed: int
    meta_size: int = 0
    validation_size: int | None = None
    test_size: int | None = None
    balanced_meta: bool = True
    meta_from: str | None = None
    meta_rate: float = 0.0
    class_map: Mapping[int, int] | None = None
    predictions: Tensor | None = None
    scale: tuple[Sequence[float], Sequence[float]] | None = None
    standardise: bool = True

    def __post_init__(self) -> None:
        check_choice("noise", self.noise, (*KINDS, "instance-dependent", "feature-dependent"))
        check_rate("meta_rate", self.meta_rate)
        for argument, size in self.sizes.items():
            check_count(argument, 0 if size is None else size, minimum=0)

    @property
    def sizes(self) -> dict[str, int | None]:
        """The three sizes by their names, the test set's last."""
        names = ("meta_size", "validation_size", "test_size")
        return {name: getattr(self, name) for name in names}


class Rows(NamedTuple):
    """Samples of a split by their rows in the dataset.

    Attributes
    ----------
    origin : str
        Name of the publisher's part.
    rows : Tensor of int64
        Rows of that part.
    """

    origin: str
    rows: Tensor


def set_apart(source: Source, truth: Tensor | None, options: SplitOptions) -> dict[str, Rows]:
    """The rows of each part of a split.

    Parameters
    ----------
    source : Source
        The dataset.
    truth : Tensor of int64 or None
        The true labels of its training part, if they are known.
    options : SplitOptions
        Sizes, origin of the meta set, and the seed.

    Returns
    -------
    dict
        The rows of ``"test"``, ``"validation"``, ``"meta"`` and ``"train"``.
    """
    clean_home = "train" if source.clean_train is None else "clean_train"
    homes = {part: part if part in source.parts else clean_home for part in ("test", "validation")}
    homes["meta"] = options.meta_from or clean_home
    check_choice("meta_from", homes["meta"], source.parts)
    order = _shuffled(len(source.train), "train", options.seed)
    pools = _pools(source, truth, options, homes, order)
    _check_sizes(source, pools, homes, options.sizes)
    chosen = _drawn(source, pools, homes, options)
    stays = torch.ones(len(source.train), dtype=torch.bool, device="cpu")
    for home, rows in chosen.values():
        if home == "train":
            stays &= ~among(rows, source.train.groups, len(stays))
    if not stays.any():
        raise ValueError(
            "`test_size`, `validation_size` and `meta_size` leave no training sample; choose "
            "smaller ones"
        )
    chosen["train"] = Rows("train", order[stays[order]])
    return chosen


def notes_on(
    source: Source, truth: Tensor | None, given: Tensor | None, chosen: Mapping[str, Rows]
) -> tuple[str, ...]:
    """Remarks on the parts of a split for the user.

    Parameters
    ----------
    source, truth
        The arguments of `set_apart`.
    given : Tensor of int64 or None
        Labels of the training part that are trained on, if none are drawn.
    chosen : mapping
        The result of `set_apart`.
    """
    notes = []
    meta = chosen["meta"]
    if len(meta.rows) and meta.origin in ("validation", "test"):
        notes.append(
            f"{len(meta.rows)} samples of the published {meta.origin} part are the meta set; "
            f"they are no {meta.origin} samples any more"
        )
    for part in ("validation", "test"):
        origin, rows = chosen[part]
        nobody_knows = truth is None and VERIFIED not in source.train.annotations
        if origin == "train" and len(rows) and nobody_knows:
            notes.append(unchecked(part))
    out = _left_out(source, chosen)
    if out:
        what = counted("copy", out, many="copies")
        notes.append(f"left out: {what} of samples in the meta, validation or test set")
    labels = source.train.y if given is None else given
    notes += without_training(source.class_names, labels, labels[chosen["train"].rows])
    return tuple(notes)


def _shuffled(n: int, part: str, seed: int) -> Tensor:
    purpose = "split" if part == "train" else f"split {part}"
    return torch.randperm(n, generator=generator(seed, purpose), device="cpu")


def _pools(
    source: Source,
    truth: Tensor | None,
    options: SplitOptions,
    homes: Mapping[str, str],
    order: Tensor,
) -> dict[str, Tensor]:
    """Rows of each published part that may be drawn, in random order."""
    pools = {name: _trusted_rows(source, name, truth, options.seed) for name in source.parts}
    if len(pools["train"]) == 0:  # nobody knows a clean one
        if options.meta_size and homes["meta"] == "train":
            raise ValueError(
                f"`meta_size` is {options.meta_size}; no training sample of {source.name!r} is "
                "known to be clean. Pass `meta_size=0` and take a noisy set with "
                "`Split.with_noisy_meta`, or give up test images with `meta_from='test'`"
            )
        pools["train"] = order
    return {name: together(pools[name], part.groups, part.y) for name, part in source.parts.items()}


def _trusted_rows(source: Source, name: str, truth: Tensor | None, seed: int) -> Tensor:
    """The rows of a part whose labels are known to be right, in the seed's random order."""
    part = source.parts[name]
    rows = _shuffled(len(part), name, seed)
    if VERIFIED in part.annotations:
        return rows[part.annotations[VERIFIED][rows] == 1]
    return rows[:0] if name == "train" and truth is None else rows


def _check_sizes(
    source: Source,
    pools: Mapping[str, Tensor],
    homes: Mapping[str, str],
    sizes: Mapping[str, int | None],
) -> None:
    for home in sorted(set(homes.values())):
        asked = {name: size or 0 for name, size in sizes.items() if homes[name[:-5]] == home}
        there = len(pools[home])
        allowed = there - 1 if there == len(source.train) and home == "train" else there
        if sum(asked.values()) > allowed:
            given = " + ".join(f"`{argument}` {size}" for argument, size in asked.items())
            limit = (
                f"below {there}, the number of samples, so that some are left for training"
                if allowed < there
                else f"at most {there}, the number of clean samples of the {home} part"
                if source.parts[home].groups is None
                else f"at most {there}, the samples of the {home} part that may be drawn: no "
                "copies with several labels, and no copies of which only some are known to be clean"
            )
            total = f" is {sum(asked.values())}" if len(asked) > 1 else ""
            raise ValueError(f"{given}{total}; it must be {limit}")


def _drawn(
    source: Source, pools: dict[str, Tensor], homes: Mapping[str, str], options: SplitOptions
) -> dict[str, Rows]:
    """Test, validation and meta set, in this order; drawn rows leave the pools."""
    chosen: dict[str, Rows] = {}
    for part in ("test", "validation", "meta"):
        home, size = homes[part], options.sizes[f"{part}_size"]
        if size is None and home == part:
            continue  # all that the meta set leaves
        pool, there = pools[home], source.parts[home]
        if part == "meta" and size:
            rows = _meta_rows(pool, there, size, options.balanced_meta, source.num_classes)
        else:
            rows = take(pool, there.groups, size or 0)
        if len(rows) < (size or 0):
            raise ValueError(
                f"`{part}_size` is {size}, and {len(rows)} samples are left, since copies of "
                "samples in another part are not drawn; choose a smaller size"
            )
        chosen[part] = Rows(home, rows)
        pools[home] = pool[~among(rows, there.groups, len(there))[pool]]
    all_taken = homes["test"] == homes["meta"] == "test" and len(pools["test"]) == 0
    if all_taken and "test" not in chosen:
        raise ValueError(
            f"`meta_size` is {options.meta_size}, which leaves no test sample; choose a smaller one"
        )
    for part in ("test", "validation"):
        if part not in chosen:
            chosen[part] = Rows(part, pools[part].sort().values)
    return chosen


def _meta_rows(pool: Tensor, part: Part, size: int, balanced: bool, num_classes: int) -> Tensor:
    """Rows for the meta set, in the order of the pool."""
    by_class = [pool[part.y[pool] == c] for c in range(num_classes)]
    if balanced and size % num_classes:
        raise ValueError(
            f"`meta_size` is {size}; with the same number of each class it must be a multiple of "
            f"{num_classes}"
        )
    if not balanced and size < num_classes:
        raise ValueError(
            f"`meta_size` is {size}; it must be at least {num_classes}, one sample of each class"
        )
    per_class = size // num_classes if balanced else 1
    for c, rows in enumerate(by_class):
        if len(rows) < per_class:
            raise ValueError(
                f"`meta_size` is {size}, that is {per_class} samples of each class; class {c} has "
                f"{len(rows)} left"
            )
    taken = torch.cat([take(rows, part.groups, per_class) for rows in by_class])
    others = pool[~torch.isin(pool, taken)]
    taken = torch.cat([taken, take(others, part.groups, size - len(taken))])
    return pool[torch.isin(pool, taken)]


def _left_out(source: Source, chosen: Mapping[str, Rows]) -> list[str]:
    """Names of copies of drawn training samples that were left out."""
    rows = torch.cat([rows for origin, rows in chosen.values() if origin == "train"])
    out = torch.ones(len(source.train), dtype=torch.bool, device="cpu")
    out[rows] = False
    ids = range(len(out)) if source.train.ids is None else source.train.ids
    return [str(ids[row]) for row in out.nonzero().flatten().tolist()]
