"""Plain training, a robust loss and averaged weights: the baselines of every method."""

import torch
from torch import Tensor, nn

from nlmeta import losses
from nlmeta._checks import check_rate
from nlmeta.data.batches import Batch
from nlmeta.methods.average import WeightAverage
from nlmeta.methods.base import Method, descend
from nlmeta.methods.wrapper import Wrapper
from nlmeta.models import logits_of

__all__ = ["EMA", "CrossEntropy", "GeneralisedCrossEntropy"]


class CrossEntropy(Method):
    """Cross-entropy of the given labels, as if none were wrong.

    A network that is trained so to the end memorises wrong labels. Stopped after few epochs it
    often does not, which makes it the first baseline to beat (chapter 2).
    """

    capturable = True
    scalable = True

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step; the meta batch is not used. See `Method.step`."""
        return self.warmup_step(model, optimizer, train)


class GeneralisedCrossEntropy(Method):
    """GCE: a loss that bounds the effect of one wrong label, without any meta step.

    Z. Zhang, M. Sabuncu, NeurIPS 2018; see `losses.generalised_cross_entropy`.

    Parameters
    ----------
    q : float
        Exponent in [0, 1]: 0 is cross-entropy, 1 the mean absolute error. Default 0.7, published.
    """

    capturable = True
    scalable = True

    def __init__(self, *, q: float = 0.7) -> None:
        super().__init__()
        check_rate("q", q)
        self.q = q

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step; the meta batch is not used. See `Method.step`."""
        loss = losses.generalised_cross_entropy(logits_of(model, train.x), train.y, q=self.q)
        descend(optimizer, loss)
        return {"loss": loss.detach()}


class EMA(Wrapper):
    """Any method; an exponential moving average of the network's weights predicts.

    After each step, average <- decay * average + (1 - decay) * weights (Polyak & Juditsky, 1992,
    for the idea of averaging; Tarvainen & Valpola, NeurIPS 2017, for this form). The training
    itself is not changed. Running statistics of BatchNorm are averaged as well.

    Parameters
    ----------
    method : Method
        The method that takes the steps.
    model : nn.Module
        The network; the average has its shape, and copies its weights after the first step.
    decay : float
        Decay of the average, in [0, 1]. 0 gives the network itself. If the learning rate ends at
        zero, an average over 1 / (1 - decay) steps changes nothing unless it is longer than an
        epoch or two.
    """

    def __init__(self, method: Method, model: nn.Module, *, decay: float) -> None:
        super().__init__(method)
        check_rate("decay", decay)
        self.decay = decay
        self.average = WeightAverage(model)

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step of the wrapped method, then one of the average. See `Method.step`."""
        diagnostics = self.method.step(model, optimizer, train, meta)
        self.average.update(model, self.average.count(self.decay))
        return diagnostics

    def warmup_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """One warm-up step of the wrapped method; the average follows it too."""
        diagnostics = self.method.warmup_step(model, optimizer, train)
        self.average.update(model, self.average.count(self.decay))
        return diagnostics

    def predictor(self, model: nn.Module) -> nn.Module:
        """The averaged network."""
        return self.average.module
