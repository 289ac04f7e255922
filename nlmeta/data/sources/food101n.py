"""Food-101N (Lee et al., CVPR 2018) and the test part of Food-101 (Bossard et al., ECCV 2014)."""

from pathlib import Path

from torch import Tensor

from nlmeta.data.source import VERIFIED, Part, Source
from nlmeta.data.sources._files import (
    ByHand,
    check_published,
    integers,
    read_images,
    read_list,
    require,
)

__all__ = ["missing", "read"]

_CLASSES = 101
_PUBLISHED = {"imagelist": 310_009, "verified_train": 52_868, "verified_val": 4_741}
_PUBLISHED["test"] = 25_250
_LISTS = ("classes.txt", "imagelist.tsv", "verified_train.tsv", "verified_val.tsv")
_FILES = ByHand(
    below="",
    layouts=((*(f"Food-101N_release/meta/{name}" for name in _LISTS), "Food-101N_release/images"),),
    how="""Get Food-101N_release.zip from https://kuanghuei.github.io/Food-101N/ and unpack it, so
that {folder} holds
    Food-101N_release/images/CLASS/....jpg
    Food-101N_release/meta/classes.txt, imagelist.tsv, verified_train.tsv, verified_val.tsv
For a clean test part put Food-101 beside it, which torchvision.datasets.Food101 downloads:
    food-101/images/CLASS/....jpg
    food-101/meta/test.txt""",
)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False, size: int = 256) -> Source:
    """310,009 pictures of food in 101 classes, labelled by the search words.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``Food-101N_release/``, and ``food-101/`` for the test part. Default:
        that of `data_folder`.
    download : bool
        True is refused, since there is no automatic download.
    size : int
        Side of the decoded square in pixels. Default 256.

    Returns
    -------
    Source
        Image files. The label is the class that was searched for. The annotation ``"verified"`` is
        1 if a person has confirmed the label, 0 if a person has rejected it, and -1 if it was not
        checked. ``validation`` has the images of ``verified_val.tsv``, ``train`` all other images
        of ``imagelist.tsv``, which are partly verified by ``verified_train.tsv``. ``test`` is the
        clean test part of Food-101, on which the publishers evaluate; None without Food-101. ids
        are the publisher's keys, ``CLASS/FILE``.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, and the message says how to get it; a list is truncated; a line is wrong;
        or listed images do not exist.
    """
    root = _FILES.get(folder, download)
    release = root / "Food-101N_release"
    meta = release / "meta"
    class_names = _class_names(meta / "classes.txt")
    classes = {name: label for label, name in enumerate(class_names)}

    imagelist = meta / "imagelist.tsv"
    keys = _rows(imagelist)
    check_published(imagelist, len(keys), _PUBLISHED["imagelist"], "images")
    verified = {name: _verified(meta / f"{name}.tsv") for name in _PUBLISHED if "_" in name}
    listed = set(keys)
    notes = []
    for name, verdicts in verified.items():
        unlisted = [key for key in verdicts if key not in listed]
        check_published(meta / f"{name}.tsv", len(verdicts), _PUBLISHED[name], "verified images")
        if len(unlisted) > 0.001 * len(verdicts):
            raise ValueError(
                f"{meta / name}.tsv names {len(unlisted)} images that {imagelist} does not, "
                f"first {unlisted[0]}"
            )
        if unlisted:
            notes.append(
                f"{name}.tsv names {len(unlisted)} images that imagelist.tsv does not; their "
                f"verdicts are left out: {', '.join(unlisted[:3])}"
            )

    def part(keys: list[str], listed_in: Path, verdicts: dict[str, int]) -> Part:
        return Part(
            x=read_images(release / "images", keys, listed_in, size),
            y=_labels(keys, classes, listed_in),
            annotations={VERIFIED: integers([verdicts.get(key, -1) for key in keys])},
            ids=keys,
        )

    held_out = verified["verified_val"]
    train = [key for key in keys if key not in held_out]
    validation = [key for key in keys if key in held_out]
    test = _food101_test(root, classes, size)
    if test is None:
        notes.append(f"no test part: Food-101 is not in {root / 'food-101'}")
    return Source(
        name="food101n",
        class_names=class_names,
        train=part(train, imagelist, verified["verified_train"]),
        validation=part(validation, meta / "verified_val.tsv", held_out),
        test=test,
        noisy=True,
        attribution=(
            "Lee, He, Zhang & Yang, CleanNet: transfer learning for scalable image classifier "
            "training with label noise, CVPR 2018; test part: Bossard, Guillaumin & Van Gool, "
            "Food-101: mining discriminative components with random forests, ECCV 2014"
        ),
        notes=tuple(notes),
    )


def _class_names(path: Path) -> tuple[str, ...]:
    names = tuple(line for line in read_list(path) if line != "class_name")
    if len(names) != _CLASSES or len(set(names)) != _CLASSES:
        raise ValueError(f"{path} names {len(set(names))} classes; it must name {_CLASSES}")
    return names


def _rows(path: Path) -> list[str]:
    """The lines after the heading, which begins with ``class_name``."""
    return [line for line in read_list(path) if not line.startswith("class_name")]


def _verified(path: Path) -> dict[str, int]:
    verdicts = {}
    for row in _rows(path):
        key, _, verdict = row.partition("\t")
        if verdict.strip() not in ("0", "1"):
            raise ValueError(f"{path}: {row!r} is not a key and, after a tab, 0 or 1")
        verdicts[key] = int(verdict)
    return verdicts


def _food101_test(root: Path, classes: dict[str, int], size: int) -> Part | None:
    folder = root / "food-101"
    if not folder.exists():
        return None
    path = require(folder / "meta" / "test.txt", _FILES.how.format(folder=root))
    keys = read_list(path)
    check_published(path, len(keys), _PUBLISHED["test"], "images")
    files = read_images(folder / "images", [f"{key}.jpg" for key in keys], path, size)
    return Part(files, _labels(keys, classes, path), ids=keys)


def _labels(keys: list[str], classes: dict[str, int], path: Path) -> Tensor:
    for key in keys:
        if key.partition("/")[0] not in classes:
            raise ValueError(f"{path}: the class of {key} is not in classes.txt")
    return integers([classes[key.partition("/")[0]] for key in keys])
