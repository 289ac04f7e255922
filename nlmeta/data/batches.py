"""Batches of samples that lie on the device, or are decoded while a step is taken."""

from collections.abc import Iterable, Iterator
from itertools import repeat, tee
from typing import NamedTuple

import torch
from torch import Tensor

from nlmeta._checks import check_count
from nlmeta._host import to_device
from nlmeta.data.images import Images
from nlmeta.data.split import Samples
from nlmeta.distributed import check_divisible, share, world_size

__all__ = ["Batch", "Batches", "draw_batch", "draw_batches"]


class Batch(NamedTuple):
    """What a method's `step` sees of the data. The truth behind a noisy label is not in it.

    Attributes
    ----------
    x : Tensor, shape (n, ...)
        Inputs. With W processes the own rows alone, (n / W, ...), see `nlmeta.distributed`; labels
        and ids are those of the joint batch.
    y : Tensor of int64, shape (n,)
        Given labels.
    ids : Tensor of int64, shape (n,), optional
        Rows of the part the batch was taken from, whatever its order: the address of anything that
        a method keeps for each sample. Methods that keep nothing there do without.
    """

    x: Tensor
    y: Tensor
    ids: Tensor | None = None


class Batches:
    """Every sample once a pass, in an order drawn anew.

    A last batch that is too small is left out of a pass; its samples are in other batches of the
    next pass. A part too small for a single whole batch comes as it is.

    With several processes each gets its own rows of the same joint batches, if their generators are
    alike, and a last batch is cut to a multiple of their number.

    Parameters
    ----------
    samples : Samples
        On any device; batches come out there. Images on disk are decoded ahead of their use.
    batch_size : int
        n; the last batch may be smaller. A multiple of the number of processes.
    smallest : int
        Of a last batch. Default 2, since BatchNorm has no variance over one sample. With W
        processes at least 2 W, for the same reason.
    generator : torch.Generator
        On the CPU; draws the order of each pass, then the numbers that augment each batch.
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
        For example the clean meta set.
    size : int or None
        None, or a number not smaller than the set, gives the whole set and draws nothing. With
        several processes the whole set is cut to a multiple of their number, and another size must
        be one.
    generator : torch.Generator
        On the CPU; draws the samples, then the numbers that augment them.

    Returns
    -------
    Batch
    """
    return next(draw_batches(samples, size, 1, generator=generator))


def draw_batches(
    samples: Samples, size: int | None, count: int, *, generator: torch.Generator
) -> Iterator[Batch]:
    """Batches as `draw_batch` gives one after the other, decoded ahead of their use.

    Parameters
    ----------
    samples, size, generator
        As in `draw_batch`.
    count : int
        How many. After the last one the generator stands where that many calls would leave it.

    Returns
    -------
    iterator of Batch
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
    return repeat(Batch(samples.x[share(n)], samples.y[:n], ids), count)


def _shuffled(n: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator, device="cpu")


def _take(
    samples: Samples, batches: Iterable[Tensor], generator: torch.Generator
) -> Iterator[Batch]:
    """Batches by their rows, which lie on the CPU and may be drawn only when they are wanted."""
    joint, drawn = tee(rows[: _shared(len(rows))] for rows in batches)
    for ids, x in zip(joint, _inputs(samples.x, drawn, generator), strict=True):
        there = to_device(ids, samples.y.device)
        yield Batch(x, samples.y[there], there)


def _inputs(
    x: Tensor | Images, joint: Iterable[Tensor], generator: torch.Generator
) -> Iterator[Tensor]:
    """Of each joint batch the inputs that belong to this process."""
    if isinstance(x, Tensor):
        for ids in joint:
            yield x[to_device(ids[share(len(ids))], x.device)]
    else:
        yield from x.batches(_own_rows_and_numbers(joint, x.num_random, generator))


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
