"""Label noise as a matrix: row i of T is the distribution of the labels given to class i.

The matrices are those of Patrini et al., "Making deep neural networks robust to label noise: a
loss correction approach" (CVPR 2017), Han et al., "Co-teaching" (NeurIPS 2018) and Hendrycks et
al., "Using trusted data to train deep networks on labels corrupted by severe noise"
(NeurIPS 2018). Chapter 3, *Injecting noise*, builds them one by one. Labels are drawn from them
in `drawing`.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta.noise._arguments import check_generator

__all__ = [
    "CIFAR10_MAP",
    "CIFAR100_SUPERCLASSES",
    "asymmetric",
    "consecutive_blocks",
    "flip_rate",
    "one_target",
    "pair",
    "superclass",
    "symmetric",
]

#: CIFAR-10's asymmetric noise (Patrini et al.) sends truck to automobile, bird to airplane, deer to
#: horse, cat to dog and dog to cat. The other five classes stay clean.
CIFAR10_MAP: Mapping[int, int] = MappingProxyType({9: 1, 2: 0, 4: 7, 3: 5, 5: 3})

# fmt: off
#: The superclass (0 to 19) of each of CIFAR-100's classes (0 to 99), as the dataset ships them.
#: Both are numbered by the alphabet, so the five classes of a superclass do not stand together.
CIFAR100_SUPERCLASSES: tuple[int, ...] = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11,
    6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5,
    5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13,
    16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)
# fmt: on


def symmetric(
    num_classes: int,
    rate: float,
    *,
    convention: Literal["exclusive", "inclusive"] = "exclusive",
) -> Tensor:
    """Spread the wrong labels evenly over the classes.

    Two conventions have this name, and "50 %" means different noise in them.

    Parameters
    ----------
    num_classes : int
        C, the number of classes, at least 2.
    rate : float
        The rate r, in [0, 1].
    convention : {"exclusive", "inclusive"}, default "exclusive"
        Meaning of the rate. "exclusive": with probability r the label flips to one of the *other*
        classes, so the actual flip rate is r (Patrini et al., Co-teaching). "inclusive": with
        probability r the label is redrawn from *all* classes, its own included, so the actual flip
        rate is only r (C - 1) / C (Hendrycks et al.): 45 % at r = 0.5 and C = 10.

    Returns
    -------
    Tensor
        A matrix (C, C), float64: ``1 - f`` on the diagonal and ``f / (C - 1)`` elsewhere, where f
        is the actual flip rate.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> from nlmeta import noise
    >>> noise.symmetric(3, 0.5)
    tensor([[0.5000, 0.2500, 0.2500],
            [0.2500, 0.5000, 0.2500],
            [0.2500, 0.2500, 0.5000]], dtype=torch.float64)
    >>> round(noise.flip_rate(noise.symmetric(10, 0.5, convention="inclusive")), 2)
    0.45
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
    """Flip some classes, each to one class that it is confused with.

    Parameters
    ----------
    num_classes : int
        C, the number of classes, at least 2.
    rate : float
        The rate r, in [0, 1], *of the classes in the map*. The rate over all samples is lower if
        some classes stay clean; `flip_rate` computes it.
    class_map : mapping of int to int
        A mapping ``{true: given}``. Classes that are not in it keep their labels. `CIFAR10_MAP` is
        the usual one for CIFAR-10.

    Returns
    -------
    Tensor
        A matrix (C, C), float64: in a mapped row ``1 - r`` on the diagonal and r at the target.

    Raises
    ------
    ValueError
        If an argument is outside its range, or a class is mapped to itself.

    Examples
    --------
    >>> from nlmeta import noise
    >>> noise.asymmetric(3, 0.25, {2: 0})
    tensor([[1.0000, 0.0000, 0.0000],
            [0.0000, 1.0000, 0.0000],
            [0.2500, 0.0000, 0.7500]], dtype=torch.float64)
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    _checks.check_rate("rate", rate)
    transition = torch.eye(num_classes, dtype=torch.float64, device="cpu")
    for true, given in class_map.items():
        if not (0 <= true < num_classes and 0 <= given < num_classes and true != given):
            raise ValueError(
                f"`class_map` maps {true} to {given}; it must map a class in "
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
        C, the number of classes, at least 2.
    rate : float
        The rate r, in [0, 1]; from 0.5 on, the wrong label is at least as frequent as the right
        one.

    Returns
    -------
    Tensor
        A matrix (C, C), float64: ``1 - r`` on the diagonal and r to its right.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> from nlmeta import noise
    >>> noise.pair(3, 0.25)
    tensor([[0.7500, 0.2500, 0.0000],
            [0.0000, 0.7500, 0.2500],
            [0.2500, 0.0000, 0.7500]], dtype=torch.float64)
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    return asymmetric(num_classes, rate, {i: (i + 1) % num_classes for i in range(num_classes)})


def one_target(num_classes: int, rate: float, *, generator: torch.Generator) -> Tensor:
    """Flip every class to one random other class.

    The targets are drawn independently, so they need not be a permutation: two classes may
    share a target, and a class may be no target. This is the "flip" noise of Hendrycks et al.
    and the "flip to one" of the code that comes with MLC (Wang et al., CVPR 2020).

    Parameters
    ----------
    num_classes : int
        C, the number of classes, at least 2.
    rate : float
        The rate r, in [0, 1]; it is the actual flip rate of every class.
    generator : torch.Generator
        A generator on the CPU; the C targets are drawn from it.

    Returns
    -------
    Tensor
        A matrix (C, C), float64: ``1 - r`` on the diagonal and r at one other place in each row.

    Raises
    ------
    ValueError
        If an argument is outside its range or `generator` is not on the CPU.

    Examples
    --------
    >>> from nlmeta import noise, seeding
    >>> noise.one_target(3, 0.25, generator=seeding.generator(0, "noise map"))
    tensor([[0.7500, 0.2500, 0.0000],
            [0.0000, 0.7500, 0.2500],
            [0.0000, 0.2500, 0.7500]], dtype=torch.float64)
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    check_generator(generator)
    # A shift of 1 to C-1 reaches every class but the own one, each with the same probability.
    shifts = torch.randint(1, num_classes, (num_classes,), generator=generator, device="cpu")
    class_map = {i: (i + shift) % num_classes for i, shift in enumerate(shifts.tolist())}
    return asymmetric(num_classes, rate, class_map)


