"""FixMatch: few labels and many unlabelled samples, with or without CLID-MU (chapter 11).

K. Sohn, D. Berthelot, C. Li, Z. Zhang, N. Carlini, E. Cubuk, A. Kurakin, H. Zhang, C. Raffel,
"FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020.

If the network's prediction for a weakly changed input has a high probability, it becomes the label
of a strongly changed view of the same input. The few given labels count in full; with a `CLIDMU`
beside it, that method's head decides how much. The caller chooses the views: which changes leave a
label right depends on the data.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta._checks import check_count, check_not_negative, check_rate
from nlmeta._host import to_device
from nlmeta._interface import Inputs
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
        The two changes. For a tensor, ``augment(x, generator)`` returns a changed batch of the same
        shape and draws from the generator, which is on the CPU; labelled and meta samples go
        through the weak one. For `Images` they are changes of bytes, see
        `nlmeta.data.augmentation`, and replace the images' own; labelled and meta samples are then
        augmented by their split: ``split.augmented(weak, meta=True)``.
    batch_size : int
        Number of unlabelled samples in a step, drawn anew each time. Published: 7 times the
        labelled ones.
    cutoff : float
        Smallest probability of a pseudo-label, in [0, 1]. Default 0.95, published.
    unlabelled_weight : float
        lambda_u, weight of the unlabelled loss. Default 1, published. With 0 the unlabelled
        samples are not used.
    correction : CLIDMU, optional
        A method whose head learns from the labelled samples and decides how they count. Default:
        plain cross-entropy, published. The released code of CLID-MU divides by n here, which is
        ``WeightNet(normalise=False)``; its virtual step contains the momentum. May not act first.
    seed : int
        Seed of the unlabelled batches and of the views.

    Notes
    -----
    Pseudo-labels come from a pass of their own, which does not move BatchNorm's running statistics.
    These move once a step, by the weak labelled and the strong unlabelled views together. In the
    released code of FixMatch all three kinds of views form one batch.
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
                f"FixMatch runs in one process, not in {world_size()}: a pass has rows of two "
                "kinds, and views are drawn for the whole batch. Leave torchrun out"
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
                f"`batch_size` is {batch_size}; it must be at most {len(unlabelled)}, the number "
                "of samples in `unlabelled`, since a batch has each at most once"
            )
        if correction is not None and correction.mode.acts_first:
            raise ValueError("`correction` has sequence='act-first'; it must be 'look-first'")
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
        """Whether the correction uses the labels of the meta batch."""
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
        run = bilevel.forward_pass if self.correction is None else self.correction.forward_pass
        forward = run(model, torch.cat(views))
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
            ).mean()  # (11.12)
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
        """The network's predictions for a batch, and which of them are sure; (11.11).

        Parameters
        ----------
        model : nn.Module
            The network, in either mode; it does not change.
        x : Tensor, shape (n, ...)
            Weak views.

        Returns
        -------
        labels : Tensor of int64, shape (n,)
            The predicted labels.
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
            The two views; row i of both belongs to the same sample.
        """
        order = torch.randperm(len(self.unlabelled), generator=self._random, device="cpu")
        rows = order[: self.batch_size]
        if isinstance(self.unlabelled, Tensor):
            x = self.unlabelled[to_device(rows, self.unlabelled.device)]
        else:
            x = self.unlabelled.raw(rows)
        return self._view(self.weak, x), self._view(self.strong, x)

    def sample_weights(self, sample_losses: Tensor) -> Tensor | None:
        """The sample weights of the correction."""
        return None if self.correction is None else self.correction.sample_weights(sample_losses)

    def get_extra_state(self) -> Tensor:
        """The state of the generator, for `state_dict`."""
        return self._random.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the generator."""
        self._random.set_state(state.cpu())

    def _view(self, augment: Any, x: Tensor) -> Tensor:
        if isinstance(self.unlabelled, Tensor):
            return augment(x, self._random)
        u = torch.rand(len(x), augment.num_random, generator=self._random, device="cpu")
        return self.unlabelled.standardised(augment(x, to_device(u, x.device)))

    def _labelled(self, x: Inputs) -> Tensor:
        """Weak views of labelled and meta samples; images were augmented by their split before."""
        if not isinstance(x, Tensor):
            raise TypeError(
                f"`train.x` is a {type(x).__name__}; FixMatch changes a single tensor: join them"
            )
        return self._view(self.weak, x) if isinstance(self.unlabelled, Tensor) else x

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Move the images to the device of their mean."""
        if isinstance(self.unlabelled, images.Images):
            mean = fn(self.unlabelled.mean)
            self.unlabelled = self.unlabelled.to(mean.device, mean.dtype)


def _check_view(name: str, view: object, unlabelled: Tensor | images.Images) -> None:
    changes_bytes = isinstance(view, images.Augmentation)
    if isinstance(unlabelled, images.Images) and not changes_bytes:
        raise TypeError(
            f"`{name}` is {view!r}; for images kept as bytes it must be an augmentation of bytes, "
            "see `nlmeta.data.augmentation`"
        )
    if isinstance(unlabelled, Tensor) and (changes_bytes or not callable(view)):
        raise TypeError(
            f"`{name}` is {view!r}; for a tensor it must be a function of a batch and a generator. "
            "Augmentations of bytes need `Images`"
        )
