"""Handwritten digits that come with scikit-learn (Alpaydin & Kaynak, UCI 1998); no download."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor

__all__ = ["read_digits"]


def read_digits() -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """All 1,797 digits.

    Returns
    -------
    x : Tensor of float32, shape (1797, 1, 8, 8)
        Grey values from 0 to 16.
    y : Tensor of int64, shape (1797,)
        0 to 9.
    class_names : tuple of str
    """
    digits = load_digits()
    x = torch.from_numpy(digits.images).float().unsqueeze(1)
    return x, torch.from_numpy(digits.target).long(), tuple(str(name) for name in range(10))
