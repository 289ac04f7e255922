"""Readers of datasets in the formats that their publishers ship, one module for each format.

``read(name)`` is the one way in. What is missing is an error that says what to get, from whom and
where to put it; nothing is downloaded unasked, and nothing replaced by something else.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nlmeta._checks import check_choice
from nlmeta.data._arguments import check_options, keywords
from nlmeta.data.images import ImageFiles
from nlmeta.data.source import Part, Source, data_folder
from nlmeta.data.sources.animal10n import read_animal10n
from nlmeta.data.sources.cifar import read_cifar10, read_cifar100
from nlmeta.data.sources.cifar_n import read_cifar10n, read_cifar100n
from nlmeta.data.sources.clothing1m import read_clothing1m
from nlmeta.data.sources.feature_noise import (
    PredictionTable,
    ShippedLabels,
    read_prediction_table,
    read_shipped_labels,
)
from nlmeta.data.sources.food101n import read_food101n
from nlmeta.data.sources.mnist import read_fashion_mnist, read_mnist
from nlmeta.data.sources.twitter import TextSource, read_twitter
from nlmeta.data.sources.webvision import read_webvision

__all__ = [
    "READERS",
    "ImageFiles",
    "Part",
    "PredictionTable",
    "ShippedLabels",
    "Source",
    "TextSource",
    "data_folder",
    "read",
    "read_animal10n",
    "read_cifar10",
    "read_cifar10n",
    "read_cifar100",
    "read_cifar100n",
    "read_clothing1m",
    "read_fashion_mnist",
    "read_food101n",
    "read_mnist",
    "read_prediction_table",
    "read_shipped_labels",
    "read_twitter",
    "read_webvision",
]

#: The reader of each dataset, by name.
READERS: Mapping[str, Callable[..., Source]] = {
    "mnist": read_mnist,
    "fashion_mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "cifar10n": read_cifar10n,
    "cifar100n": read_cifar100n,
    "clothing1m": read_clothing1m,
    "food101n": read_food101n,
    "animal10n": read_animal10n,
    "webvision": read_webvision,
    "twitter": read_twitter,
}


def read(
    name: str, *, folder: str | Path | None = None, download: bool = False, **options: Any
) -> Source:
    """Read a dataset as its publisher gives it.

    Parameters
    ----------
    name : str
        One of `READERS`.
    folder : str or Path, optional
        Where the datasets lie. Default: see `data_folder`.
    download : bool
        True: get what is not there, where the terms of use allow it. Default False.
    **options
        Of the one reader, such as `size` or `window`.

    Returns
    -------
    Source

    Raises
    ------
    TypeError
        The reader has no such option.
    ValueError, FileNotFoundError, OSError
        See the reader.
    """
    check_choice("name", name, READERS)
    check_options(repr(name), options, keywords(READERS[name]))
    return READERS[name](folder=folder, download=download, **options)
