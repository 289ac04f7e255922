"""Step sizes named "auto": rules of ours for data on which no step size was tried.

A hypergradient has the scale of both losses, of the virtual step, of the batch and of the number of
classes. So has a number that was found to be a good step size, and it is no default for other data.
These rules divide a hypergradient by its own size. What is left to say is how far the thing that is
learned may move, and for that there is a natural unit: the height of a label at its start, and the
width of the simplex in which a row of T lies.

The numbers below were chosen on digits with symmetric and with one-target noise, and on no other
data. The experiment ``carry_over`` tries them where nothing was tuned.
"""

from typing import Literal

import torch
from torch import Tensor

from nlmeta._checks import check_not_negative, check_positive

__all__ = [
    "StepSize",
    "check_label_lr",
    "check_step_size",
    "head_rate",
    "label_step",
    "of_unit_length",
]

StepSize = float | Literal["auto"]

#: How far labels move in all visits together, in units of K, their height at the start. Of 2, 6 and
#: 20 (20 epochs, one seed) the first two were level, and 20 lost ten points with 20 clean digits.
LABEL_REACH = 2.0

#: The rate of a head whose optimiser is Adam: that of CLID-MU's weights in the record of the digits
#: with symmetric noise. (With one-target noise it is 3e-3.) Label heads were found to have no safe
#: rate beside the digits' learning rate: Meta Label Correction ended at 83 and 77 % with 1e-3 (24
#: epochs, one seed), where early stopping has some 90 and 73, and at 18 and 21 % with 1e-2.
HEAD_RATE = 1e-3


def check_step_size(name: str, value: StepSize) -> None:
    """Require a finite number of at least 0, or "auto"."""
    if not isinstance(value, str):
        check_not_negative(name, value)
    elif value != "auto":
        raise ValueError(f"`{name}` is {value!r}; it must be a number, not negative, or 'auto'")


def head_rate(value: StepSize, head_optimizer: str) -> float:
    """The rate of a head's optimiser; "auto" is 1e-3, and only Adam can have it.

    A step of Adam does not depend on the scale of the gradient, so one rate serves many losses.
    """
    check_step_size("head_lr", value)
    if not isinstance(value, str):
        return value
    if head_optimizer == "sgd":
        raise ValueError(
            "`head_lr` is 'auto' and `head_optimizer` is 'sgd', whose steps have the scale of the "
            "gradient; take 'adam' or 'amsgrad', or give a number"
        )
    return HEAD_RATE


def check_label_lr(label_lr: StepSize, visits: float | None) -> None:
    """Require a step size of labels, and a number of visits that is none or above 0."""
    check_step_size("label_lr", label_lr)
    if visits is not None:
        check_positive("visits", visits)


def label_step(
    gradient: Tensor, label_lr: StepSize, *, unit: float, visits: float | None
) -> Tensor:
    """The step of the labels of a batch: with "auto", a share of a way that all visits make.

    Parameters
    ----------
    gradient : Tensor, shape (n, C)
        The hypergradient of the labels of a batch.
    label_lr : float or "auto"
        The step size beta.
    unit : float
        K, the height of a label at its start.
    visits : float or None
        The number of steps that each sample is in. With a number as step size it is not used.

    Returns
    -------
    Tensor, shape (n, C)
        The rows that are subtracted. With "auto" the root mean square of their lengths is
        `LABEL_REACH` K divided by the visits. So the way that a label goes in all visits is, in
        root mean square over the samples, at most `LABEL_REACH` K.
    """
    if not isinstance(label_lr, str):
        return label_lr * gradient
    if visits is None:
        raise ValueError(
            "`visits` is None and `label_lr` is 'auto', whose steps are shares of a way; pass "
            "visits=, the number of epochs in which your loop calls `step`. `nlmeta.fit` knows it"
        )
    return LABEL_REACH * unit / visits * of_unit_length(gradient)


def of_unit_length(rows: Tensor) -> Tensor:
    """The rows divided by the root mean square of their lengths; zeros stay zero."""
    tiny = torch.finfo(rows.dtype).tiny
    shape = rows / rows.abs().amax().clamp_min(tiny)  # squares of small numbers would be zero
    return shape / shape.square().sum(1).mean().sqrt().clamp_min(tiny)
