"""What a meta step costs: time and memory of every method and mode, beside plain cross-entropy.

``python -m nlmeta run cost --record mine.jsonl`` measures all of it on this machine, in about ten
minutes on two cores, and `measure` a part of it. The baseline of each method is `literal`: the same
step in the order of passes of the papers' released code.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nlmeta._torch import full_float32
from nlmeta.experiments.cost.batches import measure_batches, measure_decoding
from nlmeta.experiments.cost.candidates import CANDIDATES, Candidate
from nlmeta.experiments.cost.clocks import count_operations, peak_bytes
from nlmeta.experiments.cost.epochs import measure_epochs
from nlmeta.experiments.cost.labels import measure_label_memory
from nlmeta.experiments.cost.precision import measure_precision
from nlmeta.experiments.cost.steps import measure
from nlmeta.experiments.measured import Measurement, Measurements, Rows
from nlmeta.models import CIFARResNet, ResNet9

__all__ = [
    "CANDIDATES",
    "COST",
    "Candidate",
    "count_operations",
    "measure",
    "measure_batches",
    "measure_decoding",
    "measure_epochs",
    "measure_label_memory",
    "measure_precision",
    "peak_bytes",
    "table",
]

NETWORK = {"depth": 18, "width": 16}
# As the experiments on images are trained: channels last, and all of a step in bfloat16.
HALF = {"depth": 9, "width": 16}
HALF_MODES = ("jvp, fast", "act first, jvp")
TRAINING = {"lr": 0.01, "evaluate_train": 0.1}
# A fifth of CIFAR-10, as the experiments on its images train and evaluate; CNN8 for comparison.
EPOCHS: dict[str, dict[str, Any]] = {
    "ResNet-9, width 16": {
        "network": {"name": "resnet9", "width": 16},
        "train": 10_000,
        "test": 2000,
        "training": {
            **TRAINING,
            "batch_size": 128,
            "precision": "bfloat16",
            "channels_last": True,
        },
    },
    "CNN8": {
        "network": {"name": "cnn8"},
        "train": 640,
        "test": 128,
        "training": {**TRAINING, "batch_size": 64},
    },
}
say = partial(print, flush=True)


def _network(depth: int, width: int, *, seed: int) -> tuple[torch.nn.Module, str]:
    name = f"ResNet-{depth}, width {width}"
    if depth == 9:
        return ResNet9(10, width=width, seed=seed).to(memory_format=torch.channels_last), name
    return CIFARResNet(depth, 10, width=width, seed=seed), name


def _steps(
    *, network: dict[str, int], rounds: int, label_rows: int, seed: int, device: str
) -> Rows:
    """One interleaved run of all candidates, and what is a share of its cross-entropy step."""
    model, name = _network(**network, seed=seed)
    # In the working folder: a system's folder for such files may lie in memory, and is no disk.
    with full_float32(), tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        rows = measure(model, network=name, rounds=rounds, device=device, seed=seed, report=say)
        say("label memory and batches")
        plain = next(row["seconds"] for row in rows if row["method"] == "cross-entropy")
        for file in (None, Path(folder) / "labels"):
            rows.append(measure_label_memory(plain, num_samples=label_rows, file=file, seed=seed))
        rows += measure_batches(model.to(device), plain, seed=seed)
        rows.append(measure_decoding(model, folder=Path(folder), seed=seed))
    return rows


def _epochs(*, networks: dict[str, Any], rounds: int, seed: int, device: str) -> Rows:
    return measure_epochs(networks, rounds=rounds, device=device, seed=seed, report=say)


def _half(*, network: dict[str, int], seed: int, **options: Any) -> Rows:
    model, name = _network(**network, seed=seed)
    options["candidates"] = [c for c in CANDIDATES if c.mode in ("plain", *HALF_MODES)]
    return measure(model, network=name, half=True, seed=seed, report=say, **options)


def _precision(*, network: dict[str, int], seed: int, **options: Any) -> Rows:
    model, name = _network(**network, seed=seed)
    with full_float32():
        return measure_precision(model, network=name, seed=seed, report=say, **options)


COST = Measurements(
    name="cost",
    about="What does a step of each method cost, in steps of cross-entropy?",
    parts={
        "steps": Measurement(_steps, {"network": NETWORK, "rounds": 5, "label_rows": 1_000_000}),
        "precision": Measurement(_precision, {"network": NETWORK}),
        "epochs": Measurement(_epochs, {"networks": EPOCHS, "rounds": 3}),
        "steps in bfloat16": Measurement(_half, {"network": HALF, "batch": 128, "rounds": 5}),
        "precision in bfloat16": Measurement(_precision, {"network": HALF, "trained": [0, 100]}),
    },
    at_once=False,
    threads=1,
)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """What a reader compares: milliseconds, and time and memory in units of cross-entropy.

    Parameters
    ----------
    rows : pandas.DataFrame
        The frame ``experiments.read("cost", stage="steps")``, or one of the rows of `measure`.

    Returns
    -------
    pandas.DataFrame
        Indexed by method and mode; columns ``ms``, ``time`` and ``memory``.
    """
    shown = rows.set_index(["method", "mode"])[["seconds", "time_ratio", "memory_ratio"]]
    shown = shown.astype(float).set_axis(["ms", "time", "memory"], axis="columns")
    return shown.assign(ms=1000 * shown["ms"])
