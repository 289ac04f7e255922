"""Co-teaching: two networks, each of which picks the samples that the other learns from.

B. Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels",
NeurIPS 2018. Samples of small loss tend to have a right label. A network that picked them for
itself would add up its own mistakes; a second one with other initial weights makes other mistakes.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import losses
from nlmeta._checks import check_count, check_rate
from nlmeta.data.batches import Batch
from nlmeta.methods.base import Method, descend
from nlmeta.models import copy_of, logits_of

__all__ = ["CoTeaching"]


class CoTeaching(Method):
    """Two networks trained on each other's samples of small loss.

    The share 1 - tau min(t / T_k, 1) of each batch is used, at least one sample; t is the number of
    steps before this one. A step costs as much as two ordinary steps. The network passed to `step`
    is the one that predicts; the released code reports the accuracies of both.

    Parameters
    ----------
    peer : nn.Module
        The second network, of the same shape as the first; a copy is kept. With equal initial
        weights both stay equal, and each picks for itself.
    forget_rate : float
        tau, the share left out after the ramp. It has no default; released: the noise rate, which
        is taken as known.
    ramp_steps : int
        T_k, the number of steps until the full share is left out. It has no default; released: ten
        epochs. With 0 the full share is left out from the first step on.

    Notes
    -----
    The peer's optimiser has the type of the first network's optimiser and, at each step, the same
    settings, such as the learning rate. Hooks of the first optimiser, as for clipping, do not act
    on it. Warm-up trains both networks and does not count for t. The number of samples is rounded
    to the nearest; the released code (commit 49fa8e5) rounds down, and divides each mean loss by
    that number once more, which hardly changes the steps of Adam, its optimiser.
    """

    scalable = True

    def __init__(self, peer: nn.Module, *, forget_rate: float, ramp_steps: int) -> None:
        super().__init__()
        check_rate("forget_rate", forget_rate)
        check_count("ramp_steps", ramp_steps, minimum=0)
        self.peer = copy_of(peer)
        self.networks = (self.peer,)
        self.forget_rate = forget_rate
        self.ramp_steps = ramp_steps
        self._steps = 0
        self._optimizer: torch.optim.Optimizer | None = None  # the peer's, from the first step on
        self._loaded: dict[str, Any] | None = None  # its state, if it comes before that step

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step of both networks; the meta batch is not used. See `Method.step`."""
        done = min(self._steps / self.ramp_steps, 1.0) if self.ramp_steps else 1.0
        self._steps += 1
        return self._train_both(model, optimizer, train, used=1 - self.forget_rate * done)

    def warmup_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """One step of plain cross-entropy, of both networks."""
        return {"loss": self._train_both(model, optimizer, train, used=1.0)["loss"]}

    def _train_both(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch, *, used: float
    ) -> dict[str, Tensor]:
        peer_optimizer = self._follow(model, optimizer)
        logits = logits_of(model, train.x)
        for part, twin in zip(model.modules(), self.peer.modules(), strict=True):
            twin.training = part.training  # layer by layer: some may be frozen
        peer_logits = logits_of(self.peer, train.x)
        count = max(round(used * len(train.y)), 1)
        own, others = (small_losses(z, train.y, count) for z in (logits, peer_logits))
        loss = losses.cross_entropy(logits[others], train.y[others])
        peer_loss = losses.cross_entropy(peer_logits[own], train.y[own])
        descend(optimizer, loss)
        descend(peer_optimizer, peer_loss)
        return {
            "loss": loss.detach(),
            "peer_loss": peer_loss.detach(),
            "used": torch.tensor(count / len(train.y)),
        }

    def _follow(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The peer's optimiser, with the settings that the first network's has at this moment."""
        if self._optimizer is None:
            self._optimizer = _twin(optimizer, model, self.peer)
            if self._loaded is not None:
                self._optimizer.load_state_dict(self._loaded)
        pairs = zip(self._optimizer.param_groups, optimizer.param_groups, strict=True)
        for ours, theirs in pairs:
            ours.update({name: value for name, value in theirs.items() if name != "params"})
        return self._optimizer

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Loading casts the optimiser's moments to the peer's type."""
        if self._optimizer is not None:
            self._optimizer.load_state_dict(self._optimizer.state_dict())

    def get_extra_state(self) -> dict[str, Any]:
        """Steps taken and the state of the peer's optimiser, for `state_dict`."""
        state = self._loaded if self._optimizer is None else self._optimizer.state_dict()
        return {"steps": self._steps, "optimizer": state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self._steps, self._loaded = state["steps"], deepcopy(state["optimizer"])
        self._optimizer = None


def small_losses(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The samples of a batch with the smallest cross-entropy.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z.
    labels : Tensor of int64, shape (n,)
        Given labels.
    count : int
        Number of samples to return.

    Returns
    -------
    Tensor of int64, shape (count,)
        Their rows, ascending. If losses are equal, the earlier row is taken.
    """
    sample_losses = losses.cross_entropy(logits.detach(), labels, reduction="none")
    return sample_losses.argsort(stable=True)[:count].sort().values


def _twin(
    optimizer: torch.optim.Optimizer, model: nn.Module, peer: nn.Module
) -> torch.optim.Optimizer:
    """A copy of the optimiser for the other network, whose parameters are matched by name."""
    ours = {name: p.shape for name, p in model.named_parameters()}
    theirs = dict(peer.named_parameters())
    if ours != {name: p.shape for name, p in theirs.items()}:
        raise ValueError(
            f"`peer` is a {type(peer).__name__} and the network a {type(model).__name__}; the "
            "parameters of both must have the same names and shapes"
        )
    names = {id(p): name for name, p in model.named_parameters()}
    if any(id(p) not in names for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "`optimizer` holds a parameter that is not the network's; the peer's optimiser is made "
            "like it, parameter by parameter, so it must hold parameters of the network only"
        )
    groups = [
        {**group, "params": [theirs[names[id(p)]] for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    kind: Any = type(optimizer)
    twin: torch.optim.Optimizer = kind(groups)
    return twin
