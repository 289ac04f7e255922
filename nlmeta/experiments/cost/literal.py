"""One training step of each method in the order of passes of the papers' released code.

They differ from the package in how a gradient is got and in nothing else: each class is the method
of the same name with another `step`, and both lead to the same network (the tests compare them). So
what a benchmark sees between the two is the price of the passes:

* the virtual step is differentiated itself, ``create_graph=True``;
* the ordinary step runs a forward pass of its own (MLC, CLID-MU), or keeps all graphs (MSLG);
* a copy of the network is made in every step (MLC, CLID-MU);
* neighbours are looked up one label at a time, and each trial step builds its graphs (MLNT).

EMLC (Taraday & Baskin, ICCV 2023) is no method of this package; what its released code does with
the student is here as a step of MSLG with the label first: the same loss and the same derivative.

Read in the released repositories: MLC at commit 709fe1c, MSLG at 7b6e5f7, CLID-MU at 5cd0608, MLNT
at its first and last commits, 91eac84 and 40f163d, and EMLC at 24524de.
"""

from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from nlmeta import bilevel, losses
from nlmeta._checks import check_choice
from nlmeta.data.batches import Batch
from nlmeta.methods import CLIDMU, MLC, MLNT, MSLG
from nlmeta.methods.base import descend
from nlmeta.methods.mlc import normalise_transition

__all__ = ["LiteralCLIDMU", "LiteralEMLC", "LiteralMLC", "LiteralMLNT", "LiteralMSLG"]


class LiteralMLC(MLC):
    """MLC as released: a copied network looks ahead, and the ordinary step starts from scratch."""

    def step(
        self, model: nn.Module, optimizer: Optimizer, train: Batch, meta: Batch | None = None
    ) -> dict[str, Tensor]:
        """The step of `MLC` by double backward; `mode` is not looked at. See `Method.step`."""
        assert meta is not None
        assert self.virtual_lr is not None
        assert not isinstance(self.transition_lr, str)
        if not self.keep_transition:
            nn.init.eye_(self.transition)
        copy = deepcopy(model)
        inner_loss = self.loss(copy(train.x), train.y, self.transition)
        outer_loss = self.objective(_after_step(copy, inner_loss, lr=self.virtual_lr), meta)
        (gradient,) = torch.autograd.grad(outer_loss, self.transition)
        with torch.no_grad():
            moved = self.transition - self.transition_lr * gradient
            self.transition.copy_(normalise_transition(moved, by=self.normalise))
        loss = self.loss(model(train.x), train.y, self.transition.detach())
        descend(optimizer, loss)
        return {"loss": loss.detach(), "meta_loss": outer_loss.detach()}


class LiteralMSLG(MSLG):
    """MSLG as released: one forward pass serves both steps, and all graphs live to the end."""

    def step(
        self, model: nn.Module, optimizer: Optimizer, train: Batch, meta: Batch | None = None
    ) -> dict[str, Tensor]:
        """The step of `MSLG` by double backward; `mode` is not looked at. See `Method.step`."""
        assert meta is not None
        assert self.virtual_lr is not None
        assert not isinstance(self.label_lr, str)
        logits = model(train.x)
        u = self.memory.read(train.ids, like=logits).requires_grad_()
        ahead = _after_step(model, self.divergence(logits, u), lr=self.virtual_lr)
        outer_loss = self.objective(ahead, meta)
        (gradient,) = torch.autograd.grad(outer_loss, u, retain_graph=True)
        moved = u.detach() - self.label_lr * gradient
        self.memory.write(train.ids, moved)
        loss = self.ordinary_loss(logits, moved)
        descend(optimizer, loss)
        return {"loss": loss.detach(), "meta_loss": outer_loss.detach()}


class LiteralCLIDMU(CLIDMU):
    """CLID-MU as released: like MLC, and the outer loss is differentiated by the network as well.

    The released code calls ``backward`` on the outer loss, which works out the gradient by every
    leaf, the copied network's parameters too; nobody reads these.
    """

    def step(
        self, model: nn.Module, optimizer: Optimizer, train: Batch, meta: Batch | None = None
    ) -> dict[str, Tensor]:
        """The step of `CLIDMU` by double backward; `mode` is not looked at. See `Method.step`."""
        assert meta is not None
        lr = optimizer.param_groups[0]["lr"] if self.virtual_lr is None else self.virtual_lr
        copy = deepcopy(model)
        forward = bilevel.forward_pass(copy, train.x, features=self.head.needs_features)
        correction = self.head(forward, train.y)
        inner_loss = self.head.loss(forward.logits, train.y, correction)
        outer_loss = self.objective(_after_step(copy, inner_loss, lr=lr), meta)
        self._optimizer.zero_grad()
        outer_loss.backward()
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.head.parameters(), self.max_norm)
        self._optimizer.step()
        forward = bilevel.forward_pass(model, train.x, features=self.head.needs_features)
        loss = self.ordinary_loss(forward, train.y)
        descend(optimizer, loss)
        return {"loss": loss.detach(), "meta_loss": outer_loss.detach()}


