"""The step of a transition matrix: how T is moved, kept a matrix, and when it is the wrong thing.

With ``transition_lr="auto"`` the step is a rule of ours, see `transition_step`, and the checked
samples are asked before the first step whether a matrix can describe the errors at all.
"""

import warnings
from typing import Literal

import torch
from torch import Tensor

from nlmeta import noise
from nlmeta._checks import check_choice
from nlmeta._interface import rows_of
from nlmeta.data.images import Images
from nlmeta.data.split import Samples
from nlmeta.distributed import rank
from nlmeta.methods.step_sizes import StepSize, of_unit_length

__all__ = ["normalise_transition", "transition_step", "warn_of_errors_by_input"]

#: Root mean square of the rows' steps; the distance of two corners of the simplex is 1.4.
REACH = 10.0
COMPARED, CHECKED = 5000, 2000  # samples that are looked at before a run, so that it takes a moment


def transition_step(gradient: Tensor, transition_lr: StepSize) -> Tensor:
    """The step of T before it is made a matrix again; with "auto" its length is always the same.

    Parameters
    ----------
    gradient : Tensor, shape (C, C)
        The hypergradient of T.
    transition_lr : float or "auto"
        The step size eta.

    Returns
    -------
    Tensor, shape (C, C)
        The rows that are subtracted. With "auto" the root mean square of their lengths is `REACH`.

    Notes
    -----
    On the digits, where 30 is a good number for eta, rows move by about 15 in a step, ten times the
    distance of two corners of the simplex. So after a step a row holds little of what it was: it is
    zero where the gradient of this batch is positive, and elsewhere in proportion to it. Smaller
    steps, and steps that become smaller, were worse: with half of the labels wrong (60 epochs, one
    seed) 78 to 81 % of the test digits were right, with this rule 92 % and with the number 94 %.
    """
    if not isinstance(transition_lr, str):
        return transition_lr * gradient
    return REACH * of_unit_length(gradient)


def warn_of_errors_by_input(train: Samples, clean: Samples) -> None:
    """Warn if similar samples of a class have similar given labels, which no matrix can describe.

    Only inputs that are vectors of floats, or images in memory, are looked at; see
    `noise.neighbours_alike`, which can be called with better features.

    Parameters
    ----------
    train, clean : Samples
        Noisy samples, and checked ones.
    """
    if not (_comparable(train.x) and _comparable(clean.x)):
        return
    noisy, checked = _some(train, COMPARED), _some(clean, CHECKED)
    found = noise.neighbours_alike(*noisy, *checked)
    if found.clear and rank() == 0:
        warnings.warn(
            "MLC learns one transition matrix, which holds if a wrong label depends on the class "
            "alone. The checked samples say otherwise: around them, similar samples of one class "
            f"have the same given label {found.excess:.0%} more often than by chance (p = "
            f"{found.p:.2g}). Compare with fine-tuning on the checked samples, or with MSLG",
            stacklevel=4,
        )


def _some(samples: Samples, most: int) -> tuple[Tensor, Tensor]:
    """Inputs and labels, at even distances if there are too many."""
    n = len(samples)
    rows = torch.arange(min(n, most), device=samples.y.device) * n // min(n, most)
    return rows_of(samples.x, rows), samples.y[rows]


def _comparable(x: object) -> bool:
    if isinstance(x, Images):
        return not x.on_disk
    return isinstance(x, Tensor) and x.is_floating_point()


def normalise_transition(matrix: Tensor, *, by: Literal["row", "column"] = "row") -> Tensor:
    """Clip at zero and divide by the sums, equation (8.5).

    A row or column without a positive entry stays zero (the guard of Ren et al., ICML 2018).

    Parameters
    ----------
    matrix : Tensor, shape (C, C)
        Any real matrix.
    by : {"row", "column"}
        Whether the rows or the columns sum to one afterwards. Default ``"row"``.

    Returns
    -------
    Tensor, shape (C, C)
    """
    check_choice("by", by, ("row", "column"))
    matrix = matrix.clamp_min(0)
    sums = matrix.sum(dim=1 if by == "row" else 0, keepdim=True)
    return matrix / torch.where(sums > 0, sums, torch.ones_like(sums))
