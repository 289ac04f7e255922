"""Seconds, bytes and operations of a piece of work, and the row that they make."""

import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta._torch import TorchDispatchMode, tree_leaves

__all__ = [
    "Row",
    "count_operations",
    "dtype_of",
    "now",
    "peak_bytes",
    "row",
    "seconds_of",
    "wait_for",
]

Row = dict[str, Any]


def row(
    method: str,
    mode: str,
    seconds: Sequence[float],
    *,
    best: Callable[[Sequence[float]], float] = min,
    plain: float | None,
    memory: int | None,
    memory_ratio: float | None = None,
    network: str = "none",
    batch: int,
    dtype: str,
) -> Row:
    """What was measured of one thing.

    Parameters
    ----------
    method, mode : str
        The names of the row.
    seconds : sequence of float
        One number for each round.
    best : callable
        The rule by which one of them counts. Default: the least.
    plain : float or None
        Seconds of a step of cross-entropy by the same clock, to which a ratio is taken. None if
        there is no such ratio.
    memory : int or None
        Number of bytes. None if they were not followed.
    memory_ratio : float, optional
        Bytes in units of cross-entropy. Default: none.
    network : str
        The name of the network. Default ``"none"``: no network takes part.
    batch : int
        Samples in a batch.
    dtype : str
        The floating-point type.

    Returns
    -------
    dict
    """
    counts = best(seconds)
    return {
        "method": method,
        "mode": mode,
        "network": network,
        "batch": batch,
        "rounds": len(seconds),
        "dtype": dtype,
        "seconds": counts,
        "seconds_median": median(seconds),
        "time_ratio": None if plain is None else counts / plain,
        "memory_bytes": memory,
        "memory_ratio": memory_ratio,
    }


def dtype_of(model: nn.Module) -> str:
    """The floating-point type of a network's weights, as ``"float32"``."""
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that a piece of work takes on a device.

    Parameters
    ----------
    work : callable
        The piece of work, which is called once without arguments.
    device : torch.device
        The device that it computes on.

    Returns
    -------
    float
        Seconds of processor time on the CPU, which stand still while other programs run, summed
        over threads; elsewhere seconds of the clock on the wall, until the device is done.
    """
    start = now(device)
    work()
    return now(device) - start


def now(device: torch.device) -> float:
    """The clock of `seconds_of`, read when the device has done all that was sent to it."""
    wait_for(device)
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that was sent to it, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes alive at one time while `work` runs, above those that were there before.

    On CUDA these are the allocator's bytes. On the CPU they are the storages of all tensors that an
    operation returned; what an operation needs inside itself is not seen.

    Parameters
    ----------
    work : callable
        The piece of work, which is called once without arguments.
    device : torch.device
        The device that it allocates on.

    Returns
    -------
    int
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveBytes() as live:
        work()
    return live.peak


def count_operations(work: Callable[[], object]) -> int:
    """How many operations are sent to a device while `work` runs.

    Each launches one or more kernels on a GPU. Views are not counted because they move no number;
    operations inside a replayed CUDA graph are not counted because Python does not issue them.

    Parameters
    ----------
    work : callable
        The piece of work, which is called once without arguments.

    Returns
    -------
    int
    """
    with _Operations() as asked:
        work()
    return asked.count


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class _LiveBytes(TorchDispatchMode):
    """Follows every storage from the operation that returned it to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.followed: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._follow((args, kwargs), new=False)  # what was there before, and its views
        output = func(*args, **kwargs)
        self._follow(output, new=True)
        return output

    def _follow(self, tree: Any, *, new: bool) -> None:
        for tensor in tree_leaves(tree):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is not None and id(storage) not in self.followed:
                key = id(storage)
                size = storage.nbytes() if new else 0
                self.followed[key] = size, weakref.ref(storage, partial(self._end, key))
                self.now += size
                self.peak = max(self.peak, self.now)

    def _end(self, key: int, _: object) -> None:
        self.now -= self.followed.pop(key)[0]
