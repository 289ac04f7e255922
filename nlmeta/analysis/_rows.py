"""The common parts of all frames of a training part: rows with their ids, and predictions."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from nlmeta import _checks, metrics
from nlmeta._arrays import Array, as_tensor
from nlmeta.data import Split
from nlmeta.methods import Method
from nlmeta.training import Result

__all__ = ["identified", "log_probabilities", "method_of", "named"]


def identified(split: Split) -> pd.DataFrame:
    """One row for each training sample: `id`, `row`, `given` and `given_name`.

    The id is the reader's own if the split has it, else the row of the original dataset.
    """
    own = split.train.sample_ids
    ids = split.indices["train"].tolist() if own is None else list(own)
    given = split.train.y.tolist()
    return pd.DataFrame(
        {
            "id": ids,
            "row": range(len(given)),
            "given": given,
            "given_name": named(given, split.class_names),
        }
    )


def named(classes: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """The names of classes."""
    return [class_names[k] for k in classes]


def log_probabilities(
    run: Result | nn.Module | None, split: Split, probabilities: Array | None
) -> Tensor:
    """The predictions for the training samples: log p, float64, shape (N, C), on the CPU."""
    shape = len(split.train), split.num_classes
    if probabilities is not None:
        p = as_tensor("probabilities", probabilities).detach().cpu().double()
        if tuple(p.shape) != shape:
            raise ValueError(
                f"`probabilities` has shape {tuple(p.shape)}; for a training part of "
                f"{shape[0]} samples in {shape[1]} classes it must be {shape}"
            )
        if isinstance(probabilities, pd.DataFrame):
            _check_order("rows", probabilities.index, identified(split)["id"].tolist())
            _check_order("columns", probabilities.columns, split.class_names)
        if not (p >= 0).all():  # written so that NaN fails too
            raise ValueError("`probabilities` holds an entry outside of [0, 1], or NaN")
        _checks.check_rows_sum_to_one("probabilities", p, tolerance=1e-3)  # float32, many classes
        return p.clamp_min(torch.finfo(p.dtype).eps).log()
    if isinstance(run, Method) or not isinstance(run, Result | nn.Module):
        raise TypeError(
            f"`run` is a {type(run).__name__}; it must be the result of `fit`, or a network. "
            "Without either, pass `probabilities`"
        )
    network = run.predictor if isinstance(run, Result) else run
    x = split.train.to(split.train.y.device, metrics.floating_type(network)).x
    logits = metrics.predict(network, x).detach().cpu().double()
    if tuple(logits.shape) != shape:
        raise ValueError(
            f"`run` predicts logits of shape {tuple(logits.shape)}; for a training part of "
            f"{shape[0]} samples in {shape[1]} classes it must be {shape}"
        )
    if not logits.isfinite().all():
        raise ValueError("`run` predicts logits that are not finite; train it anew")
    return logits.log_softmax(1)


def method_of(run: object) -> Method | None:
    """The method of a run, or the method itself; None for a network."""
    if isinstance(run, Result):
        return run.method
    return run if isinstance(run, Method) else None


def _check_order(what: str, names: pd.Index, ours: Sequence[object]) -> None:
    """Refuse a frame with the split's names in another order; other names count by position."""
    theirs = names.tolist()
    # As in a frame that was given no names.
    counted = names.name is None and theirs == list(range(len(theirs)))
    if not counted and theirs != list(ours) and set(theirs) == set(ours):
        raise ValueError(
            f"`probabilities` has its {what} in another order, {theirs[0]!r} first; the split has "
            f"{ours[0]!r} first. Sort them as in `pred_probs`"
        )
