"""What a method has learned beside the network, with names: T, soft labels, weights."""

import pandas as pd
import torch
from torch import Tensor, nn

from nlmeta.analysis._rows import find, identified, log_probabilities, method_of
from nlmeta.data import Split
from nlmeta.methods import MLC, MSLG, Method
from nlmeta.methods.heads import WeightNet
from nlmeta.training import Result

__all__ = ["learned_soft_labels", "learned_transition", "learned_weights"]


def learned_transition(run: Result | Method, split: Split) -> pd.DataFrame:
    """The transition matrix that MLC has learned.

    Parameters
    ----------
    run : Result or Method
        Of MLC, wrapped or not. What its switches make of T stays: rows need not sum to one with
        ``normalise="column"``, and with ``keep_transition=False`` it is the T of the last step.
    split : Split
        For the names of the classes.

    Returns
    -------
    DataFrame, shape (C, C)
        Index: true class. Columns: given label.

    Raises
    ------
    ValueError
        The method learns no T, or that of another number of classes.
    """
    method = find(method_of(run), MLC)
    if method is None:
        raise ValueError(f"`run` is of {_name(run)}; it learns no transition matrix, as MLC does")
    matrix = method.transition.detach().cpu().double()
    _check_size("classes", len(matrix), split.num_classes)
    names = list(split.class_names)
    return pd.DataFrame(
        matrix.numpy(), index=pd.Index(names, name="true"), columns=pd.Index(names, name="given")
    )


def learned_soft_labels(run: Result | Method, split: Split) -> pd.DataFrame:
    """The soft labels that MSLG has learned.

    Parameters
    ----------
    run : Result or Method
        Of MSLG, wrapped or not.
    split : Split
        The one that it was trained on.

    Returns
    -------
    DataFrame, shape (N, C)
        Index: `id`, in the order of the training part. Columns: the classes. Rows sum to one.

    Raises
    ------
    ValueError
        The method keeps no soft labels, or those of another split.
    """
    rows = soft_labels(run, split)
    if rows is None:
        raise ValueError(f"`run` is of {_name(run)}; it learns no soft labels, as MSLG does")
    ids = pd.Index(identified(split)["id"], name="id")
    return pd.DataFrame(rows.numpy(), index=ids, columns=list(split.class_names))


def learned_weights(
    run: Result, split: Split, *, probabilities: Tensor | None = None
) -> pd.DataFrame:
    """The weight that CLID-MU's or Meta-Weight-Net's head gives to each training sample now.

    Parameters
    ----------
    run : Result
        Of a method with a `WeightNet`, wrapped or not.
    split : Split
        The one that it was trained on.
    probabilities : Tensor, shape (N, C), optional
        Predictions to take the losses from. Default: those of the network.

    Returns
    -------
    DataFrame
        In the order of the training part: `id`, `row`, `given`, `given_name`, `loss`
        (cross-entropy of the given label, the network in evaluation mode) and `weight`, in (0, 1),
        before weights are normalised over a batch.

    Raises
    ------
    ValueError
        The method has no `WeightNet`. A `LogitMultiplier` gives factors, which are no weights.
    """
    log_p = log_probabilities(run, split, probabilities)
    given = split.train.y.cpu()
    losses = -log_p.gather(1, given[:, None]).squeeze(1)
    w = weights(run, losses)
    if w is None:
        raise ValueError(
            f"`run` is of {_name(run)}; it learns no weights, as CLID-MU and Meta-Weight-Net do "
            "with a WeightNet"
        )
    return identified(split).assign(loss=losses.numpy(), weight=w.numpy())


def soft_labels(run: object, split: Split) -> Tensor | None:
    """MSLG's soft labels, float64 (N, C), on the CPU; None for other methods."""
    method = find(method_of(run), MSLG)
    if method is None:
        return None
    _check_size("training samples", method.num_samples or 0, len(split.train))
    rows = method.memory.all_rows().detach().cpu().double().softmax(1)
    _check_size("classes", rows.shape[1], split.num_classes)
    return rows


def weights(run: object, losses: Tensor) -> Tensor | None:
    """A weight net's weights of losses (N,), float64, on the CPU; None for other methods."""
    head = find(method_of(run), WeightNet)
    if head is None:
        return None
    with torch.no_grad():
        return head.weights(losses.to(next(head.parameters()).device)).cpu().double()


def _check_size(what: str, theirs: int, ours: int) -> None:
    if theirs != ours:
        raise ValueError(f"`run` is of {theirs} {what}, and `split` has {ours}; pass its own split")


def _name(run: object) -> str:
    method = method_of(run)
    kind = "a network alone" if isinstance(run, nn.Module) else f"a {type(run).__name__}"
    return kind if method is None else type(method).__name__
