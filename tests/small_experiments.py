"""Experiments of seconds, for the tests: the same runner, record and rules as the real ones.

As a program it runs one of them, so that a test can kill it: ``python small_experiments.py FILE``.
"""

import os
import signal
import sys
from pathlib import Path

from nlmeta.experiments import (
    Entry,
    Measurement,
    Measurements,
    Problem,
    Record,
    TrainingTable,
    over,
    run,
)

TRAINING = {"batch_size": 64, "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}


def problem(noise="symmetric", rate=0.5, meta_size=100, **options):
    load = {"name": "digits", "noise": noise, "rate": rate, "meta_size": meta_size}
    return Problem(
        name=f"{noise}, {meta_size} clean",
        load=load,
        network={"name": "mlp", "hidden": [16, 16]},
        training={**TRAINING, "epochs": 2, "schedule": "cosine"},
        **options,
    )


ENTRIES = (
    Entry("cross-entropy", "cross_entropy"),
    Entry(
        "early stopping",
        "cross_entropy",
        grid=over("early_epochs", 1, 3),
        where={"early_epochs": "training.epochs"},
    ),
    Entry(
        "fine-tuning",
        "cross_entropy",
        start={},
        meta="alone",
        training={"batch_size": "all", "epochs": 4},
        grid=over("lr", 0.01, 0.02),
        where={"early_epochs": "start.epochs"},
        after="early stopping",
    ),
    Entry("MLC", "mlc", {"virtual_lr": 0.1, "transition_lr": 3.0}, meta="clean", effort=4),
    Entry(
        "mean teacher",
        "mlnt",
        {"trial_lr": 0.0, "trials": 1},
        start={"epochs": 1},
        start_goes_on=False,
        grid=over("meta_weight", 1.0, 20.0),
    ),
)


def table(**options):
    """Two problems that differ in the clean samples alone, and five entries."""
    first = problem()
    second = problem(meta_size=20, choices_of=first.name)
    given = {"problems": (first, second), "entries": ENTRIES, "seeds": (0, 1), **options}
    return TrainingTable(
        name="small", about="Does the runner run?", tuning_seeds=(100, 101), **given
    )


def of_one_entry(**options):
    """Longer runs with checkpoints, that a kill may hit."""
    entry = Entry("MLC", "mlc", {"virtual_lr": 0.1, "transition_lr": 3.0}, meta="clean")
    tried = Entry("cross-entropy", "cross_entropy", grid=over("lr", 0.02, 0.05))
    return table(
        problems=(problem(),),
        entries=(tried, entry),
        seeds=(0, 1, 2),
        resumable=True,
        history=True,
        **options,
    )


def count(*, seed, device, upto):
    """Rows of an experiment that measures."""
    return [{"number": k, "square": k * k + seed} for k in range(upto)]


def killed(*, seed, device):
    """As the system does with a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


COUNTING = Measurements(
    "counting", "How large are squares?", {"few": Measurement(count, {"upto": 3})}
)

if __name__ == "__main__":
    print("begun", flush=True)
    run(of_one_entry(), Record(Path(sys.argv[1])), jobs=1, progress=False)
    print("whole", flush=True)
