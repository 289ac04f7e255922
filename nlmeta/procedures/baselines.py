"""Baselines that use the clean meta set without meta-learning: train on it, or fine-tune on it.

A method that uses clean samples must be compared with their plain use (chapter 8).
"""

from typing import Any

from torch import nn

from nlmeta.data import Split
from nlmeta.methods import CrossEntropy
from nlmeta.training import Result, fit

__all__ = ["fine_tune", "train_on_meta_set"]


def train_on_meta_set(
    model: nn.Module, split: Split, *, epochs: int = 200, seed: int, **options: Any
) -> Result:
    """Cross-entropy on the clean meta set alone; the noisy samples are not used.

    Parameters
    ----------
    model : nn.Module
        A new network, which is trained in place.
    split : Split
        The data: the network is trained on the meta set and evaluated on the test part.
    epochs : int
        Passes over the meta set, each one step with all of it. Default 200, ours.
    seed : int
        Seed of the run, as in `nlmeta.fit`.
    **options
        Further arguments of `nlmeta.fit`.

    Returns
    -------
    Result
        The result of the run.
    """
    options = {"batch_size": max(len(split.meta), 1), "evaluate_every": epochs, **options}
    return fit(CrossEntropy(), model, split.on_meta_set(), epochs=epochs, seed=seed, **options)


def fine_tune(
    model: nn.Module,
    split: Split,
    *,
    epochs: int = 100,
    lr: float | None = None,
    seed: int,
    **options: Any,
) -> Result:
    """Continue to train a network, on the clean meta set, at a small learning rate.

    The loss is cross-entropy.

    Parameters
    ----------
    model : nn.Module
        A network that was trained on the noisy labels, preferably stopped early. It is trained in
        place.
    split : Split
        The data: the network is trained on the meta set and evaluated on the test part.
    epochs : int
        Passes over the meta set, each one step with all of it. Default 100, ours.
    lr : float, optional
        Learning rate of SGD. Default 0.01, ours, unless an `optimizer` is given.
    seed : int
        Seed of the run, as in `nlmeta.fit`.
    **options
        Further arguments of `nlmeta.fit`.

    Returns
    -------
    Result
        The result of the run.
    """
    if lr is None and "optimizer" not in options:
        lr = 0.01
    rate = {} if lr is None else {"lr": lr}
    return train_on_meta_set(model, split, epochs=epochs, seed=seed, **rate, **options)
