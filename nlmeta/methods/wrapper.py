"""The base of methods that wrap another one: averages, rare meta steps and recorded steps."""

import torch
from torch import Tensor, nn

from nlmeta.data.batches import Batch
from nlmeta.data.split import Samples
from nlmeta.methods.base import Method

__all__ = ["Wrapper"]


class Wrapper(Method):
    """A method around another one; it has the same requirements as the wrapped method.

    Parameters
    ----------
    method : Method
        The wrapped method, which takes the steps.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.needs_meta = method.needs_meta
        self.smallest_batch = method.smallest_batch
        self.num_samples = method.num_samples
        self.networks = method.networks

    def begin(self, epochs: float, train: Samples, clean: Samples | None) -> None:
        """Begin the run of the wrapped method."""
        self.method.begin(epochs, train, clean)

    def warmup_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """One warm-up step of the wrapped method."""
        return self.method.warmup_step(model, optimizer, train)

    @property
    def scalable(self) -> bool:  # type: ignore[override]
        """Whether the losses of the wrapped method can be scaled."""
        return self.method.scalable

    @property
    def needs_meta_labels(self) -> bool:
        """Whether the wrapped method uses the labels of the meta batch."""
        return self.method.needs_meta_labels

    def predictor(self, model: nn.Module) -> nn.Module:
        """The predictor of the wrapped method."""
        return self.method.predictor(model)

    def learned_transition(self) -> Tensor | None:
        """The learned transition of the wrapped method."""
        return self.method.learned_transition()

    def forward_transition(self) -> Tensor | None:
        """The forward transition of the wrapped method."""
        return self.method.forward_transition()

    def learned_labels(self) -> Tensor | None:
        """The learned labels of the wrapped method."""
        return self.method.learned_labels()

    def sample_weights(self, sample_losses: Tensor) -> Tensor | None:
        """The sample weights of the wrapped method."""
        return self.method.sample_weights(sample_losses)
