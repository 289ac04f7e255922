"""Working through the queue: one file of JSON lines a run, and checkpoints to go on from."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import nlmeta
from nlmeta._checks import check_positive
from nlmeta.data import Batches, Split, load
from nlmeta.experiments.cost.measure import surroundings
from nlmeta.experiments.first_runs.plan import QUEUE, Entry, Given
from nlmeta.methods import CrossEntropy, Method
from nlmeta.seeding import generator
from nlmeta.training import Result, choose_device, fit

__all__ = ["SEEDS", "SHORTEN", "finished", "read_file", "run", "shortened"]

SEEDS = (0, 1, 2)
SHORTEN = 10.0
EVALUATIONS = 3  # in a run; each takes about as long as a third of an epoch

Row = dict[str, Any]


def run(
    folder: Path,
    *,
    entries: Iterable[Entry] = QUEUE,
    seeds: Sequence[int] = SEEDS,
    shorten: float = SHORTEN,
    device: torch.device | str | None = None,
    checkpoints: Path | None = None,
    budget: float | None = None,
) -> bool:
    """Run what the folder lacks: every entry for the first seed, then for the next.

    Parameters
    ----------
    folder : Path
        Gets a file ``NAME-seedK.jsonl`` for each run, whole or not at all: a line that says what
        was run, then a line for each epoch.
    entries : iterable of Entry
        Default: the queue.
    seeds : sequence of int
        Each for split, noise, first weights and batches. Default 0, 1, 2.
    shorten : float
        By which every number of epochs is divided, and the steps over which a weight rises.
        Default 10, ours, so that a seed takes about a quarter of an hour on one GPU.
    device : torch.device or str, optional
        As for `nlmeta.fit`.
    checkpoints : Path, optional
        Where unfinished runs are kept. Default: ``checkpoints`` in `folder`.
    budget : float, optional
        Seconds. Stops before a run that will probably not end within them, judged by those that
        have ended on this device. The first run is begun in any case: should it be broken off, it
        goes on from its checkpoint.

    Returns
    -------
    bool
        Whether all is done.

    Raises
    ------
    ValueError
        A file in the folder is of a run with other settings.
    KeyboardInterrupt
        Ctrl-C; the run can be continued from its last whole epoch.
    """
    check_positive("shorten", shorten)
    if budget is not None:
        check_positive("budget", budget)
    started, begun = time.monotonic(), False
    checkpoints = folder / "checkpoints" if checkpoints is None else checkpoints
    entries = list(entries)
    for seed in seeds:
        splits: dict[str, Split] = {}  # of this seed
        for entry in entries:
            if finished(folder, entry, seed, shorten):
                continue
            if entry.problem not in splits:
                splits[entry.problem] = load(**entry.load, seed=seed)
            task = _Task(entry, seed, splits[entry.problem], shorten, choose_device(device))
            left = None if budget is None else budget - (time.monotonic() - started)
            needed = task.work * _seconds_per_step(folder, task.header["machine"])
            if begun and left is not None and needed > left:
                print(f"stopped: {task.name} needs about {needed:.0f} s, {left:.0f} s are left")
                return False
            begun = True
            task.run(folder, checkpoints)
    return True


def finished(folder: Path, entry: Entry, seed: int, shorten: float) -> bool:
    """Whether the run's file is there and has a line for every epoch, or tells why it has not.

    Raises
    ------
    ValueError
        The file is of a run with other settings.
    """
    path = folder / f"{_name(entry, seed)}.jsonl"
    if not path.exists():
        return False
    header, rows = read_file(path)
    for key, wanted in _plan(entry, seed, shorten).items():
        if header[key] != wanted:
            raise ValueError(
                f"{path} is of another run: there `{key}` is {header[key]!r}, here {wanted!r}; "
                "name another folder"
            )
    stages = [stage for stage in (header["start"], header["training"]) if stage is not None]
    return header["failed"] is not None or len(rows) == sum(stage["epochs"] for stage in stages)


def read_file(path: Path) -> tuple[Row, list[Row]]:
    """What was run, and its epochs."""
    header, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    return header, rows


def shortened(training: Mapping[str, Any], factor: float) -> Row:
    """Arguments of `nlmeta.fit` with every number of epochs divided by a factor, and rounded.

    Parameters
    ----------
    training : mapping
        At full length.
    factor : float
        Above 0.

    Returns
    -------
    dict
        At least one epoch where there was one. `evaluate_every` is a third of the epochs.
    """

    def short(epochs: int) -> int:
        return max(1, round(epochs / factor)) if epochs else 0

    changed = dict(training)
    for name in ("epochs", "warmup_epochs"):
        if name in changed:
            changed[name] = short(changed[name])
    if not isinstance(changed["schedule"], str):
        changed["schedule"] = [short(epoch) for epoch in changed["schedule"]]
    return changed | {"evaluate_every": max(1, changed["epochs"] // EVALUATIONS)}


class _Task:
    """A run that has its data."""

    def __init__(
        self, entry: Entry, seed: int, loaded: Split, shorten: float, device: torch.device
    ) -> None:
        self.entry, self.seed, self.shorten = entry, seed, shorten
        self.name = _name(entry, seed)
        self.split = entry.data(loaded, seed)
        if entry.augmentation is not None:
            self.split = self.split.augmented(entry.augmentation)
        self.model = entry.network(self.split, seed).to(device)
        # What "auto" would come to, so that it can be recorded.
        native = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
        self.options: Row = {
            "seed": seed,
            "device": device,
            "precision": "bfloat16" if native else "float32",
            "channels_last": True,
            "resume": True,
        }
        plan = _plan(entry, seed, shorten)
        self.start, self.training = plan["start"], plan["training"]
        place = surroundings(self.model)
        self.header: Row = plan | {
            "failed": None,
            "method": None,
            "network": type(self.model).__name__,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "split": loaded.digest,
            "trained_on": self.split.digest,  # differs where the meta set is used in another way
            "split_settings": dict(loaded.settings),
            "manifest": dict(loaded.manifest),
            "steps_per_epoch": self._steps(self.training),
            "precision": self.options["precision"],
            "channels_last": self.options["channels_last"],
            "nlmeta": nlmeta.__version__,
            **{key: place[key] for key in ("torch", "python", "device", "machine")},
        }
        self.header["work"] = self.work

    @property
    def work(self) -> float:
        """What the run takes, in steps of cross-entropy; for the budget."""
        steps, warm_up = self._steps(self.training), self.training.get("warmup_epochs", 0)
        work = steps * (warm_up + self.entry.cost * (self.training["epochs"] - warm_up))
        if self.start is not None:
            work += self._steps(self.start) * self.start["epochs"]
        return work

    def run(self, folder: Path, checkpoints: Path) -> None:
        rows: list[Row] = []
        files = [checkpoints / f"{self.name}{stage}.ckpt" for stage in ("-start", "")]
        ended = True
        try:
            first, model = None, self.model
            if self.start is not None:
                first = model
                result = self._fit(CrossEntropy(), first, self.start, files[0])
                if not result.finished:
                    raise KeyboardInterrupt
                rows += _lines(result, "start")
                if not self.entry.start_goes_on:
                    model = self.entry.network(self.split, self.seed)
            given = Given(self.split, model, first, self.seed, self.shorten)
            method = self.entry.method(given)
            self.header["method"] = method.settings
            result = self._fit(method, model, self.training, files[1])
            rows += _lines(result, "method")
            ended = result.finished
        except FloatingPointError as error:  # an outcome; the others shall run all the same
            self.header["failed"] = str(error)
        _write(folder / f"{self.name}.jsonl", [self.header, *rows])
        if not ended:
            raise KeyboardInterrupt
        for file in files:
            file.unlink(missing_ok=True)
        last = self.header["failed"] or f"test accuracy {rows[-1]['test_accuracy']:.4f}"
        print(f"{self.name}: {last}, {sum(row['seconds'] for row in rows):.0f} s", flush=True)

    def _fit(self, method: Method, model: nn.Module, training: Row, checkpoint: Path) -> Result:
        return fit(method, model, self.split, checkpoint=checkpoint, **training, **self.options)

    def _steps(self, training: Row) -> int:
        """In an epoch."""
        order = generator(self.seed, "batches")
        return len(Batches(self.split.train, training["batch_size"], generator=order))


def _name(entry: Entry, seed: int) -> str:
    return f"{entry.name}-seed{seed}"


def _plan(entry: Entry, seed: int, shorten: float) -> Row:
    """What a run is asked to be, as it comes back from a file."""
    plan = {
        "name": entry.name,
        "problem": entry.problem,
        "seed": seed,
        "shorten": shorten,
        "load": dict(entry.load),
        "start": None if entry.start is None else shortened(entry.start, shorten),
        "training": shortened(entry.training, shorten),
        "augmentation": None if entry.augmentation is None else repr(entry.augmentation),
    }
    return json.loads(json.dumps(plan))


def _lines(result: Result, stage: str) -> list[Row]:
    """The history, a row an epoch, without what was not measured there."""
    return [
        {"stage": stage} | {str(name): value for name, value in row.items() if value == value}
        for row in result.history.to_dict("records")
    ]


def _write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text("".join(json.dumps(row) + "\n" for row in rows))
    unfinished.replace(path)


def _seconds_per_step(folder: Path, machine: str) -> float:
    """Of cross-entropy, or of what counts as that, over all runs so far on this machine."""
    seconds, work = 0.0, 0.0
    for path in folder.glob("*.jsonl"):
        header, rows = read_file(path)
        if header["machine"] == machine and header["failed"] is None:
            seconds += sum(row["seconds"] for row in rows)
            work += header["work"]
    return seconds / work if work else 0.0
