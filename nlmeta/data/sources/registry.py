"""The table of all datasets, with one line for each.

A dataset is a module of this folder with two functions. ``read(folder=, download=, **options)``
returns a `Source`; ``missing(folder)`` names a file that is missing, without reading any. The
module is imported at its first use, since several need torchvision, which takes seconds to import.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nlmeta._checks import check_choice
from nlmeta.data._arguments import check_options, keywords
from nlmeta.data.source import Source

__all__ = ["DATASETS", "Dataset", "at_hand", "read"]


@dataclass(frozen=True)
class Dataset:
    """The module that reads a dataset, and the default sizes of `nlmeta.data.load` (ours).

    Attributes
    ----------
    module : str
        Name of the module with ``read`` and ``missing``.
    meta : int
        Number of clean samples in the meta set. Default 0.
    validation, test : int, optional
        Numbers of samples in these parts. Default: the publisher's whole part.
    balanced : bool
        Whether the meta set has the same number of samples of each class. Default True.
    """

    module: str
    meta: int = 0
    validation: int | None = None
    test: int | None = None
    balanced: bool = True

    @property
    def reader(self) -> Callable[..., Source]:
        """The function ``read`` of the module."""
        return import_module(self.module).read


#: The datasets of `nlmeta.data.load`, by name.
DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset("nlmeta.data.sources.digits", meta=100, validation=150, test=450),
    "mnist": Dataset("nlmeta.data.sources.mnist", meta=1_000, validation=5_000),
    "fashion_mnist": Dataset("nlmeta.data.sources.fashion_mnist", meta=1_000, validation=5_000),
    "cifar10": Dataset("nlmeta.data.sources.cifar10", meta=1_000, validation=5_000),
    "cifar100": Dataset("nlmeta.data.sources.cifar100", meta=1_000, validation=5_000),
    "cifar10n": Dataset("nlmeta.data.sources.cifar10n", meta=1_000, validation=5_000),
    "cifar100n": Dataset("nlmeta.data.sources.cifar100n", meta=1_000, validation=5_000),
    "clothing1m": Dataset("nlmeta.data.sources.clothing1m", meta=7_000),
    "food101n": Dataset("nlmeta.data.sources.food101n", meta=2_020),
    "animal10n": Dataset("nlmeta.data.sources.animal10n", meta=0, validation=0),
    "webvision": Dataset("nlmeta.data.sources.webvision", meta=0, validation=0),
    "twitter": Dataset("nlmeta.data.sources.twitter", meta=1_000, balanced=False),
    "sst": Dataset("nlmeta.data.sources.sst", meta=1_000),
}


def read(
    name: str, *, folder: str | Path | None = None, download: bool = False, **options: Any
) -> Source:
    """Read a dataset as published.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    folder : str or Path, optional
        Folder of the datasets. Default: that of `data_folder`.
    download : bool
        If True, missing files are downloaded if the terms of use allow it. Default False.
    **options
        Further options of the reader, such as `size` or `window`.

    Returns
    -------
    Source
        The dataset.

    Raises
    ------
    TypeError
        The reader has no such option.
    ValueError, FileNotFoundError, OSError
        Errors of the reader, for example that a file is missing or damaged.
    """
    check_choice("name", name, DATASETS)
    reader = DATASETS[name].reader
    check_options(repr(name), options, keywords(reader))
    return reader(folder=folder, download=download, **options)


def at_hand(name: str, folder: str | Path | None = None) -> str | None:
    """Name a missing file of a dataset, without reading any file.

    Only the existence of files is checked, which takes a moment. `read` also finds damaged files,
    and listed images that do not exist. Optional files, such as the test part of ``"food101n"``,
    do not count as missing.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    folder : str or Path, optional
        Folder of the datasets. Default: that of `data_folder`.

    Returns
    -------
    str or None
        None if all files that `read` needs exist, as always for ``"digits"``. Else the missing
        file, and how to get it.
    """
    check_choice("name", name, DATASETS)
    return import_module(DATASETS[name].module).missing(folder)
