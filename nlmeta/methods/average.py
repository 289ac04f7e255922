"""An exponential moving average of a network, for `EMA` and for MLNT's teacher."""

from itertools import chain

import torch
from torch import Tensor, nn

from nlmeta._torch import update_averages
from nlmeta.models import copy_of

__all__ = ["WeightAverage"]


class WeightAverage(nn.Module):
    """A copy of a network that follows it, average <- average + share * (weights - average).

    Running statistics are averaged as well; whole numbers, such as a count of batches, are copied.
    With a share of ``1 - decay`` this is `torch.optim.swa_utils.AveragedModel`, except that the
    latter keeps the count of its steps on the device, and each step waits until it is read.

    Parameters
    ----------
    model : nn.Module
        The network; the average has its shape and copies its values in the first step.

    Attributes
    ----------
    module : nn.Module
        The average.
    n_averaged : int
        Number of steps so far.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = copy_of(model)
        self.n_averaged = 0

    def count(self, decay: float) -> float:
        """Count a step and return its share: ``1 - decay``, or 1 in the first, which copies."""
        self.n_averaged += 1
        return 1.0 if self.n_averaged == 1 else 1 - decay

    @torch.no_grad()
    def update(self, model: nn.Module, share: float | Tensor) -> None:
        """Move to the network by a share in [0, 1], a number or a tensor of shape ()."""
        ours, theirs = (list(chain(m.parameters(), m.buffers())) for m in (self.module, model))
        averages, values = ([t for t in ts if _is_averaged(t)] for ts in (ours, theirs))
        update_averages(averages, values, share)
        for count, value in zip(ours, theirs, strict=True):
            if not _is_averaged(count):
                count.copy_(value)

    def get_extra_state(self) -> Tensor:
        """The number of steps, for `state_dict`."""
        return torch.tensor(self.n_averaged, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the number of steps."""
        self.n_averaged = int(state)


def _is_averaged(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
