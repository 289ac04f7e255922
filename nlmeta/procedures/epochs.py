"""The choice of an epoch without clean labels: several scores of each epoch, and rules.

Label Wave (Yuan et al., "Early Stopping Against Label Noise Without Validation Data", ICLR 2024)
counts the training predictions that changed since the last epoch, and stops at the first local
minimum of the smoothed counts, where the network begins to fit wrong labels. Rival scores are the
accuracy on held-out noisy labels, the entropy of the predictions, and CLID-MU's divergence.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from nlmeta import losses, metrics
from nlmeta._checks import check_choice, check_count
from nlmeta._interface import Inputs, device_of, inputs_in, length, rows_of
from nlmeta.data import Images, Samples
from nlmeta.methods import Method
from nlmeta.models import with_features
from nlmeta.seeding import generator

__all__ = ["SELECTORS", "EpochScores", "PredictionChanges", "chosen_epoch", "regret"]

WINDOW = 3  # epochs in the moving average, ours


class PredictionChanges:
    """Label Wave as a score for `KeepEpochs`: low is good, and Label Wave stops at the lowest.

    The score is the moving average of the share of predictions that changed since the last epoch.
    As soon as the average rises, the first local minimum is passed, and 1 is added from then on.

    Parameters
    ----------
    x : Tensor, tuple or dict of Tensor, or Images, N rows
        Training inputs without augmentation, in a fixed order; all predictions of an epoch are made
        with the same weights.
    window : int
        Number of epochs in the average. Default 3 (ours).

    Examples
    --------
    >>> import torch
    >>> score = PredictionChanges(torch.eye(2))
    >>> score(torch.nn.Identity())  # nothing to compare with: as if all had changed
    1.0
    >>> score(torch.nn.Identity())  # nothing changed: (1 + 0) / 2
    0.5
    """

    def __init__(self, x: Inputs | Images, *, window: int = WINDOW) -> None:
        check_count("window", window)
        self.x, self.window = x, window
        self._last: Tensor | None = None
        self._changed: list[float] = []
        self._passed = False

    def __call__(self, network: nn.Module) -> float:
        """The score of a network, compared with the network of the last call."""
        predicted = metrics.predict(network, self.x).argmax(1).cpu()
        self._changed.append(_share_changed(self._last, predicted))
        self._last = predicted
        *before, now = _moving_average(self._changed, self.window)[-2:]
        self._passed = self._passed or any(now > value for value in before)
        return now + self._passed

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"last": self._last, "changed": self._changed, "passed": self._passed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._last, self._passed = state["last"], state["passed"]
        self._changed = list(state["changed"])


class EpochScores:
    """All scores of an epoch from one pass over the same samples, for `on_epoch` of `fit`.

    The numbers are added to the history, so that rules can be compared afterwards, see `regret`:
    ``changed``, the share of predictions that changed since the last epoch (1 in the first);
    ``entropy``, the mean entropy of the predictions in nats; ``divergence`` and
    ``one_hot_divergence`` of CLID, see `losses.cross_layer_divergence`; ``noisy_validation``, the
    accuracy on held-out samples with noisy labels, if there are any.

    Parameters
    ----------
    x : Tensor, tuple or dict of Tensor, or Images, N rows
        Training inputs. A smaller last batch is dropped.
    held_out : Samples, optional
        Samples with noisy labels that are not trained on: the meta set of
        ``split.with_noisy_meta(size, seed=seed, held_out=True)``.
    batch_size : int
        Number of samples for one divergence. Default 100, as released.
    seed : int
        Seed of the order, which is the same in each epoch.
    """

    def __init__(
        self,
        x: Inputs | Images,
        *,
        held_out: Samples | None = None,
        batch_size: int = 100,
        seed: int,
    ) -> None:
        check_count("batch_size", batch_size)
        n = length(x)
        if n < batch_size:
            raise ValueError(
                f"`x` holds {n} samples; it must hold at least one batch of {batch_size}"
            )
        order = torch.randperm(n, generator=generator(seed, "epoch scores"), device="cpu")
        self.x = rows_of(x, order[: n // batch_size * batch_size].to(device_of(x)))
        self.held_out, self.batch_size = held_out, batch_size
        self._last: Tensor | None = None

    def __call__(self, epoch: int, model: nn.Module, method: Method) -> dict[str, float]:
        """The scores of the network that the method predicts with."""
        network = method.predictor(model)
        found = metrics.predict(_Judge(network), self.x, batch_size=self.batch_size).double()
        logits, divergences = found[:, :-2], found[:, -2:].mean(0)
        predicted = logits.argmax(1).cpu()
        log_p = logits.log_softmax(1)
        scores = {
            "changed": _share_changed(self._last, predicted),
            "entropy": -(log_p.exp() * log_p).sum(1).mean().item(),
            "divergence": divergences[0].item(),
            "one_hot_divergence": divergences[1].item(),
        }
        self._last = predicted
        if self.held_out is not None:
            logits = metrics.predict(network, self.held_out.x)
            scores["noisy_validation"] = metrics.accuracy(logits, self.held_out.y)
        return scores

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._last = state["last"]


class _Judge(nn.Module):
    """Logits and, for each sample, the two divergences of its batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *positional: Tensor, **named: Tensor) -> Tensor:
        logits, features = with_features(self.network, inputs_in(positional, named))
        values = [
            losses.cross_layer_divergence(features, logits, one_hot=one_hot)
            for one_hot in (False, True)
        ]
        return torch.cat([logits, torch.stack(values).to(logits).expand(len(logits), 2)], dim=1)


