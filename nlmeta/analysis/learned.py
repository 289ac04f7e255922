"""Frames of what a method has learned beside the network: T, soft labels, weights.

Each method returns it itself, see `Method.learned_transition` and the functions that follow there.
"""

from collections.abc import Callable

import pandas as pd
from torch import Tensor, nn

from nlmeta._arrays import Array
from nlmeta.analysis._rows import identified, log_probabilities, method_of
from nlmeta.data import Split
from nlmeta.methods import Method
from nlmeta.training import Result

__all__ = ["learned_soft_labels", "learned_transition", "learned_weights"]


def learned_transition(run: Result | Method, split: Split) -> pd.DataFrame:
    """The transition matrix that a method has learned, as MLC does.

    Parameters
    ----------
    run : Result or Method
        A run with a method that has `Method.learned_transition`, wrapped or not. T has the form of
        MLC's options: rows need not sum to one with ``normalise="column"``, and with
        ``keep_transition=False`` it is the T of the last step.
    split : Split
        The data, for the names of the classes.

    Returns
    -------
    DataFrame, shape (C, C)
        The matrix; index: true class, columns: given label.

    Raises
    ------
    ValueError
        The method learns no T, or a T for another number of classes.
    """
    matrix = _matrix(run, split, lambda method: method.learned_transition())
    if matrix is None:
        raise ValueError(
            f"`run` is of {_name(run)}, which learns no transition matrix; pass a run of a method "
            "that does, such as MLC"
        )
    names = list(split.class_names)
    return pd.DataFrame(
        matrix.numpy(), index=pd.Index(names, name="true"), columns=pd.Index(names, name="given")
    )


def learned_soft_labels(run: Result | Method, split: Split) -> pd.DataFrame:
    """The soft labels that a method has learned, as MSLG and ELR do.

    Parameters
    ----------
    run : Result or Method
        A run with a method that has `Method.learned_labels`, wrapped or not.
    split : Split
        The split that it was trained on.

    Returns
    -------
    DataFrame, shape (N, C)
        The soft labels; index: `id`, in the order of the training part, columns: the classes. Rows
        sum to one; the row of a sample that ELR was not trained on yet is NaN.

    Raises
    ------
    ValueError
        The method learns no soft labels, or was trained on another split.
    """
    rows = soft_labels(run, split)
    if rows is None:
        raise ValueError(
            f"`run` is of {_name(run)}, which learns no soft labels; pass a run of a method that "
            "does, such as MSLG or ELR"
        )
    ids = pd.Index(identified(split)["id"], name="id")
    return pd.DataFrame(rows.numpy(), index=ids, columns=list(split.class_names))


def learned_weights(
    run: Result, split: Split, *, probabilities: Array | None = None
) -> pd.DataFrame:
    """The learned weight of each training sample, for methods that learn one, such as CLID-MU.

    Parameters
    ----------
    run : Result
        A run with a method that has `Method.sample_weights`, wrapped or not.
    split : Split
        The split that it was trained on.
    probabilities : array, shape (N, C), optional
        Predictions for the losses: a tensor, a NumPy array or a frame, in the order of the training
        part. Default: those of the network.

    Returns
    -------
    DataFrame
        A frame in the order of the training part: `id`, `row`, `given`, `given_name`, `loss`
        (cross-entropy of the given label, the network in evaluation mode) and `weight`, before
        weights are normalised over a batch; weights of a `WeightNet` lie in (0, 1).

    Raises
    ------
    ValueError
        The method learns no weights. A `LogitMultiplier` has factors instead, and
        `LearningToReweight` forgets its weights after each step.
    """
    log_p = log_probabilities(run, split, probabilities)
    given = split.train.y.cpu()
    losses = -log_p.gather(1, given[:, None]).squeeze(1)
    w = weights(run, losses)
    if w is None:
        raise ValueError(
            f"`run` is of {_name(run)}, which learns no weights; pass a run of a method that does, "
            "such as CLID-MU or Meta-Weight-Net with a WeightNet"
        )
    return identified(split).assign(loss=losses.numpy(), weight=w.numpy())


def soft_labels(run: object, split: Split) -> Tensor | None:
    """The learned soft labels, float64 (N, C), on the CPU; None if the method has none."""
    rows = _told(run, lambda method: method.learned_labels())
    if rows is not None:
        _check_size("training samples", len(rows), len(split.train))
        _check_size("classes", rows.shape[1], split.num_classes)
    return rows


def forward_transition(run: object, split: Split) -> Tensor | None:
    """The T of a forward correction, float64 (C, C), on the CPU; None if there is none."""
    return _matrix(run, split, lambda method: method.forward_transition())


def weights(run: object, losses: Tensor) -> Tensor | None:
    """The learned weights at losses (N,), float64, on the CPU; None if the method has none."""
    return _told(run, lambda method: method.sample_weights(losses))


def _matrix(run: object, split: Split, ask: Callable[[Method], Tensor | None]) -> Tensor | None:
    matrix = _told(run, ask)
    if matrix is not None:
        _check_size("classes", len(matrix), split.num_classes)
    return matrix


def _told(run: object, ask: Callable[[Method], Tensor | None]) -> Tensor | None:
    """The answer of a run's method, float64, on the CPU; None for a network."""
    method = method_of(run)
    told = None if method is None else ask(method)
    return None if told is None else told.detach().cpu().double()


def _check_size(what: str, theirs: int, ours: int) -> None:
    if theirs != ours:
        raise ValueError(
            f"`run` has {theirs} {what}, and `split` has {ours}; pass the split of the run"
        )


def _name(run: object) -> str:
    method = method_of(run)
    kind = "a network alone" if isinstance(run, nn.Module) else f"a {type(run).__name__}"
    return kind if method is None else type(method).__name__
