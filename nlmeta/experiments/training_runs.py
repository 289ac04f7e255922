"""A table of trained networks: problems times entries, choices first, and the work of one task."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import nn

from nlmeta import metrics
from nlmeta._checks import check_choice
from nlmeta.experiments import builders
from nlmeta.experiments.choice import Rule, choose, highest_mean_validation, stopped_row
from nlmeta.experiments.judging import right_ones
from nlmeta.experiments.loading import Load, load_named, loaded_by
from nlmeta.experiments.task import Done, Entry, Experiment, Place, Plan, Problem, Setting, Task
from nlmeta.methods import CrossEntropy, Method
from nlmeta.procedures import EpochScores, KeepEpochs
from nlmeta.training import Result, choose_device, fit, measure

__all__ = ["ALL", "TrainingRun", "TrainingTable", "train"]

#: Arguments of `nlmeta.fit` that stand in every plan, by default with the values of `fit`. A new
#: one joins a plan where an entry names it, so that plans of old records stay what they are.
PLANNED = ["epochs", "warmup_epochs", "batch_size", "meta_batch_size", "lr", "momentum"]
PLANNED += ["weight_decay", "schedule", "precision", "channels_last"]
FIT = {name: parameter.default for name, parameter in signature(fit).parameters.items()}
SCORED = 2000  # training samples that are scored after each epoch
ALL = "all"  # a batch size: the whole training part

Row = dict[str, Any]
Tried = list[tuple[Setting, list[Task]]]  # settings of a choice, each with its runs
Networks = Mapping[str, Callable[..., nn.Module]]


@dataclass(frozen=True)
class TrainingTable(Experiment):
    """An experiment that trains networks: every entry on every problem, over several seeds.

    An entry with several settings is first trained with each of them on the tuning seeds; a rule
    takes one, and that one is trained on the seeds of the table, which no choice has seen. What all
    experiments have is documented at `Experiment`; here `threads` is 1 by default, since small
    networks are no faster with more and sums then have one order.

    Attributes
    ----------
    problems, entries : sequence
        The problems and the entries; their names differ.
    tuning_seeds : sequence of int
        The seeds of the choices. Default: none, where no entry has a choice.
    rule : callable
        The rule of the choice, see `choice.choose`. Default: highest mean accuracy on the clean
        validation samples.
    history : bool
        Whether the record keeps a number for each epoch. Default False.
    load, networks, by_sample
        The same as for `train`, with the same defaults.
    """

    problems: Sequence[Problem]
    entries: Sequence[Entry]
    tuning_seeds: Sequence[int] = ()
    rule: Rule = highest_mean_validation
    history: bool = False
    load: Load = load_named
    networks: Networks | None = None
    by_sample: bool = False
    threads: int | None = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        names = self.names
        entries, problems = names[: len(self.entries)], names[len(self.entries) :]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ValueError(f"{name!r} names two entries or problems of {self.name}")
        for number, entry in enumerate(self.entries):
            check_choice("after", entry.after, [None, *entries[:number]])
            if len(entry.grid) > 1 and not self.tuning_seeds:
                raise ValueError(f"`tuning_seeds` are none; {entry.name} has settings to try")
        for number, problem in enumerate(self.problems):
            check_choice("network", problem.network["name"], self.networks or builders.NETWORKS)
            check_choice("choices_of", problem.choices_of, [None, *problems[:number]])
            for name in problem.entries or ():
                check_choice("entries", name, entries)
        run = {(problem.name, entry.name) for problem, entry in self._pairs()}
        for where, name in self.leaders(lambda problem, entry: True) - run:
            raise ValueError(f"{name!r} is not run on {where!r}, where others wait for its choice")

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets that the problems load."""
        return list(dict.fromkeys(problem.load["name"] for problem in self.problems))

    @property
    def names(self) -> list[str]:
        """Names of the entries and problems."""
        return [entry.name for entry in self.entries] + [problem.name for problem in self.problems]

    def entry(self, name: str) -> Entry:
        """An entry by its name."""
        return next(entry for entry in self.entries if entry.name == name)

    def leaders(self, named: Callable[[str, str], bool]) -> set[tuple[str, str]]:
        """Problem and entry of each choice that the tasks wait for which ``named(problem, entry)``.

        An entry waits for its own choice too.
        """
        pairs = [(p, entry) for p, entry in self._pairs() if named(p.name, entry.name)]
        return set[tuple[str, str]]().union(*(self._waits_for(entry, p) for p, entry in pairs))

    def reads(self, task: Task) -> list[str]:
        """The name of the dataset that a task loads."""
        return [task.plan["load"]["name"]]

    def pace(self, task: Task, device: str) -> float:
        """Seconds of an epoch of cross-entropy in a task, judged by a few steps."""
        run = TrainingRun(task.plan, task.seed, Place(device), self.load, self.networks)
        training, size = task.plan["training"], run.batch_size("training")
        n = len(run.split.train)
        few = run.split.keep(torch.arange(n) < 3 * size)
        options = {name: training[name] for name in ("precision", "channels_last")}
        options |= {"batch_size": size, "device": device, "progress": False, "seed": task.seed}
        network = run.new_network(task.seed)
        result = fit(CrossEntropy(), network, few, epochs=9, evaluate_every=9, **options)
        # The first warms up, the last is evaluated; the shortest met the fewest other programs.
        return float(result.history["seconds"].iloc[1:-1].min()) * n / len(few.train)

    def tasks(self, record: Done) -> Iterator[Task]:
        """All tasks that are known by now: choices, then the table, seed by seed."""
        settled = []
        for problem, entry in self._pairs():
            if self._where(entry, problem) is problem:
                for _, tasks in self._tried(entry, problem, record):
                    yield from tasks
            settled += [(entry, plan) for plan in self._settled(entry, problem, record)]
        for seed in self.seeds:
            for entry, plan in settled:
                yield self.task(entry, plan, seed)

    def _pairs(self) -> Iterator[tuple[Problem, Entry]]:
        for problem in self.problems:
            for entry in self.entries:
                if problem.entries is None or entry.name in problem.entries:
                    yield problem, entry

    def _where(self, entry: Entry, problem: Problem) -> Problem:
        """The problem on which an entry chooses: another one's choice may be taken over."""
        clean = entry.meta in ("clean", "alone") and not problem.every_choice
        if len(entry.grid) == 1 or problem.choices_of is None or clean:
            return problem
        return next(other for other in self.problems if other.name == problem.choices_of)

    def _waits_for(self, entry: Entry, problem: Problem) -> set[tuple[str, str]]:
        """The problem on which an entry chooses and its name, and the same of its leaders."""
        where = self._where(entry, problem)
        if where is not problem:
            return self._waits_for(entry, where)
        more = set() if entry.after is None else self._waits_for(self.entry(entry.after), problem)
        return {(problem.name, entry.name), *more}

    def _tried(self, entry: Entry, problem: Problem, record: Done) -> Tried:
        """Each setting with its runs; none as long as a leader has not chosen.

        A single setting has no runs, since there is no choice to make.
        """
        given: Setting | None = {}
        if entry.after is not None:
            leader = self.entry(entry.after)
            chosen = self.chosen(leader, problem, record) or {}
            given = chosen.get(leader.label or leader.name)
        settings = [] if given is None else [dict(**own, **given) for own in entry.grid]
        seeds = self.tuning_seeds if len(settings) > 1 else ()
        plans = [self.plan(entry, problem, setting, stage="choice") for setting in settings]
        return [
            (setting, [self.task(entry, plan, seed) for seed in seeds])
            for setting, plan in zip(settings, plans, strict=True)
        ]

    def chosen(self, entry: Entry, problem: Problem, record: Done) -> dict[str, Setting] | None:
        """For each network of an entry the chosen setting, None as long as runs are missing.

        Parameters
        ----------
        entry : Entry
            An entry of this table.
        problem : Problem
            A problem of this table.
        record : Record
            The record with the runs of the choice.

        Returns
        -------
        dict of str to mapping, or None
            The first setting if there is no other, or if all runs have failed.
        """
        where = self._where(entry, problem)
        if where is not problem:
            return self.chosen(entry, where, record)
        tried = []
        for setting, tasks in self._tried(entry, problem, record):
            runs = [rows for task in tasks if (rows := record.rows(task)) is not None]
            if len(runs) < len(tasks):
                return None
            tried.append((setting, runs))
        if any(rows for _, runs in tried for rows in runs):
            return choose(tried, self.rule)
        return {entry.label or entry.name: tried[0][0]} if tried else None

    def _settled(self, entry: Entry, problem: Problem, record: Done) -> Iterator[Plan]:
        """The plans of the table: one, unless networks of a run have chosen different settings."""
        chosen = self.chosen(entry, problem, record) or {}
        settings = list(chosen.values())
        for number, setting in enumerate(settings):
            if setting not in settings[:number]:
                plan = self.plan(entry, problem, setting)
                networks = [name for name, own in chosen.items() if own == setting]
                yield plan if len(networks) == len(chosen) else {**plan, "networks": networks}

    def plan(self, entry: Entry, problem: Problem, setting: Setting, stage: str = "table") -> Plan:
        """All that a run is asked to be, in plain data.

        Parameters
        ----------
        entry : Entry
            The entry.
        problem : Problem
            The problem that it is run on.
        setting : mapping
            The values that were chosen, or are tried.
        stage : {"table", "choice"}
            The stage. A choice goes by the validation part, and its rows hold nothing of the test
            part. Default ``"table"``.

        Returns
        -------
        mapping
        """
        parts: dict[str, Row] = {"training": {}, "start": {}, "options": {}}
        for name, value in setting.items():
            default = f"training.{name}" if name in FIT else f"options.{name}"
            place, _, argument = entry.where.get(name, default).partition(".")
            check_choice("where", place, parts)
            parts[place][argument] = value
        start = None
        if entry.start is not None or problem.start is not None:
            own = {**(problem.start or {}), **(entry.start or {}), **parts["start"]}
            start = _planned({**problem.training, "warmup_epochs": 0, **own})
        plan = {
            "experiment": self.name,
            "stage": stage,
            "scale": problem.scale,
            "problem": problem.name,
            "entry": entry.name,
            "label": entry.label,
            "after": entry.after,
            "setting": setting,
            "load": problem.load,
            "network": problem.network,
            "augmentation": problem.augmentation,
            "features": problem.features,
            "train_size": problem.train_size,
            "held_out": problem.held_out,
            "meta": None if entry.meta == "none" else entry.meta,
            "meta_size": entry.meta_size,
            "start": start,
            "new_weights": start is not None and not entry.start_goes_on,
            "build": entry.build,
            "options": {**entry.options, **parts["options"]},
            "training": _planned({**problem.training, **entry.training, **parts["training"]}),
            "keep": entry.keep,
            "stop": entry.stop if stage == "table" else None,
        }
        # Without what is not there, so that a field that comes later leaves old plans as they are.
        there = {name: value for name, value in plan.items() if value not in (None, False, (), {})}
        return json.loads(json.dumps(there, allow_nan=False))

    def task(self, entry: Entry, plan: Plan, seed: int) -> Task:
        """The task of an entry's plan."""
        training, start = plan["training"], plan.get("start", {"epochs": 0})
        warm_up = start["epochs"] + training["warmup_epochs"]
        epochs = warm_up + entry.effort * (training["epochs"] - training["warmup_epochs"])
        meant = {name: getattr(self, name) for name in ("history", "load", "networks", "by_sample")}
        return Task(plan, seed, partial(train, **meant), epochs)


