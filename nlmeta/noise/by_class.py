"""Do errors follow the class alone? A test that a few checked samples make possible.

A transition matrix says that a wrong label depends on the class, and on nothing else of the sample.
Then the given labels of two samples of one class are independent, however similar the samples are.
Where a rule or a tired eye made the errors, similar samples are wrong alike.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nlmeta._checks import check_class_indices, check_same_length
from nlmeta.seeding import generator

__all__ = ["Alikeness", "neighbours_alike"]

NEAREST = 5  # noisy samples around a checked one
ORDERS = 199
LEVEL = 0.01
BORDER = 0.09  # ours: what neighbours of another class explained on digits and Fashion-MNIST


class Alikeness(NamedTuple):
    """The outcome of `neighbours_alike`.

    Attributes
    ----------
    excess : float
        The share of pairs of neighbours with the same given label, minus that share in any order of
        the labels of a class. Where errors follow the class alone it is 0 in the mean.
    p : float
        The p-value of that excess, in (0, 1]; 1 where there is nothing to compare.
    pairs : int
        The number of pairs.
    """

    excess: float
    p: float
    pairs: int

    @property
    def clear(self) -> bool:
        """Whether errors do not follow the class alone: p at most 0.01, and an excess of 0.09.

        A smaller excess also comes about where a few neighbours are of another class.
        """
        return self.p <= LEVEL and self.excess >= BORDER


def neighbours_alike(x: Tensor, given: Tensor, clean_x: Tensor, clean_y: Tensor) -> Alikeness:
    """Test by permutations whether similar samples of one class have similar given labels.

    The nearest noisy samples around a checked sample, up to five of those that have no nearer
    checked one, count as samples of its class. That is often wrong at the border of a class, so a
    checked sample takes part only if the nearest other checked one is of its class. Under the null
    hypothesis the given labels of a class can change places between its checked samples.

    Parameters
    ----------
    x : Tensor of float, shape (n, ...)
        Noisy samples: inputs, or better features, in which neighbours are of one class.
    given : Tensor of int64, shape (n,)
        Their given labels.
    clean_x : Tensor of float, shape (m, ...)
        Checked samples, at least two.
    clean_y : Tensor of int64, shape (m,)
        Their true labels.

    Returns
    -------
    Alikeness
        Its `clear` says whether errors follow more than the class.

    Examples
    --------
    Two classes, and in one of them a part that somebody always mislabels:

    >>> import torch
    >>> from nlmeta import noise
    >>> x = torch.linspace(0, 1, 80)[:, None]
    >>> true = (x[:, 0] > 0.5).long()
    >>> given = torch.where(x[:, 0] > 0.75, 0, true)
    >>> found = noise.neighbours_alike(x, given, x[4::8], true[4::8])
    >>> found.clear, found.p
    (True, 0.005)
    """
    check_class_indices("given", given)
    check_class_indices("clean_y", clean_y)
    check_same_length("x", x, "given", given)
    check_same_length("clean_x", clean_x, "clean_y", clean_y)
    x, clean_x = x.flatten(1), clean_x.flatten(1)
    apart = torch.cdist(clean_x, clean_x).fill_diagonal_(torch.inf)
    inside = clean_y[apart.argmin(1)] == clean_y  # (m,)
    distance, centre = torch.cdist(x, clean_x).min(1)  # (n,): each sample has one centre
    order = distance.argsort()
    order = order[centre[order].argsort(stable=True)]  # centre by centre, the nearest first
    sizes = centre.bincount(minlength=len(clean_y))
    place = torch.arange(len(order), device=x.device) - (sizes.cumsum(0) - sizes)[centre[order]]
    rows = order[(place < NEAREST) & inside[centre[order]]]
    centre, labels = centre[rows].cpu(), given[rows].cpu()
    of_class = clean_y.cpu()[centre]
    sizes = centre.bincount(minlength=len(clean_y))
    pairs = int((sizes * (sizes - 1)).sum())  # each counts twice
    if not pairs:
        return Alikeness(0.0, 1.0, 0)

    def agreeing(labels: Tensor) -> float:
        counts = torch.zeros(len(clean_y), int(given.max()) + 1)
        counts.index_put_((centre, labels), torch.ones(len(labels)), accumulate=True)
        return float((counts * (counts - 1)).sum())

    draw, found, by_chance = generator(0, "orders"), agreeing(labels), []
    for _ in range(ORDERS):
        anew = torch.randperm(len(labels), generator=draw)
        shuffled = torch.empty_like(labels)
        shuffled[of_class.argsort(stable=True)] = labels[anew[of_class[anew].argsort(stable=True)]]
        by_chance.append(agreeing(shuffled))
    as_much = sum(value >= found for value in by_chance)
    excess = (found - sum(by_chance) / ORDERS) / pairs
    return Alikeness(excess, (1 + as_much) / (1 + ORDERS), pairs // 2)
