"""IDX files, as for MNIST.

torchvision compares the packed download with an md5, but only checks that the unpacked files exist:
a file that was truncated while unpacking would always count as whole. Here the unpacked files are
compared each time they are read.
"""

from collections.abc import Mapping
from pathlib import Path

from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

from nlmeta.data.source import Part
from nlmeta.data.sources._files import Downloaded

__all__ = ["files_of", "parts_of"]


def files_of(kind: type[datasets.MNIST], checksums: Mapping[str, str]) -> Downloaded:
    """The four files of a dataset of torchvision; `checksums` are those of the unpacked ones."""
    below = f"{kind.__name__}/raw"
    return Downloaded(
        below="",
        checksums={f"{below}/{name}": md5 for name, md5 in checksums.items()},
        fetch=lambda fresh: kind(fresh, download=True),
        how=f"Pass `download=True` to get it through torchvision; or copy the folder {below} with "
        "its four unpacked files into {folder}.",
    )


def parts_of(files: Downloaded, folder: str | Path | None, download: bool) -> tuple[Part, Part]:
    """The training and the test part: images (n, 1, 28, 28)."""
    root = files.get(folder, download)
    images, labels, test_images, test_labels = (str(root / name) for name in files.checksums)
    return (
        Part(read_image_file(images).unsqueeze(1), read_label_file(labels)),
        Part(read_image_file(test_images).unsqueeze(1), read_label_file(test_labels)),
    )
