"""MNIST, one of MLC's own datasets: MLC beside corrections with a known or an estimated matrix.

MLC's settings for MNIST were never released, so these are ours: a network of two hidden layers of
128, twelve epochs on all images without weight decay, which one core can repeat hundreds of times.
So short a training memorises little. Settings are chosen once for each kind of noise, at its middle
rate, on one tuning seed, among three values.
"""

from collections.abc import Mapping
from typing import Any

from nlmeta import presets
from nlmeta.experiments.digits import ACT_FIRST, EARLY_START, RELEASED
from nlmeta.experiments.label_heads import label_heads
from nlmeta.experiments.task import Entry, Problem, over
from nlmeta.experiments.training_runs import ALL, TrainingTable

__all__ = ["MNIST", "NETWORK", "SHORT", "TRAINING", "entries", "problems"]

RATES = {"one-target": (0.3, 0.2, 0.4), "symmetric": (0.5, 0.3, 0.7)}  # the first is chosen on
NETWORK: Mapping[str, Any] = {"name": "mlp", "hidden": [128, 128]}
TRAINING: Mapping[str, Any] = {
    "epochs": 20,
    "batch_size": 128,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "cosine",
}
SHORT: Mapping[str, Any] = {**TRAINING, "epochs": 12, "weight_decay": 0.0}


def problems(
    load: Mapping[str, Any], network: Mapping[str, Any], training: Mapping[str, Any]
) -> tuple[Problem, ...]:
    """Both kinds of noise at three rates, on one dataset.

    Parameters
    ----------
    load : mapping
        Arguments of `nlmeta.data.load` but for the noise.
    network, training : mapping
        The network and the training of all problems, see `Problem`.

    Returns
    -------
    tuple of Problem
    """
    return tuple(
        Problem(
            name=f"{noise} {100 * rate:.0f} %",
            load={**load, "noise": noise, "rate": rate},
            network=network,
            training=training,
            choices_of=None if rate == rates[0] else f"{noise} {100 * rates[0]:.0f} %",
            every_choice=True,
        )
        for noise, rates in RATES.items()
        for rate in rates
    )


def entries(*, epochs: int, meta_batch_size: int) -> tuple[Entry, ...]:
    """MLC in both forms, rivals that know or estimate T or learn labels, and controls.

    Parameters
    ----------
    epochs : int
        Epochs of the problems' training.
    meta_batch_size : int
        Clean samples in a step of MLC.

    Returns
    -------
    tuple of Entry
    """
    mlc: dict[str, Any] = {"meta": "clean", "effort": 4.0}
    training = {"warmup_epochs": 4, "meta_batch_size": meta_batch_size}
    textbook = presets.MLC_DIGITS.method
    rates = over("lr", 0.02, 0.05, 0.1)
    return (
        Entry("cross-entropy", "cross_entropy"),
        Entry(
            "early stopping",
            "cross_entropy",
            grid=over("early_epochs", 1, 3, 8),
            where={"early_epochs": "training.epochs"},
        ),
        Entry("EMA", "ema", grid=over("decay", 0.99, 0.998, 0.9995)),
        Entry(
            "meta set alone",
            "cross_entropy",
            meta="alone",
            training={"batch_size": ALL, "epochs": 200},
            grid=over("lr", 0.05, 0.1, 0.2),
        ),
        Entry(
            "fine-tuning",
            "cross_entropy",
            meta="alone",
            training={"batch_size": ALL, "epochs": 100},
            grid=over("lr", 0.005, 0.02, 0.1),
            **EARLY_START,
        ),
        Entry("forward, true T", "forward", grid=rates, faithful="paper"),
        Entry(
            "forward, estimated T",
            "forward_estimated",
            {"percentile": 97.0},
            start_goes_on=False,
            grid=rates,
            faithful="paper",
            **EARLY_START,
        ),
        Entry(
            "GLC",
            "gold",
            start_goes_on=False,
            meta="clean",
            grid=rates,
            faithful="paper",
            **EARLY_START,
        ),
        Entry(
            "MLC",
            "mlc",
            textbook,
            training=training,
            grid=over("transition_lr", 3.0, 30.0, 300.0),
            faithful="paper",
            **mlc,
        ),
        Entry(
            "MLC, T stays the identity",
            "mlc",
            {**textbook, "transition_lr": 0.0},
            training=training,
            **mlc,
        ),
        Entry(
            "MLC, released form",
            "mlc",
            {**textbook, **RELEASED},
            training=training,
            grid=over("transition_lr", 1.1, 110.0, 11000.0),
            faithful="code",
            **mlc,
        ),
        *label_heads(
            encoder="before",
            epochs=epochs,
            linear=over("head_lr", 1e-3, 1e-2, 0.1),
            corrected=over("head_lr", 3e-5, 3e-4, 3e-3),
            at_rest=rates,
            **training,
        ),
        Entry(
            "MLC, act first",
            "mlc",
            {**textbook, **ACT_FIRST},
            training=training,
            grid=over("transition_lr", 3.0, 30.0, 300.0),
            **mlc,
        ),
    )


MNIST = TrainingTable(
    name="mnist",
    about="Does a learned T help on MNIST, beside one that is known, estimated or left out?",
    problems=problems({"name": "mnist", "meta_size": 1000}, NETWORK, SHORT),
    entries=entries(epochs=SHORT["epochs"], meta_batch_size=128),
    seeds=range(5),
    tuning_seeds=(100,),
)
