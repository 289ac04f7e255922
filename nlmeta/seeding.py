"""Streams of random numbers with names: one seed gives an independent stream for each purpose.

The split of a dataset, its label noise, a network's initial weights and the order of the batches
each have a stream of their own. So changing the noise rate leaves the split as it was, and longer
training does not change the labels. PyTorch's global generator is not changed.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from nlmeta._checks import check_seed

__all__ = ["generator", "random_state", "seeded", "set_random_state"]


def _stream(seed: int, purpose: str) -> int:
    """A 63-bit seed that mixes `seed` with the name of the purpose, the same on every machine."""
    check_seed("seed", seed)
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose.

    Parameters
    ----------
    seed : int
        The seed, not negative. The same seed and purpose give the same numbers on every machine.
    purpose : str
        Name of the stream, for example ``"noise"``. Streams of different names are independent.

    Returns
    -------
    torch.Generator
        A generator on the CPU.
    """
    return torch.Generator().manual_seed(_stream(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch's global generator inside the block and restore its old state afterwards.

    It is for code that has no argument for a generator: the initialisation of layers, and dropout.

    Parameters
    ----------
    seed : int
        The seed, not negative.
    purpose : str
        Name of the stream, as in `generator`.
    device : torch.device, optional
        A CUDA device whose global generator is seeded and restored as well. Default: only the
        CPU's.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        stream = _stream(seed, purpose)
        # Not `torch.manual_seed`: that would also move the generators of devices nobody named.
        torch.default_generator.manual_seed(stream)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(stream)
        yield


def random_state(device: torch.device) -> tuple[Tensor, ...]:
    """The state of PyTorch's global generators: the CPU's, and that of a device.

    While a CUDA graph is recorded, the state of the GPU cannot be read and is left out.

    Parameters
    ----------
    device : torch.device
        Any device; for one that is not a GPU, only the CPU's generator counts.

    Returns
    -------
    tuple of Tensor
        The states, as an argument of `set_random_state`.
    """
    state = (torch.get_rng_state(),)
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        return (*state, torch.cuda.get_rng_state(device))
    return (*state, torch.mps.get_rng_state()) if device.type == "mps" else state


def set_random_state(state: tuple[Tensor, ...], device: torch.device) -> None:
    """Restore the state of the global generators.

    Parameters
    ----------
    state : tuple of Tensor
        The states, from `random_state`.
    device : torch.device
        The device that `random_state` was called with.
    """
    torch.set_rng_state(state[0])
    for own in state[1:]:
        if device.type == "cuda":
            torch.cuda.set_rng_state(own, device)
        else:
            torch.mps.set_rng_state(own)
