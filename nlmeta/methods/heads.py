"""Two small networks that decide how much a given label counts; CLID-MU learns them (chapter 11).

A head is called with a forward pass and its labels, and returns a correction; its `loss` takes
logits and that correction. The head's inputs are detached from the network, so the head enters the
virtual step through the loss alone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta._checks import check_count
from nlmeta._host import from_host
from nlmeta.seeding import generator, seeded

__all__ = ["OPTIMIZERS", "HeadOptimizer", "LogitMultiplier", "WeightNet", "checked_features"]

HeadOptimizer = Literal["sgd", "adam", "amsgrad"]
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "amsgrad": partial(torch.optim.Adam, amsgrad=True),
}


class WeightNet(nn.Module):
    """A sample's weight from its loss: one hidden layer, and a sigmoid (Shu et al., NeurIPS 2019).

    A large loss often means a wrong label; the network learns how large a loss must be for that.

    Parameters
    ----------
    hidden : int
        Width of the hidden layer. Default 100, released.
    normalise : bool
        If True (default, released for supervised training), the weights are divided by their sum
        over the batch, so only ratios count. If False, they are divided by n, as released for
        semi-supervised training; then the scale counts as well.
    seed : int
        Seed of the initial weights.
    """

    needs_features = False

    def __init__(self, hidden: int = 100, *, normalise: bool = True, seed: int) -> None:
        super().__init__()
        check_count("hidden", hidden)
        self.hidden, self.seed = hidden, seed
        self.normalise = normalise
        with seeded(seed, "head"):
            self.layers = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    @property
    def settings(self) -> dict[str, object]:
        """Name and options, for records and checkpoints."""
        options = {"hidden": self.hidden, "normalise": self.normalise, "seed": self.seed}
        return {"name": "WeightNet", **options}

    def weights(self, sample_losses: Tensor) -> Tensor:
        """Weights w for losses of shape (n,), in (0, 1) and not yet normalised; (11.1)."""
        seen = sample_losses.to(next(self.parameters()).dtype)
        return self.layers(seen[:, None]).sigmoid()[:, 0]

    def forward(self, forward: bilevel.ForwardPass, labels: Tensor) -> Tensor:
        """Normalised weights (n,) of the first n samples of a forward pass; (11.2)."""
        logits = forward.logits.detach()[: len(labels)]
        w = self.weights(losses.cross_entropy(logits, labels, reduction="none"))
        if not self.normalise:
            return w / len(w)
        total = w.sum()
        # Where all weights are zero there is nothing to divide by, and nothing to train on.
        return w / torch.where(total > 0, total, torch.ones_like(total))

    def loss(self, logits: Tensor, labels: Tensor, correction: Tensor) -> Tensor:
        """Weighted cross-entropy of the first n logits, from the weights of `forward`; (11.3)."""
        sample_losses = losses.cross_entropy(logits[: len(labels)], labels, reduction="none")
        return (correction * sample_losses).sum()


class LogitMultiplier(nn.Module):
    """A factor in (0, 1) for each logit, drawn from a Gaussian that is learned (VRI).

    H. Sun et al., "Variational Rectification Inference for Learning with Noisy Labels", IJCV 2024.
    The divergence from the prior is left out. In the released codes of CLID-MU and of VRI that term
    has no effect: it does not depend on the network, nor on the head through the objective.

    Parameters
    ----------
    num_features : int
        D, width of the network's features.
    num_classes : int
        C, the number of classes.
    embedding : int
        Width of a label's embedding. Default 64, released.
    hidden : sequence of int
        Widths of the layers with tanh. Default (1024, 512, 512), released.
    seed : int
        Seed of the initial weights and of the noise of every call.
    """

    needs_features = True

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        embedding: int = 64,
        hidden: Sequence[int] = (1024, 512, 512),
        seed: int,
    ) -> None:
        super().__init__()
        sizes = {"num_features": num_features, "num_classes": num_classes, "embedding": embedding}
        for name, size in sizes.items():
            check_count(name, size)
        for width in hidden:
            check_count("hidden", width)
        self.settings = {"name": "LogitMultiplier", **sizes, "hidden": tuple(hidden), "seed": seed}
        widths = [num_features + embedding, *hidden]
        with seeded(seed, "head"):
            self.embedding = nn.Embedding(num_classes, embedding)
            layers = [(nn.Linear(a, b), nn.Tanh()) for a, b in pairwise(widths)]
            self.body = nn.Sequential(*chain.from_iterable(layers))
            self.mean = nn.Linear(widths[-1], num_classes)
            self.log_variance = nn.Linear(widths[-1], num_classes)
        self._noise = generator(seed, "head noise")

    def forward(self, forward: bilevel.ForwardPass, labels: Tensor) -> Tensor:
        """Factors (n, C) for the first n samples of a forward pass, with fresh noise; (11.8)."""
        features = checked_features(self, forward.features)[: len(labels)]
        seen = self.body(torch.cat([features, self.embedding(labels)], dim=1))
        mean, deviation = self.mean(seen), (0.5 * self.log_variance(seen)).exp()
        shape = mean.shape
        noise = from_host(
            lambda: torch.randn(shape, generator=self._noise, device="cpu"), mean.device
        )
        return (mean + deviation * noise.to(mean.dtype)).sigmoid()

    def loss(self, logits: Tensor, labels: Tensor, correction: Tensor) -> Tensor:
        """Cross-entropy of the first n logits times their factors; (11.9)."""
        return losses.cross_entropy(correction * logits[: len(labels)], labels)

    def get_extra_state(self) -> Tensor:
        """The state of the generator of the noise, for `state_dict`."""
        return self._noise.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the generator of the noise."""
        self._noise.set_state(state.cpu())


def checked_features(head: nn.Module, features: Tensor | None) -> Tensor:
    """The features of a pass in the head's type; refused if there are none of its width."""
    if features is None:
        raise ValueError(
            f"`forward` has no features, which {type(head).__name__} needs; make the pass by "
            "bilevel.forward_pass(model, x, features=True)"
        )
    options: Any = head.settings
    found, wanted = features.shape[1], options["num_features"]
    if found != wanted:
        raise ValueError(
            f"`num_features` is {wanted}, but the network's features have {found} entries "
            f"each; pass num_features={found}"
        )
    return features.to(next(head.parameters()).dtype)
