"""A method around another one: averages, rare meta steps and recorded steps are such."""

import torch
from torch import Tensor, nn

from nlmeta.data.batches import Batch
from nlmeta.methods.base import Method

__all__ = ["Wrapper"]


class Wrapper(Method):
    """A method around another one, whose demands it passes on.

    Parameters
    ----------
    method : Method
        What takes the steps.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.needs_meta = method.needs_meta
        self.smallest_batch = method.smallest_batch
        self.num_samples = method.num_samples
        self.networks = method.networks

    def warmup_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """One warm-up step of the wrapped method."""
        return self.method.warmup_step(model, optimizer, train)

    @property
    def needs_meta_labels(self) -> bool:
        """Those of the wrapped method."""
        return self.method.needs_meta_labels

    def predictor(self, model: nn.Module) -> nn.Module:
        """That of the wrapped method."""
        return self.method.predictor(model)

    def learned_transition(self) -> Tensor | None:
        """That of the wrapped method."""
        return self.method.learned_transition()

    def forward_transition(self) -> Tensor | None:
        """That of the wrapped method."""
        return self.method.forward_transition()

    def learned_labels(self) -> Tensor | None:
        """Those of the wrapped method."""
        return self.method.learned_labels()

    def sample_weights(self, sample_losses: Tensor) -> Tensor | None:
        """Those of the wrapped method."""
        return self.method.sample_weights(sample_losses)
