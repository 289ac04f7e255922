"""CIFAR-10 from its pixels: a network that is trained from the start and memorises wrong labels.

A ResNet-9 of width 16 takes 24 epochs without augmentation, so that it may memorise. A short
schedule is a method in itself, so cross-entropy with a quarter of the epochs stands beside it. Each
kind of noise has the method whose paper or released code names it, and that method with its meta
step off. Nothing was tuned here: the methods have the step sizes that were found on the digits, the
rivals the middle of the values that are tried on CIFAR-10N's features. MLNT runs with two trials
and a single iteration, which is ours.

The feature-dependent labels are drawn from the table of predictions that MSLG's authors ship. It
went through a softmax twice, see `nlmeta.data.sources.read_prediction_table`.
"""

from typing import Any

from nlmeta import presets
from nlmeta.experiments.task import Entry, Problem
from nlmeta.experiments.training_runs import ALL, TrainingTable

__all__ = ["PIXELS"]

SHORT = 6  # epochs
TRAINING = {
    "epochs": 24,
    "evaluate_every": 1,
    "evaluate_train": 0.1,
    "batch_size": 128,
    "lr": 0.2,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "precision": "bfloat16",
    "channels_last": True,
}
RIVALS = ("cross-entropy", "early stopping", "EMA", "ELR", "meta set alone", "fine-tuning")


def _problem(title: str, entries: tuple[str, ...], **load: Any) -> Problem:
    return Problem(
        name=title,
        load={"name": "cifar10", "meta_size": 1000, "validation_size": 1000, **load},
        network={"name": "resnet9", "width": 16},
        training=TRAINING,
        held_out=1000,
        entries=(*RIVALS, *entries),
    )


PROBLEMS = (
    _problem(
        "worst human labels",
        ("CLID-MU", "CLID-MU, weights stay"),
        name="cifar10n",
        labels="worst",
    ),
    _problem("one-target 40 %", ("MLC", "MLC, T stays the identity"), noise="one-target", rate=0.4),
    _problem(
        "feature-dependent 60 %",
        ("MSLG", "MSLG, labels stay"),
        noise="feature-dependent",
        rate=0.6,
        predictions="shipped",
    ),
    _problem("symmetric 50 %", ("MLNT", "mean teacher"), noise="symmetric", rate=0.5),
)

META: dict[str, Any] = {
    "meta": "clean",
    "effort": 4.0,
    "training": {"warmup_epochs": SHORT, "meta_batch_size": 128},
}
NOISY: dict[str, Any] = {**META, "meta": "noisy", "meta_size": 1000}
TEACHER: dict[str, Any] = {"start": {"epochs": SHORT}, "start_goes_on": False}
CLID_MU = {**presets.CLID_MU_DIGITS.method, "head": "weights"}
MLC, MSLG = presets.MLC_DIGITS.method, presets.MSLG_DIGITS.method
MLNT = presets.MLNT_DIGITS.method

ENTRIES = (
    Entry("cross-entropy", "cross_entropy"),
    Entry("early stopping", "cross_entropy", training={"epochs": SHORT}),
    Entry("EMA", "ema", {"decay": 0.999}),
    Entry("ELR", "elr", {"beta": 0.7, "weight": 3.0}, faithful="paper"),
    Entry(
        "meta set alone",
        "cross_entropy",
        meta="alone",
        training={"batch_size": ALL, "epochs": 100, "lr": 0.02},
    ),
    Entry(
        "fine-tuning",
        "cross_entropy",
        meta="alone",
        training={"batch_size": ALL, "epochs": 50, "lr": 0.01},
        start={"epochs": SHORT},
    ),
    Entry("CLID-MU", "clid_mu", CLID_MU, faithful="paper", **NOISY),
    Entry("CLID-MU, weights stay", "clid_mu", {**CLID_MU, "head_lr": 0.0}, **NOISY),
    Entry("MLC", "mlc", MLC, faithful="paper", **META),
    Entry("MLC, T stays the identity", "mlc", {**MLC, "transition_lr": 0.0}, **META),
    Entry("MSLG", "mslg", MSLG, faithful="paper", **META),
    Entry("MSLG, labels stay", "mslg", {**MSLG, "label_lr": 0.0}, **META),
    Entry("MLNT", "mlnt", {**MLNT, "trials": 2}, effort=6.0, **TEACHER),
    Entry("mean teacher", "mlnt", {**MLNT, "trial_lr": 0.0, "trials": 1}, effort=4.0, **TEACHER),
)

PIXELS = TrainingTable(
    name="pixels",
    about="CIFAR-10 from pixels: what does a method add where the network memorises?",
    problems=PROBLEMS,
    entries=ENTRIES,
    seeds=range(2),
    resumable=True,
    history=True,
)
