"""Randomness that is asked for by name: one seed, one independent stream for each purpose.

The split of a dataset, its label noise, a network's first weights and the order of the batches each
draw from a stream of their own. So changing the noise rate leaves the split as it was, and a longer
training does not change the labels. Nothing here leaves a trace in PyTorch's global generator.
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
        Not negative. The same seed and purpose give the same numbers on every machine.
    purpose : str
        Names the stream, for example ``"noise"``. Streams of different names are independent.

    Returns
    -------
    torch.Generator
        On the CPU.
    """
    return torch.Generator().manual_seed(_stream(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch's global generator inside the block and put its old state back afterwards.

    For code that cannot be handed a generator: the initialisation of layers, and dropout.

    Parameters
    ----------
    seed : int
        Not negative.
    purpose : str
        Names the stream, as for `generator`.
    device : torch.device, optional
        A CUDA device whose global generator is seeded and put back too. Default: the CPU's only.
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
    """Where PyTorch's global generators stand: the CPU's, and that of a device.

    While a CUDA graph is recorded, the GPU's cannot be asked and is left out.

    Parameters
    ----------
    device : torch.device
        Any; what is on no GPU draws from the CPU's alone.

    Returns
    -------
    tuple of Tensor
        For `set_random_state`.
    """
    state = (torch.get_rng_state(),)
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        return (*state, torch.cuda.get_rng_state(device))
    return (*state, torch.mps.get_rng_state()) if device.type == "mps" else state


def set_random_state(state: tuple[Tensor, ...], device: torch.device) -> None:
    """Put the global generators back to where they stood.

    Parameters
    ----------
    state : tuple of Tensor
        From `random_state`.
    device : torch.device
        The same as there.
    """
    torch.set_rng_state(state[0])
    for own in state[1:]:
        if device.type == "cuda":
            torch.cuda.set_rng_state(own, device)
        else:
            torch.mps.set_rng_state(own)