def superclass(
    groups: Sequence[int] | Tensor,
    rate: float,
    *,
    target: Literal["next", "uniform"] = "next",
) -> Tensor:
    """Flip labels within their superclass only.

    Parameters
    ----------
    groups : sequence of int or Tensor
        The superclass of each class, (C,), as any integers; `CIFAR100_SUPERCLASSES` has those of
        CIFAR-100. C is at least 2.
    rate : float
        The rate r, in [0, 1], of every class that is not alone in its superclass. A class that is
        alone stays clean.
    target : {"next", "uniform"}, default "next"
        The new label. "next": the next class of the superclass, and the first for the last
        (Patrini et al. for CIFAR-100). "uniform": any other class in it, each with the same
        probability (released code of Hendrycks et al., "hierarchical").

    Returns
    -------
    Tensor
        A matrix (C, C), float64: ``1 - r`` on the diagonal, and zeros outside a superclass.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> from nlmeta import noise
    >>> noise.superclass([0, 0, 1, 0], 0.5)
    tensor([[0.5000, 0.5000, 0.0000, 0.0000],
            [0.0000, 0.5000, 0.0000, 0.5000],
            [0.0000, 0.0000, 1.0000, 0.0000],
            [0.5000, 0.0000, 0.0000, 0.5000]], dtype=torch.float64)
    """
    _checks.check_rate("rate", rate)
    _checks.check_choice("target", target, ("next", "uniform"))
    of_class = groups.tolist() if isinstance(groups, Tensor) else list(groups)
    if len(of_class) < 2 or not all(isinstance(group, Integral) for group in of_class):
        raise ValueError(
            f"`groups` is {of_class}; it must hold an integer for each class, its superclass, and "
            "at least two classes"
        )
    transition = torch.eye(len(of_class), dtype=torch.float64, device="cpu")
    for group in set(of_class):
        members = [i for i, other in enumerate(of_class) if other == group]
        if len(members) == 1:
            continue  # nobody to be mistaken for
        make = pair if target == "next" else symmetric
        rows = torch.tensor(members, device="cpu")
        transition[rows[:, None], rows] = make(len(members), rate)
    return transition


def consecutive_blocks(num_classes: int, rate: float) -> Tensor:
    """Flip to the next class within blocks of five consecutive class numbers.

    Much public code calls this "asymmetric CIFAR-100" or claims that labels stay within their
    superclass. They do not: CIFAR-100 numbers its classes by the alphabet, and only 6 of the 100
    classes (6, 19, 42, 63, 86 and 89) are mapped to one of their own superclass. It is here to
    repeat published results; the noise that they describe is ``superclass(CIFAR100_SUPERCLASSES,
    rate)``.

    Parameters
    ----------
    num_classes : int
        C, the number of classes, a multiple of 5.
    rate : float
        The rate r, in [0, 1]; it is the actual flip rate of every class.

    Returns
    -------
    Tensor
        A matrix (C, C), float64: class 5k + 4 is mapped to 5k, any other class i to i + 1.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> from nlmeta import noise
    >>> transition = noise.consecutive_blocks(10, 0.25)
    >>> [row.argmin().item() for row in (transition - 0.25).abs()]  # where each class is sent
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5]
    """
    _checks.check_count("num_classes", num_classes, minimum=5)
    if num_classes % 5:
        raise ValueError(f"`num_classes` is {num_classes}; blocks of five need a multiple of 5")
    return superclass([i // 5 for i in range(num_classes)], rate)


def flip_rate(
    transition: Array, class_frequencies: Tensor | Sequence[float] | None = None
) -> float:
    """The share of samples that end up with a wrong label.

    Parameters
    ----------
    transition : array
        The matrix T, (C, C); rows: true classes, columns: given labels.
    class_frequencies : Tensor or sequence of float, optional
        Counts or shares of the true classes, (C,), in any scale. Default: all equal.

    Returns
    -------
    float
        The sum over i of P(true = i) (1 - T[i, i]).

    Raises
    ------
    ValueError
        If `transition` is not a transition matrix or the frequencies do not fit it.

    Examples
    --------
    >>> from nlmeta import noise
    >>> transition = noise.asymmetric(3, 0.5, {2: 0})
    >>> noise.flip_rate(transition, [1, 1, 2])  # half of the samples are of class 2
    0.25
    """
    transition = as_tensor("transition", transition)
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
