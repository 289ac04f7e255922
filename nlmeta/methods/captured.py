"""A step recorded as a CUDA graph, and replayed: the same kernels without Python (chapter 10).

A step of lookahead asks a GPU for thousands of small kernels, and for networks of the size of this
book's, Python takes longer to ask than the GPU to compute. A graph asks for all of them at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._host import Tape
from nlmeta._torch import no_capture_warning, version
from nlmeta.data.batches import Batch
from nlmeta.distributed import world_size
from nlmeta.methods.base import Method, Wrapper
from nlmeta.seeding import random_state

__all__ = ["Captured"]

WARMUP_STEPS = 3  # what PyTorch's notes on CUDA graphs take, for what is set up at a first use


class Captured(Wrapper):
    """Any method with `capturable`, whose step is recorded once and replayed from then on.

    The numbers stay; on a CPU nothing at all changes. The first three steps with batches of one
    size run as usual, the fourth is recorded, and kept with the memory that it needs: one recording
    for each size of batch and kind of step. The network's optimiser stays outside and may be any.
    Averages and rare meta steps go around: ``EMA(Captured(method), model, decay=0.99)``.

    Parameters
    ----------
    method : Method
        What takes the steps.

    Raises
    ------
    ValueError
        `method` is none of those that can be recorded.
    RuntimeError
        In a step: it draws random numbers on the GPU, as dropout does, which cannot be repeated
        within a recording; it looks at a number; or there are several processes.

    Notes
    -----
    A replay repeats kernels on fixed places in memory. So batches are copied there first, and what
    a method takes from Python, like the draws of MLNT, is made anew and copied there as well. Where
    parameters, options or a loaded state have moved, the step is recorded anew. What a network or
    an objective of your own decides in Python is not known here: it stays as it was when recorded.
    """

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        if not method.capturable:
            raise ValueError(
                f"`method` is {type(method).__name__}, whose step cannot be recorded: it changes "
                "with what Python counts or draws, or works on the CPU as well. Captured takes the "
                "methods that say `capturable`; wrappers go around it, "
                "EMA(Captured(method), model, decay=...)"
            )
        self._recordings: dict[Any, _Recording] = {}
        self._surroundings: Any = None
        self._states: list[Any] = []  # of the method's own optimisers; loading makes new ones

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """The method's step. See `Method.step`."""
        return self._take("step", model, optimizer, train, meta)

    def ordinary_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """The method's ordinary step. See `Method.ordinary_step`."""
        return self._take("ordinary_step", model, optimizer, train)

    def warmup_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """The method's warm-up step."""
        return self._take("warmup_step", model, optimizer, train)

    def _take(
        self,
        name: str,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *batches: Batch | None,
    ) -> dict[str, Tensor]:
        device = next(iter(bilevel.parameters(model).values())).device
        take = getattr(self.method, name)
        records = _can_record(device)
        _set_capturable(self.method, records)
        if not records:
            return take(model, optimizer, *batches)
        if world_size() > 1:
            raise RuntimeError("Captured works in one process; leave it out under torchrun")
        seen, states = self._seen(model, optimizer, device), [o.state for o in _own(self.method)]
        if seen != self._surroundings or [*map(id, states)] != [*map(id, self._states)]:
            self._recordings, self._surroundings, self._states = {}, seen, states
        sizes = [(t.shape, t.dtype, t.stride()) for t in _tensors(batches)]
        kind = (name, *sizes)
        if kind not in self._recordings:
            self._recordings[kind] = _Recording(device)
        try:
            return self._recordings[kind].step(take, model, optimizer, batches)
        except BaseException:
            del self._recordings[kind]  # it may be half done
            raise

    def _seen(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Any:
        """All that a recording takes as given."""
        modules = [*model.modules(), *self.method.modules()]
        tensors = chain.from_iterable(
            (*m.parameters(recurse=False), *m.buffers(recurse=False)) for m in modules
        )
        return (
            [(t.data_ptr(), t.requires_grad) for t in tensors],
            [[id(p) for p in group["params"]] for group in optimizer.param_groups],
            [m.training for m in modules],
            [_options(group) for own in _own(self.method) for group in own.param_groups],
            self.method.settings,
            torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type),
        )

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """What `.to` moves is no longer where a recording looks for it."""
        self._recordings = {}

    def loading(self, state: dict[str, Any], prefix: str) -> dict[str, Any]:
        """A recording is of the state that goes."""
        self._recordings = {}
        return state

    def __getstate__(self) -> dict[str, Any]:
        fresh: dict[str, Any] = {"_recordings": {}, "_surroundings": None, "_states": []}
        return {**self.__dict__, **fresh}  # a copy records for itself


