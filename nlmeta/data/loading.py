"""One call from a dataset's name to a split, and from any `Source` to one.

Whatever the dataset, the same steps: set test, validation and meta samples apart, make the training
labels noisy, bring the inputs to a common scale. Each step draws from a stream of its own, so that
another noise leaves the parts as they were.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nlmeta import noise as label_noise
from nlmeta._checks import check_choice, check_count, check_labels, check_rate
from nlmeta.data._arguments import check_options, keywords
from nlmeta.data._copies import among, take, together
from nlmeta.data._notes import counted
from nlmeta.data.digits import read_digits
from nlmeta.data.images import ImageFiles, Images, channel_statistics
from nlmeta.data.source import Part, Source
from nlmeta.data.split import Samples, Split, without_training
from nlmeta.seeding import generator

__all__ = ["DATASETS", "Sizes", "load", "make_split"]

NOISES = (*label_noise.KINDS, "instance-dependent", "feature-dependent")
FILES_LOOKED_AT = 1000  # of each part
SUPERCLASS_NOISE = ("superclass", "superclass-uniform")
HUMAN = ("cifar10n", "cifar100n")  # their annotations are labels that people gave
VERIFIED = "verified"  # the annotation that is 1 where a label is known to be right
NOT_LABELS = (VERIFIED, "coarse")

# Mean and deviation of ImageNet's training images, for images that stay on disk: most networks for
# them were trained first on images brought to this scale (torchvision's documentation).
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Sizes(NamedTuple):
    """How many samples `load` sets apart unless it is told (ours, but for the publishers' parts).

    Attributes
    ----------
    meta : int
        Clean samples.
    validation, test : int or None
        None: the publisher's whole part.
    balanced : bool
        Whether the meta set has as many of each class.
    """

    meta: int
    validation: int | None
    test: int | None
    balanced: bool = True


#: The datasets that `load` knows, each with what it sets apart.
DATASETS: Mapping[str, Sizes] = {
    "digits": Sizes(meta=100, validation=150, test=450),
    "mnist": Sizes(meta=1_000, validation=5_000, test=None),
    "fashion_mnist": Sizes(meta=1_000, validation=5_000, test=None),
    "cifar10": Sizes(meta=1_000, validation=5_000, test=None),
    "cifar100": Sizes(meta=1_000, validation=5_000, test=None),
    "cifar10n": Sizes(meta=1_000, validation=5_000, test=None),
    "cifar100n": Sizes(meta=1_000, validation=5_000, test=None),
    "clothing1m": Sizes(meta=7_000, validation=None, test=None),
    "food101n": Sizes(meta=2_020, validation=None, test=None),
    "animal10n": Sizes(meta=0, validation=0, test=None),
    "webvision": Sizes(meta=0, validation=0, test=None),
    "twitter": Sizes(meta=1_000, validation=None, test=None, balanced=False),
}


def load(
    name: str,
    *,
    noise: str = "symmetric",
    rate: float = 0.0,
    labels: str | Tensor | None = None,
    seed: int,
    meta_size: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    balanced_meta: bool | None = None,
    meta_from: str | None = None,
    meta_rate: float = 0.0,
    class_map: Mapping[int, int] | None = None,
    predictions: Tensor | None = None,
    scale: tuple[Sequence[float], Sequence[float]] | None = None,
    folder: str | Path | None = None,
    download: bool = False,
    **options: Any,
) -> Split:
    """Load a dataset, split it and make its training labels noisy.

    Split, noise and, by convention, the network's first weights follow the seed. Compare methods on
    the same seeds, pair by pair: a test part of the digits' size has a standard error above one
    percentage point.

    Parameters
    ----------
    name : str
        One of `DATASETS`. ``"digits"``: scikit-learn's 1,797 grey images of 8x8 pixels in 10
        classes; no download. For the others see their readers in `nlmeta.data.sources`.
    noise : str
        A kind that `nlmeta.noise.inject` knows. Default ``"symmetric"``.
    rate : float
        Noise rate in [0, 1]; `nlmeta.noise.CONVENTIONS` says what it means. Default 0.
    labels : str or Tensor, optional
        Given labels that are there already, in place of noise that is drawn: the name of
        annotations, such as ``"worst"`` of ``"cifar10n"``; or int64 labels of the publisher's whole
        training part, in its order, such as `nlmeta.data.sources.read_shipped_labels` gives.
    seed : int
        Split and noise draw from streams of their own: another rate leaves the split as it was.
    meta_size, validation_size, test_size : int, optional
        Default: see `DATASETS`. What is left is the training part.
    balanced_meta : bool, optional
        True: as many clean samples of each class, so `meta_size` is a multiple of C. False: as they
        come, but at least one of each. Default: True, but for ``"twitter"``, whose rarest tags have
        too few.
    meta_from : {"train", "clean_train", "validation", "test"}, optional
        The publisher's part that the meta set leaves. Default: the clean part of the training data,
        if there is a separate one, or the training part. ``"test"`` is the habit of some released
        code (MSLG's, on CIFAR-10); those images are then no test images any more.
    meta_rate : float
        Share of wrong labels left in the meta set, for asking how clean it must be: exactly
        ``round(meta_size * meta_rate)``, drawn as the noise has them, or uniformly where the noise
        has no matrix. Default 0.
    class_map : mapping of int to int, optional
        For ``noise="asymmetric"``: true class to given label.
    predictions : Tensor, optional
        For ``noise="feature-dependent"``: (N, C) probabilities for the publisher's whole training
        part, in its order. From `nlmeta.procedures.distilled_predictions`, p, on a split without
        noise: ``torch.zeros(N, C, dtype=p.dtype).index_copy(0, split.indices["train"], p)``.
    scale : pair of sequences of float, optional
        Mean and standard deviation of each channel, of images between 0 and 1, such as
        ``((0.5,) * 3, (0.5,) * 3)`` in the released code of MSLG and MLC. Default: those of the
        training part; ImageNet's where images stay on disk. Instance-dependent noise looks at the
        scaled images, so its labels change with it.
    folder : str or Path, optional
        Where the datasets lie. Default: the environment variable ``NLMETA_DATA``, see
        `nlmeta.data.source.data_folder`.
    download : bool
        Get what is not there, where the terms of use allow it. Default False.
    **options
        Of the reader, such as `size` of image files or `window` of texts.

    Returns
    -------
    Split
        On the CPU. Images of 8 bits are `Images`; others float32.

    Raises
    ------
    TypeError
        Neither `load` nor the reader has such an option.
    ValueError
        Names the argument that is wrong, what was given and what is allowed; or the file that is
        damaged. Of image files about a thousand of each part are decoded before the split is made;
        ``python -m nlmeta data NAME --all-images`` decodes all.
    FileNotFoundError
        Says what to get, from whom, and where to put it.
    """
    check_choice("name", name, DATASETS)
    sizes = DATASETS[name]
    check_options(repr(name), options, keywords(load, _reader(name)))
    source = _read(name, folder, download, options)
    for part in source.parts.values():
        if isinstance(part.x, ImageFiles):  # some of them, before any training
            part.x.check(every=max(1, len(part) // FILES_LOOKED_AT))
    split = make_split(
        source,
        noise=noise,
        rate=rate,
        labels=labels,
        seed=seed,
        meta_size=sizes.meta if meta_size is None else meta_size,
        validation_size=sizes.validation if validation_size is None else validation_size,
        test_size=sizes.test if test_size is None else test_size,
        balanced_meta=sizes.balanced if balanced_meta is None else balanced_meta,
        meta_from=meta_from,
        meta_rate=meta_rate,
        class_map=class_map,
        predictions=predictions,
        scale=scale,
    )
    return replace(split, settings={**split.settings, **options})


def make_split(
    source: Source,
    *,
    noise: str = "symmetric",
    rate: float = 0.0,
    labels: str | Tensor | None = None,
    seed: int,
    meta_size: int = 0,
    validation_size: int | None = None,
    test_size: int | None = None,
    balanced_meta: bool = True,
    meta_from: str | None = None,
    meta_rate: float = 0.0,
    class_map: Mapping[int, int] | None = None,
    predictions: Tensor | None = None,
    scale: tuple[Sequence[float], Sequence[float]] | None = None,
    standardise: bool = True,
) -> Split:
    """Split a dataset as published and make its training labels noisy.

    Where a part has copies (`Part.groups`), a sample and its copies are in one part of the split.
    Sizes are kept: whole groups are drawn as long as they fit, and of the one that does not some
    copies are left out, which a note names. Copies with several labels, and those of which only
    some are known to be clean, are drawn for no meta, validation or test set.

    Parameters
    ----------
    source : Source
        From `nlmeta.data.sources.read`, or made by hand.
    noise, rate, labels, seed, balanced_meta, meta_from, meta_rate, class_map, predictions, scale
        As in `load`.
    meta_size : int
        Clean samples. Default 0.
    validation_size, test_size : int, optional
        Default: the publisher's whole part; none where there is no such part.
    standardise : bool
        Whether inputs that are floats already are brought to mean 0 and deviation 1 over all
        numbers of the training part. Default True.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        As in `load`.
    """
    check_choice("noise", noise, NOISES)
    if isinstance(labels, str) and labels == "noisy_coarse":
        source = _in_superclasses(source)
    truth, given = _truth_and_given(source, labels)
    if given is not None:
        _refuse_noise(noise, rate, class_map, predictions)
    elif predictions is not None and len(predictions) != len(source.train):
        raise ValueError(
            f"`predictions` has {len(predictions)} rows; it must have one for each of the "
            f"{len(source.train)} training samples as published"
        )
    sizes = {"meta_size": meta_size, "validation_size": validation_size, "test_size": test_size}
    chosen = _set_apart(source, truth, sizes, balanced_meta, meta_from, seed)
    bring = _Bring.to_scale_of(source.train.x, chosen["train"].rows, scale, standardise)
    parts = {part: _samples(source, truth, rows, bring) for part, rows in chosen.items()}

    rows = chosen["train"].rows
    true_labels = None if truth is None else truth[rows]
    transition = None
    manifest: Mapping[str, object] = {
        "kind": "given",
        "convention": label_noise.CONVENTIONS["given"],
    }
    if given is not None:
        y = given[rows]
        if true_labels is not None:
            human = source.name in HUMAN and isinstance(labels, str)
            kind = "human" if human else "given"
            manifest = label_noise.describe(true_labels, y, source.num_classes, kind=kind).manifest
    else:
        corruption = label_noise.inject(
            noise,
            parts["train"].y,
            source.num_classes,
            rate,
            seed=seed,
            class_map=class_map,
            groups=source.superclasses if noise in SUPERCLASS_NOISE else None,
            x=_all_floats(parts["train"].x) if noise == "instance-dependent" else None,
            predictions=None if predictions is None else predictions[rows],
        )
        y, transition, manifest = corruption.labels, corruption.transition, corruption.manifest
    parts["train"] = replace(parts["train"], y=y)
    parts["meta"] = _with_wrong_labels(parts["meta"], meta_rate, transition, source, seed)

    settings = {
        "name": source.name,
        "noise": noise,
        "rate": rate,
        "labels": "a tensor" if isinstance(labels, Tensor) else labels,
        "seed": seed,
        **{f"{part}_size": len(parts[part]) for part in ("meta", "validation", "test")},
        "balanced_meta": balanced_meta,
        "meta_from": chosen["meta"].origin,
        "meta_rate": meta_rate,
        "class_map": None if class_map is None else dict(class_map),
        "scale": scale,
    }
    return Split(
        name=source.name,
        train=parts["train"],
        meta=parts["meta"],
        validation=parts["validation"],
        test=parts["test"],
        true_labels=true_labels,
        transition=transition,
        indices={part: rows for part, (_, rows) in chosen.items()},
        class_names=source.class_names,
        settings=settings,
        origins={part: origin for part, (origin, _) in chosen.items()},
        manifest=manifest,
        attribution=source.attribution,
        notes=(*source.notes, *_notes(source, truth, given, chosen)),
        vocabulary=getattr(source, "vocabulary", ()),
        vectors=getattr(source, "vectors", None),
        meta_is_clean=round(len(parts["meta"]) * meta_rate) == 0,
    )


def _reader(name: str) -> Callable[..., Source]:
    if name == "digits":
        return read_digits
    # Torchvision takes seconds to import, and the digits do without it.
    from nlmeta.data.sources import READERS

    return READERS[name]


def _read(name: str, folder: str | Path | None, download: bool, options: dict[str, Any]) -> Source:
    if name == "digits":
        for argument, value in {"folder": folder, "download": download}.items():
            if value:
                raise ValueError(f"`{argument}` is {value!r}; the digits come without any")
        return read_digits()
    return _reader(name)(folder=folder, download=download, **options)


# Labels


def _truth_and_given(
    source: Source, labels: str | Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Of the publisher's training part the true labels, if known, and labels that are noisy."""
    y, annotations = source.train.y, source.train.annotations
    truth = None if source.noisy else y
    if isinstance(labels, Tensor):
        if labels.shape != y.shape:
            raise ValueError(
                f"`labels` has shape {tuple(labels.shape)}; it must hold one for each of the "
                f"{len(y)} training samples as published"
            )
        check_labels("labels", labels, source.num_classes)
        return truth, labels.cpu()
    known = [name for name in annotations if name not in NOT_LABELS]
    if labels is not None and not known:
        raise ValueError(f"`labels` is {labels!r}; {source.name!r} comes with one set of labels")
    if labels is not None:
        check_choice("labels", labels, known)
        check_labels(f"labels {labels!r}", annotations[labels], source.num_classes)
        return truth, annotations[labels]
    if source.name in HUMAN:
        raise ValueError(f"`labels` is None; name those of {', '.join(map(repr, known))}")
    return truth, y if source.noisy else None


def _refuse_noise(noise: str, rate: float, *further: object) -> None:
    """Labels that are noisy already are not made noisier."""
    if rate != 0 or noise not in ("symmetric", "none") or any(f is not None for f in further):
        raise ValueError(
            f"`noise` is {noise!r} at `rate` {rate}; the labels of this dataset are given, noisy "
            "ones, and none is drawn: leave `noise` and `rate` as they are"
        )


def _in_superclasses(source: Source) -> Source:
    """CIFAR-100 as a problem of 20 classes."""
    parts = {}
    for name in ("train", "test"):
        part: Part | None = getattr(source, name)
        if part is None or "coarse" not in part.annotations:
            raise ValueError(f"`labels` is 'noisy_coarse'; {source.name} has no superclasses")
        parts[name] = replace(part, y=part.annotations["coarse"])
    return replace(
        source,
        train=parts["train"],
        test=parts["test"],
        class_names=source.superclass_names,
        superclasses=None,
        superclass_names=(),
    )


def _with_wrong_labels(
    meta: Samples, rate: float, transition: Tensor | None, source: Source, seed: int
) -> Samples:
    """Exactly round(m * rate) of the labels wrong, to other classes as the noise has them."""
    check_rate("meta_rate", rate)
    count = round(len(meta) * rate)
    if count == 0:
        return meta
    draw = generator(seed, "meta noise")
    wrong = torch.randperm(len(meta), generator=draw, device="cpu")[:count]
    targets = torch.ones(source.num_classes, source.num_classes, dtype=torch.float64, device="cpu")
    if transition is not None:
        off = transition.clone().fill_diagonal_(0)
        targets = torch.where(off.sum(1, keepdim=True) > 0, off, targets)  # classes without noise
    targets.fill_diagonal_(0)
    targets /= targets.sum(1, keepdim=True)
    y = meta.y.clone()
    y[wrong] = label_noise.corrupt(meta.y[wrong], targets, generator=draw)
    return replace(meta, y=y)


# Parts


class _Rows(NamedTuple):
    origin: str  # the publisher's part
    rows: Tensor


def _set_apart(
    source: Source,
    truth: Tensor | None,
    sizes: Mapping[str, int | None],
    balanced: bool,
    meta_from: str | None,
    seed: int,
) -> dict[str, _Rows]:
    """Rows of each part: the test part first, so that it does not change with the other sizes."""
    meta_from = meta_from or ("train" if source.clean_train is None else "clean_train")
    check_choice("meta_from", meta_from, source.parts)
    pools = {name: _trusted_rows(source, name, truth, seed) for name in source.parts}
    order = _shuffled(len(source.train), "train", seed)
    if len(pools["train"]) == 0:  # nobody knows a clean one
        if sizes["meta_size"] and meta_from == "train":
            raise ValueError(
                f"`meta_size` is {sizes['meta_size']}; no training sample of {source.name!r} is "
                "known to be clean. Pass `meta_size=0` and take a noisy set with "
                "`Split.with_noisy_meta`, or give up test images with `meta_from='test'`"
            )
        pools["train"] = order
    for name, published in source.parts.items():
        pools[name] = together(pools[name], published.groups, published.y)
    clean_home = "train" if source.clean_train is None else "clean_train"
    homes = {part: part if part in source.parts else clean_home for part in ("test", "validation")}
    homes["meta"] = meta_from
    _check_sizes(source, pools, homes, sizes)

    chosen: dict[str, _Rows] = {}
    for part in ("test", "validation", "meta"):
        home, size = homes[part], sizes[f"{part}_size"]
        if size is None and home == part:
            continue  # all that the meta set leaves
        pool, there = pools[home], source.parts[home]
        if part == "meta" and size:
            rows = _meta_rows(pool, there, size, balanced, source.num_classes)
        else:
            rows = take(pool, there.groups, size or 0)
        if len(rows) < (size or 0):
            raise ValueError(
                f"`{part}_size` is {size}, and {len(rows)} samples are left, since copies of what "
                "is in another part are not drawn"
            )
        chosen[part] = _Rows(home, rows)
        pools[home] = pool[~among(rows, there.groups, len(there))[pool]]
    if homes["test"] == meta_from == "test" and len(pools["test"]) == 0 and "test" not in chosen:
        raise ValueError(
            f"`meta_size` is {sizes['meta_size']}, which leaves none of the test samples for tests"
        )
    for part in ("test", "validation"):
        if part not in chosen:
            chosen[part] = _Rows(part, pools[part].sort().values)

    stays = torch.ones(len(source.train), dtype=torch.bool, device="cpu")
    for home, rows in chosen.values():
        if home == "train":
            stays &= ~among(rows, source.train.groups, len(stays))
    if not stays.any():
        raise ValueError("`test_size`, `validation_size` and `meta_size` leave no training sample")
    chosen["train"] = _Rows("train", order[stays[order]])
    return chosen


def _shuffled(n: int, part: str, seed: int) -> Tensor:
    purpose = "split" if part == "train" else f"split {part}"
    return torch.randperm(n, generator=generator(seed, purpose), device="cpu")


def _trusted_rows(source: Source, name: str, truth: Tensor | None, seed: int) -> Tensor:
    """The rows of a part whose labels are known to be right, in an order that the seed draws."""
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
    for argument, size in sizes.items():
        check_count(argument, 0 if size is None else size, minimum=0)
    for home in sorted(set(homes.values())):
        asked = {name: size or 0 for name, size in sizes.items() if homes[name[:-5]] == home}
        there = len(pools[home])
        allowed = there - 1 if there == len(source.train) and home == "train" else there
        if sum(asked.values()) > allowed:
            given = " + ".join(f"`{argument}` {size}" for argument, size in asked.items())
            limit = (
                f"below the {there} samples there are, so that some are left for training"
                if allowed < there
                else f"at most {there}, the clean samples of the {home} part"
                if source.parts[home].groups is None
                else f"at most {there}, the samples of the {home} part that may be drawn: no "
                "copies with several labels, and none of which only some are known to be clean"
            )
            total = f" is {sum(asked.values())}" if len(asked) > 1 else ""
            raise ValueError(f"{given}{total}; it must be {limit}")


def _meta_rows(pool: Tensor, part: Part, size: int, balanced: bool, num_classes: int) -> Tensor:
    """Rows for the meta set, in the order of the pool."""
    by_class = [pool[part.y[pool] == c] for c in range(num_classes)]
    if balanced and size % num_classes:
        raise ValueError(
            f"`meta_size` is {size}; a meta set with as many of each class "
            f"needs a multiple of {num_classes}"
        )
    if not balanced and size < num_classes:
        raise ValueError(
            f"`meta_size` is {size}; a meta set with every class needs at least {num_classes}"
        )
    per_class = size // num_classes if balanced else 1
    for c, rows in enumerate(by_class):
        if len(rows) < per_class:
            raise ValueError(
                f"`meta_size` is {size}, which asks for {per_class} samples of each class; "
                f"class {c} has {len(rows)} left"
            )
    taken = torch.cat([take(rows, part.groups, per_class) for rows in by_class])
    others = pool[~torch.isin(pool, taken)]
    taken = torch.cat([taken, take(others, part.groups, size - len(taken))])
    return pool[torch.isin(pool, taken)]


def _samples(source: Source, truth: Tensor | None, chosen: _Rows, bring: "_Bring") -> Samples:
    part, rows = source.parts[chosen.origin], chosen.rows
    y = truth if chosen.origin == "train" and truth is not None else part.y
    ids = None if part.ids is None else [part.ids[row] for row in rows.tolist()]
    groups = None if part.groups is None else part.groups[rows]
    return Samples(bring(part.x, rows), y[rows], ids, groups)


def _notes(
    source: Source,
    truth: Tensor | None,
    given: Tensor | None,
    chosen: Mapping[str, _Rows],
) -> tuple[str, ...]:
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
            notes.append(f"the {part} part has given labels, and nobody knows which are wrong")
    out = _left_out(source, chosen)
    if out:
        what = counted("copy", out, many="copies")
        notes.append(f"left out: {what} of samples in the meta, validation or test set")
    labels = source.train.y if given is None else given
    notes += without_training(source.class_names, labels, labels[chosen["train"].rows])
    return tuple(notes)


def _left_out(source: Source, chosen: Mapping[str, _Rows]) -> list[str]:
    """What copies of drawn training samples are called that found no place beside them."""
    rows = torch.cat([rows for origin, rows in chosen.values() if origin == "train"])
    out = torch.ones(len(source.train), dtype=torch.bool, device="cpu")
    out[rows] = False
    ids = range(len(out)) if source.train.ids is None else source.train.ids
    return [str(ids[row]) for row in out.nonzero().flatten().tolist()]


# Inputs


@dataclass(frozen=True)
class _Bring:
    """Brings inputs to the scale of the training part."""

    mean: Tensor | None = None
    deviation: Tensor | None = None

    @classmethod
    def to_scale_of(
        cls,
        x: Tensor | ImageFiles,
        rows: Tensor,
        scale: tuple[Sequence[float], Sequence[float]] | None,
        standardise: bool,
    ) -> "_Bring":
        """What `rows` ask for, or `scale`."""
        images = isinstance(x, ImageFiles) or x.dtype == torch.uint8
        if scale is not None and not images:
            raise ValueError(f"`scale` is {scale}; it is for images of 8 bits only")
        if scale is not None and any(len(values) != x.shape[1] for values in scale):
            raise ValueError(
                f"`scale` is {scale}; it needs a mean and a deviation for each of the "
                f"{x.shape[1]} channels"
            )
        if scale is not None or isinstance(x, ImageFiles):
            mean, deviation = IMAGENET if scale is None else scale
            return cls(255 * torch.tensor(mean), 255 * torch.tensor(deviation))
        if images:
            return cls(*channel_statistics(x, rows))
        if x.is_floating_point() and standardise:
            return cls(x[rows].mean(), x[rows].std())
        return cls()

    def __call__(self, x: Tensor | ImageFiles, rows: Tensor) -> Tensor | Images:
        if self.mean is None or self.deviation is None:
            assert isinstance(x, Tensor)
            return x[rows]
        if isinstance(x, ImageFiles) or x.dtype == torch.uint8:
            return Images(x, mean=self.mean, deviation=self.deviation).subset(rows)
        return (x[rows] - self.mean) / self.deviation


def _all_floats(x: Tensor | Images) -> Tensor:
    """What instance-dependent noise looks at."""
    if isinstance(x, Images) and x.on_disk:
        raise ValueError(
            "`noise` is 'instance-dependent'; it looks at all images at once, and these stay on "
            "disk"
        )
    return x[:]
