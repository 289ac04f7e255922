"""The one loop: what is to do is done, in as many processes as may be, and the record keeps it."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nlmeta._checks import check_choice, check_count, check_positive
from nlmeta.experiments.machine import environment, forget_peak, peak_memory, threads_of
from nlmeta.experiments.record import Record
from nlmeta.experiments.task import Experiment, Outcome, Place, Plan, Task
from nlmeta.training import choose_device, progress_wanted

__all__ = ["Status", "Wanted", "estimate", "place_of", "run", "status"]

IN_TURN: Mapping[str, Any] = {"return_as": "generator_unordered", "batch_size": 1}


@dataclass(frozen=True)
class Wanted:
    """Which tasks of an experiment are looked at.

    Attributes
    ----------
    only : collection of str, optional
        Names of entries, or of problems, or the two as ``"problem: entry"``. The choices that they
        wait for are looked at as well. Default: all.
    seeds : collection of int, optional
        Seeds of the table; choices have their own. Default: all.
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

    def named(self, problem: str | None, entry: str) -> bool:
        """Whether `only` names an entry on a problem."""
        return self.only is None or not {entry, problem, f"{problem}: {entry}"}.isdisjoint(
            self.only
        )

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
        The tasks that are wanted and known by now.
    waiting : bool
        Whether further tasks wait for a choice.
    failed : list of (Task, str)
        Tasks among those done that have failed, with the reason.
    stale : set of str
        Plans of runs in the record that the experiment does not have, and will not have whatever
        is chosen; `Record.prune` removes them.
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
        The experiment.
    record : Record
        Its record.
    wanted : Wanted, optional
        The part that is looked at. Default: everything.

    Returns
    -------
    Status

    Raises
    ------
    ValueError
        `wanted` names an entry, a problem or a seed that the experiment does not have.
    """
    wanted = Wanted() if wanted is None else wanted
    for name in wanted.only or ():
        problem, _, entry = name.rpartition(": ")
        for part in filter(None, (problem, entry)):
            check_choice("only", part, experiment.names)
    for seed in wanted.seeds or ():
        check_choice("seeds", seed, experiment.seeds)
    leaders = experiment.leaders(wanted.named)
    found, plans, missing = Status(), set(), set()
    for task in experiment.tasks(record):
        plans.add(task.key[0])
        line, where = record.runs.get(task.key), (task.plan.get("problem"), task.plan["entry"])
        if task.plan["stage"] == "choice":
            if line is None:
                missing.add(where)
            if where not in leaders:
                continue
        elif not wanted.named(*where) or task.seed not in (wanted.seeds or [task.seed]):
            continue
        if not wanted.mine(task):
            continue
        (found.to_do if line is None else found.done).append(task)
        if line is not None and line.get("failed") is not None:
            found.failed.append((task, line["failed"]))
    found.waiting = not missing.isdisjoint(leaders)
    for plan in {plan for plan, _ in record.runs} - plans:
        own = record.plans[plan].get("problem"), record.plans[plan]["entry"]
        if missing.isdisjoint(experiment.leaders(lambda *names, own=own: names == own)):
            found.stale.add(plan)
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
        The experiment.
    record : Record
        The record, to which every run is added as it ends.
    wanted : Wanted, optional
        The part that is looked at. Default: everything.
    jobs : int, optional
        Tasks at the same time, each in a process of its own. Default: as many as there are
        processors, or 1 on a GPU and where an experiment measures time.
    threads : int, optional
        Threads of the CPU in each process. Default: those of the experiment.
    device : str, optional
        The device, as for `nlmeta.fit`. Default: the fastest there is, or the CPU where tasks run
        at the same time.
    budget : float, optional
        Seconds. No task is begun that will probably not end within them, judged by the record; one
        that keeps checkpoints is begun and stopped. A task unlike any in the record is begun.
    checkpoints : Path, optional
        Folder of unfinished runs. Default: one beside the record, named after it.
    again : bool
        Whether wanted tasks that are done are run once more, all of them in each call; the later
        run counts. Default False.
    progress : bool, optional
        Whether a bar is shown, as for `nlmeta.fit`.
    say : callable
        A function that is called with a sentence now and then. Default: `print`.

    Returns
    -------
    bool
        Whether all that is wanted is done.

    Raises
    ------
    ValueError
        An argument is out of range, another process writes the record, or a task cannot be done.
    OSError
        The record could not be written, or a file of a task read or written; what the record held
        is whole. Or a process was ended from outside.
    KeyboardInterrupt
        Ctrl-C. What has ended is in the record.
    """
    import joblib  # a sixth of a second, which those who only read a record do without

    where = place_of(experiment, device)
    if jobs is None:
        jobs = joblib.cpu_count() if experiment.at_once and where.type == "cpu" else 1
    check_count("jobs", jobs)
    check_count("threads", 1 if threads is None else threads)
    if jobs > 1 and not experiment.at_once:
        raise ValueError(
            f"`jobs` is {jobs}; {experiment.name} measures time, so nothing may run beside it"
        )
    if budget is not None:
        check_positive("budget", budget)
    folder = checkpoints or record.path.with_name(f"{record.path.stem}-checkpoints")
    options: dict[str, Any] = {"folder": folder if experiment.resumable else None}
    options |= {"threads": experiment.threads if threads is None else threads}
    work = joblib.delayed(partial(_work, device=str(where), processes=jobs, **options))
    clock = _Budget(math.inf if budget is None else budget, record, experiment.resumable)
    redone: set[tuple[str, int]] = set()
    with record.writing():
        _forget(folder, status(experiment, record, wanted).done)  # a kill may have left some
        while True:
            found = status(experiment, record, wanted)
            tasks = found.to_do
            if again:
                tasks = [t for t in (*found.done, *tasks) if t.key not in redone]
            tasks = [t for t in tasks if t.plan["stage"] == "choice"] or tasks
            if not tasks:
                return not found.waiting
            # A task is taken from the list when a process is free for it, so the clock is right.
            pool = joblib.Parallel(jobs, pre_dispatch=jobs, **IN_TURN)
            outcomes = pool(work(task, left) for task, left in clock.affordable(tasks))
            hidden = not progress_wanted(progress)
            bar = tqdm(outcomes, experiment.name, len(tasks), unit="run", disable=hidden)
            try:
                for task, outcome, ran_on in bar:
                    if outcome is None:
                        clock.stop("the budget is used up")
                        continue
                    record.add(task, outcome, ran_on)
                    redone.add(task.key)
                    _forget(folder, [task])
                    if experiment.resumable:
                        say(f"{task.name}: {_result(outcome)}, {outcome['seconds']:.0f} s")
            except BrokenExecutor as error:
                raise ChildProcessError(
                    "a process was ended from outside, as where memory is short. "
                    f"{record.path} holds all that has ended; call again with fewer `jobs`"
                ) from error
            if clock.stopped:
                more = "begins again" if again else "goes on"
                say(f"stopped: {clock.stopped}; the same command {more}")
                return False


