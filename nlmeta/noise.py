"""Label noise as a matrix: row i of T says what becomes of the labels of class i.

The convention, said once for the whole book: ``transition[i, j]`` is the probability that a
sample whose *true* class is i (the row) is *given* the label j (the column), so every row sums
to 1. C is the number of classes. Matrices are float64 on the CPU.

The matrices are those of Patrini et al., "Making deep neural networks robust to label noise: a
loss correction approach" (CVPR 2017), Han et al., "Co-teaching" (NeurIPS 2018) and Hendrycks et
al., "Using trusted data to train deep networks on labels corrupted by severe noise"
(NeurIPS 2018). Chapter 3, *Injecting noise*, builds them one by one.

Left to others: which samples are corrupted and which stay clean is `nlmeta.data`'s, the error of
an estimated matrix `nlmeta.metrics`', pictures of one `nlmeta.plots`'.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from nlmeta import _checks

__all__ = [
    "KINDS",
    "asymmetric",
    "corrupt",
    "empirical_transition",
    "flip_rate",
    "make_transition",
    "one_target",
    "pair",
    "symmetric",
]

#: The names that `make_transition` knows.
KINDS = ("none", "symmetric", "symmetric-inclusive", "pair", "asymmetric", "one-target")


def symmetric(
    num_classes: int,
    rate: float,
    *,
    convention: Literal["exclusive", "inclusive"] = "exclusive",
) -> Tensor:
    """Spread the wrong labels evenly over the classes.

    Two conventions share the name, and "50 %" means different noise in them.

    Parameters
    ----------
    num_classes : int
        C, at least 2.
    rate : float
        r, in [0, 1].
    convention : {"exclusive", "inclusive"}, default "exclusive"
        "exclusive": with probability r the label flips to one of the *other* classes, so the
        actual flip rate is r (Patrini et al., Co-teaching). "inclusive": with probability r the
        label is redrawn from *all* classes, its own included, so the actual flip rate is only
        r (C - 1) / C (Hendrycks et al.): 45 % at r = 0.5 and C = 10.

    Returns
    -------
    Tensor
        (C, C), float64: ``1 - f`` on the diagonal and ``f / (C - 1)`` elsewhere, where f is the
        actual flip rate.

    Raises
    ------
    ValueError
        If an argument is outside its range.
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    _checks.check_rate("rate", rate)
    _checks.check_choice("convention", convention, ("exclusive", "inclusive"))
    flips = rate if convention == "exclusive" else rate * (num_classes - 1) / num_classes
    off_diagonal = flips / (num_classes - 1)
    transition = torch.full(
        (num_classes, num_classes), off_diagonal, dtype=torch.float64, device="cpu"
    )
    return transition.fill_diagonal_(1 - flips)


def asymmetric(num_classes: int, rate: float, class_map: Mapping[int, int]) -> Tensor:
    """Flip some classes, each to one class that it is mistaken for.

    Parameters
    ----------
    num_classes : int
        C, at least 2.
    rate : float
        r, in [0, 1]: the flip rate *of the classes in the map*. The rate over all samples is
        lower when some classes stay clean; `flip_rate` gives it.
    class_map : mapping of int to int
        ``{true: given}``. Classes that are not in it keep their labels. CIFAR-10's usual map
        (Patrini et al.) is ``{9: 1, 2: 0, 4: 7, 3: 5, 5: 3}``.

    Returns
    -------
    Tensor
        (C, C), float64: in a mapped row ``1 - r`` on the diagonal and r at the target.

    Raises
    ------
    ValueError
        If an argument is outside its range, or a class is mapped to itself.
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    _checks.check_rate("rate", rate)
    transition = torch.eye(num_classes, dtype=torch.float64, device="cpu")
    for true, given in class_map.items():
        if not (0 <= true < num_classes and 0 <= given < num_classes and true != given):
            raise ValueError(
                f"`class_map` sends {true} to {given}; it must send a class in "
                f"0 to {num_classes - 1} to another one"
            )
        transition[true, true] = 1 - rate
        transition[true, given] = rate
    return transition


def pair(num_classes: int, rate: float) -> Tensor:
    """Flip every class i to its neighbour i + 1, the last class to class 0 (Co-teaching).

    Parameters
    ----------
    num_classes : int
        C, at least 2.
    rate : float
        r, in [0, 1]; from 0.5 on, the wrong label is at least as frequent as the right one.

    Returns
    -------
    Tensor
        (C, C), float64: ``1 - r`` on the diagonal and r to its right.

    Raises
    ------
    ValueError
        If an argument is outside its range.
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    return asymmetric(num_classes, rate, {i: (i + 1) % num_classes for i in range(num_classes)})


