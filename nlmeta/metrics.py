"""Measures of what a network and a method did with noisy labels.

Accuracy alone does not tell learning from memorising; the shares below split the samples by
whether their given label is wrong. They need the true labels and are for evaluation only. Arpit et
al., "A closer look at memorization in deep networks" (ICML 2017), and chapter 2 explain
memorisation in this sense. Chapters 3 and 8 use the error of a transition matrix.

Arrays are tensors, NumPy arrays or pandas frames and columns, such as `nlmeta.analysis` returns.
Every share is one count divided by another in float64, so a short last batch has its right weight.
A share of no samples is NaN. `nlmeta.training` decides when to measure.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta._interface import check_inputs, device_of, each, length, parts_of, rows_of, several
from nlmeta.models.outputs import logits_of

__all__ = [
    "accuracy",
    "calibration_error",
    "evaluate",
    "floating_type",
    "label_recovery",
    "memorised",
    "predict",
    "transition_error",
]


# What a pass holds. On a CPU an image's maps should stay in its cache: passes of 128 images of 32
# pixels took ResNet-9 of width 16 about half the time of passes of 1,024, and less in bfloat16.
LARGEST_PASS, NUMBERS_IN_A_PASS, NUMBERS_ON_CPU = 1024, 2**22, 128 * 3 * 32 * 32


class Rows(Protocol):
    """Inputs of a network: a tensor, or anything whose slices are tensors."""

    @property
    def device(self) -> torch.device:
        """The device on which the predictions are returned."""

    @property
    def shape(self) -> Sequence[int]:
        """The shape (N, ...)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


Inputs = Rows | tuple[Tensor, ...] | Mapping[str, Tensor]


