"""Handwritten digits that come with scikit-learn (Alpaydin & Kaynak, UCI 1998); no download."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits

from nlmeta.data.source import Part, Source

__all__ = ["missing", "read"]


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """All 1,797 digits.

    Parameters
    ----------
    folder : str or Path, optional
        Any folder is refused, since the digits come with scikit-learn.
    download : bool
        True is refused, since there is nothing to download.

    Returns
    -------
    Source
        The dataset; its training part has x, float32 of shape (1797, 1, 8, 8), grey values from 0
        to 16, and y, 0 to 9. There is no test part.

    Raises
    ------
    ValueError
        `folder` or `download` is given.
    """
    for argument, value in {"folder": folder, "download": download}.items():
        if value:
            raise ValueError(
                f"`{argument}` is {value!r}; the digits come with scikit-learn, so leave it out"
            )
    digits = load_digits()
    x = torch.from_numpy(digits.images).float().unsqueeze(1)
    return Source(
        name="digits",
        class_names=tuple(str(name) for name in range(10)),
        train=Part(x, torch.from_numpy(digits.target).long()),
        test=None,
        noisy=False,
        attribution=(
            "Alpaydin & Kaynak, Optical recognition of handwritten digits, UCI Machine Learning "
            "Repository, 1998; CC BY 4.0"
        ),
    )


def missing(folder: str | Path | None = None) -> str | None:
    """None, since the digits are always installed."""
    return None
