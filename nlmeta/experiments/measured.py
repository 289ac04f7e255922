"""An experiment that measures or counts: a few tasks, each a function that returns rows."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nlmeta.experiments.machine import peak_memory
from nlmeta.experiments.task import Done, Place, Plan, Task

__all__ = ["Measurement", "Measurements"]

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Measurement:
    """One task of such an experiment.

    Attributes
    ----------
    work : callable
        ``work(seed=..., device=..., **options)`` returns rows.
    options : mapping
        What JSON can hold.
    """

    work: Callable[..., Rows]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurements:
    """The experiment.

    Attributes
    ----------
    name : str
        The experiment's name, and that of its record.
    about : str
        A sentence on what it asks.
    parts : mapping of str to Measurement
        Its tasks. The name is the stage by which a record is read.
    seeds : sequence of int
        Default: 0 alone.
    datasets : sequence of str
        What it reads. Default: nothing.
    at_once : bool
        Whether tasks may run at the same time. Default True; False where time is measured.
    threads : int, optional
        Threads of the CPU. Default: as many as PyTorch takes.
    """

    name: str
    about: str
    parts: Mapping[str, Measurement]
    seeds: Sequence[int] = (0,)
    datasets: Sequence[str] = ()
    at_once: bool = True
    threads: int | None = None
    resumable: bool = False

    @property
    def names(self) -> list[str]:
        """Names of the tasks."""
        return list(self.parts)

    def leaders(self, entry: str) -> list[str]:
        """None; nothing is chosen."""
        return []

    def seconds(self, task: Task, device: str) -> None:
        """Not known before a measurement has been made."""

    def tasks(self, record: Done) -> Iterator[Task]:
        """All of them."""
        for name, part in self.parts.items():
            for seed in self.seeds:
                plan = {"experiment": self.name, "stage": name, "entry": name, "scale": "cores"}
                yield Task({**plan, "options": dict(part.options)}, seed, partial(_work, part.work))


def _work(work: Callable[..., Rows], plan: Plan, seed: int, place: Place) -> dict[str, Any]:
    begun = time.perf_counter()
    rows = work(seed=seed, device=place.device, **plan["options"])
    return {
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_memory": peak_memory(place.device),
        "failed": None,
        "rows": rows,
    }
