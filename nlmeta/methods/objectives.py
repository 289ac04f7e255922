"""Outer objectives: the losses that judge a virtual step. Each of them fits every method.

An objective is called with two arguments and returns a scalar: the network after the virtual step,
as a function of a batch, and the meta batch. A plain function of these arguments works as well; the
objectives here also have a name and settings that a checkpoint can hold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from nlmeta import losses
from nlmeta.data.batches import Batch
from nlmeta.models import logits_of, with_features

__all__ = [
    "CrossLayerDivergence",
    "LabelAbsoluteError",
    "LabelCrossEntropy",
    "Objective",
    "PredictionEntropy",
]


class Objective(Protocol):
    """Anything that judges a network on a meta batch."""

    uses_labels: ClassVar[bool]
    """Whether the labels of the meta batch are used."""

    def __call__(self, network: Callable[..., Any], meta: Batch) -> Tensor:
        """The outer loss.

        Parameters
        ----------
        network : callable
            The network at the virtual parameters.
        meta : Batch
            Meta samples.

        Returns
        -------
        Tensor, shape ()
        """


@dataclass(frozen=True)
class LabelCrossEntropy:
    """Cross-entropy of the meta labels, which should be clean: the objective of MLC and MSLG."""

    uses_labels: ClassVar[bool] = True

    def __call__(self, network: Callable[..., Any], meta: Batch) -> Tensor:
        """See `Objective`."""
        return losses.cross_entropy(logits_of(network, meta.x), meta.y)


@dataclass(frozen=True)
class LabelAbsoluteError:
    """Mean absolute error of the meta labels, which may be noisy (Ghosh & Lan, WACV 2021)."""

    uses_labels: ClassVar[bool] = True

    def __call__(self, network: Callable[..., Any], meta: Batch) -> Tensor:
        """See `Objective`."""
        return losses.mean_absolute_error(logits_of(network, meta.x), meta.y)


@dataclass(frozen=True)
class CrossLayerDivergence:
    """CLID on a meta batch, the objective of CLID-MU. It uses no label.

    Parameters
    ----------
    temperature : float
        Temperature of the features' graph. Default 0.5, released. Infinity gives the uniform graph,
        the control for what the graph adds.
    gradient : {"released", "full"}
        Form of the gradient, see `losses.cross_layer_divergence`. Default ``"released"``.
    """

    temperature: float = 0.5
    gradient: losses.DivergenceGradient = "released"
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        nothing = torch.zeros(1, 1)
        self._divergence(nothing, nothing)  # a wrong option is refused now, not after the warm-up

    def __call__(self, network: Callable[..., Any], meta: Batch) -> Tensor:
        """See `Objective`."""
        logits, features = with_features(network, meta.x)
        return self._divergence(features, logits)

    def _divergence(self, features: Tensor, logits: Tensor) -> Tensor:
        return losses.cross_layer_divergence(
            features, logits, temperature=self.temperature, gradient=self.gradient
        )


@dataclass(frozen=True)
class PredictionEntropy:
    """Entropy of the predictions: the control for what CLID has beyond more confidence."""

    uses_labels: ClassVar[bool] = False

    def __call__(self, network: Callable[..., Any], meta: Batch) -> Tensor:
        """See `Objective`."""
        return losses.entropy(logits_of(network, meta.x))
