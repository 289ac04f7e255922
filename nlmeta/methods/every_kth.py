"""The meta step in every k-th step only: cheaper, and a different method (chapter 13)."""

import torch
from torch import Tensor, nn

from nlmeta._checks import check_count
from nlmeta.data.batches import Batch
from nlmeta.data.split import Samples
from nlmeta.methods.base import Method
from nlmeta.methods.captured import Captured
from nlmeta.methods.wrapper import Wrapper

__all__ = ["EveryKth"]


class EveryKth(Wrapper):
    """Any method with a meta step, which is taken only in steps 1, k + 1, 2k + 1, ...

    In the other steps the network is trained with the meta-parameters as they are. They move k
    times less often in an epoch, so a step size tuned for k = 1 may be too small; "auto" follows.

    Parameters
    ----------
    method : Method
        The method that takes the steps.
    k : int
        Number of steps for one meta step; 1 is the method itself.
    """

    def __init__(self, method: Method, k: int) -> None:
        super().__init__(method)
        check_count("k", k)
        inside = method.method if isinstance(method, Captured) else method
        if type(inside).ordinary_step is Method.ordinary_step:
            raise ValueError(
                f"`method` is {type(inside).__name__}, which has no `ordinary_step`; EveryKth "
                "needs one. An average goes around: EMA(EveryKth(method, k), model, decay=...)"
            )
        self.k = k
        self._steps = 0

    def begin(self, epochs: float, train: Samples, clean: Samples | None) -> None:
        """Begin the run of the method, whose meta step is taken in one of k epochs' steps."""
        self.method.begin(epochs / self.k, train, clean)

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
        """Restore the number of steps."""
        self._steps = state["steps"]
