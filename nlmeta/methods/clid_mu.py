"""CLID-MU: learn how far to trust a label, judged without any clean label (chapter 11).

R. Hu, D. Zhang, H. Zhang, E. Rundensteiner, "CLID-MU: Cross-Layer Information Divergence Based Meta
Update Strategy for Learning with Noisy Labels", KDD 2025.

A small network, the head, computes from a sample how much it counts in the loss: a weight
(`WeightNet`, after Shu et al., NeurIPS 2019) or factors on its logits (`LogitMultiplier`, after Sun
et al., variational rectification). A virtual step shows which head would have served the objective
better, and the head moves there. CLID-MU's objective is the divergence between the neighbours in
feature space and those in the predictions, `objectives.CrossLayerDivergence`. Other objectives are
possible: with the cross-entropy of clean samples and a weight, this is Meta-Weight-Net.

The choice of checkpoints by the divergence is in `nlmeta.procedures`. The defaults are those of the
released code, commit 5cd0608, for weights; the paper's own text was not at hand.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._checks import check_choice, check_not_negative, check_positive, check_same_length
from nlmeta._interface import Inputs
from nlmeta.data.batches import Batch
from nlmeta.methods.base import Method, descend, require_meta
from nlmeta.methods.heads import OPTIMIZERS, HeadOptimizer, WeightNet
from nlmeta.methods.objectives import CrossLayerDivergence, Objective
from nlmeta.methods.sequence import both_steps, check_virtual_lr
from nlmeta.methods.step_sizes import StepSize, head_rate

__all__ = ["CLIDMU"]


class CLIDMU(Method):
    """Cross-layer information divergence based meta update.

    Parameters
    ----------
    head : WeightNet or LogitMultiplier
        The small network that is meta-learned.
    head_lr : float or "auto"
        Size of the head's step. Released: 1e-5 for weights (SGD), 0.01 for multipliers (Adam). With
        0 the head stays as it was initialised. ``"auto"`` is 1e-3, for Adam alone.
    virtual_lr : float, optional
        alpha, the size of the virtual step. Default: the current learning rate of the network's
        optimiser (of its first group of parameters), as released. It is refused if `mode` has
        ``sequence="act-first"``.
    head_optimizer : {"sgd", "adam", "amsgrad"}
        Optimiser of the head. Default ``"sgd"``, released for weights; for multipliers ``"adam"``.
    head_weight_decay : float
        Weight decay of the head. Default 5e-4, released.
    max_norm : float, optional
        Largest norm of the head's gradient; a longer gradient is scaled down to it. Default: no
        bound, as released.
    objective : Objective
        The loss that judges the virtual step. Default: `objectives.CrossLayerDivergence`, which
        uses no label.
    mode : {"jvp", "fd", "exact"} or bilevel.Lookahead
        Options for the hypergradient. Default ``"jvp"``.
    """

    needs_meta = True

    def __init__(
        self,
        head: nn.Module,
        *,
        head_lr: StepSize,
        virtual_lr: float | None = None,
        head_optimizer: HeadOptimizer = "sgd",
        head_weight_decay: float = 5e-4,
        max_norm: float | None = None,
        objective: Objective | None = None,
        mode: bilevel.Mode | bilevel.Lookahead = "jvp",
    ) -> None:
        super().__init__()
        self.mode = bilevel.Lookahead.of(mode)
        check_virtual_lr(virtual_lr, self.mode, needed=False)
        if max_norm is not None:
            check_positive("max_norm", max_norm)
        check_choice("head_optimizer", head_optimizer, tuple(OPTIMIZERS))
        self.head_lr = head_rate(head_lr, head_optimizer)
        check_not_negative("head_weight_decay", head_weight_decay)
        self.head: Any = head  # a module with `needs_features`, `forward` and `loss`
        self.virtual_lr = virtual_lr
        self.head_optimizer = head_optimizer
        self.head_weight_decay = head_weight_decay
        self.max_norm = max_norm
        self.objective = CrossLayerDivergence() if objective is None else objective
        kind = OPTIMIZERS[head_optimizer]
        self._optimizer = kind(head.parameters(), lr=self.head_lr, weight_decay=head_weight_decay)

    @property
    def capturable(self) -> bool:  # type: ignore[override]
        """Whether the network moves last. See `Method.capturable`."""
        return not self.mode.acts_first

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Virtual step, step of the head, ordinary step, from one pass. See `Method.step`."""
        meta = require_meta(self, meta)
        forward, lr = self._checked_pass(model, train), optimizer.param_groups[0]["lr"]
        correction = self.head(forward, train.y) if self.mode.acts_first else None  # (11.1-11.2)

        def learn(taken: bilevel.TakenStep | None) -> dict[str, Tensor]:
            own = {"lr": lr, "correction": correction, "taken": taken}
            return self.learn(model, forward, train.y, meta, **own)

        def loss(forward: bilevel.ForwardPass) -> Tensor:
            return self.ordinary_loss(forward, train.y, correction)  # (11.7): old weights, new head

        return both_steps(self.mode, model, optimizer, forward, learn=learn, loss=loss)

    def ordinary_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """The network's step with the head as it is, (11.7). See `Method.ordinary_step`."""
        forward = self._checked_pass(model, train)
        loss = self.ordinary_loss(forward, train.y)
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def forward_pass(self, model: nn.Module, x: Inputs) -> bilevel.ForwardPass:
        """The network's pass over a batch, with the features if the head reads them."""
        return bilevel.forward_pass(model, x, features=self.head.needs_features)

    def learn(
        self,
        model: nn.Module,
        forward: bilevel.ForwardPass,
        labels: Tensor,
        meta: Batch | None,
        *,
        lr: float,
        correction: Tensor | None = None,
        taken: bilevel.TakenStep | None = None,
    ) -> dict[str, Tensor]:
        """One step of the head. The network does not move.

        Parameters
        ----------
        model : nn.Module
            The network.
        forward : bilevel.ForwardPass
            The network's pass over a batch whose first n samples have labels.
        labels : Tensor of int64, shape (n,)
            Given labels.
        meta : Batch
            Meta samples.
        lr : float
            alpha, used unless `virtual_lr` was given.
        correction : Tensor, optional
            The head's output for the pass, with its graph. Default: the head is called.
        taken : bilevel.TakenStep, optional
            The ordinary step, taken with `correction`, where it came first. Default: a virtual step
            is taken.

        Returns
        -------
        dict of str to Tensor
            Diagnostics, each of shape ().
        """
        meta = require_meta(self, meta)
        own: dict[str, Any] = {"lr": lr, "correction": correction, "taken": taken}
        hyper = self.head_gradient(model, forward, labels, meta, **own)
        length = hyper.norm  # before the clipping below, which works in place
        parameters = list(self.head.parameters())
        for parameter, gradient in zip(parameters, hyper.gradients, strict=True):
            parameter.grad = gradient.to(parameter.dtype)
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.max_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self.head_lr
        self._optimizer.step()  # (11.6)
        self._optimizer.zero_grad()
        torch.clear_autocast_cache()  # it holds casts of the head as it was
        return {"meta_loss": hyper.outer_loss, "hypergradient": length}

    def head_gradient(
        self,
        model: nn.Module,
        forward: bilevel.ForwardPass,
        labels: Tensor,
        meta: Batch,
        *,
        lr: float,
        correction: Tensor | None = None,
        taken: bilevel.TakenStep | None = None,
    ) -> bilevel.Hypergradient:
        """Derivative by the head's parameters of the objective after a virtual step, (11.4-11.5).

        It has the parameters of `learn`, and returns one gradient for each parameter of the head.
        """
        drawn = self.head(forward, labels) if correction is None else correction
        return bilevel.hypergradient(
            model,
            forward,
            inner_loss=lambda logits: self.inner_loss(logits, labels, drawn),
            outer_loss=lambda network: self.objective(network, meta),
            meta_parameters=list(self.head.parameters()),
            lr=lr if self.virtual_lr is None else self.virtual_lr,
            mode=self.mode,
            taken=taken,
        )

    def ordinary_loss(
        self, forward: bilevel.ForwardPass, labels: Tensor, correction: Tensor | None = None
    ) -> Tensor:
        """The loss of the ordinary step, (11.7), with the head's output fixed, new or given."""
        if correction is None:
            with torch.no_grad():
                correction = self.head(forward, labels)
        return self.inner_loss(forward.logits, labels, correction.detach())

    def inner_loss(self, logits: Tensor, labels: Tensor, correction: Tensor) -> Tensor:
        """The loss of the virtual step, of the first n logits, from the head's correction."""
        return self.head.loss(logits, labels, correction)

    def sample_weights(self, sample_losses: Tensor) -> Tensor | None:
        """Weights of a `WeightNet`, in (0, 1); None for a `LogitMultiplier`, which has factors."""
        if not isinstance(self.head, WeightNet):
            return None
        with torch.no_grad():
            return self.head.weights(sample_losses.to(next(self.head.parameters()).device))

    def _checked_pass(self, model: nn.Module, train: Batch) -> bilevel.ForwardPass:
        forward = self.forward_pass(model, train.x)
        check_same_length("train.x", forward.logits, "train.y", train.y)
        return forward

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Loading casts the optimiser's moments to the head's type."""
        self._optimizer.load_state_dict(self._optimizer.state_dict())

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the head's optimiser, for `state_dict`."""
        return self._optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the head's optimiser."""
        self._optimizer.load_state_dict(deepcopy(state))  # it would share the moments
