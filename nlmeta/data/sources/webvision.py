"""WebVision 1.0 (Li et al., 2017), its "mini" part: Google's images of the first 50 classes."""

from pathlib import Path

from nlmeta.data.source import Part, Source
from nlmeta.data.sources._files import (
    ByHand,
    check_published,
    integers,
    read_images,
    read_labelled_names,
    read_list,
)

__all__ = ["missing", "read"]

_ALL_CLASSES, _MINI_CLASSES = 1000, 50
_PUBLISHED = {"train": 65_944, "validation": 2_500}
_LISTS = ("synsets.txt", "train_filelist_google.txt", "val_filelist.txt")
_FILES = ByHand(
    below="webvision",
    layouts=((*(f"info/{name}" for name in _LISTS), "google", "val_images_256"),),
    how="""Get info.tar, google_resized_256.tar (16 GB) and val_images_256.tar of WebVision 1.0 from
https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html and unpack them, so that
{folder} holds
    info/synsets.txt, info/train_filelist_google.txt, info/val_filelist.txt
    google/q0001/....jpg and so on
    val_images_256/....jpg""",
)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False, size: int = 256) -> Source:
    """65,944 images from Google's search for the first 50 concepts of ImageNet.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``webvision/`` in the publishers' layout. Default: that of
        `data_folder`.
    download : bool
        True is refused, since there is no automatic download.
    size : int
        Side of the decoded square in pixels. Default 256.

    Returns
    -------
    Source
        Image files. ``train`` is noisy. ``test`` is WebVision's validation part of these classes,
        2,500 clean images: the labels of its own test part are not public, and this part is
        commonly used for tests. ids are the paths in the publishers' lists.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, and the message says how to get it; a list is truncated; a line is not a
        label; or listed images do not exist.
    """
    root = _FILES.get(folder, download)
    path = root / "info" / "synsets.txt"
    synsets = [line.partition(" ") for line in read_list(path)]
    if len(synsets) != _ALL_CLASSES:
        raise ValueError(f"{path} names {len(synsets)} classes; it must name {_ALL_CLASSES}")

    def part(list_name: str, images: Path, published: int) -> Part:
        path = root / "info" / list_name
        everything = read_labelled_names(path, _ALL_CLASSES)
        mini = {name: label for name, label in everything.items() if label < _MINI_CLASSES}
        check_published(path, len(mini), published, f"images of the first {_MINI_CLASSES} classes")
        names, y = list(mini), integers(list(mini.values()))
        return Part(read_images(images, names, path, size), y, ids=names)

    return Source(
        name="webvision",
        class_names=tuple(words for _, _, words in synsets[:_MINI_CLASSES]),
        train=part("train_filelist_google.txt", root, _PUBLISHED["train"]),
        test=part("val_filelist.txt", root / "val_images_256", _PUBLISHED["validation"]),
        noisy=True,
        attribution=(
            "Li, Wang, Li, Agustsson & Van Gool, WebVision database: visual learning and "
            "understanding from web data, arXiv:1708.02862"
        ),
    )