def _planned(given: Mapping[str, Any]) -> Row:
    """Arguments of `nlmeta.fit`, some by its own defaults."""
    for name in given:
        check_choice("training", name, FIT)
    planned = {name: given.get(name, FIT[name]) for name in PLANNED}
    return planned | {name: value for name, value in given.items() if name not in planned}


def train(
    plan: Plan,
    seed: int,
    place: Place,
    *,
    history: bool = False,
    load: Load = load_named,
    networks: Networks | None = None,
    by_sample: bool = False,
) -> Row:
    """Train and measure the networks of a plan.

    Parameters
    ----------
    plan : mapping
        The plan, from `TrainingTable.plan`.
    seed : int
        Seed of split, noise, first weights, batches and of what a method draws.
    place : Place
        The device and the checkpoints.
    history : bool
        Whether the outcome holds the history of each stage. Default False.
    load : callable
        The function that makes the split. Default: `nlmeta.data.load`, where ``predictions`` may be
        ``"shipped"``.
    networks : mapping of str to callable, optional
        The networks by their names, see `builders.NETWORKS`. Default: these.
    by_sample : bool
        Whether a row of a table has ``right``: a text with 1 or 0 for each test sample in turn, by
        which two runs can be compared in pairs. Default False.

    Returns
    -------
    dict
        ``split``, ``trained_on`` (digests, 12 digits), ``seconds`` (of the stages that have ended,
        in earlier processes too), ``failed`` (None, or what stopped it for good) and ``rows``. A
        row is of one network, and there is none if the run has failed: ``method`` (its name),
        ``validation`` and, in a table, ``accuracy`` (clean test samples, last epoch),
        ``train_accuracy``, ``memorised``, ``recovered``, ``destroyed``; further
        ``transition_error``, ``labels_recovered`` and ``labels_destroyed`` where something of the
        kind was learned.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C, or the place's time is up; a checkpoint holds the last whole epoch.
    """
    run = TrainingRun(plan, seed, place, load, networks)
    parts = ("validation",) if plan["stage"] == "choice" else ("validation", "test", "train")
    rows, failed = [], None
    try:
        for name, network in run.networks().items():
            if name in plan.get("networks", [name]):
                measured = measure(network, run.loaded, parts=parts) | run.learned.get(name, {})
                rows.append({"method": name, **_plain(measured)})
                if by_sample and "test" in parts:
                    rows[-1]["right"] = right_ones(network, run.loaded.test)
        if "stop" in plan:
            rows.append(stopped_row(run.history["training"], plan["stop"]))
    except FloatingPointError as error:  # an outcome; other tasks shall run all the same
        failed, rows = str(error), []
    return {
        "split": run.loaded.digest[:12],
        "trained_on": run.split.digest[:12],
        "seconds": round(run.seconds, 2),
        "failed": failed,
        "rows": rows,
        **({"history": run.history} if history else {}),
    }


