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
        Holds ``MNIST/raw/``, as torchvision leaves it. Default: see `data_folder`.
    download : bool
        True: get through torchvision what is not there or not whole. Default False.

    Returns
    -------
    Source
        Images (n, 1, 28, 28).

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, or not the published one.
    OSError
        The download broke off.
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
