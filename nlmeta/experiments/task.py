"""What is run, as data: problems and entries, and the tasks that an experiment makes of them.

A *plan* says everything about a run but its seed, in plain data that JSON can hold; a *task* is a
plan, a seed and the function that works on them. A plan's name is a hash of its content. So a
changed setting is another plan, and no record can take an old run for a new one.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

__all__ = ["Entry", "Experiment", "Outcome", "Place", "Plan", "Problem", "Task", "over", "plan_id"]

Plan = Mapping[str, Any]
Setting = Mapping[str, Any]
Outcome = Mapping[str, Any]


def plan_id(plan: Plan) -> str:
    """The name of a plan: 12 hexadecimal digits of the SHA-256 of its JSON with sorted keys.

    Parameters
    ----------
    plan : mapping
        Plain data that JSON can hold; a tuple counts as a list.

    Returns
    -------
    str

    Examples
    --------
    >>> plan_id({"lr": 0.1, "epochs": 2}) == plan_id({"epochs": 2, "lr": 0.1})
    True
    """
    text = json.dumps(plan, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def over(name: str, *values: Any) -> tuple[Setting, ...]:
    """Settings that differ in one value.

    Parameters
    ----------
    name : str
        An argument, see `Entry.where`.
    *values
        Its values.

    Returns
    -------
    tuple of mapping

    Examples
    --------
    >>> over("lr", 0.1, 0.2)
    ({'lr': 0.1}, {'lr': 0.2})
    """
    return tuple({name: value} for value in values)


@dataclass(frozen=True)
class Problem:
    """Data with their noise, and what all entries have in common on them.

    Attributes
    ----------
    name : str
        The problem's name in tables.
    load : mapping
        Arguments of `nlmeta.data.load`, without the seed.
    network : mapping
        ``name`` in `builders.NETWORKS`, and its options.
    training : mapping
        Arguments of `nlmeta.fit`. An entry's own come before them.
    start : mapping, optional
        Arguments of `nlmeta.fit`, where they differ from `training`, for a stage of cross-entropy
        that comes before every entry. Default: there is none.
    augmentation : str, optional
        Name in `builders.AUGMENTATIONS`. Default: none.
    features : str, optional
        Name in `nlmeta.data.BACKBONES`: the images are replaced by features of that network, which
        is not trained. Default: none.
    train_size : int, optional
        Number of training samples that are used, drawn at random. Default: all of them.
    held_out : int, optional
        Number of noisy training samples that are set apart, so that the history of each run has the
        scores of `nlmeta.procedures.EpochScores` after every epoch. Default: none, and no scores.
    scale : {"tiny", "cores", "paper"}
        The share of the data and of the schedule that is used. Default ``"cores"``: what two CPU
        cores can do.
    entries : sequence of str, optional
        The entries that are run on it. Default: all.
    choices_of : str, optional
        A problem further up whose chosen settings are taken over by entries that use no clean
        samples.
        Default: every entry chooses on the problem itself.
    every_choice : bool
        Whether entries that use clean samples take over the other problem's settings too. Default
        False, where the problems differ in the clean samples.
    """

    name: str
    load: Mapping[str, Any]
    network: Mapping[str, Any]
    training: Mapping[str, Any]
    start: Mapping[str, Any] | None = None
    augmentation: str | None = None
    features: str | None = None
    train_size: int | None = None
    held_out: int | None = None
    scale: Literal["tiny", "cores", "paper"] = "cores"
    entries: Sequence[str] | None = None
    choices_of: str | None = None
    every_choice: bool = False


@dataclass(frozen=True)
class Entry:
    """A line of work: a method, a control or a baseline, with the settings it may choose from.

    Attributes
    ----------
    name : str
        The entry's name.
    build : str
        The name in `builders.BUILDERS`, or in `builders.CLOSED_FORMS`.
    options : mapping
        Arguments of that builder.
    training : mapping
        Arguments of `nlmeta.fit`, where they differ from the problem's. A ``batch_size`` of
        ``"all"`` takes the whole training part in each step.
    start : mapping, optional
        Arguments of `nlmeta.fit`, where they differ from the problem's, for a stage of
        cross-entropy before. Default: that of the problem, if it has one.
    start_goes_on : bool
        Whether the network of that stage is trained on (default), or the method begins with new
        weights and is shown that network.
    meta : {"none", "clean", "noisy", "alone"}
        The use of the clean samples. ``"none"`` (default): nothing looks at them. ``"clean"``: they
        are the meta set. ``"noisy"``: ``meta_size`` noisy training samples are in their place.
        ``"alone"``: nothing else is trained on.
    meta_size : int, optional
        Samples in a noisy meta set.
    grid : sequence of mapping
        Settings to choose from. Default: one, which changes nothing.
    where : mapping of str to str
        The place of a setting's value, as ``"training.epochs"``, ``"start.epochs"`` or
        ``"options.lr"``. Default: arguments of `nlmeta.fit` go to the training, others to the
        builder.
    after : str, optional
        An entry further up whose choice comes first and joins this one's settings. Default: none.
    label : str, optional
        The name of its rows. Default: that of the entry.
    keep : sequence of str
        Scores in `builders.SCORES`; for each, the five epochs of lowest score predict together, and
        so do the last five.
    stop : str, optional
        Name in `nlmeta.procedures.SELECTORS`. The run has a second row, "early stopping", with the
        accuracy after the epoch that this rule chooses; the problem's training then evaluates every
        epoch. Default: none.
    effort : float
        The cost of one of its steps in steps of cross-entropy, for estimates alone. Default 1.
    faithful : str
        The model that its form follows, for the table of what is done: ``"paper"``, ``"code"``,
        ``"port"`` or ``"ours"`` (default).
    """

    name: str
    build: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] | None = None
    start_goes_on: bool = True
    meta: Literal["none", "clean", "noisy", "alone"] = "none"
    meta_size: int | None = None
    grid: Sequence[Setting] = ({},)
    where: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None
    label: str | None = None
    keep: Sequence[str] = ()
    stop: str | None = None
    effort: float = 1.0
    faithful: str = "ours"


@dataclass(frozen=True)
class Place:
    """Where a task is worked on; nothing of it changes the numbers but for rounding.

    Attributes
    ----------
    device : str
        The device, as for `nlmeta.fit`. Default ``"cpu"``.
    checkpoint : Path, optional
        Beginning of the names of files for unfinished training. Default: none is kept.
    seconds : float, optional
        The time after which a training that keeps a checkpoint stops, after a whole epoch. Default:
        never.
    """

    device: str = "cpu"
    checkpoint: Path | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes
    ----------
    plan : mapping
        All that is run, as data. ``experiment``, ``stage`` and ``entry`` are always there.
    seed : int
        Seed of everything that is drawn.
    work : callable
        ``work(plan, seed, place)`` returns the outcome, a mapping with ``rows`` and more, see
        `record.Record.add`.
    epochs : float
        The length in epochs of cross-entropy, for estimates. Default 1.
    """

    plan: Plan
    seed: int
    work: Callable[[Plan, int, Place], Outcome]
    epochs: float = 1.0

    @property
    def key(self) -> tuple[str, int]:
        """What a record finds its run by."""
        return plan_id(self.plan), self.seed

    @property
    def name(self) -> str:
        """The task in words."""
        tried = self.plan.get("setting", {}) if self.plan["stage"] == "choice" else {}
        setting = [f"{name} {value}" for name, value in tried.items()]
        said = [self.plan.get("problem"), self.plan["entry"], *setting, f"seed {self.seed}"]
        return ", ".join(filter(None, said))


