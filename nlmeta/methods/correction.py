"""Loss correction with a given transition matrix T, which MLC would learn (chapter 8).

G. Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach",
CVPR 2017; with additional trusted samples D. Hendrycks et al., "Using Trusted Data to Train Deep
Networks on Labels Corrupted by Severe Noise", NeurIPS 2018. T may be the true matrix, or an
estimate from `nlmeta.procedures`.
"""

import torch
from torch import Tensor, nn

from nlmeta import distributed, losses
from nlmeta._arrays import described
from nlmeta._checks import check_transition
from nlmeta._interface import check_inputs, joined
from nlmeta.data.batches import Batch
from nlmeta.methods.base import Method, descend, require_meta
from nlmeta.models import logits_of

__all__ = ["ForwardCorrection", "GoldLossCorrection"]


class ForwardCorrection(Method):
    """The prediction is multiplied by a fixed T before it is compared with the given label.

    The loss is -log (p T) at the given label. With the true T and infinitely many samples, its
    minimiser is the clean posterior (Patrini et al., theorem 2). With the identity it is
    cross-entropy.

    Parameters
    ----------
    transition : Tensor, shape (C, C)
        The matrix T; row: true class, column: given label.

    Attributes
    ----------
    transition : Tensor, shape (C, C)
        A copy of T, which no step changes.
    """

    transition: Tensor

    capturable = True
    scalable = True

    def __init__(self, transition: Tensor) -> None:
        super().__init__()
        check_transition("transition", transition)
        self.register_buffer("transition", transition.detach().clone())
        self.given = described(transition)  # so that the settings tell one T from another

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step; the meta batch is not used. See `Method.step`."""
        logits = logits_of(model, train.x)
        loss = losses.transition_cross_entropy(logits, train.y, self.transition)
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def forward_transition(self) -> Tensor:
        """The T that was given, which is not learned. See `Method.forward_transition`."""
        return self.transition.clone()


class GoldLossCorrection(ForwardCorrection):
    """GLC: corrected loss on noisy samples, plain cross-entropy on trusted ones, in one mean.

    The n noisy and the m trusted samples of a step form one batch, and each counts 1 / (n + m). In
    the paper an epoch runs over the union of both sets, so a trusted sample is used as often as a
    noisy one. A step of `nlmeta.fit` has the whole meta set unless ``meta_batch_size`` is given;
    n M / N, for M trusted and N noisy samples, is the paper's share.

    Parameters
    ----------
    transition : Tensor, shape (C, C)
        The matrix T; row: true class, column: given label. Published: the estimate of
        `nlmeta.procedures.transition_from_clean`.

    Notes
    -----
    The batch goes through the network in one pass, so BatchNorm's statistics are those of the whole
    batch. The released code (commit 9f0fcaf) has one pass for the trusted samples and another for
    the noisy ones.
    """

    needs_meta = True

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step on the noisy and the trusted samples together. See `Method.step`."""
        meta = require_meta(self, meta)
        check_inputs(train.x)
        logits = logits_of(model, joined([train.x, meta.x]))  # (n + m, C)
        noisy, trusted = distributed.split(logits, [len(train.y), len(meta.y)])
        corrected = losses.transition_cross_entropy(
            noisy, train.y, self.transition, reduction="sum"
        )
        plain = losses.cross_entropy(trusted, meta.y, reduction="sum")
        loss = (corrected + plain) / len(logits)
        descend(optimizer, loss)
        return {"loss": loss.detach()}
