"""The one loop: what is to do is done, in as many processes as may be, and the record keeps it."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import torch
from tqdm import tqdm

from nlmeta._checks import check_choice, check_count, check_positive
from nlmeta.experiments.machine import environment, peak_memory
from nlmeta.experiments.record import Record
from nlmeta.experiments.task import Experiment, Outcome, Place, Plan, Task
from nlmeta.training import choose_device, progress_wanted

__all__ = ["Status", "Wanted", "run", "status"]


@dataclass(frozen=True)
class Wanted:
    """Which tasks of an experiment are looked at.

    Attributes
    ----------
    only : collection of str, optional
        Names of entries, or of problems, or the two as ``"problem: entry"``. Default: all.
    seeds : collection of int, optional
        Default: all.
    shard : (int, int)
        The k-th of n parts of all tasks, k from 1. Default (1, 1).

    Raises
    ------
    ValueError
        There is no such part.
    """

    only: Collection[str] | None = None
    seeds: Collection[int] | None = None
    shard: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        part, parts = self.shard
        if not 1 <= part <= parts:
            raise ValueError(
                f"`shard` is {part}/{parts}; it must be k/n, the k-th of n parts, with k in 1 to n"
            )

    def named(self, task: Task, experiment: Experiment) -> bool:
        """Whether the task, or what waits for its choice, is asked for, in whatever part."""
        plan = task.plan
        choice = plan["stage"] == "choice"
        if self.seeds is not None and task.seed not in self.seeds and not choice:
            return False
        if self.only is None:
            return True
        entry, problem = plan["entry"], plan.get("problem")
        if not {entry, problem, f"{problem}: {entry}"}.isdisjoint(self.only):
            return True
        entries = [name.rpartition(": ")[2] for name in self.only]
        return choice and any(entry in experiment.leaders(name) for name in entries)

    def mine(self, task: Task) -> bool:
        """Whether the task belongs to the part."""
        part, parts = self.shard
        plan, seed = task.key
        return (int(plan, 16) + seed) % parts == part - 1


@dataclass
class Status:
    """How far an experiment is.

    Attributes
    ----------
    done, to_do : list of Task
        Of those that are known by now and wanted.
    waiting : bool
        Whether further tasks wait for a choice.
    failed : list of (Task, str)
        Done, with what stopped them.
    stale : set of str
        Plans in the record that the experiment does not have; `Record.prune` removes them.
    """

    done: list[Task] = field(default_factory=list)
    to_do: list[Task] = field(default_factory=list)
    waiting: bool = False
    failed: list[tuple[Task, str]] = field(default_factory=list)
    stale: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        more = ", and what waits for a choice" if self.waiting else ""
        said = [f"{len(self.done):,} done", f"{len(self.to_do):,} to do{more}"]
        said += [f"{len(self.failed):,} of those done have failed"] * bool(self.failed)
        said += [f"{len(self.stale):,} plans of the record are no longer run"] * bool(self.stale)
        return ", ".join(said)


def status(experiment: Experiment, record: Record, wanted: Wanted | None = None) -> Status:
    """What is done and what is to do.

    Parameters
    ----------
    experiment : Experiment
        Whose tasks.
    record : Record
        What was run.
    wanted : Wanted, optional
        Default: everything.

    Returns
    -------
    Status

    Raises
    ------
    ValueError
        `wanted` names an entry or a problem that the experiment does not have.
    """
    wanted = Wanted() if wanted is None else wanted
    for name in wanted.only or ():
        problem, _, entry = name.rpartition(": ")
        for part in filter(None, (problem, entry)):
            check_choice("only", part, experiment.names)
    found, plans = Status(), set()
    for task in experiment.tasks(record):
        plans.add(task.key[0])
        if not wanted.named(task, experiment):
            continue
        line = record.runs.get(task.key)
        if line is None and task.plan["stage"] == "choice":
            found.waiting = True
        if not wanted.mine(task):
            continue
        if line is None:
            found.to_do.append(task)
            continue
        found.done.append(task)
        if line.get("failed") is not None:
            found.failed.append((task, line["failed"]))
    found.stale = {plan for plan, _ in record.runs} - plans
    return found


def run(
    experiment: Experiment,
    record: Record,
    wanted: Wanted | None = None,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    budget: float | None = None,
    checkpoints: Path | None = None,
    again: bool = False,
    progress: bool | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Run what a record lacks. Stop at any time; the same call goes on.

    Parameters
    ----------
    experiment : Experiment
        What is run.
    record : Record
        Gets every run as it ends.
    wanted : Wanted, optional
        Default: everything.
    jobs : int, optional
        Tasks at the same time, each in a process of its own. Default: as many as there are
        processors, or 1 on a GPU and where an experiment measures time.
    threads : int, optional
        Threads of the CPU in each process. Default: what the experiment says.
    device : str, optional
        As for `nlmeta.fit`. Default: the fastest there is, or the CPU where tasks run at the same
        time.
    budget : float, optional
        Seconds. No task is begun that will probably not end within them, judged by the record; one
        that keeps checkpoints is begun and stopped.
    checkpoints : Path, optional
        Folder of unfinished runs. Default: one beside the record, named after it.
    again : bool
        Whether wanted tasks that are done are run once more; the later run counts. Default False.
    progress : bool, optional
        As for `nlmeta.fit`.
    say : callable
        Is called with a sentence now and then. Default: `print`.

    Returns
    -------
    bool
        Whether all that is wanted is done.

    Raises
    ------
    ValueError
        An argument is out of range, or another process writes the record.
    OSError
        The record could not be written. What it held is whole.
    KeyboardInterrupt
        Ctrl-C. What has ended is in the record.
    """
    where = choose_device(device if device or not experiment.at_once else "cpu")
    if jobs is None:
        jobs = joblib.cpu_count() if experiment.at_once and where.type == "cpu" else 1
    check_count("jobs", jobs)
    if jobs > 1 and not experiment.at_once:
        raise ValueError(
            f"`jobs` is {jobs}; {experiment.name} measures time, so nothing may run beside it"
        )
    if budget is not None:
        check_positive("budget", budget)
    folder = checkpoints or record.path.with_name(f"{record.path.stem}-checkpoints")
    work = partial(
        _work,
        device=str(where),
        threads=experiment.threads if threads is None else threads,
        processes=jobs,
        folder=folder if experiment.resumable else None,
    )
    clock = _Budget(budget, record, experiment.resumable)
    redone: set[tuple[str, int]] = set()
    with record.writing():
        while True:
            found = status(experiment, record, wanted)
            tasks = found.to_do
            if again:
                tasks = [t for t in (*found.done, *tasks) if t.key not in redone]
            tasks = [t for t in tasks if t.plan["stage"] == "choice"] or tasks
            if not tasks:
                return not found.waiting
            # A task is taken from the list when a process is free for it, so the clock is right.
            calls = (joblib.delayed(work)(task, left) for task, left in clock.affordable(tasks))
            outcomes = joblib.Parallel(
                jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1
            )(calls)
            hidden = not progress_wanted(progress)
            bar = tqdm(outcomes, experiment.name, len(tasks), unit="run", disable=hidden)
            for task, outcome, place in bar:
                if outcome is None:
                    clock.stopped = clock.stopped or f"the budget of {budget:.0f} s is used up"
                    continue
                record.add(task, outcome, place)
                redone.add(task.key)
                if experiment.resumable:
                    for file in folder.glob(f"{_file(task)}-*"):
                        file.unlink()
                    say(f"{task.name}: {_result(outcome)}, {outcome['seconds']:.0f} s")
            if clock.stopped:
                say(f"stopped: {clock.stopped}; the same command goes on")
                return False


