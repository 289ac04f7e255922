"""The shape that all methods share."""

from abc import ABC, abstractmethod
from dataclasses import is_dataclass
from functools import cache
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import losses
from nlmeta._torch import HookedModule
from nlmeta.data.batches import Batch
from nlmeta.distributed import check_joint, sum_over_processes
from nlmeta.models import logits_of

__all__ = ["Method"]


class Method(HookedModule, ABC):
    """A way to take one training step.

    A method is a module so that whatever it learns beside the network (a transition matrix, an
    average of weights) moves with ``.to`` and lies in its ``state_dict``.
    """

    needs_meta: bool = False
    """Whether `step` needs a meta batch."""

    smallest_batch: int = 2
    """What `step` can work with. `nlmeta.fit` leaves a smaller last batch out of a pass."""

    num_samples: int | None = None
    """Size of the training part for which the method keeps something per sample, if it does."""

    capturable: bool = False
    """Whether a GPU can repeat `step` without Python, see `Captured`: it waits for no number, what
    it takes from Python goes through `nlmeta._host.from_host`, and it calls the optimiser's step
    once, at its end.
    """

    networks: tuple[nn.Module, ...] = ()
    """Further networks that see the batches; `distributed.joint` needs to know them."""

    @abstractmethod
    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Take one training step on the network and on what the method learns beside it.

        Parameters
        ----------
        model : nn.Module
            The network, in training mode; returns logits of shape (n, C). It draws random numbers
            from PyTorch's global generators alone, and does without activation checkpointing, see
            `bilevel.with_parameters`. One compiled by ``torch.compile`` in a loop of your own needs
            ``torch._functorch.config.donated_buffer = False`` before its first call, since passes
            are shared; `fit` sees to that.
        optimizer : torch.optim.Optimizer
            Over the network's parameters; freeze those that it leaves out by ``requires_grad_``,
            for all that require a gradient take part in virtual and trial steps. To clip the
            gradient of the ordinary step: ``optimizer.register_step_pre_hook``.
        train : Batch
            Inputs, given labels and sample ids.
        meta : Batch, optional
            Clean samples, for methods with `needs_meta`.

        Returns
        -------
        dict of str to Tensor
            Diagnostics, each of shape () and detached; ``"loss"`` is always there.
        """

    def warmup_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """One step of plain cross-entropy, for the epochs before the method begins."""
        loss = losses.cross_entropy(logits_of(model, train.x), train.y)
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def ordinary_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """The network's step alone, with what the method has learned so far. See `EveryKth`."""
        raise NotImplementedError(f"{type(self).__name__} has no ordinary step of its own")

    @property
    def needs_meta_labels(self) -> bool:
        """Whether the labels of the meta batch are looked at; then every class must be there."""
        return self.needs_meta and getattr(getattr(self, "objective", None), "uses_labels", True)

    @property
    def settings(self) -> dict[str, object]:
        """The method's name and its plain options, for records and checkpoints."""
        plain: dict[str, object] = {}
        for name, value in {**vars(self), **dict(self.named_children())}.items():
            if name.startswith("_") or name == "training":
                continue
            if isinstance(value, (bool, int, float, str)):
                plain[name] = value
            elif hasattr(value, "settings"):  # a method, or a part of one
                plain[name] = value.settings
            elif is_dataclass(value):
                plain[name] = repr(value)
        return {"name": type(self).__name__, **plain}

    def predictor(self, model: nn.Module) -> nn.Module:
        """The network to predict with: `model` itself unless the method keeps a better one.

        That one has a mode of its own. `metrics.predict` sees to it; else call its ``eval``.
        """
        return model

    def learned_transition(self) -> Tensor | None:
        """The transition matrix that the method has learned beside the network, as it is now.

        Returns
        -------
        Tensor of float, shape (C, C), or None
            Row: true class, column: given label. A copy, where the method keeps the matrix and in
            its type; rows sum to one unless the method normalises otherwise. None (the default):
            nothing like it is learned. A matrix that is given to the method is not learned.
        """
        return None

    def forward_transition(self) -> Tensor | None:
        """The T of a forward correction: the network predicts p, the method compares p T.

        With such a T, learned or given, p is a prediction of the clean label, and Bayes' rule gives
        the true class behind a given one.

        Returns
        -------
        Tensor of float, shape (C, C), or None
            A transition matrix, rows summing to one; a copy as for `learned_transition`. None (the
            default): p is compared with labels in another way.
        """
        return None

    def learned_labels(self) -> Tensor | None:
        """The labels that the method has learned for the training samples, as they are now.

        With several processes all of them call this together.

        Returns
        -------
        Tensor of float, shape (N, C), or None
            Row by row as the sample ids count; a copy, where the method keeps its labels and in
            their type. Rows are probabilities that sum to one, or NaN for a sample of which nothing
            was learned yet. None (the default): nothing is kept for each sample.
        """
        return None

    def sample_weights(self, sample_losses: Tensor) -> Tensor | None:
        """The weights that the method has learned to give to samples with these losses.

        Parameters
        ----------
        sample_losses : Tensor of float, shape (n,)
            Cross-entropy of each given label, on any device.

        Returns
        -------
        Tensor of float, shape (n,), or None
            Not negative, before they are normalised over a batch; detached, where the method is and
            in its type. None (the default): no weight is a learned function of the loss.
        """
        return None


def backward(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """The gradient of a loss by the network's parameters, in their `grad`, over all processes."""
    check_joint()
    kind: Any = type(optimizer)
    if _needs_closure(kind):
        raise TypeError(
            f"`optimizer` is {kind.__name__}, whose step evaluates the loss several "
            "times by itself; a method takes one gradient a step: use SGD, Adam or their like"
        )
    optimizer.zero_grad()
    loss.backward()
    reached = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    for p, gradient in zip(reached, sum_over_processes([p.grad for p in reached]), strict=True):
        p.grad = gradient


@cache
def _needs_closure(optimizer: type[Any]) -> bool:
    """Whether its step evaluates the loss itself, as that of LBFGS does."""
    closure = signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is Parameter.empty


def require_meta(method: Method, meta: Batch | None) -> Batch:
    """The meta batch, which must be there."""
    if meta is None or len(meta.x) == 0:
        raise ValueError(f"`meta` is empty; {type(method).__name__} needs at least one meta sample")
    return meta


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One ordinary step of the network."""
    backward(optimizer, loss)
    optimizer.step()