def predict(model: nn.Module, x: Inputs, *, batch_size: int | None = None) -> Tensor:
    """The model's logits for all samples, in evaluation mode and without gradients.

    Every submodule is set back to its former mode afterwards, also if the model raises.

    Parameters
    ----------
    model : nn.Module
        A network that maps (n, ...) to logits (n, C), see `nlmeta.models.logits_of`.
    x : Tensor, array, nlmeta.data.Images, or a tuple or dict of Tensor
        Inputs (N, ...), on any device, or an object whose slices are such tensors. The network gets
        a tuple as positional and a dict as keyword arguments. Floats are converted to the model's
        type.
    batch_size : int, optional
        Samples per forward pass; the last batch may be shorter. Default: 1,024, or fewer if they
        are large, so that inputs of a pass hold at most four million numbers, and on a CPU at most
        as many as 128 colour images of 32 pixels.

    Returns
    -------
    Tensor
        The logits (N, C), on the device of `x`. Without samples the shape is (0, 0): the model is
        not called, so C is unknown.

    Raises
    ------
    TypeError
        If the model returns no logits but, for example, a dictionary without them.
    ValueError
        If `batch_size` is below 1, or the model's output is not of shape (n, C).

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> metrics.predict(torch.nn.Flatten(), torch.tensor([[[1.0], [3.0]]]))  # a network of logits x
    tensor([[1., 3.]])
    """
    if isinstance(x, np.ndarray):
        x = as_tensor("x", x)
    if several(x) or isinstance(x, list):
        check_inputs(x)
    if batch_size is None:
        numbers = sum(math.prod(part.shape[1:]) for part in parts_of(x).values())
        most = NUMBERS_ON_CPU if _on_cpu(model) else NUMBERS_IN_A_PASS
        batch_size = min(LARGEST_PASS, max(1, most // max(1, numbers)))
    _checks.check_count("batch_size", batch_size)
    # `model.train(was_training)` would wake up layers that the caller had frozen.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            n, device = length(x), device_of(x)
            parts = (slice(start, start + batch_size) for start in range(0, n, batch_size))
            batches = (each(lambda b: _as_of(b, model), rows_of(x, rows)) for rows in parts)
            logits = [logits_of(model, batch).to(device) for batch in batches]
            return torch.cat(logits) if logits else torch.empty((0, 0), device=device)
    finally:
        for module, mode in modes:
            module.training = mode


def _on_cpu(model: nn.Module) -> bool:
    like = next(model.parameters(), None)
    return like is None or like.device.type == "cpu"


def floating_type(model: nn.Module) -> torch.dtype | None:
    """The type of the floats that a model computes with: that of its first float parameter.

    Parameters
    ----------
    model : nn.Module
        Any network. The type of a complex parameter is the type of its real part.

    Returns
    -------
    torch.dtype or None
        The type; None if the model has no float parameter.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> metrics.floating_type(torch.nn.Linear(2, 2).double())
    torch.float64
    """
    types = (p.dtype.to_real() for p in model.parameters())
    return next((kind for kind in types if kind.is_floating_point), None)


def _as_of(batch: Tensor, model: nn.Module) -> Tensor:
    """The batch on the device of a model; floats in the model's type, integers as they are."""
    like = next(model.parameters(), None)
    if like is None:
        return batch
    return batch.to(like.device, floating_type(model) if batch.is_floating_point() else None)


def evaluate(model: nn.Module, x: Inputs, labels: Array, *, batch_size: int | None = None) -> float:
    """The model's accuracy on all samples; see `predict` and `accuracy`.

    Parameters
    ----------
    model : nn.Module
        A network that maps (n, ...) to logits (n, C).
    x : Tensor, nlmeta.data.Images, or a tuple or dict of Tensor
        Inputs (N, ...), on any device.
    labels : array
        Labels (N,), int64, on the device of `x`.
    batch_size : int, optional
        Samples per forward pass. Default: that of `predict`.

    Returns
    -------
    float
        A number in [0, 1]; NaN without samples.

    Raises
    ------
    ValueError
        If `x` and `labels` differ in length or `batch_size` is below 1.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> x = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    >>> metrics.evaluate(torch.nn.Flatten(), x, torch.tensor([1, 1]))  # a network of logits x
    0.5
    """
    labels = as_tensor("labels", labels)
    _checks.check_same_length("x", range(length(x)), "labels", labels)
    return accuracy(predict(model, x, batch_size=batch_size), labels)


def accuracy(predictions: Array, labels: Array) -> float:
    """The share of samples whose predicted class is the label.

    Parameters
    ----------
    predictions : array
        Classes (N,), or logits or probabilities (N, C), whose largest entry is the class.
    labels : array
        Labels (N,), int64: the true ones for the usual accuracy, the given ones for the fit to the
        noise.

    Returns
    -------
    float
        A number in [0, 1]; NaN without samples.

    Raises
    ------
    ValueError
        If the two differ in length, labels are not (N,), or predictions have a single column.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> logits = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    >>> metrics.accuracy(logits, torch.tensor([1, 1]))
    0.5
    """
    predictions, labels = as_tensor("predictions", predictions), as_tensor("labels", labels)
    _checks.check_same_length("predictions", predictions, "labels", labels)
    return _share(_classes(predictions) == _one_each("labels", labels))


def memorised(predictions: Array, given: Array, true: Array | None) -> float:
    """The share of the wrongly labelled samples whose wrong label is predicted.

    Parameters
    ----------
    predictions : array
        Classes (N,), or logits or probabilities (N, C), on the *training* samples.
    given : array
        Labels (N,), int64, that the network was trained on.
    true : array or None
        True labels (N,), int64; None if they are unknown.

    Returns
    -------
    float
        A number in [0, 1]; NaN if no given label is wrong or the true labels are unknown.

    Raises
    ------
    ValueError
        If the three differ in length, labels are not (N,), or predictions have a single column.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> predicted, given, true = torch.tensor([[0, 1, 2, 2], [0, 1, 1, 0], [0, 0, 2, 2]])
    >>> metrics.memorised(predicted, given, true)  # of the three wrong labels, one
    0.3333333333333333
    """
    if true is None:
        return math.nan
    predicted, given, true = _same_samples(predictions, given, true)
    wrong = given != true
    return _share(predicted[wrong] == given[wrong])


def label_recovery(predictions: Array, given: Array, true: Array | None) -> dict[str, float]:
    """The shares of wrong labels that become right, and of right ones that become wrong.

    The predictions replace the given labels.

    Parameters
    ----------
    predictions : array
        Proposed labels: classes (N,), or logits or probabilities (N, C).
    given : array
        Given labels (N,), int64.
    true : array or None
        True labels (N,), int64; None if they are unknown, and then both shares are NaN.

    Returns
    -------
    dict of str to float
        "recovered", the share of the wrong labels that become right; NaN if none is wrong.
        "destroyed", the share of the right labels that become wrong; NaN if none is right.

    Raises
    ------
    ValueError
        If the three differ in length, labels are not (N,), or predictions have a single column.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> predicted, given, true = torch.tensor([[0, 1, 2, 2], [1, 1, 2, 0], [0, 1, 1, 2]])
    >>> metrics.label_recovery(predicted, given, true)
    {'recovered': 0.6666666666666666, 'destroyed': 0.0}
    """
    if true is None:
        return {"recovered": math.nan, "destroyed": math.nan}
    predicted, given, true = _same_samples(predictions, given, true)
    hit, wrong = predicted == true, given != true
    return {"recovered": _share(hit[wrong]), "destroyed": _share(~hit[~wrong])}


def transition_error(estimate: Array, truth: Array) -> float:
    """Half the L1 distance of two transition matrices, averaged over their rows.

    Half the L1 distance of two rows is their total variation: the share of a class's labels
    that would have to move. The identity is 0.5 away from symmetric noise of 50 %.

    Parameters
    ----------
    estimate : array
        A matrix (C, C); rows: true classes, columns: given labels.
    truth : array
        A matrix (C, C), in the same convention.

    Returns
    -------
    float
        A number in [0, 1] for transition matrices. NaN if a row is NaN, as in
        `empirical_transition` for a class without samples.

    Raises
    ------
    ValueError
        If the shapes differ or are not (C, C).

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> symmetric = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
    >>> metrics.transition_error(torch.eye(3), symmetric)
    0.5
    """
    estimate, truth = as_tensor("estimate", estimate), as_tensor("truth", truth)
    shape = tuple(truth.shape)
    if tuple(estimate.shape) != shape or len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"`estimate` has shape {tuple(estimate.shape)} and `truth` {shape}; "
            "both must have the same shape (C, C)"
        )
    difference = estimate.detach().cpu().double() - truth.detach().cpu().double()
    return difference.abs().sum(1).mean().item() / 2


def calibration_error(probabilities: Array, labels: Array, *, bins: int = 15) -> float:
    """The expected calibration error: the gap between confidence and accuracy.

    Samples are sorted into equally wide bins of their confidence (the largest probability); the
    error is the mean over samples of their bin's |accuracy - mean confidence|. Guo et al., "On
    calibration of modern neural networks" (ICML 2017), equation 3.

    Parameters
    ----------
    probabilities : array
        Softmax outputs (N, C), not logits; rows sum to 1.
    labels : array
        True labels (N,), int64.
    bins : int, default 15
        Number of bins; the default is that of Guo et al.

    Returns
    -------
    float
        A number in [0, 1]; NaN without samples.

    Raises
    ------
    ValueError
        If a row of `probabilities` does not sum to 1 or the lengths differ.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> probabilities = torch.tensor([[0.75, 0.25], [0.75, 0.25]])
    >>> metrics.calibration_error(probabilities, torch.tensor([0, 1]))  # 75 % sure, 50 % right
    0.25
    """
    _checks.check_count("bins", bins)
    probabilities, labels = as_tensor("probabilities", probabilities), as_tensor("labels", labels)
    _checks.check_same_length("probabilities", probabilities, "labels", labels)
    # 1e-3 lets softmax in float32 and on many classes pass; logits are further off.
    _checks.check_rows_sum_to_one("probabilities", probabilities, tolerance=1e-3)
    confidence, predicted = probabilities.detach().double().max(1)  # (N,), (N,)
    right = predicted == _one_each("labels", labels)
    surplus = confidence - right.double()  # its sum over a bin is the bin's gap
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1  # bin m is ((m-1)/M, m/M]
    gaps = torch.zeros(bins, dtype=torch.float64, device=index.device).index_add(0, index, surplus)
    return (gaps.abs().sum() / len(labels)).item()


def _classes(predictions: Tensor) -> Tensor:
    if predictions.ndim != 2:
        return _one_each("predictions", predictions)
    if len(predictions) == 0:  # nothing has no largest entry
        return torch.empty(0, dtype=torch.int64, device=predictions.device)
    if predictions.shape[1] < 2:  # the largest of one number is class 0, whatever it is
        raise ValueError(
            f"`predictions` has shape {tuple(predictions.shape)}; it must be (N,) for classes, or "
            "(N, C) with at least two classes for logits or probabilities"
        )
    return predictions.argmax(1)


def _one_each(name: str, classes: Tensor) -> Tensor:
    """One class per sample; (N, 1) against (N,) would compare each sample with every other."""
    if classes.ndim != 1:
        raise ValueError(f"`{name}` has shape {tuple(classes.shape)}; it must be (N,)")
    return classes


def _same_samples(predictions: Array, given: Array, true: Array) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted, given and true classes, each (N,)."""
    predictions, given = as_tensor("predictions", predictions), as_tensor("given", given)
    true = as_tensor("true", true)
    _checks.check_same_length("predictions", predictions, "given", given)
    _checks.check_same_length("given", given, "true", true)
    return _classes(predictions), _one_each("given", given), _one_each("true", true)


def _share(hits: Tensor) -> float:
    # The count divided once: a GPU's mean multiplies by 1/N, which differs in the last digit.
    return hits.sum().item() / len(hits) if len(hits) else math.nan
