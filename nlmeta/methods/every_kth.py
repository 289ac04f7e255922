"""The meta step at every k-th step alone: cheaper, and another method (chapter 10)."""

import torch
from torch import Tensor, nn

from nlmeta._checks import check_count
from nlmeta.data.batches import Batch
from nlmeta.methods.base import Method
from nlmeta.methods.captured import Captured
from nlmeta.methods.wrapper import Wrapper

__all__ = ["EveryKth"]


class EveryKth(Wrapper):
    """Any method with a meta step, which takes it at steps 1, k + 1, 2k + 1, ... alone.

    In between the network is trained with what was learned so far. With k steps for one meta step
    the meta-parameters move k times less in an epoch; a step size tuned for k = 1 may be too small.

    Parameters
    ----------
    method : Method
        What takes the steps.
    k : int
        1 is the method itself.
    """

    def __init__(self, method: Method, k: int) -> None:
        super().__init__(method)
        check_count("k", k)
        inside = method.method if isinstance(method, Captured) else method
        if type(inside).ordinary_step is Method.ordinary_step:
            raise ValueError(
                f"`method` is {type(inside).__name__}; it has no ordinary step "
                "of its own; an average goes around: EMA(EveryKth(method, k), model, decay=...)"
            )
        self.k = k
        self._steps = 0

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step of the method, or of the network alone. See `Method.step`."""
        due = self._steps % self.k == 0
        self._steps += 1
        if due:
            return self.method.step(model, optimizer, train, meta)
        return self.method.ordinary_step(model, optimizer, train)

    def get_extra_state(self) -> dict[str, int]:
        """The number of steps taken, for `state_dict`."""
        return {"steps": self._steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Put the number back."""
        self._steps = state["steps"]
