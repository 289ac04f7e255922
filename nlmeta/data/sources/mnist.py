"""MNIST (LeCun, Cortes & Burges 1998)."""

from pathlib import Path

from torchvision import datasets

from nlmeta.data.source import Source
from nlmeta.data.sources._mnist import files_of, parts_of

__all__ = ["missing", "read"]

_FILES = files_of(
    datasets.MNIST,
    {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """60,000 + 10,000 handwritten digits, grey, 28x28 pixels.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``MNIST/raw/`` in torchvision's layout. Default: that of
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
        name="mnist",
        class_names=tuple(str(digit) for digit in range(10)),
        train=train,
        test=test,
        noisy=False,
        attribution=(
            "LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document "
            "recognition, Proceedings of the IEEE 1998"
        ),
    )
