"""The record of an experiment: what was run, where, and what came out. It is only ever added to.

A file of JSON lines of three kinds. ``environment``: versions, commit and machine. ``plan``: all
that a run is asked to be. ``run``: a plan, a seed, and rows of numbers, one for each network that
the run hands out. Environments and plans are named by a hash of their content, so the files of
several processes can be put together line by line, and nothing collides.

A line is written whole or not at all: what a kill cuts off is no line, because its newline is
missing; readers skip it and the next writer cuts it off.
"""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from nlmeta.experiments.task import Outcome, Task, plan_id

__all__ = ["RECORDS", "Record"]

RECORDS = Path(__file__).parent / "records"

Line = dict[str, Any]


class Record:
    """What a file holds, and the way to add to it.

    Parameters
    ----------
    path : Path
        The file. It is begun by the first `add` if it is not there.

    Attributes
    ----------
    environments, plans : dict of str to dict
        Lines by their id.
    runs : dict of (str, int) to dict
        Lines by plan and seed. Of two runs of the same task the later counts.
    damaged : list of int
        Numbers of lines that are no JSON object, counted from 1; their runs are to do again.
    unknown : int
        Lines of a kind that this version does not know. They are left where they are.
    repeated : int
        Runs of a task that was there already, by shards with an overlap or done again.

    Raises
    ------
    ValueError
        The file is something else than a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.environments: dict[str, Line] = {}
        self.plans: dict[str, Line] = {}
        self.runs: dict[tuple[str, int], Line] = {}
        self.damaged: list[int] = []
        self.unknown = self.repeated = 0
        text = self.path.read_bytes() if self.path.exists() else b""
        lines = text.split(b"\n")[:-1]  # what stands behind the last newline was cut off
        for number, line in enumerate(lines, start=1):
            self._take(number, line)
        if lines and len(self.damaged) == len(lines):
            raise ValueError(
                f"{self.path} is no record: none of its {len(lines)} lines is a JSON object with a "
                "`kind`. Name another file, or move this one away"
            )

    def _take(self, number: int, line: bytes) -> None:
        try:
            found = json.loads(line)
            kind = found["kind"]
            if kind == "environment":
                self.environments[found["id"]] = found
            elif kind == "plan":
                self.plans[found["id"]] = found
            elif kind == "run":
                key = found["plan"], found["seed"]
                self.repeated += key in self.runs
                self.runs[key] = found
            else:
                self.unknown += 1
        except (ValueError, KeyError, TypeError):
            self.damaged.append(number)

    def rows(self, task: Task) -> list[dict[str, Any]] | None:
        """The rows of a task's run, none if it failed; None if it was not run."""
        run = self.runs.get(task.key)
        return None if run is None else run["rows"]

    def add(self, task: Task, outcome: Outcome, where: Mapping[str, Any]) -> None:
        """Add a run, and its plan and environment where they are new, in one write to the disk.

        Parameters
        ----------
        task : Task
            What was run.
        outcome : mapping
            ``rows``, and what else the run says of itself: ``seconds``, ``peak_memory`` (bytes),
            ``split`` and ``trained_on`` (digests), ``failed`` (text or None), ``history``.
        where : mapping
            From `machine.environment`.

        Raises
        ------
        OSError
            The disk is full, or the file may not be written. What it held before is whole.
        """
        plan, seed = task.key
        place = plan_id(where)
        lines: list[Line] = []
        if place not in self.environments:
            lines.append({"kind": "environment", "id": place, **where})
        if plan not in self.plans:
            lines.append({"kind": "plan", "id": plan, **task.plan})
        lines.append({"kind": "run", "plan": plan, "seed": seed, "environment": place, **outcome})
        self._append("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
        for line in lines:
            self._take(0, json.dumps(line).encode())

    def _append(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            whole = file.tell()
            try:
                _write(file, text.encode())
            except BaseException as error:
                os.truncate(self.path, whole)
                if isinstance(error, OSError):
                    raise OSError(
                        f"{self.path} could not be written ({error}). It is whole, with "
                        f"{len(self.runs)} runs, and the run that just ended is to do again: make "
                        "room and start the same command"
                    ) from error
                raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing the same file, and cut off what a kill has left.

        Raises
        ------
        ValueError
            Another process writes it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path.with_name(self.path.name + ".lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise ValueError(
                f"{self.path} is being written by another process. Wait for it, or give this one a "
                "record of its own and put the two together with `merge`"
            ) from None
        try:
            if self.path.exists():
                text = self.path.read_bytes()
                if text and not text.endswith(b"\n"):
                    os.truncate(self.path, text.rfind(b"\n") + 1)
            yield
        finally:
            lock.release()  # the empty file stays: to remove it would let two writers in

    def merge(self, others: Iterable["Record"]) -> int:
        """Add what other records hold and this one does not.

        Parameters
        ----------
        others : iterable of Record
            Those of shards, for example. Of a task that several have run, the first counts.

        Returns
        -------
        int
            Runs that were added.
        """
        added = 0
        for other in others:
            lines = [
                line for key, line in other.environments.items() if key not in self.environments
            ]
            lines += [line for key, line in other.plans.items() if key not in self.plans]
            runs = [line for key, line in other.runs.items() if key not in self.runs]
            self._append("".join(json.dumps(line) + "\n" for line in [*lines, *runs]))
            for line in [*lines, *runs]:
                self._take(0, json.dumps(line).encode())
            added += len(runs)
        return added

    def prune(self, plans: Collection[str]) -> int:
        """Remove runs of all other plans, and those that a later run has replaced.

        Parameters
        ----------
        plans : collection of str
            Ids of the plans that stay.

        Returns
        -------
        int
            Runs that were removed.
        """
        runs = [line for (plan, _), line in self.runs.items() if plan in plans]
        used = {line["environment"] for line in runs}
        kept = [line for key, line in self.environments.items() if key in used]
        kept += [line for key, line in self.plans.items() if key in plans]
        removed = len(self.runs) + self.repeated - len(runs)
        unfinished = self.path.with_name(self.path.name + ".part")
        with unfinished.open("wb") as file:
            _write(file, "".join(json.dumps(line) + "\n" for line in [*kept, *runs]).encode())
        unfinished.replace(self.path)
        self.__init__(self.path)  # type: ignore[misc]
        return removed


def _write(file: Any, text: bytes) -> None:
    """In one call, and down to the disk."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
