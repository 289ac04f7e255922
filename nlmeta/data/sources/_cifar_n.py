"""Labels that people gave (Wei et al., ICLR 2022), as CIFAR-10N and CIFAR-100N hold them.

The publishers' ``.pt`` files hold NumPy arrays, so `torch.load` refuses them unless those few types
are listed as safe. They are listed here, and no file is loaded with permission to run code. The
labels are in the order of the Python version of CIFAR, which is checked against its labels; the
TensorFlow version has another order.
"""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals
from torchvision.datasets.utils import download_url

from nlmeta._checks import check_labels
from nlmeta.data.source import Source
from nlmeta.data.sources._files import Downloaded

__all__ = ["human_labels", "with_human_labels"]

_ADDRESS = "https://raw.githubusercontent.com/UCSC-REAL/cifar-10-100n/main/data"
_ATTRIBUTION = (
    "Wei, Zhu, Cheng, Liu, Niu & Liu, Learning with noisy labels revisited: a study using "
    "real-world human annotations, ICLR 2022; http://noisylabels.com; CC BY-NC 4.0"
)


def human_labels(file: str, md5: str) -> Downloaded:
    """The file of labels, without the images."""
    return Downloaded(
        below="cifar-n",
        checksums={file: md5},
        fetch=lambda fresh: download_url(f"{_ADDRESS}/{file}", fresh),
        how=f"Get data/{file} of https://github.com/UCSC-REAL/cifar-10-100n (CC BY-NC 4.0: not for "
        "commercial use) and put it into {folder}; or pass `download=True`.",
    )


def with_human_labels(
    name: str,
    cifar: Source,
    files: Downloaded,
    root: Path,
    keys: Mapping[str, str],
    superclass_annotations: tuple[str, ...] = (),
) -> Source:
    """CIFAR with labels given by people as annotations.

    Parameters
    ----------
    name : str
        Name of the dataset.
    cifar : Source
        The images, with CIFAR's own labels.
    files : Downloaded
        The file of labels from `human_labels`.
    root : Path
        Folder of that file.
    keys : mapping of str to str
        The publisher's name of each set of labels, by our name.
    superclass_annotations : tuple of str
        Our names of the sets whose labels are superclasses.
    """
    (path,) = (root / file for file in files.checksums)
    human = _load(path, ("clean_label", *keys.values()), files.how.format(folder=root))
    _check_order(path, human["clean_label"], cifar.train.y)
    annotations = {**cifar.train.annotations}
    for annotation, key in keys.items():
        coarse = annotation in superclass_annotations
        num_classes = len(cifar.superclass_names) if coarse else cifar.num_classes
        check_labels(f"{key} in {path}", human[key], num_classes)
        annotations[annotation] = human[key]
    return replace(
        cifar,
        name=name,
        train=replace(cifar.train, annotations=annotations),
        attribution=f"{_ATTRIBUTION}. Images: {cifar.attribution}",
        human_annotations=tuple(keys),
        superclass_annotations=superclass_annotations,
    )


def _load(path: Path, keys: tuple[str, ...], how: str) -> dict[str, Tensor]:
    """The labels of a ``.pt`` file, which may only hold NumPy arrays and plain lists."""
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
        raise ValueError(
            f"{path} has labels of {len(clean)} images; it must have {len(y)}, like CIFAR's "
            "training part"
        )
    differing = int((clean != y).sum())
    if differing:
        raise ValueError(
            f"{path} is in another order than the training images: its clean labels differ from "
            f"CIFAR's at {differing} of {len(y)} positions, first at "
            f"{int((clean != y).nonzero()[0])}. Get the files in the order of the Python version, "
            "not in TensorFlow's"
        )
