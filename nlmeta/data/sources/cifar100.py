"""CIFAR-100 (Krizhevsky 2009)."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision import datasets

from nlmeta.data.source import COARSE, Part, Source
from nlmeta.data.sources._cifar import ATTRIBUTION, content_of, files_of

__all__ = ["missing", "read"]

_FILES = files_of(datasets.CIFAR100)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """50,000 + 10,000 colour images of 32x32 pixels in 100 classes, and their 20 superclasses.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``cifar-100-python/``. Default: that of `data_folder`.
    download : bool
        If True, files that are missing or not whole are downloaded through torchvision. Default
        False.

    Returns
    -------
    Source
        Images (n, 3, 32, 32); the annotation ``"coarse"`` is the superclass; ids are the
        publisher's file names.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or is not the published one.
    OSError
        The download failed.
    """
    root = _FILES.get(folder, download)
    train, test, names = content_of(
        datasets.CIFAR100, root, "fine_labels", **{COARSE: "coarse_labels"}
    )
    return Source(
        name="cifar100",
        class_names=tuple(names["fine_label_names"]),
        train=train,
        test=test,
        noisy=False,
        attribution=ATTRIBUTION,
        superclasses=_superclasses(train, len(names["fine_label_names"])),
        superclass_names=tuple(names["coarse_label_names"]),
    )


def _superclasses(train: Part, num_classes: int) -> Tensor:
    superclasses = torch.zeros(num_classes, dtype=torch.int64, device="cpu")
    superclasses[train.y] = train.annotations[COARSE]
    if not torch.equal(superclasses[train.y], train.annotations[COARSE]):
        raise ValueError(
            "a class of CIFAR-100 has samples of two superclasses; get the published files again"
        )
    return superclasses
