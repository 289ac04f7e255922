"""Measures of what a network and a method did with noisy labels.

Accuracy alone does not tell learning from memorising; the shares below split the samples by
whether their given label is wrong. They need the true labels and are for evaluation only.
Memorisation in this sense: Arpit et al., "A closer look at memorization in deep networks"
(ICML 2017), and chapter 2. The error of a transition matrix serves chapters 3 and 5.

Arrays are tensors, NumPy arrays or pandas frames and columns, such as `nlmeta.analysis` returns.
Every share is a count divided once by a count, in float64, so a short last batch weighs no more
than it should. A share of nothing is NaN. Left to others: when to measure is `nlmeta.training`'s.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
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


# What a pass holds. On a CPU an image's maps should stay in its cache: 128 images of 32 pixels went
# five times as fast through ResNet-9 as 1,024 of them.
LARGEST_PASS, NUMBERS_IN_A_PASS, NUMBERS_ON_CPU = 1024, 2**22, 128 * 3 * 32 * 32


class Inputs(Protocol):
    """What can be predicted: a tensor, or anything whose slices are tensors."""

    @property
    def device(self) -> torch.device:
        """Where predictions go."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, ...)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


def predict(model: nn.Module, x: Inputs, *, batch_size: int | None = None) -> Tensor:
    """Give the model's logits for all samples, in evaluation mode and without gradients.

    Every submodule is afterwards in the mode in which it came, also if the model raises.

    Parameters
    ----------
    model : nn.Module
        Maps (n, ...) to logits (n, C).
    x : Tensor, array or nlmeta.data.Images
        (N, ...), on any device; anything whose slices are such tensors. Floats are brought to the
        model's type.
    batch_size : int, optional
        Samples per forward pass; the last batch may be shorter. Default: 1,024, or fewer if they
        are large, so that inputs of a pass hold at most four million numbers; on a CPU no more
        than 128 images of 32 pixels in colour.

    Returns
    -------
    Tensor
        (N, C), on the device of `x`. Without samples (0, 0): the model is not called, so nobody
        knows C.

    Raises
    ------
    TypeError
        If the model returns something else than a tensor, such as a dictionary.
    ValueError
        If `batch_size` is below 1, or what the model returns is not of shape (n, C).

    Examples
    --------
    >>> import torch
    >>> from nlmeta import metrics
    >>> metrics.predict(torch.nn.Flatten(), torch.tensor([[[1.0], [3.0]]]))  # a network of logits x
    tensor([[1., 3.]])
    """
    if isinstance(x, np.ndarray):
        x = as_tensor("x", x)
    if batch_size is None:
        numbers = math.prod(x.shape[1:])
        most = NUMBERS_ON_CPU if _on_cpu(model) else NUMBERS_IN_A_PASS
        batch_size = min(LARGEST_PASS, max(1, most // max(1, numbers)))
    _checks.check_count("batch_size", batch_size)
    # `model.train(was_training)` would wake up layers that the caller had frozen.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            batches = (x[start : start + batch_size] for start in range(0, len(x), batch_size))
            logits = [logits_of(model, _as_of(batch, model)).to(x.device) for batch in batches]
            return torch.cat(logits) if logits else torch.empty((0, 0), device=x.device)
    finally:
        for module, mode in modes:
            module.training = mode


def _on_cpu(model: nn.Module) -> bool:
    like = next(model.parameters(), None)
    return like is None or like.device.type == "cpu"


def floating_type(model: nn.Module) -> torch.dtype | None:
    """Give the type of the floats that a model computes with: that of its first such parameter.

    Parameters
    ----------
    model : nn.Module
        Any. The type of a complex parameter is that of its parts.

    Returns
    -------
    torch.dtype or None
        None where the model has no such parameter.

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
    """On the device of a model; floats in its type, words as they are."""
    like = next(model.parameters(), None)
    if like is None:
        return batch
    return batch.to(like.device, floating_type(model) if batch.is_floating_point() else None)


def evaluate(model: nn.Module, x: Inputs, labels: Array, *, batch_size: int | None = None) -> float:
    """Give the model's accuracy on all samples; see `predict` and `accuracy`.

    Parameters
    ----------
    model : nn.Module
        Maps (n, ...) to logits (n, C).
    x : Tensor or nlmeta.data.Images
        (N, ...), on any device.
    labels : array
        (N,), int64, on the device of `x`.
    batch_size : int, optional
        Samples per forward pass. Default: see `predict`.

    Returns
    -------
    float
        In [0, 1]; NaN without samples.

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
    _checks.check_same_length("x", x, "labels", labels)
    return accuracy(predict(model, x, batch_size=batch_size), labels)


def accuracy(predictions: Array, labels: Array) -> float:
    """Give the share of samples whose predicted class is the label.

    Parameters
    ----------
    predictions : array
        Classes (N,), or logits or probabilities (N, C), of which the largest counts.
    labels : array
        (N,), int64: true labels for the usual accuracy, given ones for the fit to the noise.

    Returns
    -------
    float
        In [0, 1]; NaN without samples.

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
    """Give the share of the wrongly labelled samples predicted as their wrong label.

    Parameters
    ----------
    predictions : array
        Classes (N,), or logits or probabilities (N, C), on the *training* samples.
    given : array
        (N,), int64: the labels trained on.
    true : array or None
        (N,), int64: the right ones, if anybody knows them.

    Returns
    -------
    float
        In [0, 1]; NaN when no given label is wrong, or nobody knows.

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
    """Tell what becomes of wrong and of right labels if the predictions replace them.

    Parameters
    ----------
    predictions : array
        Classes (N,), or logits or probabilities (N, C): the proposed labels.
    given : array
        (N,), int64: the labels as given.
    true : array or None
        (N,), int64: the right ones, if anybody knows them; both shares are NaN if not.

    Returns
    -------
    dict of str to float
        "recovered": of the wrong labels, the share that becomes right; NaN if none is wrong.
        "destroyed": of the right labels, the share that becomes wrong; NaN if none is right.

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
    """Give half the L1 distance of two transition matrices, averaged over their rows.

    Half the L1 distance of two rows is their total variation: the share of a class's labels
    that would have to move. The identity is 0.5 away from symmetric noise of 50 %.

    Parameters
    ----------
    estimate : array
        (C, C): rows true, columns given.
    truth : array
        (C, C), in the same convention.

    Returns
    -------
    float
        In [0, 1] for transition matrices; NaN if a row is, as `empirical_transition` has it
        for a class without samples.

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
    """Give the expected calibration error: by how much confidence and accuracy differ.

    Samples are sorted into equally wide bins of their confidence (the largest probability); the
    error is the mean over samples of their bin's |accuracy - mean confidence|. Guo et al., "On
    calibration of modern neural networks" (ICML 2017), equation 3.

    Parameters
    ----------
    probabilities : array
        (N, C), rows summing to 1: softmax outputs, not logits.
    labels : array
        (N,), int64: the right labels.
    bins : int, default 15
        Number of bins (Guo et al.).

    Returns
    -------
    float
        In [0, 1]; NaN without samples.

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
            f"`predictions` has shape {tuple(predictions.shape)}; classes are (N,), and logits or "
            "probabilities (N, C) of at least two classes"
        )
    return predictions.argmax(1)


def _one_each(name: str, classes: Tensor) -> Tensor:
    """A class for each sample; (N, 1) and (N,) would be compared as every one with every other."""
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
