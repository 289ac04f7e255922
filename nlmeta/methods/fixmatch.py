"""FixMatch: few labels and many unlabelled samples, with or without CLID-MU (chapter 8).

K. Sohn, D. Berthelot, C. Li, Z. Zhang, N. Carlini, E. Cubuk, A. Kurakin, H. Zhang, C. Raffel,
"FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020.

Where the network is sure of a weakly changed input, its answer becomes the label of a strongly
changed view of the same input. It trusts the few given labels; with a `CLIDMU` beside it, that
method's head decides how far. The views are the caller's business: what leaves a label as it is
depends on the data.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta._checks import check_count, check_not_negative, check_rate
from nlmeta._host import to_device
from nlmeta.data import images
from nlmeta.data.batches import Batch
from nlmeta.distributed import world_size
from nlmeta.methods.base import Method, descend
from nlmeta.methods.clid_mu import CLIDMU
from nlmeta.models import logits_of
from nlmeta.seeding import generator

__all__ = ["TensorAugmentation", "FixMatch"]

TensorAugmentation = Callable[[Tensor, torch.Generator], Tensor]


class FixMatch(Method):
    """Pseudo-labels for confident unlabelled samples.

    Parameters
    ----------
    unlabelled : Tensor, shape (N, ...), or Images
        Inputs without labels. They move with the method, but are not in its `state_dict`. Images on
        disk are decoded in each step, which waits for them.
    weak, strong : callable, or TensorAugmentation
        Of a tensor: ``augment(x, generator)`` gives a changed batch of the same shape; what it
        draws comes from the generator, which is on the CPU. Labelled and meta samples get the weak
        one. Of `Images`: changes of bytes, see `nlmeta.data.augmentation`, in place of the images'
        own. Labelled and meta samples then come as their split augments them:
        ``split.augmented(weak, meta=True)``.
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

    unlabelled: Tensor | images.Images

    def __init__(
        self,
        unlabelled: Tensor | images.Images,
        *,
        weak: TensorAugmentation | images.Augmentation,
        strong: TensorAugmentation | images.Augmentation,
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
        if not isinstance(unlabelled, Tensor | images.Images):
            raise TypeError(
                f"`unlabelled` is {type(unlabelled).__name__}; it must be a tensor or `Images`"
            )
        _check_view("weak", weak, unlabelled)
        _check_view("strong", strong, unlabelled)
        check_count("batch_size", batch_size)
        if batch_size > len(unlabelled):
            raise ValueError(
                f"`batch_size` is {batch_size}; `unlabelled` holds {len(unlabelled)} samples, "
                "and a batch has each at most once"
            )
        check_rate("cutoff", cutoff)
        check_not_negative("unlabelled_weight", unlabelled_weight)
        if isinstance(unlabelled, Tensor):
            self.register_buffer("unlabelled", unlabelled, persistent=False)
        else:
            self.unlabelled = unlabelled
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
        views = [self._labelled(train.x)]
        if self.unlabelled_weight > 0:
            weak, strong = self.views()
            pseudo, sure = self.pseudo_labels(model, weak)
            views.append(strong)
        needs_features = self.correction is not None and self.correction.head.needs_features
        forward = bilevel.forward_pass(model, torch.cat(views), features=needs_features)
        lr = optimizer.param_groups[0]["lr"]
        diagnostics: dict[str, Tensor] = {}
        if self.correction is not None:
            if meta is not None:
                meta = meta._replace(x=self._labelled(meta.x))
            diagnostics = self.correction.learn(model, forward, train.y, meta, lr=lr)
            forward = bilevel.recomputed(model, forward, self.correction.mode)
        loss = self.labelled_loss(forward, train.y)
        if self.unlabelled_weight > 0:
            logits = forward.logits[len(train.y) :]
            # Those it is not sure of count as zeros of the mean, as published.
            unlabelled = (
                sure * losses.cross_entropy(logits, pseudo, reduction="none")
            ).mean()  # (8.12)
            loss = loss + self.unlabelled_weight * unlabelled
            diagnostics["unlabelled_loss"] = unlabelled.detach()
            diagnostics["accepted"] = sure.to(unlabelled.dtype).mean()
        descend(optimizer, loss)
        return {"loss": loss.detach(), **diagnostics}

    def labelled_loss(self, forward: bilevel.ForwardPass, labels: Tensor) -> Tensor:
        """Cross-entropy of the first n samples of a pass, those with labels, or its correction."""
        if self.correction is None:
            return losses.cross_entropy(forward.logits[: len(labels)], labels)
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
            own = bilevel.with_parameters(model, {})  # with copies of its running statistics
            logits = logits_of(own, x)
        confidence, labels = logits.softmax(1).max(1)
        return labels, confidence >= self.cutoff

    def views(self) -> tuple[Tensor, Tensor]:
        """Unlabelled samples, drawn anew: a weak and a strong view of each.

        Returns
        -------
        weak, strong : Tensor, shape (batch_size, ...)
        """
        order = torch.randperm(len(self.unlabelled), generator=self._random, device="cpu")
        rows = order[: self.batch_size]
        if isinstance(self.unlabelled, Tensor):
            x = self.unlabelled[to_device(rows, self.unlabelled.device)]
        else:
            x = self.unlabelled.raw(rows)
        return self._view(self.weak, x), self._view(self.strong, x)

    def sample_weights(self, sample_losses: Tensor) -> Tensor | None:
        """Those of the correction."""
        return None if self.correction is None else self.correction.sample_weights(sample_losses)

    def get_extra_state(self) -> Tensor:
        """Where the draws stand, for `state_dict`."""
        return self._random.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Put the draws back."""
        self._random.set_state(state.cpu())

    def _view(self, augment: Any, x: Tensor) -> Tensor:
        if isinstance(self.unlabelled, Tensor):
            return augment(x, self._random)
        u = torch.rand(len(x), augment.num_random, generator=self._random, device="cpu")
        return self.unlabelled.standardised(augment(x, to_device(u, x.device)))

    def _labelled(self, x: Tensor) -> Tensor:
        """What the network sees of labelled and meta samples; of images that is settled before."""
        return self._view(self.weak, x) if isinstance(self.unlabelled, Tensor) else x

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Images go where their mean goes."""
        if isinstance(self.unlabelled, images.Images):
            mean = fn(self.unlabelled.mean)
            self.unlabelled = self.unlabelled.to(mean.device, mean.dtype)


def _check_view(name: str, view: object, unlabelled: Tensor | images.Images) -> None:
    changes_bytes = isinstance(view, images.Augmentation)
    if isinstance(unlabelled, images.Images) and not changes_bytes:
        raise TypeError(
            f"`{name}` is {view!r}; of images kept as bytes it takes an augmentation of bytes, see "
            "`nlmeta.data.augmentation`"
        )
    if isinstance(unlabelled, Tensor) and (changes_bytes or not callable(view)):
        raise TypeError(
            f"`{name}` is {view!r}; of a tensor it takes a function of a batch and a generator. "
            "Augmentations of bytes go with `Images`"
        )
