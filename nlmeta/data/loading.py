"""One call from a dataset's name, or from any `Source`, to a split.

The steps are the same for all datasets: set test, validation and meta samples apart, make the
training labels noisy, scale the inputs. Each step draws from a stream of its own, so another noise
does not change the parts.
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

    The seed determines split, noise and, by convention, the network's initial weights. Compare
    methods on the same seeds, seed by seed: a test part of the digits' size has a standard error
    above one percentage point.

    Parameters
    ----------
    name : str
        One of `DATASETS`. ``"digits"`` are scikit-learn's 1,797 grey images of 8x8 pixels in 10
        classes, without download. The others are described at their readers, one module each in
        `nlmeta.data.sources`.
    noise : str
        A kind of noise of `nlmeta.noise.inject`. Default ``"symmetric"``.
    rate : float
        Noise rate in [0, 1]; `nlmeta.noise.CONVENTIONS` explains its meaning. Default 0.
    labels : str or Tensor, optional
        Given labels that replace drawn noise: the name of annotations, such as ``"worst"`` of
        ``"cifar10n"``; or int64 labels of the publisher's whole training part, in its order, for
        example from `nlmeta.data.sources.read_shipped_labels`.
    seed : int
        Seed of the split and of the noise, which draw from streams of their own: another rate does
        not change the split.
    meta_size, validation_size, test_size : int, optional
        Sizes of these parts; the rest is the training part. Default: the sizes in `DATASETS`.
    balanced_meta : bool, optional
        If True, the meta set has the same number of samples of each class, so `meta_size` is a
        multiple of C. If False, classes are drawn as they come, with at least one sample of each.
        Default: True, except for ``"twitter"``, whose rarest tags have too few samples.
    meta_from : {"train", "clean_train", "validation", "test"}, optional
        The publisher's part that the meta set is taken from. Default: the clean part of the
        training data, if there is a separate one, or the training part. ``"test"`` is usual in some
        released code (MSLG's, on CIFAR-10); those images then leave the test part.
    meta_rate : float
        Share of wrong labels in the meta set, to measure how clean it must be. Exactly
        ``round(meta_size * meta_rate)`` labels are made wrong. The wrong class is drawn from the
        row of the transition matrix, or uniformly if the noise has no matrix. Default 0.
    class_map : mapping of int to int, optional
        A mapping from true class to given label, for ``noise="asymmetric"``.
    predictions : Tensor, optional
        Probabilities (N, C) for the publisher's whole training part, in its order, for
        ``noise="feature-dependent"``. They are made from p, the result of
        `nlmeta.procedures.distilled_predictions` on a split without noise:
        ``torch.zeros(N, C, dtype=p.dtype).index_copy(0, split.indices["train"], p)``.
    scale : pair of sequences of float, optional
        Mean and standard deviation of each channel, for images between 0 and 1, such as
        ``((0.5,) * 3, (0.5,) * 3)`` in the released code of MSLG and MLC. Default: those of the
        training part; ImageNet's if images stay on disk. Labels of instance-dependent noise change
        with the scale, since that noise depends on the scaled images.
    folder : str or Path, optional
        Folder of the datasets. Default: the environment variable ``NLMETA_DATA``, see
        `nlmeta.data.source.data_folder`.
    download : bool
        If True, missing files are downloaded if the terms of use allow it. Default False.
    **options
        Options of the reader, such as `size` of image files or `length` of texts.

    Returns
    -------
    Split
        A split on the CPU. Images of 8 bits are `Images`; other inputs are float32.

    Raises
    ------
    TypeError
        Neither `load` nor the reader has such an option.
    ValueError
        An argument is wrong, and the message says what was given and what is allowed; or a file is
        damaged. About a thousand image files of each part are decoded before the split is made;
        ``python -m nlmeta data NAME --all-images`` decodes all.
    FileNotFoundError
        A file is missing. The message says what to get, from whom, and where to put it.
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

    If a part has copies (`Part.groups`), a sample and its copies are in one part of the split. The
    sizes are kept: whole groups are drawn as long as they fit, and some copies of the last group
    are left out, which a note says. Copies with several labels, and groups of which only some are
    known to be clean, are not drawn for a meta, validation or test set.

    Parameters
    ----------
    source : Source
        A dataset from `nlmeta.data.sources.read`, or made by hand.
    options : SplitOptions
        Sizes, noise and seed.

    Returns
    -------
    Split
        A split on the CPU.

    Raises
    ------
    ValueError
        An option is wrong for this dataset.
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
    """The arguments that made a split, with the resulting sizes and the origin."""
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
