"""One kind of step as a recording: recorded once, then repeated without Python.

This is the machinery below `Captured`: a CUDA graph, and stand-ins for the optimiser and the
batches while it is made. `Captured` decides when a recording is no longer valid.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nlmeta._host import Tape
from nlmeta._interface import each, parts_of
from nlmeta._torch import version
from nlmeta.data.batches import Batch
from nlmeta.seeding import random_state

__all__ = ["WARMUP_STEPS", "CUDAGraph", "Call", "Recording", "tensors_of"]

WARMUP_STEPS = 3  # what PyTorch's notes on CUDA graphs take, for what is set up at a first use


class Call(NamedTuple):
    """A step to take: the function that takes it, and its arguments."""

    take: Callable[..., dict[str, Tensor]]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: tuple[Batch | None, ...]


class Recording:
    """One kind of step, with batches of one size."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.graph = CUDAGraph(device)
        self.steps = 0

    def step(self, call: Call) -> dict[str, Tensor]:
        if self.steps < WARMUP_STEPS:
            found = self._rehearse(call)
        else:
            if self.steps == WARMUP_STEPS:
                self._record(call)
            found = self._replay(call)
        self.steps += 1
        return found

    def _rehearse(self, call: Call) -> dict[str, Tensor]:
        """Take a step as usual, and note the numbers that it takes from Python."""
        self.tape = Tape()
        before = random_state(self.device)
        parameters = [p for group in call.optimizer.param_groups for p in group["params"]]
        versions: list[list[int]] = []
        hook = call.optimizer.register_step_post_hook(
            lambda *_: versions.append([version(p) for p in parameters])
        )
        with hook, self.graph.warming_up(), self.tape.noting():
            found = call.take(call.model, call.optimizer, *call.batches)
        if versions != [[version(p) for p in parameters]]:
            raise RuntimeError(
                f"the method's step called the optimiser's step {len(versions)} times, or changed "
                "parameters afterwards; to be recorded it must call it once, at its end. Leave "
                "Captured out"
            )
        pairs = zip(before, random_state(self.device), strict=True)
        if not all(torch.equal(one, other) for one, other in pairs):
            raise RuntimeError(
                "the network draws random numbers, as dropout does; a recorded step cannot repeat "
                "them where the virtual step needs the same ones again. Leave Captured out"
            )
        return found

    def _record(self, call: Call) -> None:
        """Record the kernels of a step without running them."""
        self.batches = tuple(None if batch is None else _copied(batch) for batch in call.batches)
        stand_in = _StandIn(call.optimizer, self.device)
        # Casts of weights from outside would be used for good.
        torch.clear_autocast_cache()
        try:
            with self.graph.recording(), self.tape.lending():
                self.found = call.take(call.model, stand_in, *self.batches)
        except torch.OutOfMemoryError as error:
            error.add_note("Captured keeps the memory of a whole step for each size of batch")
            raise
        except RuntimeError as error:
            raise RuntimeError(
                "the step could not be recorded: something in it waits for the GPU, moves numbers "
                "to or from the CPU, or changes from step to step; or an earlier loss is still "
                "kept, with its graph. Leave Captured out, in a new process. PyTorch says: "
                f"{error.__context__ or error}"
            ) from error
        finally:
            torch.clear_autocast_cache()
        self.lrs = stand_in.lrs
        self.gradients = [
            (p, p.grad) for group in call.optimizer.param_groups for p in group["params"]
        ]

    def _replay(self, call: Call) -> dict[str, Tensor]:
        for place, given in zip(tensors_of(self.batches), tensors_of(call.batches), strict=True):
            place.copy_(given, non_blocking=True)
        for lr, group in zip(self.lrs, call.optimizer.param_groups, strict=True):
            lr.fill_(group["lr"])
        self.tape.refill()
        self.graph.replay()
        for p, gradient in self.gradients:
            p.grad = gradient
        call.optimizer.step()
        return {name: value.clone() for name, value in self.found.items()}


class CUDAGraph:
    """A CUDA graph of PyTorch, with the stream on which it is recorded."""

    def __init__(self, device: torch.device) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.stream = _side_stream(device)

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Run on a side stream, since nothing can be recorded on the current one."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record kernels without running them. Other threads, which decode images, may go on."""
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            yield

    def replay(self) -> None:
        """Run the kernels, on the current stream."""
        self.graph.replay()


class _StandIn:
    """Replaces the optimiser while a step is recorded; it leaves the gradients for the real one.

    So the optimiser's counts, and options that change in each step, stay in Python. The learning
    rates are tensors, since a step may read them.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.lrs = [
            torch.full((), group["lr"], dtype=torch.float64, device=device)
            for group in optimizer.param_groups
        ]
        pairs = zip(optimizer.param_groups, self.lrs, strict=True)
        self.param_groups = [{**group, "lr": lr} for group, lr in pairs]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self) -> None:
        pass


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings: cuBLAS keeps tens of MB for each stream it was used on."""
    return torch.cuda.Stream(device)


def _copied(batch: Batch) -> Batch:
    ids = None if batch.ids is None else batch.ids.clone()
    return Batch(each(Tensor.clone, batch.x), batch.y.clone(), ids)


def tensors_of(batches: tuple[Batch | None, ...]) -> list[Tensor]:
    """Inputs, labels and ids of all batches that are not None, in order."""
    given = [batch for batch in batches if batch is not None]
    found = ((*parts_of(batch.x).values(), batch.y, batch.ids) for batch in given)
    return [tensor for tensors in found for tensor in tensors if tensor is not None]
