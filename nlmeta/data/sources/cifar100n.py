"""CIFAR-100N (Wei et al., ICLR 2022): CIFAR-100 with labels given by people."""

from pathlib import Path

from nlmeta.data.source import Source
from nlmeta.data.sources import cifar100
from nlmeta.data.sources._cifar_n import human_labels, with_human_labels

__all__ = ["missing", "read"]

_FILES = human_labels("CIFAR-100_human.pt", "a67b45c1d7992051865b5c755bd68bb1")
_KEYS = {"noisy_fine": "noisy_label", "noisy_coarse": "noisy_coarse_label"}


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """CIFAR-100 with the label of one person for each training image.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``cifar-n/CIFAR-100_human.pt`` and ``cifar-100-python/``. Default:
        that of `data_folder`.
    download : bool
        If True, files that are missing or not whole are downloaded. Default False.

    Returns
    -------
    Source
        The dataset; ``train.y`` is CIFAR-100's own label. Annotations: ``"coarse"``, its
        superclass; ``"noisy_fine"``, the person's label (40.20 % differ); ``"noisy_coarse"``, the
        superclass of the person's label (26.40 % differ).

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged, has another content, or another order than CIFAR-100.
    OSError
        The download failed.
    """
    cifar = cifar100.read(folder=folder, download=download)
    root = _FILES.get(folder, download)
    return with_human_labels("cifar100n", cifar, _FILES, root, _KEYS, ("noisy_coarse",))


def missing(folder: str | Path | None = None) -> str | None:
    """The first missing file and how to get it; None if all files exist."""
    return cifar100.missing(folder) or _FILES.missing(folder)
