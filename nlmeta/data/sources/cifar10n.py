"""CIFAR-10N (Wei et al., ICLR 2022): CIFAR-10 with labels given by people."""

from pathlib import Path

from nlmeta.data.source import Source
from nlmeta.data.sources import cifar10
from nlmeta.data.sources._cifar_n import human_labels, with_human_labels

__all__ = ["missing", "read"]

_FILES = human_labels("CIFAR-10_human.pt", "96644db5574813cae939af5f7f2a0aec")
_KEYS = {
    "aggregate": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worst": "worse_label",
}


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """CIFAR-10 with the labels of three people for each training image.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``cifar-n/CIFAR-10_human.pt`` and ``cifar-10-batches-py/``. Default:
        that of `data_folder`.
    download : bool
        If True, files that are missing or not whole are downloaded. Default False.

    Returns
    -------
    Source
        The dataset; ``train.y`` is CIFAR-10's own label. Annotations: ``"random1"`` to
        ``"random3"``, the labels of one person each (17.23, 18.12, 17.64 % differ from CIFAR-10's);
        ``"aggregate"``, their majority (9.01 %); ``"worst"``, a wrong one if there is any
        (40.21 %).

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged, has another content, or another order than CIFAR-10.
    OSError
        The download failed.
    """
    cifar = cifar10.read(folder=folder, download=download)
    root = _FILES.get(folder, download)
    return with_human_labels("cifar10n", cifar, _FILES, root, _KEYS)


def missing(folder: str | Path | None = None) -> str | None:
    """The first missing file and how to get it; None if all files exist."""
    return cifar10.missing(folder) or _FILES.missing(folder)
