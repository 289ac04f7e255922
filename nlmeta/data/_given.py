"""The labels of a split: the true ones, if they are known, and the noisy ones to train on."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nlmeta import noise
from nlmeta._checks import check_choice, check_labels
from nlmeta._interface import Inputs
from nlmeta.data.images import Images
from nlmeta.data.source import Source
from nlmeta.data.split import Samples
from nlmeta.data.splitting import SplitOptions
from nlmeta.seeding import generator

__all__ = ["given_labels", "noisy_labels", "with_wrong_labels"]

SUPERCLASS_NOISE = ("superclass", "superclass-uniform")


def given_labels(source: Source, options: SplitOptions) -> tuple[Tensor | None, Tensor | None]:
    """The known labels of the publisher's training part, before any noise is drawn.

    Parameters
    ----------
    source : Source
        The dataset.
    options : SplitOptions
        Options with `labels` and the noise, which must not be given with noisy labels.

    Returns
    -------
    truth : Tensor of int64 or None
        The true labels, if they are known.
    given : Tensor of int64 or None
        Labels that are noisy already; None if noise has to be drawn.
    """
    truth, given = _truth_and_given(source, options.labels)
    predictions = options.predictions
    if given is not None:
        drawn = options.rate != 0 or options.noise not in ("symmetric", "none")
        if drawn or options.class_map is not None or predictions is not None:
            raise ValueError(
                f"`noise` is {options.noise!r} at `rate` {options.rate}; the labels of this "
                "dataset are noisy already, so no noise is drawn: leave `noise` and `rate` out"
            )
    elif predictions is not None and len(predictions) != len(source.train):
        raise ValueError(
            f"`predictions` has {len(predictions)} rows; it must have one for each of the "
            f"{len(source.train)} training samples as published"
        )
    return truth, given


def noisy_labels(
    source: Source,
    truth: Tensor | None,
    given: Tensor | None,
    rows: Tensor,
    x: Inputs | Images,
    options: SplitOptions,
) -> tuple[Tensor, Tensor | None, Mapping[str, object]]:
    """The labels that are trained on.

    Parameters
    ----------
    source, options
        The arguments of `given_labels`.
    truth, given : Tensor of int64 or None
        The results of `given_labels`.
    rows : Tensor of int64, shape (N,)
        Rows of the training part of the split.
    x : Tensor, tuple or dict of Tensor, or Images, N rows
        Inputs of that part. Instance-dependent noise uses them, and needs a tensor or images.

    Returns
    -------
    y : Tensor of int64, shape (N,)
        The labels.
    transition : Tensor of float64, shape (C, C), or None
        The matrix that they were drawn from.
    manifest : mapping
        All that is known about the noise, see `nlmeta.noise.Corruption`.
    """
    if given is not None:
        y = given[rows]
        if truth is None:
            return y, None, {"kind": "given", "convention": noise.CONVENTIONS["given"]}
        human = isinstance(options.labels, str) and options.labels in source.human_annotations
        kind = "human" if human else "given"
        return y, None, noise.describe(truth[rows], y, source.num_classes, kind=kind).manifest
    assert truth is not None
    predictions = options.predictions
    corruption = noise.inject(
        options.noise,
        truth[rows],
        source.num_classes,
        options.rate,
        seed=options.seed,
        class_map=options.class_map,
        groups=source.superclasses if options.noise in SUPERCLASS_NOISE else None,
        x=_all_floats(x) if options.noise == "instance-dependent" else None,
        predictions=None if predictions is None else predictions[rows],
    )
    return corruption.labels, corruption.transition, corruption.manifest


def with_wrong_labels(
    meta: Samples, transition: Tensor | None, num_classes: int, options: SplitOptions
) -> Samples:
    """The meta set with exactly round(m * rate) wrong labels, drawn like the noise.

    Parameters
    ----------
    meta : Samples, m rows
        The clean meta set.
    transition : Tensor of float64, shape (C, C), or None
        The matrix of the noise. With None, all other classes are equally likely.
    num_classes : int
        C, the number of classes.
    options : SplitOptions
        Options with `meta_rate` and `seed`.
    """
    count = round(len(meta) * options.meta_rate)
    if count == 0:
        return meta
    draw = generator(options.seed, "meta noise")
    wrong = torch.randperm(len(meta), generator=draw, device="cpu")[:count]
    targets = torch.ones(num_classes, num_classes, dtype=torch.float64, device="cpu")
    if transition is not None:
        off = transition.clone().fill_diagonal_(0)
        targets = torch.where(off.sum(1, keepdim=True) > 0, off, targets)  # classes without noise
    targets.fill_diagonal_(0)
    targets /= targets.sum(1, keepdim=True)
    y = meta.y.clone()
    y[wrong] = noise.corrupt(meta.y[wrong], targets, generator=draw)
    return replace(meta, y=y)


def _truth_and_given(
    source: Source, labels: str | Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
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
    if labels is not None:
        if not source.label_sets:
            raise ValueError(
                f"`labels` is {labels!r}; {source.name!r} has only one set of labels, so leave "
                "`labels` out"
            )
        check_choice("labels", labels, source.label_sets)
        check_labels(f"labels {labels!r}", annotations[labels], source.num_classes)
        return truth, annotations[labels]
    if source.human_annotations:
        known = ", ".join(map(repr, source.human_annotations))
        raise ValueError(f"`labels` is None; pass the name of one set, {known}")
    return truth, y if source.noisy else None


def _all_floats(x: Inputs | Images) -> Tensor:
    if not isinstance(x, Tensor | Images):
        raise ValueError(
            "`noise` is 'instance-dependent'; it is computed from one tensor of inputs, and these "
            "are several. Choose another noise"
        )
    if isinstance(x, Images) and x.on_disk:
        raise ValueError(
            "`noise` is 'instance-dependent'; it needs all images in memory, and these stay on "
            "disk. Choose another noise"
        )
    return x[:]