def one_target(num_classes: int, rate: float, *, generator: torch.Generator) -> Tensor:
    """Flip every class to one random other class.

    The targets are drawn independently, so they need not be a permutation: two classes may
    share a target, and a class may be nobody's. This is the "flip" noise of Hendrycks et al.
    and the "flip to one" of the code that comes with MLC (Wang et al., CVPR 2020).

    Parameters
    ----------
    num_classes : int
        C, at least 2.
    rate : float
        r, in [0, 1]: the actual flip rate of every class.
    generator : torch.Generator
        On the CPU; draws the C targets.

    Returns
    -------
    Tensor
        (C, C), float64: ``1 - r`` on the diagonal and r at one other place in each row.

    Raises
    ------
    ValueError
        If an argument is outside its range or `generator` is not on the CPU.
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    _check_generator(generator)
    # A shift of 1 to C-1 reaches every class but the own one, each with the same probability.
    shifts = torch.randint(1, num_classes, (num_classes,), generator=generator, device="cpu")
    class_map = {i: (i + shift) % num_classes for i, shift in enumerate(shifts.tolist())}
    return asymmetric(num_classes, rate, class_map)


def make_transition(
    kind: str,
    num_classes: int,
    rate: float = 0.0,
    *,
    class_map: Mapping[int, int] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Make a transition matrix by the name of its noise.

    Parameters
    ----------
    kind : str
        One of `KINDS`: "none" (the identity), "symmetric" (the exclusive convention),
        "symmetric-inclusive", "pair", "asymmetric", "one-target".
    num_classes : int
        C, at least 2.
    rate : float, default 0
        r, in [0, 1], as the function of that noise reads it; 0 for "none".
    class_map : mapping of int to int, optional
        ``{true: given}`` for "asymmetric", which alone needs it.
    generator : torch.Generator, optional
        For "one-target", which alone draws from it.

    Returns
    -------
    Tensor
        (C, C), float64.

    Raises
    ------
    ValueError
        If `kind` is unknown, lacks what it needs, or would ignore a rate or a map.
    """
    _checks.check_choice("kind", kind, KINDS)
    _checks.check_rate("rate", rate)
    if kind == "none" and rate != 0:
        raise ValueError(f"`rate` is {rate}; with noise 'none' it must be 0")
    if (class_map is None) == (kind == "asymmetric"):
        raise ValueError(
            f"`class_map` is {class_map}; noise 'asymmetric' needs one and no other noise uses "
            f"it, and `kind` is {kind!r}"
        )
    if class_map is not None:
        return asymmetric(num_classes, rate, class_map)
    if kind == "one-target":
        if generator is None:
            raise ValueError("`generator` is None; noise 'one-target' draws its targets from one")
        return one_target(num_classes, rate, generator=generator)
    if kind == "pair":
        return pair(num_classes, rate)
    if kind == "symmetric-inclusive":
        return symmetric(num_classes, rate, convention="inclusive")
    return symmetric(num_classes, rate)  # "none" has rate 0, which gives the identity


