"""An experiment that a paper names: its plans, how sure they are, and what a run of one takes.

There are three scales. ``paper`` is the full network, batch, schedule and dataset: a problem of a
table. ``tiny`` is the same plan with a thin network, small images and two steps in each stage, so
that all of it can be tried in seconds. What two CPU cores can do, ``cores``, is an experiment by
itself, which a study names.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nlmeta.experiments.task import Entry, Plan, Problem

__all__ = ["Study", "hours"]


@dataclass(frozen=True)
class Study:
    """An experiment that a paper, or the code that its authors released, names.

    Attributes
    ----------
    name : str
        Method and dataset, and what tells it from other experiments.
    paper : str
        The file of its figures, see `literature.published`.
    settings : {"published", "code", "port", "ours", "unknown"}
        Origin of its settings, as for `nlmeta.presets.Preset`; unknown if no source has them.
    problems : sequence of Problem
        The data, network and training at the scale ``"paper"``, a problem for each kind of labels.
        Default: none, where settings are unknown or the code lacks something.
    entries : sequence of Entry
        The method, then what its time is compared with: cross-entropy. Default: none.
    images : int
        Number of training images. Default 0.
    steps_as : str, optional
        Another study, if its steps are the same, so that they are timed once. Default: none is.
    cores : sequence of str
        The experiments that ask the same at the scale ``"cores"``. Default: there is none.
    differs : str
        The ways in which our code differs from what was released, or a part that it lacks.
    """

    name: str
    paper: str
    settings: Literal["published", "code", "port", "ours", "unknown"]
    problems: Sequence[Problem] = ()
    entries: Sequence[Entry] = ()
    images: int = 0
    steps_as: str | None = None
    cores: Sequence[str] = ()
    differs: str = ""

    @property
    def scales(self) -> list[str]:
        """Scales at which there is a plan."""
        own = ["tiny", "paper"] if self.problems else []
        return [*own[:1], *["cores"] * bool(self.cores), *own[1:]]


def hours(study: Study, plan: Plan, seconds: Mapping[str, float]) -> float | None:
    """Hours of one run at the scale ``"paper"``, by seconds of its steps.

    Parameters
    ----------
    study : Study
        The study.
    plan : mapping
        A plan of one of its problems.
    seconds : mapping of str to float
        Seconds of a step by the name of the entry. Cross-entropy has to be among them, since stages
        before and warm-up are made of it.

    Returns
    -------
    float or None
        None if a kind of step was not measured. Measuring and reading images are left out.
    """
    method, plain = (seconds.get(name) for name in (plan["entry"], study.entries[-1].name))
    if method is None or plain is None:
        return None
    taken = 0.0
    for stage in ("start", "training"):
        if stage in plan:
            own = plan[stage]
            each = math.ceil(study.images / own["batch_size"])
            warmup = own["epochs"] if stage == "start" else own["warmup_epochs"]
            taken += each * (warmup * plain + (own["epochs"] - warmup) * method)
    return taken / 3600
