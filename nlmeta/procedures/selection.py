"""The choice of an epoch's network without any label (chapter 11).

CLID-MU chooses its networks by the divergence that it trains with: the epochs with the lowest
values are kept, and their logits are added. A score is any function of a network, so rival scores
(the entropy of the predictions, the accuracy on noisy validation labels) can take its place. The
test part is not used here, and `Result.accuracy` stays that of the last epoch.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import losses, metrics
from nlmeta._checks import check_count
from nlmeta._interface import Inputs, device_of, inputs_in, length, rows_of
from nlmeta.data.images import Images
from nlmeta.methods import Method
from nlmeta.models import copy_of, logits_of, with_features
from nlmeta.seeding import generator

__all__ = ["Ensemble", "KeepEpochs", "Score", "divergence_score"]

Score = Callable[[nn.Module], float]


def divergence_score(
    network: nn.Module,
    x: Inputs | Images,
    *,
    batch_size: int = 100,
    temperature: float = 0.5,
    one_hot: bool = False,
    seed: int,
) -> float:
    """CLID of a trained network, a mean over batches; low is good, and no label is needed.

    The network runs in evaluation mode. Values are comparable only for the same batch size and
    temperature. A smaller last batch is therefore dropped, and the same seed always forms the same
    batches. In the released code the batches are drawn anew and augmented, so its values vary.

    Parameters
    ----------
    network : nn.Module
        A network that returns its features, see `models.with_features`.
    x : Tensor, tuple or dict of Tensor, or Images, N rows
        Inputs, at least one batch of them.
    batch_size : int
        Batch size B. Default 100, released.
    temperature, one_hot
        Options of `losses.cross_layer_divergence`. Defaults 0.5, released, and False.
    seed : int
        Seed of the order of the inputs.

    Returns
    -------
    float
        The mean divergence.
    """
    check_count("batch_size", batch_size)
    n = length(x)
    if n < batch_size:
        raise ValueError(
            f"`x` holds {n} samples; it must hold at least `batch_size` {batch_size}, since "
            "values for another batch size cannot be compared"
        )
    order = torch.randperm(n, generator=generator(seed, "divergence"), device="cpu")
    whole = order[: n // batch_size * batch_size].to(device_of(x))
    judge = _Divergence(network, temperature=temperature, one_hot=one_hot)
    values = metrics.predict(judge, rows_of(x, whole), batch_size=batch_size)
    return values.double().mean().item()


class _Divergence(nn.Module):
    """A network that returns one number for a batch, so that `metrics.predict` can run it."""

    def __init__(self, network: nn.Module, **options: Any) -> None:
        super().__init__()
        self.network, self.options = network, options

    def forward(self, *positional: Tensor, **named: Tensor) -> Tensor:
        logits, features = with_features(self.network, inputs_in(positional, named))
        return losses.cross_layer_divergence(features, logits, **self.options).view(1, 1)


class Ensemble(nn.Module):
    """Several networks that predict together: the sum of their logits, as released.

    Parameters
    ----------
    members : iterable of nn.Module
        The networks, at least one; each maps (n, ...) to logits (n, C).
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not self.members:
            raise ValueError("`members` is empty; an ensemble needs at least one network")

    def forward(self, *positional: Tensor, **named: Tensor) -> Tensor:
        """The sum of the members' logits, (n, C). Each member gets the same arguments."""
        x = inputs_in(positional, named)
        return torch.stack([logits_of(member, x) for member in self.members]).sum(0)


