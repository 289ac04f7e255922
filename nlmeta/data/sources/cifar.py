"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): the pickles of the Python version.

Names, addresses and md5 of the files are torchvision's. A pickle can run code when it is loaded, so
nothing is loaded whose md5 is not the published one.
"""

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from nlmeta.data.source import Part, Source, data_folder
from nlmeta.data.sources._files import check_whole, download

__all__ = ["read_cifar10", "read_cifar100"]

_ATTRIBUTION = (
    "Krizhevsky, Learning multiple layers of features from tiny images, 2009; "
    "https://www.cs.toronto.edu/~kriz/cifar.html"
)


def read_cifar10(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """50,000 + 10,000 colour images of 32x32 pixels in 10 classes.

    Parameters
    ----------
    folder : str or Path, optional
        Holds ``cifar-10-batches-py/``. Default: see `data_folder`.
    download : bool
        True: get through torchvision what is not there or not whole. Default False.

    Returns
    -------
    Source
        Images (n, 3, 32, 32); ids are the publisher's file names.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, or not the published one.
    OSError
        The download broke off.
    """
    root, kind = data_folder(folder), datasets.CIFAR10
    _get(root, kind, download)
    parts = [_part(root, kind, files, "labels") for files in (kind.train_list, kind.test_list)]
    meta = _load(root, kind, kind.meta["filename"])
    return Source(
        name="cifar10",
        class_names=tuple(meta["label_names"]),
        train=parts[0],
        test=parts[1],
        noisy=False,
        attribution=_ATTRIBUTION,
    )


def read_cifar100(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """50,000 + 10,000 colour images of 32x32 pixels in 100 classes, and their 20 superclasses.

    Parameters
    ----------
    folder : str or Path, optional
        Holds ``cifar-100-python/``. Default: see `data_folder`.
    download : bool
        True: get through torchvision what is not there or not whole. Default False.

    Returns
    -------
    Source
        Images (n, 3, 32, 32); the annotation ``"coarse"`` is the superclass; ids are the
        publisher's file names.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, or not the published one.
    OSError
        The download broke off.
    """
    root, kind = data_folder(folder), datasets.CIFAR100
    _get(root, kind, download)
    parts = [
        _part(root, kind, files, "fine_labels", coarse="coarse_labels")
        for files in (kind.train_list, kind.test_list)
    ]
    meta = _load(root, kind, kind.meta["filename"])
    return Source(
        name="cifar100",
        class_names=tuple(meta["fine_label_names"]),
        train=parts[0],
        test=parts[1],
        noisy=False,
        attribution=_ATTRIBUTION,
        superclasses=_superclasses(parts[0], len(meta["fine_label_names"])),
        superclass_names=tuple(meta["coarse_label_names"]),
    )


def _get(root: Path, kind: type[datasets.CIFAR10], wants_download: bool) -> None:
    files = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    checksums = {f"{kind.base_folder}/{name}": md5 for name, md5 in files}
    how = (
        f"`download=True` gets it through torchvision; or unpack {kind.filename} of "
        f"https://www.cs.toronto.edu/~kriz/cifar.html into {root}, "
        f"which then holds {kind.base_folder}/."
    )
    if wants_download:
        download(root, checksums, lambda fresh: kind(fresh, download=True), how)
    check_whole(root, checksums, how)


def _load(root: Path, kind: type[datasets.CIFAR10], name: str) -> dict:
    with (root / kind.base_folder / name).open("rb") as file:
        return pickle.load(file, encoding="latin1")


def _part(
    root: Path, kind: type[datasets.CIFAR10], files: list, labels: str, **annotations: str
) -> Part:
    batches = [_load(root, kind, name) for name, _ in files]
    pixels = np.concatenate([batch["data"] for batch in batches])

    def column(key: str) -> Tensor:
        return torch.from_numpy(
            np.concatenate([np.array(batch[key], np.int64) for batch in batches])
        )

    return Part(
        x=torch.from_numpy(pixels).reshape(-1, 3, 32, 32),
        y=column(labels),
        annotations={name: column(key) for name, key in annotations.items()},
        ids=tuple(name for batch in batches for name in batch["filenames"]),
    )


def _superclasses(train: Part, num_classes: int) -> Tensor:
    superclasses = torch.zeros(num_classes, dtype=torch.int64, device="cpu")
    superclasses[train.y] = train.annotations["coarse"]
    if not torch.equal(superclasses[train.y], train.annotations["coarse"]):
        raise ValueError("a class of CIFAR-100 has samples of two superclasses")
    return superclasses
