"""CIFAR-10N and CIFAR-100N (Wei et al., ICLR 2022): what people on a work platform saw.

The publishers' ``.pt`` files hold NumPy arrays, so `torch.load` refuses them unless those few types
are named as safe. They are; no file is ever loaded with leave to run code. The labels are in the
order of the Python version of CIFAR, which is checked against its labels; the TensorFlow version
has another order.
"""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals
from torchvision.datasets.utils import download_url

from nlmeta._checks import check_labels
from nlmeta.data.source import Source, data_folder
from nlmeta.data.sources._files import check_whole, download
from nlmeta.data.sources.cifar import read_cifar10, read_cifar100

__all__ = ["read_cifar10n", "read_cifar100n"]

_ADDRESS = "https://raw.githubusercontent.com/UCSC-REAL/cifar-10-100n/main/data"
_CIFAR10N = {"CIFAR-10_human.pt": "96644db5574813cae939af5f7f2a0aec"}
_CIFAR100N = {"CIFAR-100_human.pt": "a67b45c1d7992051865b5c755bd68bb1"}
_ATTRIBUTION = (
    "Wei, Zhu, Cheng, Liu, Niu & Liu, Learning with noisy labels revisited: a study using "
    "real-world human annotations, ICLR 2022; http://noisylabels.com; CC BY-NC 4.0"
)


def read_cifar10n(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """CIFAR-10 with the labels of three people for each training image.

    Parameters
    ----------
    folder : str or Path, optional
        Holds ``cifar-n/CIFAR-10_human.pt`` and ``cifar-10-batches-py/``. Default: see
        `data_folder`.
    download : bool
        True: get what is not there or not whole. Default False.

    Returns
    -------
    Source
        ``train.y`` is CIFAR-10's own label. Annotations: ``"random1"`` to ``"random3"``, one person
        each (17.23, 18.12, 17.64 % differ from CIFAR-10's); ``"aggregate"``, their majority
        (9.01 %); ``"worst"``, a wrong one where there is any (40.21 %).

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged, of other contents, or in another order than CIFAR-10.
    OSError
        The download broke off.
    """
    keys = {
        "aggregate": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worst": "worse_label",
    }
    cifar = read_cifar10(folder=folder, download=download)
    return _with_human_labels("cifar10n", cifar, _CIFAR10N, keys, folder, download)


def read_cifar100n(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """CIFAR-100 with the label of one person for each training image.

    Parameters
    ----------
    folder : str or Path, optional
        Holds ``cifar-n/CIFAR-100_human.pt`` and ``cifar-100-python/``. Default: see `data_folder`.
    download : bool
        True: get what is not there or not whole. Default False.

    Returns
    -------
    Source
        ``train.y`` is CIFAR-100's own label. Annotations: ``"coarse"``, its superclass;
        ``"noisy_fine"``, the person's label (40.20 % differ); ``"noisy_coarse"``, the superclass of
        that (26.40 % differ).

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged, of other contents, or in another order than CIFAR-100.
    OSError
        The download broke off.
    """
    keys = {"noisy_fine": "noisy_label", "noisy_coarse": "noisy_coarse_label"}
    cifar = read_cifar100(folder=folder, download=download)
    return _with_human_labels("cifar100n", cifar, _CIFAR100N, keys, folder, download)


def _with_human_labels(
    name: str,
    cifar: Source,
    checksums: dict[str, str],
    keys: dict[str, str],
    folder: str | Path | None,
    wants_download: bool,
) -> Source:
    (file,) = checksums
    path = data_folder(folder) / "cifar-n" / file
    how = (
        f"Get data/{file} of https://github.com/UCSC-REAL/cifar-10-100n (CC BY-NC 4.0: not for "
        f"commercial use) and put it into {path.parent}; `download=True` does both."
    )
    if wants_download:
        download(
            path.parent, checksums, lambda fresh: download_url(f"{_ADDRESS}/{file}", fresh), how
        )
    check_whole(path.parent, checksums, how)
    human = _load(path, ("clean_label", *keys.values()), how)
    _check_order(path, human["clean_label"], cifar.train.y)
    annotations = {**cifar.train.annotations}
    for annotation, key in keys.items():
        coarse = annotation == "noisy_coarse"
        num_classes = len(cifar.superclass_names) if coarse else cifar.num_classes
        check_labels(f"{key} in {path}", human[key], num_classes)
        annotations[annotation] = human[key]
    return replace(
        cifar,
        name=name,
        train=replace(cifar.train, annotations=annotations),
        attribution=f"{_ATTRIBUTION}. Images: {cifar.attribution}",
    )


def _load(path: Path, keys: tuple[str, ...], how: str) -> dict[str, Tensor]:
    """The labels of a ``.pt`` file, which may hold nothing but NumPy arrays and plain lists."""
    # What NumPy calls to make an array and a scalar anew; older versions had other names for them.
    array, scalar = np.empty(0).__reduce__()[0], np.int64(0).__reduce__()[0]
    allowed: list[Any] = [np.dtype, np.ndarray, np.dtypes.Int64DType, array, scalar]
    allowed += [(array, "numpy.core.multiarray._reconstruct")]
    allowed += [(scalar, "numpy.core.multiarray.scalar")]
    try:
        with safe_globals(allowed):
            stored = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} does not load ({error}).\n{how}") from error
    found = sorted(stored) if isinstance(stored, dict) else type(stored).__name__
    if not isinstance(stored, dict) or not set(keys) <= set(stored):
        raise ValueError(f"{path} holds {found}; it should hold {sorted(keys)}.\n{how}")
    return {key: torch.from_numpy(np.asarray(stored[key], dtype=np.int64)) for key in keys}


def _check_order(path: Path, clean: Tensor, y: Tensor) -> None:
    if len(clean) != len(y):
        raise ValueError(f"{path} has labels of {len(clean)} images; CIFAR trains on {len(y)}")
    differing = int((clean != y).sum())
    if differing:
        raise ValueError(
            f"{path} is in another order than the training images: its clean labels differ from "
            f"CIFAR's at {differing} of {len(y)} positions, first at "
            f"{int((clean != y).nonzero()[0])}. Files in TensorFlow's order do not fit here"
        )
