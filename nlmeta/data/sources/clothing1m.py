"""Clothing1M (Xiao et al., CVPR 2015): lists of keys, and labels by key."""

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

_PUBLISHED = {"noisy_train": 1_000_000, "clean_train": 47_570, "clean_val": 14_313}
_PUBLISHED["clean_test"] = 10_526
_LISTS: tuple[str, ...] = ("category_names_eng.txt", "noisy_label_kv.txt", "clean_label_kv.txt")
_LISTS += tuple(f"{name}_key_list.txt" for name in _PUBLISHED)
_FILES = ByHand(
    below="clothing1M",
    layouts=tuple(
        (*(f"{folder}{name}" for name in _LISTS), "images") for folder in ("", "annotations/")
    ),
    how="""Request Clothing1M from its publishers, for non-commercial research only; their address
is at https://github.com/Cysu/noisy_label. Unpack images and annotations so that
{folder} holds
    images/0/ to images/9/
    category_names_eng.txt, noisy_label_kv.txt, clean_label_kv.txt
    noisy_train_key_list.txt, clean_train_key_list.txt
    clean_val_key_list.txt, clean_test_key_list.txt
The text files may lie in annotations/ instead.""",
)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False, size: int = 256) -> Source:
    """A million pictures of clothes in 14 classes, labelled by the text around them.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``clothing1M/`` in the publishers' layout. Default: that of
        `data_folder`.
    download : bool
        True is refused, since the publishers send the data on request only.
    size : int
        Side of the decoded square in pixels. Default 256.

    Returns
    -------
    Source
        Image files. ``train``: the million images of ``noisy_train_key_list.txt`` with their noisy
        labels. ``clean_train`` (47,570), ``validation`` (14,313) and ``test`` (10,526) have clean
        labels; about half of those images also have a noisy one, the annotation ``"noisy"``, which
        is -1 elsewhere. ids are the keys.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, and the message says how to get it; a list is truncated; a line is not a
        label; or listed images do not exist.
    """
    root = _FILES.get(folder, download)
    moved = (root / "annotations" / "noisy_label_kv.txt").exists()
    lists = root / "annotations" if moved else root
    class_names = tuple(read_list(lists / "category_names_eng.txt"))
    noisy = read_labelled_names(lists / "noisy_label_kv.txt", len(class_names))
    clean = read_labelled_names(lists / "clean_label_kv.txt", len(class_names))

    def part(name: str, labels: dict[str, int]) -> Part:
        path = lists / f"{name}_key_list.txt"
        keys = read_list(path)
        check_published(path, len(keys), _PUBLISHED[name], "images")
        unknown = [key for key in keys if key not in labels]
        if unknown:
            raise ValueError(
                f"{path} lists {len(unknown)} images without a label, first {unknown[0]}; get the "
                "published lists again"
            )
        annotations = {}
        if labels is clean:
            annotations["noisy"] = integers([noisy.get(key, -1) for key in keys])
        y = integers([labels[key] for key in keys])
        return Part(read_images(root, keys, path, size), y, annotations, ids=keys)

    return Source(
        name="clothing1m",
        class_names=class_names,
        train=part("noisy_train", noisy),
        clean_train=part("clean_train", clean),
        validation=part("clean_val", clean),
        test=part("clean_test", clean),
        noisy=True,
        attribution=(
            "Xiao, Xia, Yang, Huang & Wang, Learning from massive noisy labeled data for image "
            "classification, CVPR 2015; for non-commercial research and education"
        ),
    )
