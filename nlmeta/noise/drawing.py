"""Labels drawn from probabilities, and counted again.

One uniform number per sample, from a CPU generator in float64, chooses its label: one seed gives
the same labels on every device, and a sample's label depends on no other sample. Chapter 3,
*Injecting noise*, derives it.
"""

import torch
from torch import Tensor

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta.noise._arguments import check_distributions, check_generator

__all__ = ["corrupt", "corrupt_by_probabilities", "empirical_transition"]


def corrupt(labels: Array, transition: Array, *, generator: torch.Generator) -> Tensor:
    """Draw a given label for every true one, independently for each sample.

    One uniform number u per sample picks the first j with
    ``transition[i, 0] + ... + transition[i, j] > u``. The numbers are drawn on the CPU in
    float64, so one seed gives the same labels on every device, and the k-th label depends on
    the k-th number alone.

    Parameters
    ----------
    labels : array
        The true classes, (n,), int64, on any device; they are not changed.
    transition : array
        The matrix T, (C, C); rows: true classes, columns: given labels.
    generator : torch.Generator
        A generator on the CPU; n numbers are drawn from it.

    Returns
    -------
    Tensor
        The given labels, (n,), int64, on the device of `labels`.

    Raises
    ------
    ValueError
        If a label is outside 0 to C - 1, `transition` is not a transition matrix, or `generator` is
        not on the CPU.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import noise, seeding
    >>> labels, draw = torch.tensor([0, 1, 2, 0, 1, 2]), seeding.generator(0, "noise")
    >>> noise.corrupt(labels, noise.symmetric(3, 0.5), generator=draw)
    tensor([0, 2, 2, 2, 2, 2])
    """
    labels, transition = as_tensor("labels", labels), as_tensor("transition", transition)
    _checks.check_transition("transition", transition)
    _checks.check_labels("labels", labels, num_classes=len(transition))
    check_generator(generator)
    cumulative = _cumulative(transition)  # (C, C): of each row once, not of each sample
    return _draw(cumulative[labels.cpu()], generator).to(labels.device)


def corrupt_by_probabilities(probabilities: Array, *, generator: torch.Generator) -> Tensor:
    """Draw a given label for every sample from probabilities of its own.

    This is for noise that depends on the sample and not on its class alone, such as
    `instance_dependent`. With row ``transition[labels[k]]`` for sample k it returns the labels of
    `corrupt`.

    Parameters
    ----------
    probabilities : array
        A table (n, C); row k is the distribution of the given label of sample k and sums to 1.
    generator : torch.Generator
        A generator on the CPU; n numbers are drawn from it.

    Returns
    -------
    Tensor
        The given labels, (n,), int64, on the device of `probabilities`.

    Raises
    ------
    ValueError
        If a row is not a distribution or `generator` is not on the CPU.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import noise, seeding
    >>> probabilities = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    >>> noise.corrupt_by_probabilities(probabilities, generator=seeding.generator(0, "noise"))
    tensor([0, 1, 1])
    """
    probabilities = as_tensor("probabilities", probabilities)
    check_distributions("probabilities", probabilities)
    check_generator(generator)
    return _draw(_cumulative(probabilities), generator).to(probabilities.device)


def empirical_transition(true_labels: Array, given_labels: Array, num_classes: int) -> Tensor:
    """Count how often class i was given label j, as shares of class i.

    Parameters
    ----------
    true_labels, given_labels : array
        Labels of the same samples in the same order, (n,), int64.
    num_classes : int
        C, the number of classes, at least 2.

    Returns
    -------
    Tensor
        A matrix (C, C), float64, on the CPU. The row of a class without samples is NaN, since
        nothing is known about it.

    Raises
    ------
    ValueError
        If labels lie outside 0 to C - 1 or the two tensors differ in length.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import noise
    >>> true, given = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 0])
    >>> noise.empirical_transition(true, given, 2)
    tensor([[0.7500, 0.2500],
            [0.5000, 0.5000]], dtype=torch.float64)
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    true_labels = as_tensor("true_labels", true_labels)
    given_labels = as_tensor("given_labels", given_labels)
    _checks.check_labels("true_labels", true_labels, num_classes)
    _checks.check_labels("given_labels", given_labels, num_classes)
    _checks.check_same_length("true_labels", true_labels, "given_labels", given_labels)
    cells = true_labels.cpu() * num_classes + given_labels.cpu()  # (n,), cell (i, j) as iC + j
    counts = cells.bincount(minlength=num_classes**2).view(num_classes, num_classes).double()
    return counts / counts.sum(1, keepdim=True)


def _cumulative(probabilities: Tensor) -> Tensor:
    cumulative = probabilities.detach().to("cpu", torch.float64).cumsum(1)
    # Rounding can leave a row's last sum below 1, and a u above it would give the label C. The
    # division makes that sum exactly 1, and u < 1, without lending mass to an impossible label.
    return cumulative / cumulative[:, -1:]


def _draw(cumulative: Tensor, generator: torch.Generator) -> Tensor:
    """The first j with ``cumulative[k, j] > u``, for a u of each sample k."""
    u = torch.rand(len(cumulative), 1, generator=generator, dtype=torch.float64, device="cpu")
    return torch.searchsorted(cumulative, u, right=True).squeeze(1)  # (n,)
