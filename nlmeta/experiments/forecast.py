"""How long what is to do will take, before anything is run."""

from collections import defaultdict

from nlmeta.data.sources import at_hand
from nlmeta.experiments.machine import peak_memory
from nlmeta.experiments.record import Record
from nlmeta.experiments.runner import Wanted, estimate, status
from nlmeta.experiments.task import Experiment, Task

__all__ = ["forecast"]


def forecast(
    experiment: Experiment, record: Record, wanted: Wanted | None = None, *, device: str = "cpu"
) -> str:
    """Core-hours and memory of what a record lacks.

    Parameters
    ----------
    experiment : Experiment
        Whose tasks.
    record : Record
        What was run tells how long the rest takes.
    wanted : Wanted, optional
        Default: everything.
    device : str
        Where a few steps of cross-entropy are timed for tasks unlike any that was run. Default
        ``"cpu"``.

    Returns
    -------
    str
        A line for each problem, and the sum. Choices count with all their settings; what waits for
        them is not known yet and said so.
    """
    found = status(experiment, record, wanted)
    hand = not any(map(at_hand, experiment.datasets))
    problems: dict[str, list[float | None]] = defaultdict(list)
    paces: dict[str, float] = {}
    for task in found.to_do:
        seconds = estimate(task, record)
        if seconds is None and hand:
            seconds = _timed(experiment, task, device, paces)
        problems[str(task.plan.get("problem", task.plan["entry"]))].append(seconds)
    lines = [f"{name}: {len(each):,} tasks, {_hours(each)}" for name, each in problems.items()]
    everything = [seconds for each in problems.values() for seconds in each]
    recorded = [run["peak_memory"] for run in record.runs.values() if run.get("peak_memory")]
    peak = max([*recorded, peak_memory(device) or 0])
    said = "so far" if recorded else "of this process, which has built the networks"
    more = "; what waits for a choice is not counted" if found.waiting else ""
    lines.append(f"together: {found}: {_hours(everything)}{more}")
    lines.append(f"memory of a task: {peak / 2**30:.1f} GiB (the most {said})")
    return "\n".join(lines)


def _timed(
    experiment: Experiment, task: Task, device: str, paces: dict[str, float]
) -> float | None:
    """By the pace of another task of the same problem and training, or by its own."""
    training = task.plan.get("training", {})
    like = f"{task.plan.get('problem')}, {task.plan.get('meta')}, {training.get('batch_size')}"
    if like not in paces:
        seconds = experiment.seconds(task, device)
        if seconds is None:
            return None
        paces[like] = seconds / task.epochs
    return paces[like] * task.epochs


def _hours(each: list[float | None]) -> str:
    known = [seconds for seconds in each if seconds is not None]
    unknown = len(each) - len(known)
    text = f"about {sum(known) / 3600:.2f} hours of one process"
    return f"{text}, and {unknown:,} of unknown length" if unknown else text
