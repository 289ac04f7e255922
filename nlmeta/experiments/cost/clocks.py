"""Bytes and operations of a piece of work."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nlmeta._torch import TorchDispatchMode, tree_leaves

__all__ = ["count_operations", "peak_bytes"]


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes alive at one time while `work` runs, above those that were there before.

    On CUDA these are the allocator's bytes. On the CPU they are the storages of all tensors that an
    operation returned; what an operation needs inside itself is not seen.

    Parameters
    ----------
    work : callable
        Called once, without arguments.
    device : torch.device
        Where it allocates.

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
    """How many operations Python asks a device for while `work` runs.

    On a GPU each is a kernel, or some. Views are left out, for they move no number, and so is
    what a replayed recording repeats, for which nobody asks.

    Parameters
    ----------
    work : callable
        Called once, without arguments.

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

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class _LiveBytes(TorchDispatchMode):
    """Follows every storage from the operation that returned it to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.followed: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._follow((args, kwargs), new=False)  # what was there before, and its views
        output = func(*args, **kwargs)
        self._follow(output, new=True)
        return output

    def _follow(self, tree: Any, *, new: bool) -> None:
        for tensor in tree_leaves(tree):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = id(storage)
            if key not in self.followed:
                size = storage.nbytes() if new else 0
                self.followed[key] = size, weakref.ref(storage, partial(self._end, key))
                self.now += size
                self.peak = max(self.peak, self.now)

    def _end(self, key: int, _: object) -> None:
        self.now -= self.followed.pop(key)[0]