class TrainingRun:
    """A plan at work on its data; the arguments are those of `train`."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        place: Place,
        load: Load = load_named,
        networks: Networks | None = None,
    ) -> None:
        self.plan, self.seed, self.place = plan, seed, place
        self.known = builders.NETWORKS if networks is None else networks
        self.history: dict[str, Row] = {}  # by the stage
        self.learned: dict[str, dict[str, float]] = {}  # further numbers, by a network's name
        self.seconds = 0.0  # of training, in earlier processes too
        self.began = time.monotonic()
        loaded, self.held_out = loaded_by(plan, seed, load)
        if "augmentation" in plan:
            loaded = loaded.augmented(builders.AUGMENTATIONS[plan["augmentation"]])
        self.loaded = self.split = loaded
        if plan.get("meta") == "alone":
            self.split = loaded.on_meta_set()
        elif plan.get("meta") == "noisy":
            self.split = loaded.with_noisy_meta(plan["meta_size"], seed=seed)
        self.splits = {"start": loaded, "training": self.split}

    def new_network(self, seed: int) -> nn.Module:
        """A network with new weights."""
        options = dict(self.plan["network"])
        return self.known[options.pop("name")](self.loaded, seed=seed, **options)

    def networks(self) -> dict[str, nn.Module]:
        """Train, and hand out the networks by the names of their rows."""
        plan, before = self.plan, None
        model = self.new_network(self.seed)
        if "start" in plan:
            before = model
            self._fit("start", CrossEntropy(), before)
            if plan.get("new_weights"):
                model = self.new_network(self.seed)
        if plan["build"] in builders.CLOSED_FORMS:
            begun, build = time.perf_counter(), builders.CLOSED_FORMS[plan["build"]]
            found = {plan["entry"]: build(self.split, **plan.get("options", {}))}
            self.seconds += time.perf_counter() - begun
            return found
        method = self.method(model, before)
        kept = self._keep() if "keep" in plan else None
        result = self._fit("training", method, model, on_epoch=kept or self._scores())
        label = plan.get("label", plan["entry"])
        if kept is not None:
            found = {
                f"{label}, five of lowest {name}": kept.ensemble(name) for name in plan["keep"]
            }
            return {**found, f"{label}, last five": kept.last_ensemble()}
        self.learned[label] = self._learned(method)
        student = {f"{label}, student": result.model} if plan["build"] in builders.STUDENTS else {}
        return {label: result.predictor, **student}

    def method(self, model: nn.Module, before: nn.Module | None) -> Method:
        """The method of the plan, for a network and that of the stage before."""
        plan = self.plan
        steps = math.ceil(len(self.split.train) / self.batch_size("training"))
        given = builders.Given(self.split, model, before, self.new_network, steps, self.seed)
        return builders.build(plan["build"], given, plan.get("options", {}))

    def _scores(self) -> EpochScores | None:
        """The scores of each epoch, for the history, where noisy samples are set apart."""
        if self.held_out is None:
            return None
        n = len(self.loaded.train)
        rows = torch.arange(min(n, SCORED)) * n // min(n, SCORED)
        device = choose_device(self.place.device)
        x = self.loaded.train.subset(rows).to(device).x
        held_out = self.held_out.to(device)
        return EpochScores(x, held_out=held_out, seed=self.seed)

    def _keep(self) -> KeepEpochs:
        names, seed = self.plan["keep"], self.seed
        x = self.loaded.with_noisy_meta(self.plan["meta_size"], seed=seed).meta.x
        scores = {name: partial(builders.SCORES[name], x=x, seed=seed) for name in names}
        return KeepEpochs(self.new_network(seed), scores)

    def _learned(self, method: Method) -> dict[str, float]:
        """How near a learned T, or the T of a correction, and learned labels are to the truth."""
        found: dict[str, float] = {}
        transition = method.learned_transition()
        if transition is None:
            transition = method.forward_transition()
        if transition is not None and self.loaded.transition is not None:
            truth = self.loaded.transition.to(transition)
            found["transition_error"] = metrics.transition_error(transition, truth)
        labels = method.learned_labels()
        given, true = self.split.train.y, self.split.true_labels
        if labels is not None and true is not None and not labels.isnan().any():
            recovery = metrics.label_recovery(labels.cpu(), given.cpu(), true.cpu())
            found |= {f"labels_{name}": value for name, value in recovery.items()}
        return found

    def batch_size(self, stage: str) -> int:
        """Samples in a batch of a stage."""
        size, split = self.plan[stage]["batch_size"], self.splits[stage]
        return len(split.train) if size == ALL else size

    def _fit(self, stage: str, method: Method, model: nn.Module, on_epoch: Any = None) -> Result:
        training, place = self.plan[stage], self.place
        options: Row = {"evaluate_every": training["epochs"], **training, "on_epoch": on_epoch}
        options |= {"batch_size": self.batch_size(stage), "seed": self.seed, "progress": False}
        if place.checkpoint is not None:
            name = f"{place.checkpoint.name}-{stage}.ckpt"
            options |= {"checkpoint": place.checkpoint.with_name(name), "resume": True}
            if place.seconds is not None:
                left = self.began + place.seconds - time.monotonic()
                options["stop_after"] = max(left, 1e-3)
        result = fit(method, model, self.splits[stage], device=place.device, **options)
        if not result.finished:
            raise KeyboardInterrupt
        self.seconds += result.history["seconds"].sum()
        self.history[stage] = {
            str(name): list(_plain(dict(enumerate(column.tolist()))).values())
            for name, column in result.history.items()
        }
        return result


def _plain(measured: Mapping[Any, float]) -> dict[Any, float | None]:
    """Six digits, and None for what is not a number, which JSON does not know."""
    return {
        name: None if math.isnan(value) else round(value, 6) for name, value in measured.items()
    }
