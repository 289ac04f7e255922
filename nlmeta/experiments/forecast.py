"""How long what is to do will take, before anything is run."""

from collections import defaultdict

from nlmeta.data.sources import at_hand
from nlmeta.experiments.machine import peak_memory, threads_of
from nlmeta.experiments.record import Record
from nlmeta.experiments.runner import Wanted, estimate, place_of, status
from nlmeta.experiments.task import Experiment

__all__ = ["forecast"]


def forecast(
    experiment: Experiment, record: Record, wanted: Wanted | None = None, device: str | None = None
) -> str:
    """Core-hours and memory of what a record lacks.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    record : Record
        Its record. What was run tells how long the rest takes.
    wanted : Wanted, optional
        The part that is looked at. Default: everything.
    device : str, optional
        The device on which a few steps of cross-entropy are timed, for tasks unlike any that was
        run. Default: that of `run`.

    Returns
    -------
    str
        A line for each problem, and the sum. Choices count with all their settings; what waits for
        them is not known yet, as the last line then says.
    """
    found, where = status(experiment, record, wanted), str(place_of(experiment, device))
    problems: dict[str, list[float | None]] = defaultdict(list)
    paces: dict[str, float | None] = {}
    for task in found.to_do:
        seconds = estimate(task, record)
        if seconds is None and not any(map(at_hand, experiment.reads(task))):
            training = task.plan.get("training", {})
            like = (
                f"{task.plan.get('problem')}, {task.plan.get('meta')}, {training.get('batch_size')}"
            )
            if like not in paces:  # else by the pace of a task of the same problem and training
                with threads_of(experiment.threads):
                    paces[like] = experiment.pace(task, where)
            seconds = None if (pace := paces[like]) is None else pace * task.epochs
        problems[str(task.plan.get("problem", task.plan["entry"]))].append(seconds)
    lines = [f"{name}: {len(each):,} tasks, {_hours(each)}" for name, each in problems.items()]
    everything = [seconds for each in problems.values() for seconds in each]
    recorded = [run["peak_memory"] for run in record.runs.values() if run.get("peak_memory")]
    peak = max([*recorded, peak_memory(where) or 0])
    said = "so far" if recorded else "of this process, which has built the networks"
    more = "; what waits for a choice is not counted" if found.waiting else ""
    lines.append(f"together: {found}: {_hours(everything)}{more}")
    lines.append(f"memory of a task: {peak / 2**30:.1f} GiB (the most {said})")
    return "\n".join(lines)


def _hours(each: list[float | None]) -> str:
    known = [seconds for seconds in each if seconds is not None]
    unknown = len(each) - len(known)
    said = [f"about {sum(known) / 3600:.2f} hours of one process"] if known or not unknown else []
    said += [f"{unknown:,} of unknown length"] if unknown else []
    return ", and ".join(said)
