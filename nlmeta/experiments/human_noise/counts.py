"""The counts, and the record that keeps them.

CIFAR-10N holds three labels for each training image of CIFAR-10, each by another person. They are
named ``"random1"`` to ``"random3"``; ``"aggregate"`` is their majority and ``"worst"`` a wrong one
where there is any. CIFAR-100N holds one label for each training image of CIFAR-100.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["RECORD", "count", "read", "write"]

RECORD = Path(__file__).parents[1] / "records" / "human-noise.json"

COMMAND = "python -m nlmeta.experiments.human_noise"
PEOPLE = ("random1", "random2", "random3")
LABEL_SETS = ("aggregate", *PEOPLE, "worst")


def count(folder: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Count the labels of CIFAR-10N and CIFAR-100N.

    Parameters
    ----------
    folder : str or Path, optional
        Where the datasets lie. Default: see `nlmeta.data.sources.data_folder`.

    Returns
    -------
    dict
        Can be written as JSON. Matrices are lists of rows: true class (CIFAR's own label); columns:
        label that people gave.

        ``"cifar10n"``: ``command``, ``attribution``, ``class_names``; ``counts``, a 10x10 matrix
        for each set of labels; ``people_wrong``, a row for each true class: how many of its images
        0, 1, 2, 3 of the three people labelled wrongly; ``people_agree``, how many images got three
        equal labels, two equal ones, three different ones.

        ``"cifar100n"``: ``command``, ``attribution``, ``class_names``, ``superclass_names``;
        ``counts``, a 20x20 matrix of superclasses; ``images`` and ``wrong``, for each of the 100
        classes how many images it has and how many labels of them are wrong.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or not the published one.
    """
    # Torchvision takes seconds to import, and the record can be read without it.
    from nlmeta.data import sources

    ten, hundred = (sources.read(name, folder=folder) for name in ("cifar10n", "cifar100n"))
    true, given = ten.train.y, ten.train.annotations
    people = torch.stack([given[name] for name in PEOPLE])  # (3, n)
    people_wrong = people.ne(true).sum(0)  # (n,)
    first, second, third = people
    equal_pairs = first.eq(second).long() + first.eq(third) + second.eq(third)  # (n,)
    fine, coarse = hundred.train.y, hundred.train.annotations["coarse"]
    noisy = hundred.train.annotations
    return {
        "cifar10n": {
            "command": COMMAND,
            "attribution": ten.attribution,
            "class_names": list(ten.class_names),
            "counts": {name: _matrix(true, given[name], 10, 10) for name in LABEL_SETS},
            "people_wrong": _matrix(true, people_wrong, 10, 4),
            # Three equal labels make three equal pairs, two make one.
            "people_agree": [int(equal_pairs.eq(k).sum()) for k in (3, 1, 0)],
        },
        "cifar100n": {
            "command": COMMAND,
            "attribution": hundred.attribution,
            "class_names": list(hundred.class_names),
            "superclass_names": list(hundred.superclass_names),
            "counts": _matrix(coarse, noisy["noisy_coarse"], 20, 20),
            "images": fine.bincount(minlength=100).tolist(),
            "wrong": fine[noisy["noisy_fine"] != fine].bincount(minlength=100).tolist(),
        },
    }


def write(record: dict[str, dict[str, Any]], file: Path) -> None:
    """Write counts as JSON, a row of a matrix on a line.

    Parameters
    ----------
    record : dict
        From `count`.
    file : Path
        Made, or overwritten.
    """
    text = json.dumps(record, indent=1)
    rows = re.sub(r"\[[\d,\s]+\]", lambda row: "".join(row[0].split()).replace(",", ", "), text)
    file.write_text(rows + "\n")


def read(file: Path | None = None) -> dict[str, dict[str, Any]]:
    """A record of counts.

    Parameters
    ----------
    file : Path, optional
        Default: the one that comes with the package, ``RECORD``.

    Returns
    -------
    dict
        As `count` gives it.
    """
    return json.loads((RECORD if file is None else file).read_text())


def _matrix(rows: Tensor, columns: Tensor, height: int, width: int) -> list[list[int]]:
    """How often each value of `rows` (below height) meets each of `columns` (below width)."""
    cells = (rows * width + columns).bincount(minlength=height * width)
    return cells.view(height, width).tolist()