def corrupt(labels: Tensor, transition: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw a given label for every true one, each sample for itself.

    One uniform number u per sample picks the first j with
    ``transition[i, 0] + ... + transition[i, j] > u``. The numbers are drawn on the CPU in
    float64, so one seed gives the same labels on every device, and the k-th label depends on
    the k-th number alone.

    Parameters
    ----------
    labels : Tensor
        (n,), int64, on any device: the true classes. Left as they are.
    transition : Tensor
        (C, C): T, rows true and columns given.
    generator : torch.Generator
        On the CPU; n numbers are drawn from it.

    Returns
    -------
    Tensor
        (n,), int64, on the device of `labels`: the given labels.

    Raises
    ------
    ValueError
        If a label is outside 0 to C-1, `transition` is no transition matrix, or `generator` is
        not on the CPU.
    """
    _checks.check_transition("transition", transition)
    _checks.check_labels("labels", labels, num_classes=len(transition))
    _check_generator(generator)
    cumulative = transition.detach().to("cpu", torch.float64).cumsum(1)
    # Rounding can leave a row's last sum below 1, and a u above it would give the label C. The
    # division makes that sum exactly 1, and u < 1, without lending mass to an impossible label.
    cumulative = cumulative / cumulative[:, -1:]
    u = torch.rand(len(labels), 1, generator=generator, dtype=torch.float64, device="cpu")
    given = torch.searchsorted(cumulative[labels.cpu()], u, right=True)  # (n, 1)
    return given.squeeze(1).to(labels.device)


def empirical_transition(true_labels: Tensor, given_labels: Tensor, num_classes: int) -> Tensor:
    """Count how often class i was given label j, as shares of class i.

    Parameters
    ----------
    true_labels, given_labels : Tensor
        (n,), int64: the same samples, in the same order.
    num_classes : int
        C, at least 2.

    Returns
    -------
    Tensor
        (C, C), float64, on the CPU. The row of a class without samples is NaN: nothing was
        seen of it, and any numbers there would be made up.

    Raises
    ------
    ValueError
        If labels lie outside 0 to C-1 or the two tensors differ in length.
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    _checks.check_labels("true_labels", true_labels, num_classes)
    _checks.check_labels("given_labels", given_labels, num_classes)
    _checks.check_same_length("true_labels", true_labels, "given_labels", given_labels)
    cells = true_labels.cpu() * num_classes + given_labels.cpu()  # (n,), cell (i, j) as iC + j
    counts = cells.bincount(minlength=num_classes**2).view(num_classes, num_classes).double()
    return counts / counts.sum(1, keepdim=True)


def flip_rate(
    transition: Tensor, class_frequencies: Tensor | Sequence[float] | None = None
) -> float:
    """Give the share of samples that end up with a wrong label.

    Parameters
    ----------
    transition : Tensor
        (C, C): T, rows true and columns given.
    class_frequencies : Tensor or sequence of float, optional
        (C,): counts or shares of the true classes, in any scale. Default: all equal.

    Returns
    -------
    float
        The sum over i of P(true = i) (1 - T[i, i]).

    Raises
    ------
    ValueError
        If `transition` is no transition matrix or the frequencies do not fit it.
    """
    _checks.check_transition("transition", transition)
    wrong = 1 - transition.detach().to("cpu", torch.float64).diagonal()  # (C,)
    if class_frequencies is None:
        return wrong.mean().item()
    weights = torch.as_tensor(class_frequencies).to("cpu", torch.float64)
    if weights.shape != wrong.shape or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(
            f"`class_frequencies` is {weights.tolist()}; it must hold {len(wrong)} numbers, "
            "none negative and not all 0"
        )
    return ((weights @ wrong) / weights.sum()).item()


def _check_generator(generator: torch.Generator) -> None:
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"`generator` is {generator!r}; it must be a torch.Generator on the CPU")
    if generator.device.type != "cpu":
        raise ValueError(
            f"`generator` lives on {generator.device}; it must be a CPU generator, so that one "
            "seed gives the same labels on every machine"
        )
