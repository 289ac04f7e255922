"""From the CPU to a device: numbers that Python makes anew for every step, most of them random.

They are drawn on the CPU, so that a seed gives the same numbers on every device. A step that is
replayed from a recording does not run its Python code again (`methods.Captured`), so numbers from
Python go through `from_host`. While a step is recorded, `from_host` returns a tensor at a fixed
address. Before each replay the `Tape` writes fresh numbers to that address.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Tape", "from_host", "to_device"]

_running: "list[Tape]" = []


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A copy that does not wait for earlier work of the device.

    On MPS it does wait, since PyTorch there reads the source later, when it may be gone (pytorch
    issue 189690). MPS has no float64 either, so such numbers arrive in float32.
    """
    if torch.device(device).type == "mps":
        return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")


def from_host(make: Callable[[], Tensor], device: torch.device) -> Tensor:
    """The tensor that `make` returns, moved to a device.

    Parameters
    ----------
    make : callable
        A function without arguments that returns a tensor on the CPU. It is called in replayed
        steps as well, so a count of steps that it changes stays right.
    device : torch.device
        The device to move the tensor to.

    Returns
    -------
    Tensor
        The tensor on the device.
    """
    return _running[-1].lend(make, device) if _running else to_device(make(), device)


class Tape:
    """The tensors that one step took from Python, in order, and the functions that make them."""

    def __init__(self) -> None:
        self._places: list[tuple[Callable[[], Tensor], Tensor]] = []
        self._lent: int | None = None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Run a step as usual, and note the tensors that it takes."""
        _running.append(self)
        try:
            yield
        finally:
            _running.pop()

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Run the same step once more with the noted tensors; no new ones are made."""
        self._lent = 0
        with self.noting():
            yield
        if self._lent != len(self._places):
            raise RuntimeError(
                f"the step took {self._lent} tensors from Python, and {len(self._places)} before; "
                "a recorded step must always take the same ones. Leave Captured out"
            )

    def refill(self) -> None:
        """Make all numbers anew, in the order in which the step took them."""
        for make, place in self._places:
            place.copy_(to_device(make(), place.device))

    def lend(self, make: Callable[[], Tensor], device: torch.device) -> Tensor:
        """The tensor for one call of `from_host`."""
        if self._lent is None:
            place = to_device(make(), device)
            self._places.append((make, place))
            return place.clone()  # so that the step may change what it was given
        self._lent += 1
        return self._places[self._lent - 1][1].clone()
