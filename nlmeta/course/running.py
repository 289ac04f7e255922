"""Run the cells of one submission in a process of its own, and go on after what ends it."""

import json
import os
import queue
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlmeta.course.confining import Confinement
from nlmeta.course.notebooks import one_line
from nlmeta.course.rebuilding import Step

__all__ = ["MOST_STARTS", "Outcome", "Verdict", "run_steps"]

# A submission in which this many cells end their process is not worth another start.
MOST_STARTS = 5
START_SECONDS = 60
# Limits are of processor time, so that a busy machine costs nobody a mark. A cell that sleeps uses
# none, and is ended after this many times its limit on the clock.
CLOCK = 5
POLL_SECONDS = 0.5
COMMAND = [sys.executable, "-m", "nlmeta.course.worker"]


@dataclass(frozen=True)
class Verdict:
    """What a test said.

    Attributes
    ----------
    error : str or None
        The reason of the failure; None if the test passed.
    score : float or None
        A partial score that the test has shown, in points; None if it showed none.
    changed : str
        The names that the test relies on and the notebook had changed. Default: none.
    printed : str
        The beginning of what the test has printed. Default: nothing.
    """

    error: str | None
    score: float | None = None
    changed: str = ""
    printed: str = ""

    @classmethod
    def read(cls, line: bytes, word: str) -> "Verdict | None":
        """The verdict in a line; None if the line does not come from the worker itself."""
        try:
            said = json.loads(line)
            if said["word"] != word:
                return None
            score = said.get("score")
            return cls(
                None if said["error"] is None else str(said["error"]),
                None if score is None else float(score),
                one_line(", ".join(map(str, said.get("changed", [])))),
                one_line(str(said.get("printed", ""))),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


@dataclass
class Outcome:
    """What came of a submission.

    Attributes
    ----------
    verdicts : dict of str to Verdict
        The verdict of each test by its name. A test that did not end has an error.
    remarks : list of str
        The events beside the tests: cells that ended the process, functions that were changed.
    report : callable or None
        A function that is given the name and the verdict of each test as it ends.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    report: Callable[[str, Verdict], None] | None = None

    def judge(self, name: str, verdict: Verdict) -> None:
        """Keep the verdict of a test, and report it."""
        self.verdicts[name] = verdict
        if self.report is not None:
            self.report(name, verdict)


def run_steps(
    steps: Sequence[Step],
    confinement: Confinement,
    secret: str,
    slot: int = 0,
    report: Callable[[str, Verdict], None] | None = None,
) -> Outcome:
    """Run cells in their order; a cell that ends the process is left out of the next start.

    Parameters
    ----------
    steps : sequence of Step
        The cells.
    confinement : Confinement
        The place where they run, with its limits.
    secret : str
        The secret from which hidden tests draw. Only tests are given it.
    slot : int
        The place among the submissions that run at the same time. Default 0.
    report : callable, optional
        A function that is given the name and the verdict of each test as soon as there is one.

    Returns
    -------
    Outcome
        A verdict for each test.
    """
    outcome = Outcome(report=report)
    left_out: set[int] = set()
    left = confinement.limits.seconds
    for _ in range(MOST_STARTS):
        with _Process(confinement, slot) as process:
            ended = _run_all(process, steps, left_out, outcome, secret, left)
            left -= process.spent()
        if ended is None:
            break
        left_out.add(ended)
        if left <= 0:
            outcome.remarks.append("the time of the whole submission was used up")
            break
    for step in steps:
        if step.kind == "test" and step.name not in outcome.verdicts:
            outcome.judge(step.name, Verdict("this test was not reached"))
    return outcome


def _run_all(
    process: "_Process",
    steps: Sequence[Step],
    left_out: set[int],
    outcome: Outcome,
    secret: str,
    seconds: float,
) -> int | None:
    """Run all cells but some; the place of the cell that ended the process, or None."""
    of_student = False
    for place, step in enumerate(steps):
        if place in left_out or step.name in outcome.verdicts:
            continue
        of_student = of_student or step.kind == "answer"
        left = seconds - process.spent()
        try:
            verdict = process.run(step, secret, min(process.limits.cell_seconds, left))
        except _EndedError as ended:
            if not of_student:  # nobody's fault but the machine's, and no reason for a zero
                text = f"the assignment's own cell {step.name} does not end well: {ended}"
                raise OSError(text) from ended
            outcome.remarks.append(f"{step.name}: {ended}; run without it")
            if step.kind == "test":
                outcome.judge(step.name, Verdict(str(ended)))
            return place
        if step.kind == "test":
            outcome.judge(step.name, verdict)
            if verdict.changed:
                said = f"the notebook changes {verdict.changed}; tests put the original back"
                _remark(outcome, said)
        elif verdict.error is not None and not verdict.error.startswith("NotImplementedError"):
            _remark(outcome, f"{step.name} raises {one_line(verdict.error)}")
    return None


def _remark(outcome: Outcome, text: str) -> None:
    """Add a remark, once: another start comes by the same cells."""
    if text not in outcome.remarks:
        outcome.remarks.append(text)


class _EndedError(Exception):
    """The process is gone; the text says why."""


class _Process:
    """A worker process, and threads that read what it says; the output is counted and dropped."""

    def __init__(self, confinement: Confinement, slot: int) -> None:
        self.limits = confinement.limits
        self.scratch = Path(tempfile.mkdtemp(prefix="nlmeta-"))
        self.process = confinement.start(COMMAND, self.scratch, slot)
        self.begin, self.most_spent = time.monotonic(), 0.0
        self.flooded = False
        self.last = b""
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        work = (self._read_output, self._read_verdicts)
        self.readers = [threading.Thread(target=read, daemon=True) for read in work]
        for reader in self.readers:
            reader.start()
        self._send(confinement.limits.of_system(confinement.confined))

    def __enter__(self) -> "_Process":
        try:
            self.run(Step("start", "given", ""), "", START_SECONDS)
        except _EndedError as ended:  # nothing of the submission has run yet
            self.__exit__()
            raise OSError(f"no submission can be started here: {ended}") from ended
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self.process.wait()
        pipes = (self.process.stderr, self.process.stdout)
        for reader, pipe in zip(self.readers, pipes, strict=True):
            reader.join(timeout=2)
            if not reader.is_alive():  # else a process that got away holds the other end
                pipe.close()  # type: ignore[union-attr]  # there is one
        with suppress(OSError):  # what it was sent and has not read
            self.process.stdin.close()  # type: ignore[union-attr]
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, step: Step, secret: str, seconds: float) -> Verdict:
        """Run one cell; `_EndedError` if it does not end by itself, or ends the process."""
        word = secrets.token_hex(16)
        cell = {"word": word, "kind": step.kind, "name": step.name, "source": step.source}
        self._send(cell | ({"secret": secret} if step.kind == "test" else {}))
        until, end = self.spent() + seconds, time.monotonic() + CLOCK * seconds
        while True:
            try:
                line = self.lines.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if self.spent() < until and time.monotonic() < end:
                    continue
                self._kill()
                raise _EndedError(f"it took more than {max(0, seconds):.0f} seconds") from None
            if self.flooded:
                raise _EndedError(f"more than {self.limits.output:,} bytes were printed")
            if line is None:
                raise _EndedError(self._why())
            verdict = Verdict.read(line, word)
            if verdict is not None:
                return verdict

    def spent(self) -> float:
        """Seconds of the processor that the process and its children have used so far.

        Those of the clock where the system does not tell, as on macOS.
        """
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, ValueError):  # it may be gone by now
                # After the name, which may hold anything: session the 4th, times the 12th on.
                fields = file.read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:
                    ticks += sum(map(int, fields[11:15]))
        known = sys.platform == "linux"
        clock = time.monotonic() - self.begin
        now = ticks / os.sysconf("SC_CLK_TCK") if known else clock
        self.most_spent = max(self.most_spent, now)  # what has ended no longer shows
        return self.most_spent

    def _why(self) -> str:
        status = self.process.wait()
        said = one_line(self.last.decode(errors="replace"), 120)
        return f"the process ended with status {status}" + (f" ({said})" if said else "")

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # a process that is gone shows at the next line that is read
            self.process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]

    def _read_output(self) -> None:
        count = 0
        while chunk := self.process.stderr.read1(65_536):  # type: ignore[union-attr]
            count += len(chunk)
            self.last = (self.last + chunk)[-300:]
            if self._too_much(count):
                return

    def _read_verdicts(self) -> None:
        count = 0  # of these too: a submission may find the way to write here
        while line := self.process.stdout.readline(65_536):  # type: ignore[union-attr]
            count += len(line)
            if self._too_much(count):
                break
            self.lines.put(line)
        self.lines.put(None)

    def _too_much(self, count: int) -> bool:
        if count <= self.limits.output:
            return False
        self.flooded = True
        self._kill()
        return True

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
