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

from nlmeta._files import write_whole
from nlmeta.experiments.task import Outcome, Task, plan_id

__all__ = ["RECORDS", "Record"]

RECORDS = Path(__file__).parent / "records"
BEGINNING = b'{"kind": '

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
        The lines by their id.
    runs : dict of (str, int) to dict
        The lines by plan and seed. Of two runs of the same task the later counts.
    damaged : list of int
        Numbers, counted from 1, of the lines that are no JSON object. What stood there is to do
        again, with all runs of a plan that stood there.
    repeated : int
        Runs of a task that was there already, by shards with an overlap or done again.

    Raises
    ------
    ValueError
        The file is something else than a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._read()

    def _read(self) -> None:
        self.environments: dict[str, Line] = {}
        self.plans: dict[str, Line] = {}
        self.runs: dict[tuple[str, int], Line] = {}
        self.damaged: list[int] = []
        self.repeated = 0
        self._unknown: list[bytes] = []
        text = self.path.read_bytes() if self.path.exists() else b""
        *lines, cut = text.split(b"\n")  # what stands behind the last newline was cut off
        for number, line in enumerate(lines, start=1):
            self._take(line, number)
        of_a_record = cut.startswith(BEGINNING) or BEGINNING.startswith(cut)
        if len(self.damaged) == len(lines) and (lines or not of_a_record):
            raise ValueError(
                f"{self.path} is no record: none of its {len(lines) + bool(cut)} lines is a JSON "
                "object with a `kind`. Name another file, or move this one away"
            )
        # Of a run without its plan nobody could say what was run.
        self.runs = {key: run for key, run in self.runs.items() if key[0] in self.plans}

    def _take(self, line: bytes, number: int = 0) -> None:
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
                self._unknown.append(line)
        except (ValueError, KeyError, TypeError):
            self.damaged.append(number)

    @property
    def unknown(self) -> int:
        """Number of lines of a kind that this version does not know; they stay where they are."""
        return len(self._unknown)

    def rows(self, task: Task) -> list[dict[str, Any]] | None:
        """The rows of a task's run, none if it failed; None if it was not run."""
        run = self.runs.get(task.key)
        return None if run is None else run["rows"]

    def add(self, task: Task, outcome: Outcome, where: Mapping[str, Any]) -> None:
        """Add a run, and its plan and environment where they are new, in one write to the disk.

        Parameters
        ----------
        task : Task
            The task that was run.
        outcome : mapping
            The ``rows``, and what else was found out: ``seconds``, ``peak_memory`` (bytes),
            ``split`` and ``trained_on`` (digests), ``failed`` (text or None), ``history``.
        where : mapping
            The environment, from `machine.environment`.

        Raises
        ------
        OSError
            The disk is full, or the file may not be written. What it held before is whole.
        """
        plan, seed = task.key
        place = plan_id(where)
        environment = {"kind": "environment", "id": place, **where}
        lines = _new({place: environment}, self.environments)
        lines += _new({plan: {"kind": "plan", "id": plan, **task.plan}}, self.plans)
        lines.append({"kind": "run", "plan": plan, "seed": seed, "environment": place, **outcome})
        self._append(lines)

    def _append(self, lines: Iterable[Line]) -> None:
        texts = [json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:  # a buffer's rest would follow on closing
            whole = file.tell()
            try:
                _write(file, b"".join(texts))
            except BaseException as error:
                file.truncate(whole)
                if isinstance(error, OSError):
                    raise OSError(
                        f"{self.path} could not be written ({error}). It is whole, with "
                        f"{len(self.runs)} runs, but lacks what just came: make room and start "
                        "the same command"
                    ) from error
                raise
        for text in texts:
            self._take(text)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing the same file, and cut off what a kill has left.

        The file is read again first, since another process may have written it meanwhile.

        Raises
        ------
        ValueError
            Another process writes it.
        OSError
            The file may not be written.
        """
        lock = filelock.FileLock(f"{self.path.resolve()}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
            with self.path.open("ab") as file:
                file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
        except filelock.Timeout:
            raise ValueError(
                f"{self.path} is being written by another process. Wait for it, or give this one a "
                "record of its own and put the two together with `merge`"
            ) from None
        except OSError as error:
            lock.release()
            raise OSError(
                f"{self.path} cannot be written ({error}); name a record of your own, `--record`"
            ) from error
        try:
            self._read()
            yield
        finally:
            lock.release()  # the empty file stays: to remove it would let two writers in

    def merge(self, others: Iterable["Record"]) -> int:
        """Add what other records hold and this one does not.

        Parameters
        ----------
        others : iterable of Record
            Records of shards, for example. Of a task that several have run, the first counts.

        Returns
        -------
        int
            Runs that were added.
        """
        before = len(self.runs)
        for other in others:
            lines = _new(other.environments, self.environments) + _new(other.plans, self.plans)
            self._append(lines + _new(other.runs, self.runs))
        return len(self.runs) - before

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
        text = b"".join(json.dumps(line).encode() + b"\n" for line in [*kept, *runs])
        text += b"".join(line + b"\n" for line in self._unknown)

        def write(unfinished: Path) -> None:
            unfinished.write_bytes(text)

        write_whole(self.path.resolve(), write)
        self._read()
        return removed


def _new(there: Mapping[Any, Line], here: Mapping[Any, Line]) -> list[Line]:
    return [line for key, line in there.items() if key not in here]


def _write(file: Any, text: bytes) -> None:
    """All of it, down to the disk."""
    while text:
        text = text[file.write(text) :]
    os.fsync(file.fileno())
