"""FixMatch: few labels and many unlabelled samples, with or without CLID-MU (chapter 8).

K. Sohn, D. Berthelot, C. Li, Z. Zhang, N. Carlini, E. Cubuk, A. Kurakin, H. Zhang, C. Raffel,
"FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020.

Where the network is sure of a weakly changed input, its answer becomes the label of a strongly
changed view of the same input. It trusts the few given labels; with a `CLIDMU` beside it, that
method's head decides how far. The views are the caller's business: what leaves a label as it is
depends on the data.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._checks import check_count, check_not_negative, check_rate
from nlmeta.data.batches import Batch
from nlmeta.distributed import world_size
from nlmeta.methods.base import Method, descend
from nlmeta.methods.clid_mu import CLIDMU
from nlmeta.seeding import generator

__all__ = ["Augmentation", "FixMatch"]

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class FixMatch(Method):
    """Pseudo-labels for confident unlabelled samples.

    Parameters
    ----------
    unlabelled : Tensor, shape (N, ...)
        Inputs without labels. They move with the method, but are not in its `state_dict`.
    weak, strong : callable
        ``augment(x, generator)`` gives a changed batch of the same shape; what it draws comes from
        the generator, which is on the CPU. Labelled and meta samples get the weak one.
    batch_size : int
        Unlabelled samples a step, drawn anew each time. Published: 7 times the labelled ones.
    cutoff : float
        Least probability of a pseudo-label, in [0, 1]. Default 0.95, published.
    unlabelled_weight : float
        lambda_u, weight of the unlabelled loss. Default 1, published. With 0 the unlabelled
        samples are not looked at.
    correction : CLIDMU, optional
        Its head learns from the labelled samples and decides how they count. Default: plain
        cross-entropy, published. The released code of CLID-MU divides by n there, which is
        ``WeightNet(normalise=False)``, and its virtual step contains the momentum; here it is
        plain.
    seed : int
        Draws the unlabelled batches and the views.

    Notes
    -----
    Pseudo-labels come from a pass of their own, which leaves BatchNorm's running statistics alone.
    Those move once a step, by the weak labelled and the strong unlabelled views together. The
    released code of FixMatch sends all three kinds of views through at once.
    """

    unlabelled: Tensor

    def __init__(
        self,
        unlabelled: Tensor,
        *,
        weak: Augmentation,
        strong: Augmentation,
        batch_size: int,
        cutoff: float = 0.95,
        unlabelled_weight: float = 1.0,
        correction: CLIDMU | None = None,
        seed: int,
    ) -> None:
        super().__init__()
        if world_size() > 1:
            raise RuntimeError(
                f"FixMatch runs in one process, not in {world_size()}: its pass holds rows of two "
                "kinds, and its views are drawn for the whole batch"
            )
        if not isinstance(unlabelled, Tensor):
            raise TypeError(
                f"`unlabelled` is {type(unlabelled).__name__}; it must be a tensor. Of images kept "
                "as bytes pass `images[:]`, their floats"
            )
        check_count("batch_size", batch_size)
        if batch_size > len(unlabelled):
            raise ValueError(
                f"`batch_size` is {batch_size}; `unlabelled` holds {len(unlabelled)} samples, "
                "and a batch has each at most once"
            )
        check_rate("cutoff", cutoff)
        check_not_negative("unlabelled_weight", unlabelled_weight)
        self.register_buffer("unlabelled", unlabelled, persistent=False)
        self.weak = weak
        self.strong = strong
        self.batch_size = batch_size
        self.cutoff = cutoff
        self.unlabelled_weight = unlabelled_weight
        self.correction = correction
        self.seed = seed
        self.needs_meta = correction is not None
        self._random = generator(seed, "fixmatch")

    @property
    def needs_meta_labels(self) -> bool:
        """Those of the correction."""
        return self.correction is not None and self.correction.needs_meta_labels

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Pseudo-labels, step of the correction's head, ordinary step. See `Method.step`."""
        views = [self.weak(train.x, self._random)]
        if self.unlabelled_weight > 0:
            drawn = self._draw()
            pseudo, sure = self.pseudo_labels(model, self.weak(drawn, self._random))
            views.append(self.strong(drawn, self._random))
        needs_features = self.correction is not None and self.correction.head.needs_features
        forward = bilevel.record(model, torch.cat(views), features=needs_features)
        lr = optimizer.param_groups[0]["lr"]
        diagnostics: dict[str, Tensor] = {}
        if self.correction is not None:
            if meta is not None:
                meta = meta._replace(x=self.weak(meta.x, self._random))
            diagnostics = self.correction.learn(model, forward, train.y, meta, lr=lr)
            forward = bilevel.renewed(model, forward, self.correction.mode)
        loss = self.labelled_loss(forward, train.y)
        if self.unlabelled_weight > 0:
            logits = forward.logits[len(train.y) :]
            # Those it is not sure of count as zeros of the mean, as published.
            unlabelled = (sure * F.cross_entropy(logits, pseudo, reduction="none")).mean()  # (8.12)
            loss = loss + self.unlabelled_weight * unlabelled
            diagnostics["unlabelled_loss"] = unlabelled.detach()
            diagnostics["accepted"] = sure.double().mean()
        descend(optimizer, loss)
        return {"loss": loss.detach(), **diagnostics}

    def labelled_loss(self, forward: bilevel.Forward, labels: Tensor) -> Tensor:
        """Cross-entropy of the first n samples of a pass, those with labels, or its correction."""
        if self.correction is None:
            return F.cross_entropy(forward.logits[: len(labels)], labels)
        return self.correction.ordinary_loss(forward, labels)

    def pseudo_labels(self, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the network says to a batch, and where it is sure; (8.11).

        Parameters
        ----------
        model : nn.Module
            The network, in whatever mode it is; nothing of it changes.
        x : Tensor, shape (n, ...)
            Weak views.

        Returns
        -------
        labels : Tensor of int64, shape (n,)
        sure : Tensor of bool, shape (n,)
            Whether their probability is at least the cutoff.
        """
        with torch.no_grad():
            logits = bilevel.at(model, {})(x)  # its own parameters, and copies of its statistics
        confidence, labels = logits.softmax(1).max(1)
        return labels, confidence >= self.cutoff

    def get_extra_state(self) -> Tensor:
        """Where the draws stand, for `state_dict`."""
        return self._random.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Put the draws back."""
        self._random.set_state(state.cpu())

    def _draw(self) -> Tensor:
        order = torch.randperm(len(self.unlabelled), generator=self._random, device="cpu")
        return self.unlabelled[order[: self.batch_size].to(self.unlabelled.device)]
