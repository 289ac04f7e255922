"""Which method for my data? A short list, tried on a reader's own split within a budget."""

import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from nlmeta import metrics
from nlmeta._checks import check_choice, check_count, check_positive, check_seed
from nlmeta._interface import rows_of
from nlmeta.analysis import suspects
from nlmeta.data import Split
from nlmeta.experiments.judging import deal, digest_of, mcnemar, wilson
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.report import method_regrets, regrets
from nlmeta.experiments.runner import Status, Wanted, place_of, run, status
from nlmeta.experiments.shortlist import shortlist
from nlmeta.experiments.task import Entry, Place, Problem, Task
from nlmeta.experiments.training_runs import FIT, PLANNED, TrainingRun, TrainingTable
from nlmeta.models import with_features

__all__ = ["Audition", "audition", "seconds_in"]

UNITS = {"s": 1, "m": 60, "h": 3600}
LEVEL = 0.05  # of the paired test: what is above cannot be told apart
# Of what is cheaper than the first: within one standard error of it, two-sided. With few judges
# nearly nothing is told from the first, and to take the cheapest of all that would be to choose
# by the price alone.
CLOSE = 0.32
TUNING = 1000  # between the seed of an audition and that of its choices
EPOCHS = 30  # ours
OWN = "own data"


def seconds_in(budget: str | float) -> float:
    """The seconds of a time.

    Parameters
    ----------
    budget : str or float
        A text such as ``"90s"``, ``"30m"`` or ``"2h"``, or a number of seconds.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        The time is none, or not above 0.

    Examples
    --------
    >>> seconds_in("1.5m")
    90.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", budget) if isinstance(budget, str) else None
    if isinstance(budget, str) and (found is None or not float(found[1])):
        raise ValueError(f"`budget` {budget!r} is no time; it must be as 90s, 30m or 2h")
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found else float(budget)
    check_positive("budget", seconds)
    return seconds


@dataclass(frozen=True)
class Audition:
    """What came out of `audition`; printed, it is the table and the advice.

    Attributes
    ----------
    frame : pandas.DataFrame
        A row for each method, the most accurate on top and those that were not judged last:
        ``method``; ``accuracy`` on the samples that judge (``noisy_accuracy`` where no label is
        checked), ``low`` and ``high`` (95 %, Wilson); ``p``, the exact test of McNemar against the
        first row; ``setting``, what was chosen; ``seconds`` that were spent, choices included;
        ``in_full``, seconds that all of it takes, estimated where not all was run; ``not_run``, the
        reason, where there is no accuracy.
    advice : str
        Sentences: the method to take and why, what could not be told apart, what was not run, who
        judged.
    winner : str
        The method to take: the cheapest of those within one standard error of the most accurate one
        (p at least 0.32), as trees are pruned since Breiman et al. (1984).
    split : Split
        The reader's data.
    dealt : Split
        The same as they were dealt: the validation part chose, the test part judged.
    """

    frame: pd.DataFrame
    advice: str
    winner: str
    split: Split
    dealt: Split
    _tasks: Mapping[str, Task] = field(repr=False)  # of the judged runs, by the method
    _table: TrainingTable = field(repr=False)
    _device: str = field(repr=False)

    def __str__(self) -> str:
        shown = self.frame.copy()
        for name in shown.columns[1:4]:
            shown[name] = [f"{100 * value:.1f}" if value == value else "" for value in shown[name]]
        return f"{shown.round(3).to_string(index=False, na_rep='')}\n\n{self.advice}"

    def network(self, method: str | None = None) -> nn.Module:
        """A judged network, trained once more: the same plan and seed as when it was judged.

        Parameters
        ----------
        method : str, optional
            A method of the frame that was judged. Default: the winner.

        Returns
        -------
        nn.Module

        Raises
        ------
        ValueError
            There is no such method, or it was not judged.
        """
        method = self.winner if method is None else method
        check_choice("method", method, self._tasks)
        task, table = self._tasks[method], self._table
        own = TrainingRun(task.plan, task.seed, Place(self._device), table.load, table.networks)
        return own.networks()[method]

    def suspects(self, **options: Any) -> pd.DataFrame:
        """The training samples by how suspect their label is to the winner's network.

        Parameters
        ----------
        **options
            Options of `nlmeta.analysis.suspects`.

        Returns
        -------
        pandas.DataFrame
            The frame of `nlmeta.analysis.suspects`.
        """
        return suspects(self.network(), self.split, **options)


def audition(
    split: Split,
    network: Callable[[int], nn.Module],
    budget: str | float = "10m",
    *,
    training: Mapping[str, Any] | None = None,
    record: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
) -> Audition:
    """Try a short list of methods on a reader's own data, the cheapest first.

    Each method has three settings to choose from. They are trained on one seed, the one that is
    best on the samples that choose is trained on another, and that network is judged, once, on
    samples that were neither trained on nor chosen by; `experiments.judging.deal` says who is who.
    The intervals are those of these samples: another seed or another deal adds to them. The first
    row is the best of several, so its accuracy is a little flattered, and the tests against it are
    not corrected for their number. Measure what you take on a test part, which this leaves alone
    unless nothing else is checked.

    Parameters
    ----------
    split : Split
        The data, such as `nlmeta.data.from_folder` makes.
    network : callable
        ``network(seed)`` returns a new network, with first weights from the seed. CLID-MU and MLNT
        are tried if it hands out its features, see `nlmeta.models.FeaturesOf`.
    budget : str or float
        The time, as ``"90s"``, ``"10m"`` (default), ``"2h"`` or a number of seconds. The cheapest
        method is run whatever it is; another one is begun if it will probably end within what is
        left, and stopped after an epoch if it does not.
    training : mapping, optional
        Arguments of `nlmeta.fit` that plans hold, such as ``epochs``, ``lr`` and ``batch_size``.
        Default: 30 epochs (ours), and the defaults of `fit`.
    record : path, optional
        A file that keeps what was run. The same call goes on where the last one stopped, and a
        larger budget runs more. Default: none is kept.
    seed : int
        The seed of the deal and of the judged runs. Default 0.
    device : str, optional
        The device, as for `nlmeta.fit`.
    progress : bool, optional
        Whether bars are shown, as for `nlmeta.fit`.
    say : callable, optional
        A function that is called with a sentence after each run. Default: nothing is said.

    Returns
    -------
    Audition
        The table, the advice, and the winner's suspects on request.

    Raises
    ------
    TypeError, ValueError
        An argument is wrong, there are too few checked samples, the network cannot be trained, or
        another process writes the record.
    """
    seconds = seconds_in(budget)
    check_seed("seed", seed)
    ends = time.monotonic() + seconds
    dealt, roles = deal(split, seed)
    table = _table(dealt, network, dict(training or {}), seed)
    with tempfile.TemporaryDirectory() as folder:
        kept = Record(Path(folder) / "audition.jsonl" if record is None else Path(record))
        others = {plan["experiment"] for plan in kept.plans.values()} - {table.name}
        if others:
            raise ValueError(f"`record` is a record of {', '.join(others)}, and of no audition")
        where = str(place_of(table, device))
        reasons = _run(
            table, kept, ends, device=where, progress=progress, say=say or (lambda said: None)
        )
        return _verdict(split, dealt, roles, table, kept, reasons, where)


def _table(
    split: Split, network: Callable[[int], nn.Module], training: dict[str, Any], seed: int
) -> TrainingTable:
    """The audition as an experiment, with the reader's data and network by their digests."""
    for name in training:
        check_choice("training", name, PLANNED)
    training = {"epochs": EPOCHS, **training}
    digests = digest_of(split, network)
    n, meta = len(split.train), len(split.meta) if split.is_checked("meta") else 0
    batch = training.get("batch_size", FIT["batch_size"])
    check_count("batch_size", batch)
    x = split.train.x
    entries = shortlist(
        epochs=training["epochs"],
        lr=training.get("lr", FIT["lr"]),
        steps=-(-n // batch),
        samples=n,
        meta=meta,
        features=_hands_out_features(split, network),
        vectors=isinstance(x, Tensor) and x.ndim == 2 and x.is_floating_point(),
    )
    problem = Problem(
        name=OWN,
        load={"name": split.name, "digest": digests["split"], "deal": seed},
        network={"name": OWN, "digest": digests["network"]},
        training=training,
    )
    return TrainingTable(
        name="audition",
        about="Which method for my data?",
        problems=(problem,),
        entries=entries,
        seeds=(seed,),
        tuning_seeds=(seed + TUNING,),
        at_once=False,  # the seconds count, and nobody else's network has to be pickled
        resumable=True,
        threads=None,
        load=lambda **_: split,
        networks={OWN: lambda _, seed, digest: network(seed)},
        by_sample=True,
    )


def _hands_out_features(split: Split, network: Callable[[int], nn.Module]) -> bool:
    made = network(0).eval()
    like = next(made.parameters(), torch.empty(0))
    few = split.train.subset(torch.arange(2)).to(like.device, metrics.floating_type(made))
    try:
        with torch.no_grad():
            with_features(made, rows_of(few.x, slice(None)))
    except TypeError:
        return False
    return True


@dataclass(frozen=True)
class _Tried:
    """An entry and what a record holds of it."""

    entry: Entry
    found: Status
    seconds: float  # that were spent
    in_full: float  # epochs of cross-entropy that all of it takes
    left: float  # those of them that are not done

    @property
    def complete(self) -> bool:
        """Whether it is done, well or badly."""
        return not self.found.to_do and not self.found.waiting

    def judged(self, record: Record) -> tuple[Task, dict[str, Any]] | None:
        """The task and the row of the network that was judged."""
        for task in self.found.done:
            for row in record.rows(task) or () if task.plan["stage"] == "table" else ():
                if row["method"] == self.entry.name:
                    return task, row
        return None


def _tried(table: TrainingTable, entry: Entry, record: Record) -> _Tried:
    found = status(table, record, Wanted([entry.name]))
    own = [task for task in found.done if task.plan["entry"] == entry.name]
    leader = {} if entry.after is None else table.entry(entry.after).grid[-1]
    plans = [table.plan(entry, table.problems[0], {**each, **leader}) for each in entry.grid]
    epochs = [table.task(entry, plan, 0).epochs for plan in plans]
    in_full = max(epochs) + (sum(epochs) if len(epochs) > 1 else 0.0)
    seconds = sum(record.runs[task.key]["seconds"] for task in own)
    return _Tried(entry, found, seconds, in_full, max(0.0, in_full - sum(t.epochs for t in own)))


def _pace(table: TrainingTable, record: Record, device: str) -> float:
    """Seconds of an epoch of cross-entropy: as it was run, or judged by a few steps."""
    plain = table.entry("cross-entropy")
    task = table.task(plain, table.plan(plain, table.problems[0], {}), table.seeds[0])
    known = record.runs.get(task.key)
    return known["seconds"] / task.epochs if known else table.pace(task, device)


def _run(
    table: TrainingTable, record: Record, ends: float, *, device: str, **options: Any
) -> dict[str, str]:
    """Run the entries, the cheapest first, as long as it goes; why the others were not."""
    reasons: dict[str, str] = {}
    errors: list[Exception] = []
    judged, pace = False, None
    by_cost = sorted(table.entries, key=lambda entry: _tried(table, entry, record).in_full)
    for entry in by_cost:
        tried = _tried(table, entry, record)
        if not tried.complete and judged:
            pace = _pace(table, record, device) if pace is None or entry.after else pace
            left, needed = ends - time.monotonic(), pace * tried.left
            if needed > left or left <= 0:
                reasons[entry.name] = f"takes about {needed:.0f} s, {max(left, 0):.0f} s were left"
                continue
        try:
            budget = max(ends - time.monotonic(), 1e-3) if judged else None
            wanted = Wanted([entry.name])
            if not run(table, record, wanted, jobs=1, device=device, budget=budget, **options):
                reasons[entry.name] = "the budget ended in the middle of it"
        except (TypeError, ValueError, RuntimeError) as error:  # the others may go
            errors.append(error)
            reasons[entry.name] = str(error).partition("\n")[0]
        tried = _tried(table, entry, record)
        for _, why in tried.found.failed:
            reasons[entry.name] = why
        judged = judged or tried.judged(record) is not None
    if not judged:
        raise errors[0] if errors else ValueError(f"no method could be trained: {reasons}")
    return reasons


def _verdict(
    split: Split,
    dealt: Split,
    roles: str,
    table: TrainingTable,
    record: Record,
    reasons: Mapping[str, str],
    device: str,
) -> Audition:
    pace = None
    rows, rights, tasks = [], {}, {}
    checked, n = dealt.is_checked("meta"), len(dealt.test)
    measure = "accuracy" if checked else "noisy_accuracy"
    for entry in table.entries:
        tried, name = _tried(table, entry, record), entry.name
        seconds = tried.seconds
        if not tried.complete:
            pace = _pace(table, record, device) if pace is None else pace
            seconds = pace * tried.in_full
        row: dict[str, Any] = {"method": name, "seconds": tried.seconds, "in_full": seconds}
        if (found := tried.judged(record)) is None:
            rows.append({**row, "not_run": reasons[name]})
            continue
        tasks[name], right = found[0], found[1]["right"]
        rights[name] = right
        low, high = wilson(right.count("1"), n)
        row |= {measure: right.count("1") / n, "low": low, "high": high}
        rows.append({**row, "setting": found[0].plan.get("setting", {})})
    columns = ["method", measure, "low", "high", "p", "setting", "seconds", "in_full", "not_run"]
    frame = pd.DataFrame(rows, columns=columns)
    frame = frame.sort_values([measure, "in_full"], ascending=[False, True], ignore_index=True)
    best = frame["method"].iloc[0]
    frame["p"] = [
        mcnemar(rights[best], rights[name]) if name in rights else None for name in frame["method"]
    ]
    near = frame[frame["p"] >= CLOSE]
    winner = near.sort_values("in_full", kind="stable")["method"].iloc[0]
    told = frame[frame["p"] >= LEVEL]
    said = [_advice(told, winner, len(rights), n, checked), *_left_out(frame), roles]
    advice = " ".join(said if checked else [*said, _evidence()])
    return Audition(frame, advice, winner, split, dealt, tasks, table, device)


def _advice(told: pd.DataFrame, winner: str, judged: int, n: int, checked: bool) -> str:
    """What to take, and why, by the methods that cannot be told from the first of those judged."""
    best, labels = told["method"].iloc[0], f"{n:,} {'checked' if checked else 'noisy'} labels"
    if judged == 1:
        return f"Nothing but {best} was run within the budget, so there is nothing to choose from."
    if len(told) == 1:
        return f"Take {best}: with {labels} each of the {judged - 1} others is told from it."
    others = told["method"].tolist()
    said = f"{', '.join(others[:-1])} and {others[-1]} cannot be told apart with {labels}"
    whole = told.set_index("method")["in_full"].clip(lower=0.01)
    if winner != best:
        ratio = whole[best] / whole[winner]
        return (
            f"{said}; {winner} is {ratio:.2g} times cheaper than {best}, which is ahead: take it."
        )
    if whole.idxmin() == best:
        return f"{said}; {best} is ahead and the cheapest: take it."
    return (
        f"{said}; {best} is ahead, and what is cheaper is more than a standard error behind: take "
        "it."
    )


def _left_out(frame: pd.DataFrame) -> list[str]:
    left = frame[frame["not_run"].notna()]
    said = [f"{row.method} ({row.not_run})" for row in left.itertuples()]
    return [f"Not run: {'; '.join(said)}."] if said else []


def _evidence() -> str:
    """How often noisy labels were right on the recorded datasets."""
    paths = sorted(RECORDS.glob("*.jsonl"))
    races, epochs = (pd.concat(map(each, paths)) for each in (method_regrets, regrets))
    if races.empty:
        return (
            "Nobody can say from here how often noisy labels are right: no record of the package "
            "holds methods with scores by them."
        )
    said = (
        f"On the recorded datasets the method that is best by noisy labels was within a point of "
        f"the best one in {_near(races['regret'])} choices; it lost {_points(races['regret'])}, "
        f"where the worst one lost {_points(races['worst'])}."
    )
    if epochs.empty:
        return said
    lost = epochs[epochs["selector"] == "noisy validation"]["regret"]
    return (
        f"{said} An epoch that is chosen by them, as early stopping does, was within a point of "
        f"the best one in {_near(lost)} runs; it lost {_points(lost)}."
    )


def _near(lost: pd.Series) -> str:
    """How many are at most a point, in digits that no rounding moves."""
    return f"{(lost.round(6) <= 0.01).sum():,} of {len(lost):,}"


def _points(lost: pd.Series) -> str:
    return f"{100 * lost.mean():.1f} points on average and {100 * lost.max():.1f} at most"
