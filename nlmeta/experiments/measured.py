"""An experiment that measures or counts: a few tasks, each a function that returns rows."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from nlmeta.experiments.task import Done, Experiment, Place, Plan, Task

__all__ = ["Measurement", "Measurements", "Rows"]

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Measurement:
    """One task of such an experiment.

    Attributes
    ----------
    work : callable
        ``work(seed=..., device=..., **options)`` returns rows.
    options : mapping
        Plain data that JSON can hold. Default: none.
    scale : {"tiny", "cores", "paper"}
        The scale, as for `Problem`. Default ``"cores"``.
    """

    work: Callable[..., Rows]
    options: Mapping[str, Any] = field(default_factory=dict)
    scale: Literal["tiny", "cores", "paper"] = "cores"


@dataclass(frozen=True)
class Measurements(Experiment):
    """The experiment; what all experiments have is documented at `Experiment`.

    Attributes
    ----------
    parts : mapping of str to Measurement
        The tasks by their names; such a name is the stage by which a record is read.
    datasets : sequence of str
        Names of the datasets that it reads. Default: none.
    """

    parts: Mapping[str, Measurement]
    datasets: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """Names of the tasks."""
        return list(self.parts)

    def tasks(self, record: Done) -> Iterator[Task]:
        """All of them."""
        for name, part in self.parts.items():
            for seed in self.seeds:
                plan = {"experiment": self.name, "stage": name, "entry": name, "scale": part.scale}
                yield Task({**plan, "options": dict(part.options)}, seed, partial(_work, part.work))


def _work(work: Callable[..., Rows], plan: Plan, seed: int, place: Place) -> dict[str, Any]:
    begun = time.perf_counter()
    rows = work(seed=seed, device=place.device, **plan["options"])
    return {"seconds": round(time.perf_counter() - begun, 2), "failed": None, "rows": rows}
