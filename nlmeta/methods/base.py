"""The shape that all methods share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass

import torch
from torch import Tensor, nn

from nlmeta import losses
from nlmeta._checks import check_one_gradient
from nlmeta._torch import HookedModule
from nlmeta.data.batches import Batch
from nlmeta.data.split import Samples
from nlmeta.distributed import check_joint, sum_over_processes
from nlmeta.models import logits_of

__all__ = ["Method"]


class Method(HookedModule, ABC):
    """A way to take one training step.

    A method is a module, so everything it learns beside the network (a transition matrix, an
    average of weights) moves with ``.to`` and is part of its ``state_dict``.
    """

    needs_meta: bool = False
    """Whether `step` needs a meta batch."""

    smallest_batch: int = 2
    """Smallest batch that `step` accepts. `nlmeta.fit` drops a smaller last batch of a pass."""

    num_samples: int | None = None
    """N, if the method keeps something for each of N training samples; else None."""

    capturable: bool = False
    """Whether a GPU can repeat `step` without Python, see `Captured`. Such a step waits for no
    number of the GPU, takes numbers from Python only through `nlmeta._host.from_host`, and calls
    the optimiser's step once, at its end.
    """

    scalable: bool = False
    """Whether `step` takes gradients only of losses that it hands to `descend`. These can be
    multiplied by a large number, without which float16 rounds small gradients to zero.
    """

    networks: tuple[nn.Module, ...] = ()
    """Further networks that run on the batches; `distributed.joint` prepares them too."""

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
            The network, in training mode; `models.logits_of` runs it. It draws random numbers only
            from PyTorch's global generators and uses no activation checkpointing, see
            `bilevel.with_parameters`. If you compile it by ``torch.compile`` in a loop of your own,
            set ``torch._functorch.config.donated_buffer = False`` before its first call, since
            passes are shared; `fit` does this itself.
        optimizer : torch.optim.Optimizer
            An optimiser of the network's parameters. Freeze parameters that it leaves out by
            ``requires_grad_``: all parameters that require a gradient take part in virtual and
            trial steps. ``optimizer.register_step_pre_hook`` can clip the ordinary step's gradient,
            unless the method acts first (`bilevel.act`).
        train : Batch
            Inputs, given labels and sample ids.
        meta : Batch, optional
            Clean samples, for methods with `needs_meta`.

        Returns
        -------
        dict of str to Tensor
            Diagnostics, each of shape () and detached; ``"loss"`` is always there.
        """

    def begin(self, epochs: float, train: Samples, clean: Samples | None) -> None:
        """What `fit` calls before the first step of a run; by default nothing is done.

        Parameters
        ----------
        epochs : float
            Number of epochs in which `step` will be called, the warm-up not counted.
        train : Samples
            The training samples, with their given labels.
        clean : Samples or None
            The meta set, if its labels are known to be right.
        """
        return

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
        """A step of the network alone, with what the method has learned so far. See `EveryKth`."""
        raise NotImplementedError(f"{type(self).__name__} has no ordinary step of its own")

    @property
    def needs_meta_labels(self) -> bool:
        """Whether the labels of the meta batch are used; then the meta set needs every class."""
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

        A network that the method keeps has a mode of its own. `metrics.predict` switches it to
        evaluation mode; elsewhere call its ``eval``.
        """
        return model

    def learned_transition(self) -> Tensor | None:
        """The transition matrix that the method has learned beside the network, as it is now.

        Returns
        -------
        Tensor of float, shape (C, C), or None
            The matrix; row: true class, column: given label. It is a copy, on the device and in the
            type of the method's own; rows sum to one unless the method normalises otherwise. None
            (the default): the method learns no such matrix. A matrix that is given to the method is
            not learned.
        """
        return None

    def forward_transition(self) -> Tensor | None:
        """The T of a forward correction: the network predicts p, the method compares p T.

        With such a T, learned or given, p is a prediction of the clean label, and Bayes' rule gives
        the true class behind a given one.

        Returns
        -------
        Tensor of float, shape (C, C), or None
            A transition matrix whose rows sum to one; a copy as in `learned_transition`. None (the
            default): the method compares p with labels in another way.
        """
        return None

    def learned_labels(self) -> Tensor | None:
        """The labels that the method has learned for the training samples, as they are now.

        With several processes all of them call this together.

        Returns
        -------
        Tensor of float, shape (N, C), or None
            One row for each sample id, in order; a copy, on the device and in the type of the
            method's own. Rows are probabilities that sum to one, or NaN if nothing was learned
            about the sample yet. None (the default): the method keeps nothing per sample.
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
            The weights before they are normalised over a batch, not negative; detached, on the
            device and in the type of the method. None (the default): the method learns no weight as
            a function of the loss.
        """
        return None


def backward(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """The gradient of a loss by the network's parameters, in their `grad`, over all processes."""
    check_joint()
    check_one_gradient(optimizer)
    optimizer.zero_grad()
    loss.backward()
    reached = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    for p, gradient in zip(reached, sum_over_processes([p.grad for p in reached]), strict=True):
        p.grad = gradient


def require_meta(method: Method, meta: Batch | None) -> Batch:
    """The meta batch; it is refused if it is empty or missing."""
    if meta is None or len(meta.y) == 0:
        raise ValueError(f"`meta` is empty; {type(method).__name__} needs at least one meta sample")
    return meta


_scaler: ContextVar[torch.amp.GradScaler | None] = ContextVar("scaler", default=None)


@contextmanager
def scaled_by(scaler: torch.amp.GradScaler | None) -> Iterator[None]:
    """Scale the losses of `descend` inside the block; with None, leave them as they are."""
    token = _scaler.set(scaler)
    try:
        yield
    finally:
        _scaler.reset(token)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One ordinary step of the network; none where a scaled gradient is infinite."""
    scaler = _scaler.get()
    if scaler is None:
        backward(optimizer, loss)
        optimizer.step()
        return
    backward(optimizer, scaler.scale(loss))
    scaler.unscale_(optimizer)  # here, so that hooks of the optimiser see the gradient itself
    scaler.step(optimizer)
    scaler.update()
