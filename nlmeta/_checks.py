"""Checks on arguments, shared by all modules.

Every message names the argument, what came and what is allowed. A value of the wrong kind
raises `TypeError`, a value outside its range `ValueError`; nothing is repaired silently.
"""

import math
from collections.abc import Iterable, Sized
from functools import cache
from inspect import Parameter, signature
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from nlmeta._torch import assert_on_device, is_wrapped_by_vmap

__all__ = [
    "check_choice",
    "check_class_indices",
    "check_count",
    "check_labels",
    "check_labels_in_step",
    "check_not_negative",
    "check_one_gradient",
    "check_positive",
    "check_rate",
    "check_rows_sum_to_one",
    "check_same_length",
    "check_seed",
    "check_transition",
]


def check_rate(name: str, value: float) -> None:
    """Require a number in [0, 1]."""
    _check_number(name, value)
    if not 0 <= value <= 1:  # written so that NaN fails too
        raise ValueError(f"`{name}` is {value}; it must lie in [0, 1]")


def check_positive(name: str, value: float) -> None:
    """Require a finite number above 0."""
    _check_number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"`{name}` is {value}; it must be a finite number above 0")


def check_not_negative(name: str, value: float) -> None:
    """Require a finite number of at least 0."""
    _check_number(name, value)
    if not 0 <= value < math.inf:
        raise ValueError(f"`{name}` is {value}; it must be a finite number, not negative")


def check_seed(name: str, value: int) -> None:
    """Require an integer of at least 0."""
    check_count(name, value, minimum=0)


def check_count(name: str, value: int, *, minimum: int = 1) -> None:
    """Require an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` is {value!r}; it must be an integer")
    if value < minimum:
        raise ValueError(f"`{name}` is {value}; it must be at least {minimum}")


def check_choice(name: str, value: object, allowed: Iterable[object]) -> None:
    """Require one of the `allowed` values."""
    choices = list(allowed)
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` is {value!r}; it must be one of {known}")


def check_labels(name: str, labels: Tensor, num_classes: int) -> None:
    """Require class indices: an int64 tensor of shape (n,) with entries in 0 to C - 1."""
    check_class_indices(name, labels)
    outside = ((labels < 0) | (labels >= num_classes)).nonzero().flatten()
    if len(outside):
        first = int(outside[0])
        raise ValueError(
            f"`{name}` holds {int(labels[first])} at position {first}; "
            f"labels must lie in 0 to {num_classes - 1}"
        )


def check_class_indices(name: str, labels: Tensor) -> None:
    """Require an int64 tensor of shape (n,); its entries are not checked."""
    _check_tensor(name, labels, "int64 class indices of shape (n,)")
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(
            f"`{name}` is {labels.dtype} of shape {tuple(labels.shape)}; "
            "labels must be torch.int64 of shape (n,)"
        )


def check_labels_in_step(name: str, labels: Tensor, num_classes: int) -> None:
    """`check_labels` by an assertion on the device, so that no training step waits for it."""
    check_class_indices(name, labels)
    if is_wrapped_by_vmap(labels):
        return
    if labels.device.type in ("cpu", "mps"):  # MPS has no such assertion
        check_labels(name, labels, num_classes)
        return
    known = ((labels >= 0) & (labels < num_classes)).all()
    assert_on_device(known, f"`{name}` must lie in 0 to {num_classes - 1}")


def check_same_length(first: str, a: Sized, second: str, b: Sized) -> None:
    """Require two tensors of the same number of samples."""
    if len(a) != len(b):
        raise ValueError(
            f"`{first}` holds {len(a)} samples and `{second}` {len(b)}; they must be the same ones"
        )


def check_transition(name: str, matrix: Tensor) -> None:
    """Require a transition matrix (C, C): entries in [0, 1], rows that sum to 1 within 1e-6."""
    _check_tensor(name, matrix, "a transition matrix of shape (C, C)")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`{name}` has shape {tuple(matrix.shape)}; it must be square, (C, C)")
    bad = (~((matrix >= 0) & (matrix <= 1))).nonzero()  # written so that NaN fails too
    if len(bad):
        i, j = bad[0].tolist()
        raise ValueError(
            f"`{name}` holds {matrix[i, j].item():g} at row {i}, column {j}; "
            "entries must lie in [0, 1]"
        )
    check_rows_sum_to_one(name, matrix)


def check_rows_sum_to_one(name: str, matrix: Tensor, *, tolerance: float = 1e-6) -> None:
    """Require rows of a (n, C) tensor to sum to 1; the sums are taken in float64."""
    sums = matrix.detach().double().sum(1)
    bad = (~((sums - 1).abs() <= tolerance)).nonzero().flatten()
    if len(bad):
        first = int(bad[0])
        raise ValueError(
            f"`{name}` has row {first} summing to {sums[first].item():.8g}; "
            f"every row must sum to 1 within {tolerance:g}"
        )


def check_one_gradient(optimizer: torch.optim.Optimizer) -> None:
    """Refuse optimisers that evaluate the loss themselves."""
    kind: Any = type(optimizer)
    if _needs_closure(kind):
        raise TypeError(
            f"`optimizer` is {kind.__name__}, whose step evaluates the loss several times by "
            "itself; a method computes one gradient a step: use SGD, Adam or a similar optimiser"
        )


@cache
def _needs_closure(optimizer: type[Any]) -> bool:
    """Whether the optimiser's step evaluates the loss itself, as that of LBFGS does."""
    closure = signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is Parameter.empty


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, Real):
        raise TypeError(f"`{name}` is {value!r}; it must be a number")


def _check_tensor(name: str, value: object, wanted: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"`{name}` is a {type(value).__name__}; it must be a tensor, {wanted}")
