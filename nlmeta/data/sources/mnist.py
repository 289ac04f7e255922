"""MNIST (LeCun, Cortes & Burges 1998) and Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): IDX files.

torchvision compares the packed download with an md5, and of the unpacked files only asks whether
they exist: one that was cut short while unpacking would be taken for whole from then on. Here the
unpacked files are compared, each time they are read.
"""

from pathlib import Path

from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

from nlmeta.data.source import Part, Source, data_folder
from nlmeta.data.sources._files import check_whole, download

__all__ = ["read_fashion_mnist", "read_mnist"]

# md5 of the unpacked files. The packed ones have the md5 that torchvision asks for.
_MNIST = {
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_FASHION_MNIST = {
    "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def read_mnist(*, folder: str | Path | None = None, download: bool = False) -> Source:
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
    names = tuple(str(digit) for digit in range(10))
    attribution = (
        "LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document "
        "recognition, Proceedings of the IEEE 1998"
    )
    return _read("mnist", datasets.MNIST, _MNIST, names, attribution, folder, download)


def read_fashion_mnist(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """60,000 + 10,000 pictures of clothes, grey, 28x28 pixels, 10 classes.

    Parameters
    ----------
    folder : str or Path, optional
        Holds ``FashionMNIST/raw/``, as torchvision leaves it. Default: see `data_folder`.
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
    attribution = "Xiao, Rasul & Vollgraf, Fashion-MNIST, arXiv:1708.07747; Zalando, MIT licence"
    kind = datasets.FashionMNIST
    return _read(
        "fashion_mnist", kind, _FASHION_MNIST, tuple(kind.classes), attribution, folder, download
    )


def _read(
    name: str,
    kind: type[datasets.MNIST],
    checksums: dict[str, str],
    class_names: tuple[str, ...],
    attribution: str,
    folder: str | Path | None,
    wants_download: bool,
) -> Source:
    root = data_folder(folder)
    how = (
        f"`download=True` gets {name} through torchvision; or copy the folder "
        f"{kind.__name__}/raw with its four unpacked files into {root}."
    )
    if wants_download:
        download(root, checksums, lambda fresh: kind(fresh, download=True), how)
    check_whole(root, checksums, how)
    images, labels, test_images, test_labels = (root / file for file in checksums)
    return Source(
        name=name,
        class_names=class_names,
        train=_part(images, labels),
        test=_part(test_images, test_labels),
        noisy=False,
        attribution=attribution,
    )


def _part(images: Path, labels: Path) -> Part:
    x = read_image_file(str(images)).unsqueeze(1)  # (n, 1, 28, 28)
    return Part(x, read_label_file(str(labels)))
