"""Batches of samples, which lie on the device or are decoded while a step is taken."""

from collections.abc import Iterable, Iterator
from itertools import repeat, tee
from typing import NamedTuple

import torch
from torch import Tensor

from nlmeta._checks import check_count
from nlmeta._host import to_device
from nlmeta._interface import Inputs, device_of, rows_of
from nlmeta.data.images import Images
from nlmeta.data.split import Samples
from nlmeta.distributed import check_divisible, share, world_size

__all__ = ["Batch", "Batches", "draw_batch", "draw_batches"]


class Batch(NamedTuple):
    """The data of one `step` of a method. It does not contain the true labels behind noisy ones.

    Attributes
    ----------
    x : Tensor of shape (n, ...), or a tuple or dict of such tensors
        Inputs. The network gets a tuple as positional arguments and a dict as keyword arguments:
        ``{"input_ids": ..., "attention_mask": ...}``. With W processes only the process's own rows,
        (n / W, ...), see `nlmeta.distributed`; labels and ids are those of the joint batch.
    y : Tensor of int64, shape (n,)
        Given labels.
    ids : Tensor of int64, shape (n,), optional
        Row numbers in the part that the batch was taken from. A method uses them to find what it
        keeps for each sample; other methods do not need them.
    """

    x: Inputs
    y: Tensor
    ids: Tensor | None = None


class Batches:
    """Batches that contain every sample once in a pass, in an order drawn anew for each pass.

    A last batch that is too small is left out of a pass; its samples are in other batches of the
    next pass. A part that is too small for one whole batch is used as it is.

    With several processes, each has its own rows of the same joint batches, provided that their
    generators are in the same state. A last batch is cut to a multiple of their number.

    Parameters
    ----------
    samples : Samples
        The samples, on any device; batches are on the same device. Images on disk are decoded ahead
        of their use.
    batch_size : int
        Number n of samples in a batch; the last batch may be smaller. It must be a multiple of the
        number of processes.
    smallest : int
        Smallest size of a last batch. Default 2, since BatchNorm has no variance over one sample.
        With W processes it is at least 2 W, for the same reason.
    generator : torch.Generator
        A generator on the CPU for the order of each pass and for the augmentation of each batch.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        smallest: int = 2,
        generator: torch.Generator,
    ) -> None:
        check_count("batch_size", batch_size)
        check_count("smallest", smallest)
        self.samples = samples
        self.batch_size = batch_size
        check_divisible("batch_size", batch_size)
        self.smallest = smallest if world_size() == 1 else max(smallest, 2 * world_size())
        self.generator = generator

    def __len__(self) -> int:
        whole, rest = divmod(_shared(len(self.samples)), self.batch_size)
        return whole + (rest >= self.smallest or (rest > 0 and whole == 0))

    def __iter__(self) -> Iterator[Batch]:
        order = _shuffled(len(self.samples), self.generator)
        yield from _take(self.samples, order.split(self.batch_size)[: len(self)], self.generator)


def draw_batch(samples: Samples, size: int | None, *, generator: torch.Generator) -> Batch:
    """A batch drawn without replacement, or all samples in their order.

    Parameters
    ----------
    samples : Samples
        The samples to draw from, for example the clean meta set.
    size : int or None
        Number of samples. With None, or a number not below the size of the set, the whole set is
        returned and nothing is drawn. With several processes the whole set is cut to a multiple of
        their number, and any other size must be such a multiple.
    generator : torch.Generator
        A generator on the CPU for the choice of samples and for their augmentation.

    Returns
    -------
    Batch
        The batch.
    """
    return next(draw_batches(samples, size, 1, generator=generator))


def draw_batches(
    samples: Samples, size: int | None, count: int, *, generator: torch.Generator
) -> Iterator[Batch]:
    """The batches of several calls of `draw_batch`, decoded ahead of their use.

    Parameters
    ----------
    samples, size, generator
        The arguments of `draw_batch`.
    count : int
        Number of batches. After the last one, the generator is in the same state as after that many
        calls.

    Returns
    -------
    iterator of Batch
        The batches.
    """
    n = _shared(len(samples))
    if size is not None and size < len(samples):
        check_count("size", size)
        check_divisible("size", size)
        rows = (_shuffled(len(samples), generator)[:size] for _ in range(count))
        return _take(samples, rows, generator)
    if isinstance(samples.x, Images):
        return _take(samples, repeat(torch.arange(n, device="cpu"), count), generator)
    ids = torch.arange(n, device=samples.y.device)
    return repeat(Batch(rows_of(samples.x, share(n)), samples.y[:n], ids), count)


def _shuffled(n: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator, device="cpu")


def _take(
    samples: Samples, batches: Iterable[Tensor], generator: torch.Generator
) -> Iterator[Batch]:
    """Batches by their rows, which lie on the CPU and may be drawn only when they are needed."""
    joint, drawn = tee(rows[: _shared(len(rows))] for rows in batches)
    for ids, x in zip(joint, _inputs(samples.x, drawn, generator), strict=True):
        there = to_device(ids, samples.y.device)
        yield Batch(x, samples.y[there], there)


def _inputs(
    x: Inputs | Images, joint: Iterable[Tensor], generator: torch.Generator
) -> Iterator[Inputs]:
    """The inputs of each joint batch that belong to this process."""
    if isinstance(x, Images):
        yield from x.batches(_own_rows_and_numbers(joint, x.num_random, generator))
    else:
        for ids in joint:
            yield rows_of(x, to_device(ids[share(len(ids))], device_of(x)))


def _own_rows_and_numbers(
    joint: Iterable[Tensor], num_random: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    for ids in joint:
        # Drawn for the joint batch, so that an image changes alike on however many processes.
        u = torch.rand(len(ids), num_random, generator=generator, device="cpu")
        yield ids[share(len(ids))], u[share(len(ids))]


def _shared(n: int) -> int:
    """The largest number of samples up to n that the processes can share evenly."""
    return n - n % world_size()
