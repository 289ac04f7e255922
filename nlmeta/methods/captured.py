"""A step recorded as a CUDA graph, and replayed: the same kernels without Python (chapter 10).

A step of lookahead asks a GPU for thousands of small kernels, and for networks of the size of this
book's, Python takes longer to ask than the GPU to compute. A graph asks for all of them at once.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._torch import no_capture_warning
from nlmeta.data.batches import Batch
from nlmeta.distributed import world_size
from nlmeta.methods.base import Method
from nlmeta.methods.recording import Call, Recording, tensors_of
from nlmeta.methods.wrapper import Wrapper

__all__ = ["Captured"]


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
        self._recordings: dict[Any, Recording] = {}
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
        possible = _can_record(device)
        _set_capturable(self.method, possible)
        if not possible:
            return take(model, optimizer, *batches)
        if world_size() > 1:
            raise RuntimeError("Captured works in one process; leave it out under torchrun")
        seen, states = self._seen(model, optimizer, device), [o.state for o in _own(self.method)]
        if seen != self._surroundings or [*map(id, states)] != [*map(id, self._states)]:
            self._recordings, self._surroundings, self._states = {}, seen, states
        sizes = [(t.shape, t.dtype, t.stride()) for t in tensors_of(batches)]
        kind = (name, *sizes)
        if kind not in self._recordings:
            self._recordings[kind] = Recording(device)
        try:
            return self._recordings[kind].step(Call(take, model, optimizer, batches))
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


def _can_record(device: torch.device) -> bool:
    return device.type == "cuda"


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
