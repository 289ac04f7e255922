"""Human label noise as counts: how often people gave which label, in CIFAR-10N and CIFAR-100N.

``python -m nlmeta run human_noise`` reads the two datasets (Wei et al., ICLR 2022) and counts; the
record that it wrote comes with the package. Neither images nor the label of any single image are in
it.

CIFAR-10N holds three labels for each training image of CIFAR-10, each by another person. They are
named ``"random1"`` to ``"random3"``; ``"aggregate"`` is their majority and ``"worst"`` a wrong one
where there is any. CIFAR-100N holds one label for each training image of CIFAR-100.
"""

from typing import Any

import torch
from torch import Tensor

from nlmeta.data import sources
from nlmeta.experiments.measured import Measurement, Measurements

__all__ = ["HUMAN_NOISE", "count_cifar10n", "count_cifar100n"]

PEOPLE = ("random1", "random2", "random3")
LABEL_SETS = ("aggregate", *PEOPLE, "worst")


def count_cifar10n(**_: Any) -> list[dict[str, Any]]:
    """Count the labels of CIFAR-10N.

    Returns
    -------
    list of dict
        One row. Matrices are lists of rows: true class (CIFAR's own label); columns: label that
        people gave. ``attribution``, ``class_names``; ``counts``, a 10x10 matrix for each set of
        labels; ``people_wrong``, a row for each true class: how many of its images 0, 1, 2, 3 of
        the three people labelled wrongly; ``people_agree``, how many images got three equal
        labels, two equal ones, three different ones.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or not the published one.
    """
    ten = sources.read("cifar10n")
    true, given = ten.train.y, ten.train.annotations
    people = torch.stack([given[name] for name in PEOPLE])  # (3, n)
    people_wrong = people.ne(true).sum(0)  # (n,)
    first, second, third = people
    equal_pairs = first.eq(second).long() + first.eq(third) + second.eq(third)  # (n,)
    return [
        {
            "attribution": ten.attribution,
            "class_names": list(ten.class_names),
            "counts": {name: _matrix(true, given[name], 10, 10) for name in LABEL_SETS},
            "people_wrong": _matrix(true, people_wrong, 10, 4),
            # Three equal labels make three equal pairs, two make one.
            "people_agree": [int(equal_pairs.eq(k).sum()) for k in (3, 1, 0)],
        }
    ]


def count_cifar100n(**_: Any) -> list[dict[str, Any]]:
    """Count the labels of CIFAR-100N.

    Returns
    -------
    list of dict
        One row: ``attribution``, ``class_names``, ``superclass_names``; ``counts``, a 20x20 matrix
        of superclasses; ``images`` and ``wrong``, for each of the 100 classes how many images it
        has and how many labels of them are wrong.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or not the published one.
    """
    hundred = sources.read("cifar100n")
    fine, noisy = hundred.train.y, hundred.train.annotations
    return [
        {
            "attribution": hundred.attribution,
            "class_names": list(hundred.class_names),
            "superclass_names": list(hundred.superclass_names),
            "counts": _matrix(noisy["coarse"], noisy["noisy_coarse"], 20, 20),
            "images": fine.bincount(minlength=100).tolist(),
            "wrong": fine[noisy["noisy_fine"] != fine].bincount(minlength=100).tolist(),
        }
    ]


def _matrix(rows: Tensor, columns: Tensor, height: int, width: int) -> list[list[int]]:
    """How often each value of `rows` (below height) meets each of `columns` (below width)."""
    cells = (rows * width + columns).bincount(minlength=height * width)
    return cells.view(height, width).tolist()


HUMAN_NOISE = Measurements(
    name="human_noise",
    about="Which wrong labels do people give, on CIFAR-10 and CIFAR-100?",
    parts={"cifar10n": Measurement(count_cifar10n), "cifar100n": Measurement(count_cifar100n)},
    datasets=("cifar10n", "cifar100n"),
)
