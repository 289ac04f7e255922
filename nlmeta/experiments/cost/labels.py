"""What MSLG's memory costs: one soft label for each training sample, read and written in steps."""

import time
from pathlib import Path
from statistics import median

import torch

from nlmeta import seeding
from nlmeta.experiments.cost.clocks import Row, row
from nlmeta.methods.memory import LabelMemory, rows_on_disk

__all__ = ["measure_label_memory"]


def measure_label_memory(
    step_seconds: float,
    *,
    num_samples: int = 1_000_000,
    num_classes: int = 1_000,
    batch: int = 64,
    rounds: int = 50,
    file: Path | None = None,
    seed: int,
) -> Row:
    """What reading and writing a batch of MSLG's labels costs, beside a step of cross-entropy.

    Parameters
    ----------
    step_seconds : float
        Seconds of that step.
    num_samples, num_classes : int
        The size of the memory, N rows of C labels. Defaults: a million and a thousand, 4 GB.
    batch : int
        Number of rows read and written at a time, at random places. Default 64.
    rounds : int
        Number of times. Default 50. Each has rows of its own, so what is read was not just written.
    file : Path, optional
        The file that holds the labels. Default: they are held in RAM.
    seed : int
        Seed of the places.

    Returns
    -------
    dict
        A row as from `measure`; ``seconds`` is the *median*, since the best round may find its rows
        in a cache. ``memory_bytes`` is what the labels occupy, for good; it has no ratio.
    """
    g = seeding.generator(seed, "label memory")
    shape = num_samples, num_classes
    labels = torch.zeros(shape) if file is None else rows_on_disk(file, *shape)
    memory = LabelMemory(labels.fill_(1.0), device="cpu")
    seconds = []
    for _ in range(rounds):
        ids = torch.randint(num_samples, (4 * batch,), generator=g).unique()
        ids = ids[torch.randperm(len(ids), generator=g)[:batch]]
        start = time.perf_counter()
        memory.write(ids, memory.read(ids, like=labels) + 1)
        seconds.append(time.perf_counter() - start)
    place = "in RAM" if file is None else "on disk"
    mode = f"label memory {place}, {num_samples:,} x {num_classes:,}"
    own: Row = {"memory": memory.logits.nbytes, "batch": batch, "dtype": "float32"}
    return row("MSLG", mode, seconds, best=median, plain=step_seconds, **own)