def _share_changed(before: Tensor | None, now: Tensor) -> float:
    return 1.0 if before is None else (before != now).double().mean().item()


def _moving_average(values: Sequence[float], window: int) -> list[float]:
    """Means over each value and the values before it, at the beginning over fewer."""
    parts = [values[max(0, end - window) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


def _lowest(column: str) -> Callable[[pd.DataFrame], int]:
    return lambda history: int(history[column].to_numpy().argmin())


def _label_wave(history: pd.DataFrame) -> int:
    smoothed = _moving_average(history["changed"].tolist(), WINDOW)
    rises = [i for i in range(1, len(smoothed)) if smoothed[i] > smoothed[i - 1]]
    return rises[0] - 1 if rises else len(smoothed) - 1


#: Rules that choose a row of a history, by name. None of them looks at a clean label.
SELECTORS: Mapping[str, Callable[[pd.DataFrame], int]] = {
    "last epoch": lambda history: len(history) - 1,
    "Label Wave": _label_wave,
    "noisy validation": lambda history: int(history["noisy_validation"].to_numpy().argmax()),
    "entropy": _lowest("entropy"),
    "divergence": _lowest("divergence"),
    "one-hot divergence": _lowest("one_hot_divergence"),
}


def chosen_epoch(history: pd.DataFrame, selector: str) -> int:
    """The epoch that a rule chooses; among equal epochs, the first.

    Parameters
    ----------
    history : pandas.DataFrame
        The history of a run with `EpochScores` as its `on_epoch`.
    selector : str
        One of `SELECTORS`.

    Returns
    -------
    int
        The epoch, as in the column ``epoch``.

    Raises
    ------
    ValueError
        There is no such rule, or the history lacks the numbers that it needs.
    """
    check_choice("selector", selector, SELECTORS)
    try:
        row = SELECTORS[selector](history)
    except KeyError as error:
        raise ValueError(
            f"`history` has no column {error}, which {selector!r} needs; train with `EpochScores` "
            "as `on_epoch`"
        ) from error
    return int(history["epoch"].iloc[row])


def regret(history: pd.DataFrame, selector: str) -> float:
    """The loss of a rule: the best epoch's clean test accuracy minus that of the chosen epoch.

    Parameters
    ----------
    history : pandas.DataFrame
        The history of a run that was evaluated after each epoch.
    selector : str
        One of `SELECTORS`.

    Returns
    -------
    float
        A number of at least 0. Only this measure uses the test part; the rules do not.
    """
    accuracy = history.set_index("epoch")["test_accuracy"]
    if accuracy.isna().any():
        raise ValueError(
            "`history` has epochs without a test accuracy; train with `evaluate_every=1`"
        )
    return float(accuracy.max() - accuracy[chosen_epoch(history, selector)])
