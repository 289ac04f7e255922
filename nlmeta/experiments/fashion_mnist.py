"""Fashion-MNIST with four kinds of noise, on which nothing was tuned.

The four methods have the settings that were found on the digits (`nlmeta.presets`), but MLNT two
trials in place of four; the rivals have the middle of the values that the tables on MNIST and, for
ELR, on CIFAR-10N try. Network and training are those of MNIST. So this table says how far such
settings carry over. A thousand noisy images are set apart, so that the history has the scores by
which an epoch can be chosen without clean labels.
"""

from typing import Any

from nlmeta import presets
from nlmeta.experiments.mnist import NETWORK, SHORT
from nlmeta.experiments.task import Entry, Problem
from nlmeta.experiments.training_runs import ALL, TrainingTable

__all__ = ["FASHION_MNIST"]

NOISES = {"symmetric": 0.5, "one-target": 0.4, "pair": 0.4, "instance-dependent": 0.4}
EARLY = 3  # epochs
META: dict[str, Any] = {
    "meta": "clean",
    "effort": 4.0,
    "training": {"warmup_epochs": EARLY, "meta_batch_size": 128},
    "faithful": "paper",
}

PROBLEMS = tuple(
    Problem(
        name=f"{noise} {100 * rate:.0f} %",
        load={
            "name": "fashion_mnist",
            "noise": noise,
            "rate": rate,
            "meta_size": 1000,
            "validation_size": 1000,
        },
        network=NETWORK,
        training={**SHORT, "evaluate_every": 1, "evaluate_train": 0.1},
        held_out=1000,
    )
    for noise, rate in NOISES.items()
)

ENTRIES = (
    Entry("cross-entropy", "cross_entropy"),
    Entry("early stopping", "cross_entropy", training={"epochs": EARLY}),
    Entry("ELR", "elr", {"beta": 0.7, "weight": 3.0}, faithful="paper"),
    Entry(
        "meta set alone",
        "cross_entropy",
        meta="alone",
        training={"batch_size": ALL, "epochs": 200},
    ),
    Entry(
        "fine-tuning",
        "cross_entropy",
        meta="alone",
        training={"batch_size": ALL, "epochs": 100, "lr": 0.02},
        start={"epochs": EARLY},
    ),
    Entry("MLC", "mlc", presets.MLC_DIGITS.method, **META),
    Entry("MSLG", "mslg", presets.MSLG_DIGITS.method, **META),
    Entry(
        "MLNT",
        "mlnt",
        {**presets.MLNT_DIGITS.method, "trials": 2},
        start={"epochs": EARLY},
        start_goes_on=False,
        effort=6.0,
    ),
    Entry(
        "CLID-MU",
        "clid_mu",
        {**presets.CLID_MU_DIGITS.method, "head": "weights"},
        **{**META, "meta": "noisy"},
        meta_size=1000,
    ),
)

FASHION_MNIST = TrainingTable(
    name="fashion_mnist",
    about="Do settings from the digits carry over to Fashion-MNIST, with four kinds of noise?",
    problems=PROBLEMS,
    entries=ENTRIES,
    seeds=range(5),
    history=True,
)
