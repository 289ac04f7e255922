"""The one measurement of a network on a split, for `fit`, for `compare` and for the experiments."""

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn

from nlmeta import metrics
from nlmeta._checks import check_choice, check_rate
from nlmeta.data import Images, Samples, Split
from nlmeta.training.devices import autocast

__all__ = ["measure"]

PARTS = ("train", "validation", "test")


def measure(
    predictor: nn.Module,
    split: Split,
    *,
    parts: Collection[str] = ("train", "test"),
    batch_size: int | None = None,
    precision: Literal["float32", "float64", "bfloat16", "float16"] = "float32",
    train_share: float = 1.0,
) -> dict[str, float]:
    """Measure the predictions of a network on some parts of a split.

    Parameters
    ----------
    predictor : nn.Module
        A network that maps inputs of shape (n, ...) to logits of shape (n, C). It predicts in
        evaluation mode; its own modes are restored afterwards.
    split : Split
        The data. The parts that are measured are moved to the device and the floating-point type
        of the predictor, if necessary.
    parts : collection of str
        Names of the parts to measure: ``"train"``, ``"validation"``, ``"test"``. Default: the
        training and the test part.
    batch_size : int, optional
        Samples per forward pass. Default: 1,024, or fewer if they are large, see `metrics.predict`.
    precision : {"float32", "float64", "bfloat16", "float16"}
        Precision of the predictions. The last two predict under autocast. Otherwise, and by
        default, the predictor computes in its own type.
    train_share : float
        Share of the training samples that are measured, at even distances. Default 1, all of them.

    Returns
    -------
    dict of str to float
        Shares in [0, 1], in this order; a share of no samples is NaN.

        ``"test"`` adds ``accuracy``, the share of clean labels that are predicted, and
        ``"validation"`` adds the same share as ``validation``. ``"train"`` adds ``train_accuracy``,
        the share of the *given* labels that are predicted; ``memorised``, see `metrics.memorised`;
        and ``recovered`` and ``destroyed``, see `metrics.label_recovery`. The last three are NaN if
        the true labels are unknown. If the training images stay on disk, ``"train"`` adds nothing,
        since all of them would have to be decoded once more.

    Raises
    ------
    FloatingPointError
        A logit is not finite.
    TypeError
        `parts` is a single string.
    ValueError
        `parts` names another part, or `batch_size` is below 1.
    """
    if isinstance(parts, str):
        raise TypeError(f"`parts` is {parts!r}; it must be a collection of names: ({parts!r},)")
    for part in parts:
        if part not in PARTS:
            known = ", ".join(repr(name) for name in PARTS)
            raise ValueError(f"`parts` holds {part!r}; the parts to measure are {known}")
    check_rate("train_share", train_share)
    check_choice("precision", precision, ("float32", "float64", "bfloat16", "float16"))

    def logits_of_part(samples: Samples) -> Tensor:
        with autocast(precision, samples.y.device):
            return _finite_logits(predictor, samples, batch_size)

    measured: dict[str, float] = {}
    for part, name in (("test", "accuracy"), ("validation", "validation")):
        if part in parts:
            samples = _beside(predictor, getattr(split, part))
            logits = logits_of_part(samples)
            measured[name] = metrics.accuracy(logits, samples.y)
    if "train" in parts and not (isinstance(split.train.x, Images) and split.train.x.on_disk):
        train, true = split.train, split.true_labels
        if train_share < 1:
            count = round(train_share * len(train))
            rows = torch.arange(count) * len(train) // max(count, 1)
            train = train.subset(rows)
            true = None if true is None else true[rows.to(true.device)]
        samples = _beside(predictor, train)
        logits = logits_of_part(samples)
        true = None if true is None else true.to(samples.y.device)
        measured["train_accuracy"] = metrics.accuracy(logits, samples.y)
        measured["memorised"] = metrics.memorised(logits, samples.y, true)
        measured |= metrics.label_recovery(logits, samples.y, true)
    return measured


def _beside(predictor: nn.Module, samples: Samples) -> Samples:
    """The samples on the predictor's device and in its floating-point type."""
    like = next(predictor.parameters(), None)
    if like is None:
        return samples
    return samples.to(like.device, metrics.floating_type(predictor))


def _finite_logits(predictor: nn.Module, samples: Samples, batch_size: int | None) -> Tensor:
    logits = metrics.predict(predictor, samples.x, batch_size=batch_size)
    if not torch.isfinite(logits).all():
        raise FloatingPointError(
            "the network's logits are not finite; a smaller learning rate often helps. Earlier "
            "checkpoints are unchanged"
        )
    return logits
