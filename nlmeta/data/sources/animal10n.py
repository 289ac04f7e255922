"""ANIMAL-10N (Song, Kim & Lee, ICML 2019): binary records, or images with the label in the name."""

from pathlib import Path

import numpy as np
import torch

from nlmeta.data.images import ImageFiles
from nlmeta.data.source import Part, Source
from nlmeta.data.sources._files import ByHand, check_published, integers

__all__ = ["missing", "read"]

_CLASS_NAMES: tuple[str, ...] = ("cat", "lynx", "wolf", "coyote", "cheetah", "jaguar")
_CLASS_NAMES += ("chimpanzee", "orangutan", "hamster", "guinea pig")
_PUBLISHED = {"train": 50_000, "test": 5_000}
_SIDE = 64
_RECORD = np.dtype([("id", ">u4"), ("label", ">u4"), ("pixels", "u1", (3, _SIDE, _SIDE))])
_FILES = ByHand(
    below="animal-10n",
    layouts=(("data_batch_*.bin", "test_batch.bin"), ("training", "testing")),
    how="""Request ANIMAL-10N at https://dm.kaist.ac.kr/datasets/animal-10n/. Unpack one of its two
versions into {folder}, which then holds either
    data_batch_1.bin (and further ones, if there are any) and test_batch.bin
or  training/LABEL_....jpg and testing/LABEL_....jpg, LABEL from 0 to 9""",
)
missing = _FILES.missing


def read(*, folder: str | Path | None = None, download: bool = False) -> Source:
    """50,000 + 5,000 pictures of ten animals, 64x64 pixels, five pairs that are easily confused.

    If both versions exist, the binary one is read. The image version is sorted by file name, so
    that the rows are the same on every machine.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``animal-10n/`` in one of the publishers' layouts. Default: that of
        `data_folder`.
    download : bool
        True is refused, since the publishers send the data on request only.

    Returns
    -------
    Source
        Images (n, 3, 64, 64) in memory. Training labels are noisy, by 8 % as the publishers
        estimate; the test part is clean. ids are the publisher's numbers or file names.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, and the message says how to get it; a file is truncated; a record or a
        name has no label from 0 to 9; or images do not decode.
    """
    root = _FILES.get(folder, download)
    batches = sorted(root.glob("data_batch_*.bin"))
    if batches and (root / "test_batch.bin").exists():
        train, test = _read_records(batches), _read_records([root / "test_batch.bin"])
    else:
        train, test = _read_images(root / "training"), _read_images(root / "testing")
    for name, part in (("train", train), ("test", test)):
        check_published(root, len(part), _PUBLISHED[name], f"images to {name}")
    return Source(
        name="animal10n",
        class_names=_CLASS_NAMES,
        train=train,
        test=test,
        noisy=True,
        attribution=(
            "Song, Kim & Lee, SELFIE: refurbishing unclean samples for robust deep learning, "
            "ICML 2019"
        ),
    )


def _read_records(paths: list[Path]) -> Part:
    """Records of 4 bytes id and 4 bytes label, both with the highest byte first, then pixels."""
    for path in paths:
        if path.stat().st_size % _RECORD.itemsize:
            raise ValueError(
                f"{path} has {path.stat().st_size} bytes, which is not a multiple of the "
                f"{_RECORD.itemsize} of a record; it is truncated. Get it again"
            )
    records = np.concatenate([np.fromfile(path, dtype=_RECORD) for path in paths])
    labels = records["label"].astype(np.int64)
    wrong = np.flatnonzero(labels >= len(_CLASS_NAMES))
    if len(wrong):
        raise ValueError(
            f"record {wrong[0]} of {paths[0].parent} has label {labels[wrong[0]]}; labels must lie "
            f"in 0 to {len(_CLASS_NAMES) - 1}"
        )
    return Part(
        x=torch.from_numpy(np.ascontiguousarray(records["pixels"])),
        y=torch.from_numpy(labels),
        ids=tuple(str(number) for number in records["id"]),
    )


def _read_images(folder: Path) -> Part:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    for name in names:
        if name[:1] not in "0123456789" or name[1:2] != "_":
            raise ValueError(f"{folder / name} does not begin with a label from 0 to 9 and _")
    y = integers([int(name[0]) for name in names])
    return Part(ImageFiles(folder, names, size=_SIDE)[:], y, ids=names)
