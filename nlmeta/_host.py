"""From the CPU to a device: numbers that Python makes anew for every step, most of them random.

They are drawn on the CPU, so that a seed gives the same numbers on every device. A step that is
replayed from a recording does not run its Python again (`methods.Captured`). So what a step takes
from Python passes through `from_host`. While a `Tape` runs, the step is lent a tensor that stays in
its place, and before each replay the tape puts new numbers there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Tape", "from_host", "to_device"]

_running: "list[Tape]" = []


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A copy that does not wait until the device has done what was asked of it before.

    Not on MPS: there PyTorch reads the source later, when it may be gone (pytorch issue 189690).
    Nor is there float64 on MPS, so such numbers arrive in float32.
    """
    if torch.device(device).type == "mps":
        return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")


def from_host(make: Callable[[], Tensor], device: torch.device) -> Tensor:
    """What `make` returns, on a device.

    Parameters
    ----------
    make : callable
        Takes nothing, returns a tensor on the CPU. What it changes, such as a count of steps, it
        changes in replayed steps as well.
    device : torch.device
        Where the tensor goes.

    Returns
    -------
    Tensor
    """
    return _running[-1].lend(make, device) if _running else to_device(make(), device)


class Tape:
    """What one step took from Python, in order, and where it lies."""

    def __init__(self) -> None:
        self._places: list[tuple[Callable[[], Tensor], Tensor]] = []
        self._lent: int | None = None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """A step that runs as usual; what it takes is noted."""
        _running.append(self)
        try:
            yield
        finally:
            _running.pop()

    @contextmanager
    def lending(self) -> Iterator[None]:
        """The same step once more: it is lent the places, and nothing is made."""
        self._lent = 0
        with self.noting():
            yield
        if self._lent != len(self._places):
            raise RuntimeError(
                f"the step took {self._lent} tensors from Python and {len(self._places)} before"
            )

    def refill(self) -> None:
        """Make everything anew, in the order in which the step took it."""
        for make, place in self._places:
            place.copy_(to_device(make(), place.device))

    def lend(self, make: Callable[[], Tensor], device: torch.device) -> Tensor:
        """See `from_host`."""
        if self._lent is None:
            place = to_device(make(), device)
            self._places.append((make, place))
            return place.clone()  # so that the step may change what it was given
        self._lent += 1
        return self._places[self._lent - 1][1].clone()