class KeepEpochs:
    """Keeps the networks of the epochs with the lowest scores, and those of the last epochs.

    It is an argument for `on_epoch` of `nlmeta.fit`: after each epoch it scores the network to
    predict with, the scores are added to the history, and a checkpoint holds the kept networks. ::

        kept = KeepEpochs(model, {"clid": lambda network: divergence_score(network, x, seed=0)})
        fit(method, model, split, on_epoch=kept, ...)
        kept.best("clid"), kept.ensemble("clid"), kept.last_ensemble()

    Parameters
    ----------
    model : nn.Module
        The network of the run; the returned networks have its shape.
    scores : mapping of str to callable
        Functions ``score(network)`` that return a number, by their names in the history. A low
        score is good. A score that remembers earlier epochs, such as `PredictionChanges`, has
        `state_dict` and `load_state_dict`.
    keep : int
        Number of epochs kept for each score. Default 5, released.
    last : int
        Number of last epochs kept, whatever their scores, to measure the gain of an ensemble
        without a choice. Default 5.
    """

    def __init__(
        self, model: nn.Module, scores: Mapping[str, Score], *, keep: int = 5, last: int = 5
    ) -> None:
        check_count("keep", keep)
        check_count("last", last)
        self.scores = dict(scores)
        self.keep = keep
        self.last = last
        self.values: dict[str, dict[int, float]] = {name: {} for name in scores}
        self._shape = copy_of(model)
        self._epochs: list[int] = []
        self._states: dict[int, dict[str, Any]] = {}

    def __call__(self, epoch: int, model: nn.Module, method: Method) -> dict[str, float]:
        """Score the network after an epoch, and keep it if it is among the best or the last."""
        if self._epochs and epoch <= self._epochs[-1]:
            raise ValueError(
                f"`epoch` is {epoch} after {self._epochs[-1]}; make a new KeepEpochs for each run"
            )
        network = method.predictor(model)
        found = {name: float(score(network)) for name, score in self.scores.items()}
        for name, value in found.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the score {name!r} is {value} after epoch {epoch}; it must be finite"
                )
        self._epochs.append(epoch)
        for name, value in found.items():
            self.values[name][epoch] = value
        self._states[epoch] = _on_cpu(network.state_dict())
        wanted = set(self._epochs[-self.last :]).union(*map(self.epochs, self.scores))
        self._states = {kept: self._states[kept] for kept in sorted(wanted)}
        return found

    def epochs(self, name: str) -> list[int]:
        """The epochs kept for a score, best first; among equal scores, the earlier epoch."""
        if name not in self.scores:
            raise ValueError(f"`name` is {name!r}; it must be one of {list(self.scores)}")
        values = self.values[name]
        return sorted(values, key=lambda epoch: (values[epoch], epoch))[: self.keep]

    def best(self, name: str) -> nn.Module:
        """The network of the epoch with the lowest score: a copy, on the CPU."""
        return self._networks(self.epochs(name)[:1])[0]

    def ensemble(self, name: str) -> Ensemble:
        """The networks of the epochs with the lowest scores, together."""
        return Ensemble(self._networks(self.epochs(name)))

    def last_ensemble(self) -> Ensemble:
        """The networks of the last epochs, together."""
        return Ensemble(self._networks(self._epochs[-self.last :]))

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "keep": self.keep,
            "last": self.last,
            "values": self.values,
            "epochs": self._epochs,
            "states": self._states,
            "scores": {
                name: score.state_dict()
                for name, score in self.scores.items()
                if hasattr(score, "state_dict")
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        theirs = (list(state["values"]), state["keep"], state["last"])
        ours = (list(self.scores), self.keep, self.last)
        if theirs != ours:
            raise ValueError(
                f"`state` has scores, `keep` and `last` {theirs}; they must be the same as here, "
                f"{ours}"
            )
        self.values = {name: dict(values) for name, values in state["values"].items()}
        self._epochs = list(state["epochs"])
        self._states = {epoch: _on_cpu(kept) for epoch, kept in state["states"].items()}
        for name, of_score in state.get("scores", {}).items():
            remembering: Any = self.scores[name]
            remembering.load_state_dict(of_score)

    def _networks(self, epochs: list[int]) -> list[nn.Module]:
        if not epochs:
            raise ValueError("no epoch was scored yet; pass this object to `fit` as `on_epoch`")
        networks = []
        for epoch in epochs:
            network = copy_of(self._shape).eval()
            # Assigned and not copied into, so that float64 stays float64.
            network.load_state_dict(_on_cpu(self._states[epoch]), assign=True)
            networks.append(network)
        return networks


def _on_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a network's state that no later step changes."""
    return {
        name: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
        for name, value in state.items()
    }
