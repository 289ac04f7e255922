"""Sample weights from a clean meta set: what came before CLID-MU (chapter 11), and L2B.

M. Ren, W. Zeng, B. Yang, R. Urtasun, "Learning to Reweight Examples for Robust Deep Learning",
ICML 2018: each sample of the batch has a weight of its own, which is forgotten after the step.
Y. Zhou et al., "L2B: Learning to Bootstrap Robust Models for Combating Label Noise", CVPR 2024: a
second weight for the class that the network predicts.
J. Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", NeurIPS 2019: a
small network computes the weight, and is kept. Both use the same virtual step as all methods here.
"""

from collections.abc import Callable, Sequence
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

    With `bootstrap` this is L2B: each sample has two weights, of its given label and of the class
    that the network predicts. The same tangent gives both, and all are divided by one sum. So a
    sample with a wrong label can teach its predicted class instead of nothing. The weights are
    those of the released code (commit 98afdf8) with plain SGD; there the virtual step takes over
    momentum and weight decay of the optimiser, here it never has them.

    Parameters
    ----------
    bootstrap : bool
        If True, the predicted classes have weights too, as in L2B. Default False: learning to
        reweight.
    mode : {"jvp", "fd", "exact"} or bilevel.Lookahead
        Options for the hypergradient; ``sequence="act-first"`` is refused. Default ``"jvp"``.
    """

    needs_meta = True
    capturable = True

    def __init__(
        self, *, bootstrap: bool = False, mode: bilevel.Mode | bilevel.Lookahead = "jvp"
    ) -> None:
        super().__init__()
        self.bootstrap = bootstrap
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
        helpful = [(-gradient).clamp_min(0) for gradient in hyper.gradients]
        total = torch.stack([w.sum() for w in helpful]).sum()
        total = torch.where(total > 0, total, torch.ones_like(total))
        weights = [w / total for w in helpful]
        logits = bilevel.recomputed(model, forward, self.mode).logits
        loss = _weighted(logits, self._targets(forward, train.y), weights)
        descend(optimizer, loss)
        further = {"bootstrapped": weights[1].sum()} if self.bootstrap else {}
        return {
            "loss": loss.detach(),
            "meta_loss": hyper.outer_loss,
            "hypergradient": hyper.norm,
            "used": (weights[0] > 0).float().mean(),
            **further,
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
            A hypergradient with one gradient, of shape (n,), for the given labels; with `bootstrap`
            a second one for the predicted classes.
        """
        kind = torch.promote_types(forward.logits.dtype, torch.float32)
        targets = self._targets(forward, labels)
        weights = [
            torch.zeros(len(row), dtype=kind, device=row.device, requires_grad=True)
            for row in targets
        ]

        def inner_loss(logits: Tensor) -> Tensor:
            return _weighted(logits, targets, weights)

        def outer_loss(network: Callable[..., Any]) -> Tensor:
            return LabelCrossEntropy()(network, meta)

        # A step of length zero need not be taken, unless for what it frees or differentiates.
        taken = self.mode.mode == "exact" or self.mode.recompute
        return bilevel.hypergradient(
            model,
            forward,
            inner_loss,
            outer_loss,
            weights,
            lr=1.0,
            mode=self.mode,
            theta_hat=None if taken else bilevel.parameters(model, self.mode.only),
        )

    def _targets(self, forward: bilevel.ForwardPass, labels: Tensor) -> list[Tensor]:
        """The classes that have a weight: the given labels, and those that are predicted."""
        return [labels, forward.logits.detach().argmax(1)] if self.bootstrap else [labels]


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


def _weighted(logits: Tensor, targets: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Sum of the samples' cross-entropies times their weights, one row (n,) for each target."""
    rows = [
        (w * losses.cross_entropy(logits, labels, reduction="none")).sum()
        for labels, w in zip(targets, weights, strict=True)
    ]
    return torch.stack(rows).sum()
