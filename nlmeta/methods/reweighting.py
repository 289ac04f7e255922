"""Sample weights from a clean meta set: two methods that came before CLID-MU (chapter 8).

M. Ren, W. Zeng, B. Yang, R. Urtasun, "Learning to Reweight Examples for Robust Deep Learning",
ICML 2018: each sample of the batch has a weight of its own, which is forgotten after the step.
J. Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", NeurIPS 2019: a
small network computes the weight, and is kept. Both use the same virtual step as all methods here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta.data.batches import Batch
from nlmeta.methods.base import Method, descend, require_meta
from nlmeta.methods.clid_mu import CLIDMU
from nlmeta.methods.heads import WeightNet
from nlmeta.methods.objectives import LabelCrossEntropy

__all__ = ["LearningToReweight", "MetaWeightNet"]


class LearningToReweight(Method):
    """The weight of a sample says how much a step on it alone would help the clean meta samples.

    The weights start at zero, so the virtual step has length zero. Minus the hypergradient by
    weight i is then, up to the size of the virtual step, the inner product of two gradients at the
    same parameters: that of sample i's loss and that of the meta loss. Negative weights are set to
    zero, and the rest is divided by its sum, as in the released code (commit 7d6e16f). So the size
    of the virtual step has no effect and is not an option.

    If no weight is positive, all stay zero, and the network moves by momentum and weight decay
    alone.

    Parameters
    ----------
    mode : {"jvp", "fd", "exact"} or bilevel.Lookahead
        Options for the hypergradient; ``sequence="act-first"`` is refused. Default ``"jvp"``.
    """

    needs_meta = True
    capturable = True

    def __init__(self, *, mode: bilevel.Mode | bilevel.Lookahead = "jvp") -> None:
        super().__init__()
        self.mode = bilevel.Lookahead.of(mode)
        if self.mode.acts_first:
            raise ValueError(
                "`mode` has sequence='act-first', in which weights move after the network's step; "
                "LearningToReweight forgets its weights after each step, so none would ever be "
                "used: choose sequence='look-first', or MetaWeightNet, which keeps a weight net"
            )

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Weights for this batch, then an ordinary step with them. See `Method.step`."""
        meta = require_meta(self, meta)
        forward = bilevel.forward_pass(model, train.x)
        hyper = self.weight_gradient(model, forward, train.y, meta)
        weights = (-hyper.gradients[0]).clamp_min(0)
        total = weights.sum()
        weights = weights / torch.where(total > 0, total, torch.ones_like(total))
        logits = bilevel.recomputed(model, forward, self.mode).logits
        loss = _weighted(logits, train.y, weights)
        descend(optimizer, loss)
        return {
            "loss": loss.detach(),
            "meta_loss": hyper.outer_loss,
            "hypergradient": hyper.norm,
            "used": (weights > 0).float().mean(),
        }

    def weight_gradient(
        self, model: nn.Module, forward: bilevel.ForwardPass, labels: Tensor, meta: Batch
    ) -> bilevel.Hypergradient:
        """Derivative by the weights, at zero, of the meta loss after a virtual step of size 1.

        Parameters
        ----------
        model : nn.Module
            The network.
        forward : bilevel.ForwardPass
            The network's pass over the noisy batch.
        labels : Tensor of int64, shape (n,)
            Given labels of that batch.
        meta : Batch
            Clean samples.

        Returns
        -------
        bilevel.Hypergradient
            A hypergradient with one gradient, of shape (n,).
        """
        kind = torch.promote_types(forward.logits.dtype, torch.float32)
        weights = torch.zeros(len(labels), dtype=kind, device=labels.device, requires_grad=True)

        def inner_loss(logits: Tensor) -> Tensor:
            return _weighted(logits, labels, weights)

        def outer_loss(network: Callable[..., Any]) -> Tensor:
            return LabelCrossEntropy()(network, meta)

        # A step of length zero need not be taken, unless for what it frees or differentiates.
        taken = self.mode.mode == "exact" or self.mode.recompute
        return bilevel.hypergradient(
            model,
            forward,
            inner_loss,
            outer_loss,
            [weights],
            lr=1.0,
            mode=self.mode,
            theta_hat=None if taken else bilevel.parameters(model, self.mode.only),
        )


class MetaWeightNet(CLIDMU):
    """CLID-MU with a weight for each sample, judged by the cross-entropy of clean meta labels.

    The defaults are those of the released code, commit e85c3a2. `CLIDMU` has further options.

    Parameters
    ----------
    hidden : int
        Width of the weight net's hidden layer. Default 100.
    head_lr : float
        Size of the weight net's step, taken by Adam. Default 1e-3.
    head_weight_decay : float
        Weight decay of the weight net. Default 1e-4.
    normalise : bool
        If True, the weights are divided by their sum, as in `WeightNet`. Default False: they are
        divided by n.
    mode : {"jvp", "fd", "exact"} or bilevel.Lookahead
        Options for the hypergradient. Default ``"jvp"``.
    seed : int
        Seed of the weight net's initial weights.
    """

    def __init__(
        self,
        *,
        hidden: int = 100,
        head_lr: float = 1e-3,
        head_weight_decay: float = 1e-4,
        normalise: bool = False,
        mode: bilevel.Mode | bilevel.Lookahead = "jvp",
        seed: int,
    ) -> None:
        super().__init__(
            WeightNet(hidden, normalise=normalise, seed=seed),
            head_lr=head_lr,
            head_optimizer="adam",
            head_weight_decay=head_weight_decay,
            objective=LabelCrossEntropy(),
            mode=mode,
        )


def _weighted(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Sum of the samples' cross-entropies times their weights."""
    return (weights * losses.cross_entropy(logits, labels, reduction="none")).sum()
