"""The tables that Algan & Ulusoy ship for their noise types (arXiv:2003.10471): NumPy arrays.

There are two kinds: labels, ``KIND_PERCENT_ytrain.npy``, and ``logits.npy``, from which MSLG's
released code draws its feature-dependent noise. Both are read as they are, errors included.
`nlmeta.noise` makes the noise itself.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nlmeta._checks import check_choice, check_labels
from nlmeta.data.source import data_folder
from nlmeta.data.sources._files import require

__all__ = [
    "PredictionTable",
    "ShippedLabels",
    "read_prediction_table",
    "read_shipped_labels",
]

_FOLDERS = {
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "mnist": "mnist",
    "fashion_mnist": "mnist_fashion",
}
_KINDS = ("uniform", "class-dependent", "locally-concentrated", "feature-dependent")
_PERCENTS = tuple(range(5, 90, 10))
_ADDRESS = "https://github.com/gorkemalgan/corrupting_labels_with_distillation (no licence stated)"


@dataclass(frozen=True)
class PredictionTable:
    """A network's predictions for each training image.

    Attributes
    ----------
    values : Tensor of float32, shape (N, C)
        The numbers as shipped.
    notes : tuple of str
        Notes on errors in them.
    """

    values: Tensor
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ShippedLabels:
    """Noisy labels as shipped.

    Attributes
    ----------
    y : Tensor of int64, shape (N,)
        The labels as shipped, in the order of the training images.
    rate : float
        The share that differs from the true labels.
    notes : tuple of str
        Notes on errors in them.
    """

    y: Tensor
    rate: float
    notes: tuple[str, ...]


def read_prediction_table(dataset: str, *, folder: str | Path | None = None) -> PredictionTable:
    """The predictions behind the shipped feature-dependent noise.

    All three tables went through a softmax twice. Their values lie in
    [1 / (e + C - 1), e / (e + C - 1)], for C = 10 from 0.0853 to 0.2320, so a certain prediction
    looks like an uncertain one. In float32 many rows then have equal second and third values, and
    sorting decides which class counts as "second best".

    Parameters
    ----------
    dataset : {"cifar10", "mnist", "fashion_mnist"}
        Name of the dataset. No public table of ``"cifar100"`` is known.
    folder : str or Path, optional
        The folder that holds ``algan-noise/cifar10/logits.npy`` and similar files. Default: that of
        `data_folder`.

    Returns
    -------
    PredictionTable
        The table; its notes have the range and the share of ties measured on it. A note "softmax
        twice" means that rows sum to 1 and no value lies outside those bounds.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing, truncated, or not a table.
    """
    check_choice("dataset", dataset, _FOLDERS)
    path, table = _load(dataset, "logits.npy", folder)
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind != "f":
        raise ValueError(
            f"{path} is {table.dtype} of shape {table.shape}; a table of predictions must hold "
            "floating-point numbers of shape (N, C)"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"{path} holds values that are not finite")
    return PredictionTable(torch.from_numpy(table).float(), _table_notes(table.astype(float)))


def read_shipped_labels(
    dataset: str,
    kind: str,
    percent: int,
    true_labels: Tensor,
    *,
    folder: str | Path | None = None,
) -> ShippedLabels:
    """Noisy training labels as shipped by Algan and Ulusoy.

    Parameters
    ----------
    dataset : {"cifar10", "cifar100", "mnist", "fashion_mnist"}
        Name of the dataset.
    kind : {"uniform", "class-dependent", "locally-concentrated", "feature-dependent"}
        Kind of noise.
    percent : int
        Nominal rate: 5, 15, ..., 85.
    true_labels : Tensor of int64, shape (N,)
        True labels of the publisher's whole training part, in its order.
    folder : str or Path, optional
        The folder that holds ``algan-noise/cifar10/`` and similar folders. Default: that of
        `data_folder`.

    Returns
    -------
    ShippedLabels
        The labels. A note says if the rate differs from the nominal one by more than a percentage
        point. This is so for ``"cifar100"``, ``"uniform"``: 0, 0, 19.8, 19.8, 39.6, ... %.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing, truncated, not a list of labels, or for another dataset.
    """
    check_choice("dataset", dataset, _FOLDERS)
    check_choice("kind", kind, _KINDS)
    check_choice("percent", percent, _PERCENTS)
    path, stored = _load(dataset, f"{kind}_{percent}_ytrain.npy", folder)
    if stored.dtype.kind not in "iu" or stored.shape != tuple(true_labels.shape):
        raise ValueError(
            f"{path} is {stored.dtype} of shape {stored.shape}; it must hold integers of shape "
            f"{tuple(true_labels.shape)}"
        )
    y = torch.from_numpy(stored.astype(np.int64))
    check_labels(f"labels in {path}", y, int(true_labels.max()) + 1)
    rate = float((y != true_labels.cpu()).double().mean())
    off = abs(100 * rate - percent) > 1
    note = f"{100 * rate:.2f} % of the labels in {path.name} are wrong, not {percent} %"
    return ShippedLabels(y, rate, (note,) if off else ())


def _load(dataset: str, name: str, folder: str | Path | None) -> tuple[Path, np.ndarray]:
    path = data_folder(folder) / "algan-noise" / _FOLDERS[dataset] / name
    how = (
        f"Get noisylabels/{_FOLDERS[dataset]}/ of {_ADDRESS} and put its files into "
        f"{path.parent}. It has no table logits.npy for cifar100."
    )
    try:
        return path, np.load(require(path, how), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a whole .npy file ({error}).\n{how}") from error


def _table_notes(table: np.ndarray) -> tuple[str, ...]:
    num_classes = table.shape[1]
    low, high = 1 / (math.e + num_classes - 1), math.e / (math.e + num_classes - 1)
    sums_to_one = np.abs(table.sum(1) - 1).max() < 1e-5
    within = low - 1e-6 <= table.min() and table.max() <= high + 1e-6
    notes = []
    if sums_to_one and within:
        notes.append(
            f"softmax was applied twice: all values lie between {table.min():.4f} and "
            f"{table.max():.4f}, where a softmax of probabilities has to lie"
        )
    elif not sums_to_one:
        notes.append("rows do not sum to 1: these are not probabilities")
    ranked = np.sort(table, axis=1)
    ties = (ranked[:, -2] == ranked[:, -3]).mean()
    if ties > 0:
        notes.append(f"second and third place tie exactly in {100 * ties:.1f} % of the rows")
    return tuple(notes)
