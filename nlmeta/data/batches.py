"""Batches of samples that already lie on the device."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nlmeta._checks import check_count
from nlmeta.data.split import Samples

__all__ = ["Batch", "Batches", "draw_batch"]


class Batch(NamedTuple):
    """What a method's `step` sees of the data. The truth behind a noisy label is not in it.

    Attributes
    ----------
    x : Tensor, shape (n, ...)
        Inputs.
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

    Parameters
    ----------
    samples : Samples
        On any device; batches stay there.
    batch_size : int
        n; the last batch may be smaller.
    smallest : int
        Of a last batch. Default 2, since BatchNorm has no variance over one sample.
    generator : torch.Generator
        On the CPU; draws the order of each pass.
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
        self.smallest = smallest
        self.generator = generator

    def __len__(self) -> int:
        whole, rest = divmod(len(self.samples), self.batch_size)
        return whole + (rest >= self.smallest or (rest > 0 and whole == 0))

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.samples), generator=self.generator, device="cpu")
        for ids in order.split(self.batch_size)[: len(self)]:
            yield _take(self.samples, ids)


def draw_batch(samples: Samples, size: int | None, *, generator: torch.Generator) -> Batch:
    """A batch drawn without replacement, or all samples in their order.

    Parameters
    ----------
    samples : Samples
        For example the clean meta set.
    size : int or None
        None, or a number not smaller than the set, gives the whole set and draws nothing.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Batch
    """
    if size is None or size >= len(samples):
        return Batch(samples.x, samples.y, torch.arange(len(samples), device=samples.y.device))
    check_count("size", size)
    return _take(samples, torch.randperm(len(samples), generator=generator, device="cpu")[:size])


def _take(samples: Samples, ids: Tensor) -> Batch:
    ids = ids.to(samples.y.device)
    return Batch(samples.x[ids], samples.y[ids], ids)
