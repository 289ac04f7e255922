"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017)."""

from pathlib import Path

from torchvision import datasets

from nlmeta.data.source import Source
from nlmeta.data.sources._mnist import files_of, parts_of

__all__ = ["missing", "read"]

_FILES = files_of(
    datasets.FashionMNIST,
    {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """60,000 + 10,000 pictures of clothes, grey, 28x28 pixels, 10 classes.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``FashionMNIST/raw/`` in torchvision's layout. Default: that of
        `data_folder`.
    download : bool
        If True, files that are missing or not whole are downloaded through torchvision. Default
        False.

    Returns
    -------
    Source
        Images (n, 1, 28, 28).

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or is not the published one.
    OSError
        The download failed.
    """
    train, test = parts_of(_FILES, folder, download)
    return Source(
        name="fashion_mnist",
        class_names=tuple(datasets.FashionMNIST.classes),
        train=train,
        test=test,
        noisy=False,
        attribution=(
            "Xiao, Rasul & Vollgraf, Fashion-MNIST, arXiv:1708.07747; Zalando, MIT licence"
        ),
    )
