"""The pickles of the Python version of CIFAR.

Names, addresses and md5 of the files are torchvision's. A pickle can run code when it is loaded, so
only files with the published md5 are loaded.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from nlmeta.data.source import Part
from nlmeta.data.sources._files import Downloaded

__all__ = ["ATTRIBUTION", "content_of", "files_of"]

ATTRIBUTION = (
    "Krizhevsky, Learning multiple layers of features from tiny images, 2009; "
    "https://www.cs.toronto.edu/~kriz/cifar.html"
)


def files_of(kind: type[datasets.CIFAR10]) -> Downloaded:
    """The files of a dataset of torchvision."""
    files = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    return Downloaded(
        below="",
        checksums={f"{kind.base_folder}/{name}": md5 for name, md5 in files},
        fetch=lambda fresh: kind(fresh, download=True),
        how=f"Pass `download=True` to get it through torchvision; or unpack {kind.filename} of "
        "https://www.cs.toronto.edu/~kriz/cifar.html into {folder}, "
        f"which then holds {kind.base_folder}/.",
    )


def content_of(
    kind: type[datasets.CIFAR10], root: Path, labels: str, **annotations: str
) -> tuple[Part, Part, dict[str, Any]]:
    """The content of the files: the training part, the test part, the names of classes.

    Parameters
    ----------
    kind : class
        A dataset of torchvision.
    root : Path
        The folder of the files from `files_of`.
    labels : str
        Name of the labels in the files.
    **annotations
        Names of the annotations in the files, by our names.
    """

    def load(name: str) -> dict[str, Any]:
        with (root / kind.base_folder / name).open("rb") as file:
            return pickle.load(file, encoding="latin1")

    def part(files: list[list[str]]) -> Part:
        batches = [load(name) for name, _ in files]

        def column(key: str) -> Tensor:
            arrays = [np.array(batch[key], np.int64) for batch in batches]
            return torch.from_numpy(np.concatenate(arrays))

        pixels = np.concatenate([batch["data"] for batch in batches])
        return Part(
            x=torch.from_numpy(pixels).reshape(-1, 3, 32, 32),
            y=column(labels),
            annotations={name: column(key) for name, key in annotations.items()},
            ids=tuple(name for batch in batches for name in batch["filenames"]),
        )

    return part(kind.train_list), part(kind.test_list), load(kind.meta["filename"])
