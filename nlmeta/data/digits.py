"""Handwritten digits that come with scikit-learn (Alpaydin & Kaynak, UCI 1998); no download."""

import torch

from nlmeta.data.source import Part, Source

__all__ = ["read_digits"]


def read_digits() -> Source:
    """All 1,797 digits.

    Returns
    -------
    Source
        ``train``: x float32 of shape (1797, 1, 8, 8), grey values from 0 to 16; y 0 to 9. There is
        no test part.
    """
    from sklearn.datasets import load_digits  # a second or two, which other data do without

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
