"""ELR: keep the network near its early predictions, made before it memorised the labels.

S. Liu, J. Niles-Weed, N. Razavian, C. Fernandez-Granda, "Early-Learning Regularization Prevents
Memorization of Noisy Labels", NeurIPS 2020. This is the paper's ELR with one network. Its ELR+,
with a second network, averaged weights and mixup, is left out.
"""

import torch
from torch import Tensor, nn

from nlmeta import losses
from nlmeta._checks import check_count, check_not_negative, check_rate
from nlmeta.data.batches import Batch
from nlmeta.methods.base import Method, descend
from nlmeta.methods.memory import LabelMemory
from nlmeta.models import logits_of

__all__ = ["ELR"]


class ELR(Method):
    """Early-learning regularisation: cross-entropy plus lambda times `early_learning_regulariser`.

    Each sample has a target, a moving average of its predictions. Before each step the targets of
    the batch move, t <- beta t + (1 - beta) p; then the loss draws p towards them. If the network
    never predicted the label of a sample, the sample keeps a gradient against that label.

    Parameters
    ----------
    num_samples : int
        N, the number of training samples.
    num_classes : int
        C, the number of classes.
    weight : float
        lambda, weight of the regulariser. Default 3, released for CIFAR-10 with symmetric noise
        (asymmetric 1, CIFAR-100 7). With 0: cross-entropy, bit for bit.
    beta : float
        Decay of the targets, in [0, 1]. Default 0.7, released for CIFAR-10 with symmetric noise
        (else 0.9).
    memory_device : str, optional
        ``"cpu"`` keeps the targets there, in float32, if the method moves to a GPU or to another
        type. Default: they move with it.

    Attributes
    ----------
    targets : Tensor, shape (N, C)
        The targets t, zero at the start.
    """

    scalable = True

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        *,
        weight: float = 3.0,
        beta: float = 0.7,
        memory_device: str | None = None,
    ) -> None:
        super().__init__()
        check_count("num_samples", num_samples)
        check_count("num_classes", num_classes, minimum=2)
        check_not_negative("weight", weight)
        check_rate("beta", beta)
        self.num_samples = num_samples
        self.weight = weight
        self.beta = beta
        self.memory = LabelMemory(torch.zeros(num_samples, num_classes), device=memory_device)

    @property
    def targets(self) -> Tensor:
        """The targets t of all samples, shape (N, C)."""
        return self.memory.all_rows()

    @property
    def capturable(self) -> bool:  # type: ignore[override]
        """Whether the rows lie on the network's device. See `Method.capturable`."""
        return not self.memory.stays

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """The targets move, then the network; the meta batch is not used. See `Method.step`."""
        logits = logits_of(model, train.x)
        p = losses.clamped_probabilities(logits.detach())  # (n, C)
        before = self.memory.read(train.ids, like=p)
        targets = self.beta * before + (1 - self.beta) * p / p.sum(1, keepdim=True)
        self.memory.write(train.ids, targets)
        cross_entropy = losses.cross_entropy(logits, train.y)
        regulariser = losses.early_learning_regulariser(logits, targets)
        loss = cross_entropy + self.weight * regulariser
        descend(optimizer, loss)
        return {
            "loss": loss.detach(),
            "cross_entropy": cross_entropy.detach(),
            "regulariser": regulariser.detach(),
        }

    def learned_labels(self) -> Tensor:
        """The targets as probabilities, t / sum(t): weighted means of all predictions so far.

        The last predictions count most. A target sums to 1 - beta^k after k steps with its sample,
        so before the first step its row is NaN. See `Method.learned_labels`.
        """
        targets = self.targets
        return targets / targets.sum(1, keepdim=True)
