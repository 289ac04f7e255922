"""A step recorded as a CUDA graph, and replayed: the same kernels without Python (chapter 13).

A step of a meta-learning method runs thousands of small GPU kernels. For networks as small as those
of this book, Python needs more time to launch them than the GPU to compute. A graph launches all of
them at once.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._interface import parts_of
from nlmeta._torch import no_capture_warning
from nlmeta.data.batches import Batch
from nlmeta.distributed import world_size
from nlmeta.methods.base import Method
from nlmeta.methods.recording import Call, Recording, tensors_of
from nlmeta.methods.wrapper import Wrapper

__all__ = ["Captured"]


class Captured(Wrapper):
    """Any method with `capturable`; its step is recorded once and replayed from then on.

    The results do not change, and on a CPU the steps run as usual. On a GPU the first three steps
    with batches of one size run as usual, and the fourth is recorded. The recording is kept, with
    the memory that it needs, for each size of batch and kind of step. The network's optimiser may
    be any, since its step is not recorded. `EMA` and `EveryKth` go around:
    ``EMA(Captured(method), model, decay=0.99)``.

    Parameters
    ----------
    method : Method
        The method that takes the steps.

    Raises
    ------
    ValueError
        The step of `method` cannot be recorded.
    RuntimeError
        Raised in a step that draws random numbers on the GPU, as dropout does, since a recording
        cannot repeat them; in a step that reads a number from the GPU; or with several processes.

    Notes
    -----
    A replay repeats kernels on fixed addresses in memory. Batches are therefore copied to these
    addresses first, and so are numbers that a method takes from Python, such as the draws of MLNT.
    If parameters, options or a loaded state have moved, the step is recorded anew. Decisions that a
    network or an objective of your own makes in Python are not seen by a replay: they stay as they
    were in the recorded step.
    """

    scalable = False  # a scaler decides from the gradient whether there is a step

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        if not method.capturable:
            raise ValueError(
                f"`method` is {type(method).__name__}, whose step cannot be recorded: it depends "
                "on counts or random numbers of Python, also computes on the CPU, or moves the "
                "network before its end, as sequence='act-first' does. Captured needs a method "
                "whose `capturable` is True; wrappers go around it: "
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
        names = [None if batch is None else (*parts_of(batch.x),) for batch in batches]
        kind = (name, *names, *sizes)
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
        """Everything that a recording assumes to be unchanged."""
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
        """Drop recordings: they use the addresses that tensors had before `.to`."""
        self._recordings = {}

    def loading(self, state: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Drop recordings: they were made with the state that is replaced."""
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
    """Let the method's own optimisers count their steps on the GPU, which Adam needs in a graph.

    Otherwise a graph would repeat the bias correction of the step in which it was recorded.
    """
    for optimizer in _own(method):
        no_capture_warning(optimizer)
        groups = [g for g in optimizer.param_groups if g.get("capturable", wanted) != wanted]
        for group in groups:
            group["capturable"] = wanted
        if groups:
            optimizer.load_state_dict(optimizer.state_dict())  # moves the count of steps