class _Recording:
    """One kind of step, with batches of one size."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.graph = _CUDAGraph(device)
        self.steps = 0

    def step(
        self,
        take: Callable[..., dict[str, Tensor]],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: tuple[Batch | None, ...],
    ) -> dict[str, Tensor]:
        if self.steps < WARMUP_STEPS:
            found = self._rehearse(take, model, optimizer, batches)
        else:
            if self.steps == WARMUP_STEPS:
                self._record(take, model, optimizer, batches)
            found = self._replay(optimizer, batches)
        self.steps += 1
        return found

    def _rehearse(
        self,
        take: Callable[..., dict[str, Tensor]],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: tuple[Batch | None, ...],
    ) -> dict[str, Tensor]:
        """A step as usual. Notes what it takes from Python."""
        self.tape = Tape()
        before = random_state(self.device)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        versions: list[list[int]] = []
        hook = optimizer.register_step_post_hook(
            lambda *_: versions.append([version(p) for p in parameters])
        )
        with hook, self.graph.warming_up(), self.tape.noting():
            found = take(model, optimizer, *batches)
        if versions != [[version(p) for p in parameters]]:
            raise RuntimeError(
                "a step that is recorded must call the optimiser's step once, at its end; this one "
                f"called it {len(versions)} times, or changed parameters afterwards"
            )
        pairs = zip(before, random_state(self.device), strict=True)
        if not all(torch.equal(one, other) for one, other in pairs):
            raise RuntimeError(
                "the network draws random numbers, as dropout does; a recorded step cannot repeat "
                "them where lookahead needs the same ones again. Leave Captured out"
            )
        return found

    def _record(
        self,
        take: Callable[..., dict[str, Tensor]],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: tuple[Batch | None, ...],
    ) -> None:
        """Ask for the kernels of a step without running them."""
        self.batches = tuple(None if batch is None else _copied(batch) for batch in batches)
        stand_in = _StandIn(optimizer, self.device)
        # Casts of weights from outside would be used for good.
        torch.clear_autocast_cache()
        try:
            with self.graph.recording(), self.tape.lending():
                self.found = take(model, stand_in, *self.batches)
        except torch.OutOfMemoryError as error:
            error.add_note("Captured keeps the memory of a whole step for each size of batch")
            raise
        except RuntimeError as error:
            raise RuntimeError(
                "the step could not be recorded: something in it waits for the GPU, moves numbers "
                "to or from the CPU, or changes from step to step; or a loss computed before is "
                "still kept, with its graph. Leave Captured out, in a new process. "
                f"{error.__context__ or error}"
            ) from error
        finally:
            torch.clear_autocast_cache()
        self.lrs = stand_in.lrs
        self.gradients = [(p, p.grad) for group in optimizer.param_groups for p in group["params"]]

    def _replay(
        self, optimizer: torch.optim.Optimizer, batches: tuple[Batch | None, ...]
    ) -> dict[str, Tensor]:
        for place, given in zip(_tensors(self.batches), _tensors(batches), strict=True):
            place.copy_(given, non_blocking=True)
        for lr, group in zip(self.lrs, optimizer.param_groups, strict=True):
            lr.fill_(group["lr"])
        self.tape.refill()
        self.graph.replay()
        for p, gradient in self.gradients:
            p.grad = gradient
        optimizer.step()
        return {name: value.clone() for name, value in self.found.items()}


class _StandIn:
    """In the optimiser's place while a step is recorded: gradients are left for the real one.

    So whatever the optimiser counts or is told anew in each step stays in Python. The learning
    rates are tensors, since a step may look at them.
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


class _CUDAGraph:
    """A graph of PyTorch's, with the stream on which it is made."""

    def __init__(self, device: torch.device) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.stream = _side_stream(device)

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Beside the current stream, on which nothing may be recorded."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Kernels are noted and not run. Other threads, which decode images, may go on."""
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            yield

    def replay(self) -> None:
        """Run the kernels, on the current stream."""
        self.graph.replay()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: cuBLAS keeps tens of MB for each stream that it ever worked on."""
    return torch.cuda.Stream(device)


def _can_record(device: torch.device) -> bool:
    return device.type == "cuda"


def _copied(batch: Batch) -> Batch:
    ids = None if batch.ids is None else batch.ids.clone()
    return Batch(batch.x.clone(), batch.y.clone(), ids)


def _tensors(batches: tuple[Batch | None, ...]) -> list[Tensor]:
    return [t for batch in batches if batch is not None for t in batch if t is not None]


def _own(method: Method) -> list[torch.optim.Optimizer]:
    """The optimisers of what the method learns beside the network."""
    values = chain.from_iterable(vars(module).values() for module in method.modules())
    return [value for value in values if isinstance(value, torch.optim.Optimizer)]


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _set_capturable(method: Method, wanted: bool) -> None:
    """Whether the method's own optimisers count their steps on the GPU, as Adam must for a graph.

    A graph would otherwise repeat the bias correction of the step in which it was recorded.
    """
    for optimizer in _own(method):
        no_capture_warning(optimizer)
        groups = [g for g in optimizer.param_groups if g.get("capturable", wanted) != wanted]
        for group in groups:
            group["capturable"] = wanted
        if groups:
            optimizer.load_state_dict(optimizer.state_dict())  # moves the count of steps
