"""What it costs to make a batch ready, beside the training step that waits for it.

Images lie on the device as bytes; taking, augmenting and standardising a batch must cost little
beside any training step. Image files are decoded ahead by threads; there the number of images a
second says how fast a network may be before it waits.
"""

import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from nlmeta import seeding
from nlmeta.data import Augmentation, Batches, ImageFiles, Images, Samples
from nlmeta.data.augmentation import Compose, RandAugment, RandomCrop, RandomFlip
from nlmeta.experiments.cost.clocks import Row, dtype_of, row, seconds_of, wait_for

__all__ = ["AUGMENTATIONS", "measure_batches", "measure_decoding"]

#: What a batch from memory goes through, by the name of its row.
AUGMENTATIONS: Mapping[str, Augmentation | None] = {
    "as they are": None,
    "crop and flip": Compose([RandomCrop(padding=4), RandomFlip()]),
    "crop, flip, RandAugment": Compose([RandomCrop(padding=4), RandomFlip(), RandAugment()]),
}


def measure_batches(
    model: nn.Module,
    step_seconds: float,
    *,
    num_images: int = 10_000,
    side: int = 32,
    batch: int = 64,
    rounds: int = 50,
    seed: int,
) -> list[Row]:
    """Seconds for a batch of images that lie on the device as bytes.

    Parameters
    ----------
    model : nn.Module
        A network; the batches come out on its device, in its floating-point type.
    step_seconds : float
        Seconds of a step of cross-entropy on such a batch, by the same clock.
    num_images, side : int
        Images in memory, and their side in pixels. Defaults 10,000 and 32.
    batch : int
        Images in a batch. Default 64.
    rounds : int
        Number of batches that are timed. Default 50.
    seed : int
        Seed of images, order and augmentation.

    Returns
    -------
    list of dict
        Rows as from `measure`, one for each of `AUGMENTATIONS`; ``seconds`` is the best round.
        ``memory_bytes`` is what the images occupy, for good; it has no ratio.
    """
    like = next(model.parameters())
    g = seeding.generator(seed, "throughput")
    stored = torch.randint(0, 256, (num_images, 3, side, side), generator=g, dtype=torch.uint8)
    scale = torch.full((3,), 127.5)
    y = torch.zeros(num_images, dtype=torch.int64)
    rows = []
    for mode, augmentation in AUGMENTATIONS.items():
        images = Images(stored, mean=scale, deviation=scale, augmentation=augmentation)
        samples = Samples(images, y).to(like.device, like.dtype)
        batches = iter(Batches(samples, batch, generator=g))
        next(batches)  # warms up
        count = min(rounds, num_images // batch - 1)
        seconds = [seconds_of(partial(next, batches), like.device) for _ in range(count)]
        own: Row = {"plain": step_seconds, "memory": stored.nbytes, "batch": batch}
        rows.append(row("batch", mode, seconds, **own, dtype=dtype_of(model)))
    return rows


def measure_decoding(
    model: nn.Module,
    *,
    num_images: int = 256,
    side: int = 256,
    crop: int = 224,
    batch: int = 64,
    folder: Path | None = None,
    seed: int,
) -> Row:
    """Seconds for a batch of image files that are decoded ahead, when nothing else is done.

    Parameters
    ----------
    model : nn.Module
        A network; the batches come out on its device.
    num_images, side, crop : int
        Number of JPEG files, their side and that of the random crop in pixels. Defaults 256, 256
        and 224.
    batch : int
        Images in a batch. Default 64.
    folder : Path, optional
        The folder in which the files lie for the while. Default: the system's for such files.
    seed : int
        Seed of pictures, order and crops.

    Returns
    -------
    dict
        A row as from `measure`, timed by the clock on the wall; it has no ratios.
    """
    like = next(model.parameters())
    g = seeding.generator(seed, "decoding")
    scale = torch.full((3,), 127.5)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        names = [f"{i}.jpg" for i in range(num_images)]
        for name in names:  # smooth, as photographs are; noise would be slower to decode
            small = torch.randint(0, 256, (8, 8, 3), generator=g, dtype=torch.uint8)
            picture = Image.fromarray(small.numpy()).resize((side, side), Image.Resampling.BICUBIC)
            picture.save(Path(place) / name, quality=90)
        files, cut = ImageFiles(Path(place), names, size=side), RandomCrop(size=crop)
        augmentation = Compose([cut, RandomFlip()])
        images = Images(files, mean=scale, deviation=scale, augmentation=augmentation)
        samples = Samples(images, torch.zeros(num_images, dtype=torch.int64))
        batches = Batches(samples.to(like.device, like.dtype), batch, generator=g)
        start = time.perf_counter()
        count = sum(1 for _ in batches)
        wait_for(like.device)
        seconds = (time.perf_counter() - start) / count
    mode = f"files of {side}x{side}, decoded ahead"
    own: Row = {"plain": None, "memory": 0, "batch": batch, "dtype": dtype_of(model)}
    return row("batch", mode, [seconds] * count, **own)
