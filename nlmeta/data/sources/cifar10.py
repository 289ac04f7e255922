"""CIFAR-10 (Krizhevsky 2009)."""

from pathlib import Path

from torchvision import datasets

from nlmeta.data.source import Source
from nlmeta.data.sources._cifar import ATTRIBUTION, content_of, files_of

__all__ = ["missing", "read"]

_FILES = files_of(datasets.CIFAR10)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """50,000 + 10,000 colour images of 32x32 pixels in 10 classes.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``cifar-10-batches-py/``. Default: that of `data_folder`.
    download : bool
        If True, files that are missing or not whole are downloaded through torchvision. Default
        False.

    Returns
    -------
    Source
        Images (n, 3, 32, 32); ids are the publisher's file names.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or is not the published one.
    OSError
        The download failed.
    """
    root = _FILES.get(folder, download)
    train, test, names = content_of(datasets.CIFAR10, root, "labels")
    return Source(
        name="cifar10",
        class_names=tuple(names["label_names"]),
        train=train,
        test=test,
        noisy=False,
        attribution=ATTRIBUTION,
    )
