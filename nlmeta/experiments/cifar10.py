"""First runs on CIFAR-10: do the four methods work there at all, and what does a step cost?

Schedules are the released ones, all shortened by one factor, on one network for all; nothing was
tuned on CIFAR-10. So the numbers are no results of the papers' tables, and each stands beside a
baseline that was trained alike.

* Data: 44,000 training images, 1,000 clean meta images and 5,000 validation images, all from the
  published training part, and the 10,000 test images. For one seed all runs of a problem share the
  split, and all problems the meta set, so it is trained on alone only once. CLID-MU takes 1,000
  noisy training images in its place.
* Network: MSLG's `CNN8` for all. It is one of the papers' own, it makes rows comparable, and it is
  quick; the other papers' networks are larger and give higher accuracies.
* Training: batch size, rates, milestones, warm-up and epochs are those of the problem's method, as
  released (MLNT: a port's). Baselines are trained like the method, so that they differ in the
  method alone; the worst human labels are trained like the symmetric noise of 60 %. MLC's two
  forms share cross-entropy's first stage; the textbook form takes the sizes of the virtual and of
  T's step that were found on the digits.
* Augmentation: for all alike a crop with 4 pixels of padding and a horizontal flip; none for the
  meta images of a meta step. Released are a vertical flip too (MSLG), RandAugment, also on meta
  images (CLID-MU), or none (MLC).
* Devices: bfloat16 where the GPU computes in it natively, float32 elsewhere; channels last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nlmeta import presets
from nlmeta.experiments.task import Entry, Problem
from nlmeta.experiments.training_runs import TrainingTable

__all__ = [
    "CIFAR10",
    "CLID_MU",
    "MEAN",
    "MLC",
    "MLC_START",
    "MLNT_START",
    "MSLG",
    "PLAIN",
    "shortened",
]

SHORTEN = 10.0  # ours, so that a seed takes about a quarter of an hour on one GPU
EVALUATIONS = 3  # in a run; each takes about as long as a third of an epoch


def shortened(training: Mapping[str, Any], factor: float = SHORTEN) -> dict[str, Any]:
    """Arguments of `nlmeta.fit` with every number of epochs divided by a factor, and rounded.

    Parameters
    ----------
    training : mapping
        The arguments at full length.
    factor : float
        A number above 0. Default 10.

    Returns
    -------
    dict
        The arguments, with at least one epoch where there was one. `evaluate_every` is a third of
        the epochs.
    """

    def short(epochs: int) -> int:
        return max(1, round(epochs / factor)) if epochs else 0

    changed = dict(training)
    for name in ("epochs", "warmup_epochs"):
        if name in changed:
            changed[name] = short(changed[name])
    if not isinstance(changed["schedule"], str):
        changed["schedule"] = [short(epoch) for epoch in changed["schedule"]]
    return changed | {"evaluate_every": max(1, changed["epochs"] // EVALUATIONS)}


# Trainings at full length, each that of the method which its problem is there for. The baselines
# take it too, so that a method and its baseline differ in the method alone.

MSLG = presets.MSLG_CIFAR10.training
PLAIN = {**MSLG, "warmup_epochs": 0}  # which cross-entropy has no use for

# ours: ten times the epochs, 9,600 steps of a batch of 128 where 1,000 images make 8 an epoch.
META_ALONE = {**PLAIN, "epochs": 1200, "schedule": (420, 820)}

# Steps of the release in epochs of its 50,000 images: 30,000 of warm-up, then 50,000. The meta
# batch is as large as the whole released meta set.
MLC_START = {
    "epochs": 38,
    "batch_size": 64,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "constant",
}
MLC = {**presets.MLC_CIFAR10.training, "epochs": 64, "meta_batch_size": 500}
# The same step on the mean of 64 losses instead of their sum.
MEAN = {**MLC, "lr": 64 * 1e-4, "weight_decay": 5e-4 / 64}

MLNT_START = {  # port
    "epochs": 10,
    "batch_size": 128,
    "lr": 0.04,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "constant",
}
MLNT = presets.MLNT_CIFAR10
MLNT_OPTIONS = {**MLNT.method, "ramp_steps": round(MLNT.method["ramp_steps"] / SHORTEN)}

# ours: the cosine ends at zero, with the last epoch; released, at 1e-3 ten epochs before.
CLID_MU = {**presets.CLID_MU_CIFAR_MULTIPLIERS.training, "schedule": "cosine"}


def _problem(
    name: str,
    load: Mapping[str, Any],
    training: Mapping[str, Any],
    entries: Sequence[str],
    start: Mapping[str, Any] | None = None,
) -> Problem:
    return Problem(
        name=name,
        load=load,
        network={"name": "cnn8"},
        training={**shortened(training), "precision": "auto", "channels_last": True},
        start=None if start is None else shortened(start),
        augmentation="crop and flip",
        entries=entries,
    )


PROBLEMS = (
    _problem(
        "symmetric 60 %",
        {"name": "cifar10", "noise": "symmetric", "rate": 0.6},
        PLAIN,
        (
            *("cross-entropy", "EMA", "meta set alone", "MSLG", "MSLG, labels stay", "CLID-MU"),
            "cross-entropy, trained as CLID-MU",
        ),
    ),
    _problem(
        "one-target 40 %",
        {"name": "cifar10", "noise": "one-target", "rate": 0.4},
        MEAN,
        ("MLC", "MLC, released form", "cross-entropy", "EMA"),
        MLC_START,
    ),
    _problem(
        "symmetric 50 %",
        {"name": "cifar10", "noise": "symmetric", "rate": 0.5},
        MLNT.training,
        ("MLNT", "mean teacher", "cross-entropy", "EMA"),
    ),
    _problem(
        "worst human labels",
        {"name": "cifar10n", "labels": "worst"},
        PLAIN,
        ("cross-entropy", "EMA"),
    ),
)

# Costs are rounded from the record of the experiment `cost`; 5 for the large meta batch.
ENTRIES = (
    Entry("cross-entropy", "cross_entropy"),
    Entry("EMA", "ema", {"decay": 0.999}, effort=1.1),  # ours
    Entry("meta set alone", "cross_entropy", meta="alone", training=shortened(META_ALONE)),
    Entry(
        "MSLG",
        "mslg",
        presets.MSLG_CIFAR10.method,
        training=shortened(MSLG),
        meta="clean",
        effort=4,
        faithful="code",
    ),
    Entry(
        "MSLG, labels stay",
        "mslg",
        {**presets.MSLG_CIFAR10.method, "label_lr": 0.0},
        training=shortened(MSLG),
        meta="clean",
        effort=4,
    ),
    Entry("MLC", "mlc", presets.MLC_DIGITS.method, meta="clean", effort=5),
    Entry(
        "MLC, released form",
        "mlc",
        presets.MLC_CIFAR10.method,
        training=shortened(MLC),
        meta="clean",
        effort=5,
        faithful="code",
    ),
    Entry(
        "MLNT",
        "mlnt",
        MLNT_OPTIONS,
        start=shortened(MLNT_START),
        start_goes_on=False,
        effort=18,
        faithful="port",
    ),
    Entry(
        "mean teacher",
        "mlnt",
        {**MLNT_OPTIONS, "trial_lr": 0.0, "trials": 1},
        start=shortened(MLNT_START),
        start_goes_on=False,
        effort=3.5,
    ),
    Entry(
        "CLID-MU",
        "clid_mu",
        {**presets.CLID_MU_CIFAR_MULTIPLIERS.method, "head": "multipliers"},
        training=shortened(CLID_MU),
        meta="noisy",
        meta_size=1000,  # as released: any training images, which stay in the training part
        effort=4,
        faithful="code",
    ),
    Entry("cross-entropy, trained as CLID-MU", "cross_entropy", training=shortened(CLID_MU)),
)

CIFAR10 = TrainingTable(
    name="cifar10",
    about="Do the four methods work on CIFAR-10, at a tenth of the released schedules?",
    problems=PROBLEMS,
    entries=ENTRIES,
    seeds=range(3),
    threads=None,
    resumable=True,
    history=True,
    at_once=False,  # one run fills a device, and seconds a step are compared
)