class _Budget:
    """The seconds that are left, and why no further task is begun, if there is a reason."""

    def __init__(self, seconds: float | None, record: Record, resumable: bool) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self.record, self.resumable = record, resumable
        self.ends = time.monotonic() + self.seconds
        self.stopped = ""

    def affordable(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, float]]:
        """The tasks one by one with the time that is left, as long as it suffices."""
        for task in tasks:
            left = self.ends - time.monotonic()
            needed = 0.0 if self.resumable else estimate(task, self.record) or 0.0
            if left <= 0:
                self.stopped = f"the budget of {self.seconds:.0f} s is used up"
            elif needed > left:
                self.stopped = (
                    f"{task.name} takes about {needed:.0f} s, and {left:.0f} s are left of the "
                    f"budget of {self.seconds:.0f} s"
                )
            if self.stopped:
                return
            yield task, left


def estimate(task: Task, record: Record) -> float | None:
    """About how many seconds a task takes, by what the record holds.

    Parameters
    ----------
    task : Task
        One that need not have been run.
    record : Record
        Of the same experiment.

    Returns
    -------
    float or None
        The mean over runs of the same plan, else over runs of the same entry, scaled by the length
        of training; None where there are none.
    """
    plan = task.key[0]
    own = [r["seconds"] for (p, _), r in record.runs.items() if p == plan and r.get("seconds")]
    if not own:
        like = {
            key for key, line in record.plans.items() if line.get("entry") == task.plan["entry"]
        }
        own = [
            run["seconds"] * _epochs(task.plan) / _epochs(record.plans[key])
            for (key, _), run in record.runs.items()
            if key in like and run.get("seconds")
        ]
    return sum(own) / len(own) if own else None


def _epochs(plan: Plan) -> float:
    stages = (plan.get("training"), plan.get("start"))
    return sum(stage["epochs"] for stage in stages if stage) or 1.0


def _work(
    task: Task,
    left: float,
    *,
    device: str,
    threads: int | None,
    processes: int,
    folder: Path | None,
) -> tuple[Task, Outcome | None, dict[str, Any]]:
    """A task's outcome, None if its time was up before it ended; and where it was worked on."""
    stoppable = folder is not None and left < math.inf
    place = Place(device, folder and folder / _file(task), left if stoppable else None)
    begun, before = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        where = environment(device, processes=processes)
        outcome = task.work(task.plan, task.seed, place)
        return task, {**outcome, "peak_memory": peak_memory(device)}, where
    except KeyboardInterrupt:
        if not stoppable or time.monotonic() - begun < left:
            raise
        return task, None, where
    finally:
        torch.set_num_threads(before)


def _file(task: Task) -> str:
    plan, seed = task.key
    return f"{plan}-seed{seed}"


def _result(outcome: Outcome) -> str:
    if outcome.get("failed"):
        return str(outcome["failed"])
    rows = [row for row in outcome["rows"] if row.get("accuracy") is not None]
    return ", ".join(f"{row['method']} {row['accuracy']:.1%}" for row in rows) or "done"