class Done(Protocol):
    """What `Experiment.tasks` looks up."""

    def rows(self, task: Task) -> list[dict[str, Any]] | None:
        """The rows of a task's run; None if it was not run."""


@dataclass(frozen=True)
class Experiment:
    """A list of tasks, which may grow while a record fills.

    Attributes
    ----------
    name : str
        The experiment's name on the command line, and that of its record.
    about : str
        A sentence on what it asks.
    at_once : bool
        Whether tasks may be worked on in several processes at the same time. Default True; False
        where time is measured.
    threads : int, optional
        Threads of the CPU that a task uses. Default: as many as PyTorch takes.
    resumable : bool
        Whether a task keeps checkpoints. Default False.
    seeds : sequence of int
        The seeds of its tasks; choices have their own. Default: 0 alone.
    """

    name: str
    about: str
    _: KW_ONLY
    seeds: Sequence[int] = (0,)
    at_once: bool = True
    threads: int | None = None
    resumable: bool = False

    @property
    def datasets(self) -> Sequence[str]:
        """Names of the datasets that it reads."""
        raise NotImplementedError

    @property
    def names(self) -> Sequence[str]:
        """Names of its entries and problems."""
        raise NotImplementedError

    def tasks(self, record: Done) -> Iterator[Task]:
        """All tasks that are known by now; those that wait for a choice come when it is made."""
        raise NotImplementedError

    def leaders(self, named: Callable[[str, str], bool]) -> Collection[tuple[str, str]]:
        """Problem and entry of each choice that the tasks wait for which ``named(problem, entry)``.

        By default there is nothing to choose.
        """
        return ()

    def reads(self, task: Task) -> Sequence[str]:
        """Names of the datasets that a task reads. By default all of the experiment's."""
        return self.datasets

    def pace(self, task: Task, device: str) -> float | None:
        """Seconds of an epoch of cross-entropy in a task; None where there is no such thing."""
        return None
