"""One call from a dataset's name to a split, and from any `Source` to one.

Whatever the dataset, the same steps: set test, validation and meta samples apart, make the training
labels noisy, bring the inputs to a common scale. Each step draws from a stream of its own, so that
another noise leaves the parts as they were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nlmeta._checks import check_choice
from nlmeta.data._arguments import check_options, keywords
from nlmeta.data._given import given_labels, noisy_labels, with_wrong_labels
from nlmeta.data.scaling import Scale
from nlmeta.data.source import Source
from nlmeta.data.sources.registry import DATASETS, read
from nlmeta.data.split import Samples, Split
from nlmeta.data.splitting import Rows, SplitOptions, notes_on, set_apart

__all__ = ["load", "make_split"]


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
        classes; no download. The others are described at their readers, one module each in
        `nlmeta.data.sources`.
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
        Share of wrong labels in the meta set, to find out how clean it must be: exactly
        ``round(meta_size * meta_rate)`` labels are made wrong. The wrong class is drawn from the
        row of the transition matrix, or uniformly if the noise has no matrix. Default 0.
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
        Options of the reader, such as `size` of image files or `window` of texts.

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
    dataset = DATASETS[name]
    check_options(repr(name), options, keywords(load, dataset.reader))
    split_options = SplitOptions(
        noise=noise,
        rate=rate,
        labels=labels,
        seed=seed,
        meta_size=dataset.meta if meta_size is None else meta_size,
        validation_size=dataset.validation if validation_size is None else validation_size,
        test_size=dataset.test if test_size is None else test_size,
        balanced_meta=dataset.balanced if balanced_meta is None else balanced_meta,
        meta_from=meta_from,
        meta_rate=meta_rate,
        class_map=class_map,
        predictions=predictions,
        scale=scale,
    )
    source = read(name, folder=folder, download=download, **options)
    source.check(every=None)  # before any training
    split = make_split(source, split_options)
    return replace(split, settings={**split.settings, **options})


def make_split(source: Source, options: SplitOptions) -> Split:
    """Split a dataset as published and make its training labels noisy.

    Where a part has copies (`Part.groups`), a sample and its copies are in one part of the split.
    Sizes are kept: whole groups are drawn as long as they fit, and of the one that does not some
    copies are left out, which a note names. Copies with several labels, and those of which only
    some are known to be clean, are drawn for no meta, validation or test set.

    Parameters
    ----------
    source : Source
        From `nlmeta.data.sources.read`, or made by hand.
    options : SplitOptions
        Sizes, noise and seed.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        As in `load`.
    """
    if isinstance(options.labels, str) and options.labels in source.superclass_annotations:
        source = source.in_superclasses()
    truth, given = given_labels(source, options)
    chosen = set_apart(source, truth, options)
    rows = chosen["train"].rows
    scale = Scale.of(source.train.x, rows, options.scale, options.standardise)
    parts = {part: _samples(source, truth, there, scale) for part, there in chosen.items()}
    y, transition, manifest = noisy_labels(source, truth, given, rows, parts["train"].x, options)
    meta = with_wrong_labels(parts["meta"], transition, source.num_classes, options)
    return Split(
        name=source.name,
        train=replace(parts["train"], y=y),
        meta=meta,
        validation=parts["validation"],
        test=parts["test"],
        true_labels=None if truth is None else truth[rows],
        transition=transition,
        indices={part: rows for part, (_, rows) in chosen.items()},
        class_names=source.class_names,
        settings=_settings(source, options, parts, chosen["meta"].origin),
        origins={part: origin for part, (origin, _) in chosen.items()},
        manifest=manifest,
        attribution=source.attribution,
        notes=(*source.notes, *notes_on(source, truth, given, chosen)),
        vocabulary=source.vocabulary,
        vectors=source.vectors,
        meta_is_clean=round(len(meta) * options.meta_rate) == 0,
    )


def _samples(source: Source, truth: Tensor | None, chosen: Rows, scale: Scale) -> Samples:
    part, rows = source.parts[chosen.origin], chosen.rows
    y = truth if chosen.origin == "train" and truth is not None else part.y
    ids = None if part.ids is None else [part.ids[row] for row in rows.tolist()]
    groups = None if part.groups is None else part.groups[rows]
    return Samples(scale.bring(part.x, rows), y[rows], ids, groups)


def _settings(
    source: Source, options: SplitOptions, parts: Mapping[str, Samples], meta_from: str
) -> dict[str, object]:
    """The arguments that made a split, with the sizes and the origin that came of them."""
    return {
        "name": source.name,
        "noise": options.noise,
        "rate": options.rate,
        "labels": "a tensor" if isinstance(options.labels, Tensor) else options.labels,
        "seed": options.seed,
        **{f"{part}_size": len(parts[part]) for part in ("meta", "validation", "test")},
        "balanced_meta": options.balanced_meta,
        "meta_from": meta_from,
        "meta_rate": options.meta_rate,
        "class_map": None if options.class_map is None else dict(options.class_map),
        "scale": options.scale,
    }