class LiteralEMLC(MSLG):
    """MSLG, label first, in the sequence of EMLC's released code: the real step is the lookahead.

    A copy of the network stays behind. After the step, the clean loss is differentiated by
    ``backward``, and one forward-mode pass of the copy gives the tangent of its log-probabilities;
    times the step's size it is the derivative by the soft labels. What EMLC has beside that is left
    out: the teacher that makes the soft labels, and clean samples in the student's own batch. The
    optimiser's step counts as a plain one, which with momentum but without dampening it is.
    """

    def step(
        self, model: nn.Module, optimizer: Optimizer, train: Batch, meta: Batch | None = None
    ) -> dict[str, Tensor]:
        """The step of `MSLG` that acts first; of `mode` only that is used. See `Method.step`."""
        assert meta is not None
        assert not isinstance(self.label_lr, str)
        check_choice("direction", self.direction, ("label-first",))
        old = deepcopy(model)
        logits = model(train.x)
        u = self.memory.read(train.ids, like=logits).requires_grad_()
        loss = self.ordinary_loss(logits, u.detach())
        descend(optimizer, loss)
        outer_loss = self.objective(model, meta)
        optimizer.zero_grad()
        outer_loss.backward()
        with torch.no_grad(), forward_ad.dual_level():
            pairs = zip(old.named_parameters(), model.parameters(), strict=True)
            duals = {name: forward_ad.make_dual(p, q.grad) for (name, p), q in pairs}
            log_p = functional_call(old, duals, (train.x,)).log_softmax(1)
            change = forward_ad.unpack_dual(log_p).tangent  # (n, C)
        size = log_p.numel() if self.scale == "entries" else len(log_p)
        derivative = optimizer.param_groups[0]["lr"] / size * (change * u.softmax(1)).sum()
        (gradient,) = torch.autograd.grad(derivative, u)
        self.memory.write(train.ids, u.detach() - self.label_lr * gradient)
        return {"loss": loss.detach(), "meta_loss": outer_loss.detach()}


class LiteralMLNT(MLNT):
    """MLNT as released: neighbours one by one, a graph of the gradient for each trial step.

    The first order detaches that gradient after it was built with a graph (commit 91eac84); the
    second order keeps the graphs of all trial steps for a single backward pass (40f163d).
    """

    def step(
        self, model: nn.Module, optimizer: Optimizer, train: Batch, meta: Batch | None = None
    ) -> dict[str, Tensor]:
        """The step of `MLNT` with ``update="sum"``, the released one. See `Method.step`."""
        check_choice("update", self.update, ("sum",))
        optimizer.zero_grad()
        forward = bilevel.forward_pass(model, train.x)
        loss = F.cross_entropy(forward.logits, train.y)
        loss.backward(retain_graph=True)
        weight = self._move_teacher(model, train.y.device) / self.trials
        log_q, features = self.target(model, forward)
        # The draws of `neighbour_labels`, so that both see the same labels.
        n, first = len(train.y), self.order == "first"
        draws: dict[str, Any] = {"generator": self._generator, "device": "cpu"}
        order = torch.rand(self.trials, n, **draws).argsort(1)
        drawn = torch.randint(self.neighbours, (self.trials, n), **draws)
        look_ahead = partial(_after_step, model, lr=self.trial_lr, detach=first)
        meta_loss = log_q.new_zeros(())
        for m in range(self.trials):
            labels = train.y.clone()
            for i in range(n):
                if order[m, i] < int(self.replaced * n + 1e-9):
                    distance = (features[i] - features).square().sum(1)
                    nearest = distance.topk(self.neighbours + 1, largest=False).indices
                    labels[i] = train.y[nearest[1 + drawn[m, i]]]  # the first is i itself
            ahead = look_ahead(F.cross_entropy(forward.logits, labels))
            divergence = weight * losses.soft_label_divergence(
                ahead(train.x), log_q, direction="label-first", scale=self.scale
            )
            if first:
                divergence.backward()
                meta_loss += divergence.detach()
            else:
                meta_loss = meta_loss + divergence
        if not first:
            meta_loss.backward()
        optimizer.step()
        return {"loss": loss.detach(), "meta_loss": meta_loss.detach()}


def _after_step(model: nn.Module, loss: Tensor, *, lr: float, detach: bool = False) -> Any:
    """The network after one differentiable step, as a function of a batch.

    It uses the buffers of `model`, so running statistics move in every pass, as in released code.
    """
    theta = bilevel.parameters(model)
    gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
    if detach:
        gradients = tuple(g.detach() for g in gradients)
    ahead = {name: p - lr * g for (name, p), g in zip(theta.items(), gradients, strict=True)}
    return lambda x, **options: functional_call(model, ahead, (x,), options)