def place_of(experiment: Experiment, device: str | None) -> torch.device:
    """The device that an experiment is run on: the CPU where tasks run at the same time.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    device : str or None
        The device that is asked for, if one is.

    Returns
    -------
    torch.device
    """
    return choose_device(device if device or not experiment.at_once else "cpu")


class _Budget:
    """The seconds that are left, and why no further task is begun, if there is a reason."""

    def __init__(self, seconds: float, record: Record, resumable: bool) -> None:
        self.seconds, self.record, self.resumable = seconds, record, resumable
        self.ends = time.monotonic() + seconds
        self.stopped = ""

    def affordable(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, float]]:
        """The tasks one by one with the time that is left, as long as it suffices."""
        for task in tasks:
            left = self.ends - time.monotonic()
            judged = left < math.inf and not self.resumable
            needed = (estimate(task, self.record) or 0.0) if judged else 0.0
            if left <= 0:
                self.stop("the budget is used up")
            elif needed > left:
                self.stop(
                    f"{task.name} takes about {needed:.0f} s, and {left:.0f} s are left of the "
                    f"budget of {self.seconds:.0f} s"
                )
            if self.stopped:
                return
            yield task, left

    def stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason


def estimate(task: Task, record: Record) -> float | None:
    """About how many seconds a task takes, by what the record holds.

    Parameters
    ----------
    task : Task
        A task, run or not.
    record : Record
        The record of the same experiment.

    Returns
    -------
    float or None
        The mean over runs of the same plan, else over runs of the same entry, scaled by the length
        of training; None where there are none.
    """
    runs, own = list(record.runs.items()), task.key[0]  # a copy: another thread may add to them
    found = [run["seconds"] for (plan, _), run in runs if plan == own and run.get("seconds")]
    if not found:
        found = [
            run["seconds"] * _epochs(task.plan) / _epochs(record.plans[plan])
            for (plan, _), run in runs
            if record.plans[plan]["entry"] == task.plan["entry"] and run.get("seconds")
        ]
    return sum(found) / len(found) if found else None


def _epochs(plan: Plan) -> float:
    stages = (plan.get("training"), plan.get("start"))
    return sum(stage["epochs"] for stage in stages if stage) or 1.0


def _work(
    task: Task, left: float, device: str, threads: int | None, processes: int, folder: Path | None
) -> tuple[Task, Outcome | None, dict[str, Any]]:
    """A task's outcome, None if its time was up before it ended; and where it was worked on."""
    stoppable = folder is not None and left < math.inf
    place = Place(device, folder and folder / _file(task), left if stoppable else None)
    begun = time.monotonic()
    forget_peak(device)
    try:
        with threads_of(threads):
            where = environment(device, processes=processes)
            outcome = task.work(task.plan, task.seed, place)
        return task, {**outcome, "peak_memory": peak_memory(device)}, where
    except KeyboardInterrupt:
        if not stoppable or time.monotonic() - begun < left:
            raise
        return task, None, where
    except (ValueError, OSError) as error:
        kind = ValueError if isinstance(error, ValueError) else OSError
        raise kind(f"{task.name}: {error}") from error


def _file(task: Task) -> str:
    plan, seed = task.key
    return f"{plan}-seed{seed}"


def _forget(folder: Path, tasks: Iterable[Task]) -> None:
    """Remove the checkpoints of tasks that have ended."""
    for task in tasks:
        for file in folder.glob(f"{_file(task)}-*"):
            file.unlink()


def _result(outcome: Outcome) -> str:
    if outcome.get("failed"):
        return str(outcome["failed"])
    rows = [row for row in outcome["rows"] if row.get("accuracy") is not None]
    return ", ".join(f"{row['method']} {row['accuracy']:.1%}" for row in rows) or "done"
