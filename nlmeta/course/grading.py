"""Grade a folder of submissions: marks for each question, a table, and files for Gradescope."""

import csv
import hashlib
import io
import json
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from nlmeta._files import write_whole
from nlmeta.course.confining import Confinement, Limits, unable
from nlmeta.course.notebooks import one_line, points, read
from nlmeta.course.rebuilding import rebuilt
from nlmeta.course.releasing import complaints
from nlmeta.course.running import Verdict, run_steps
from nlmeta.course.secret import PUBLIC, SECRET

__all__ = ["Marks", "grade", "grade_one", "submissions", "table"]


@dataclass
class Marks:
    """The marks of one submission.

    Attributes
    ----------
    possible : dict of str to float
        The points that each test can give; the same for every submission.
    given : dict of str to float
        The points that each test gave.
    failed : dict of str to str
        The reason why a test did not give all points.
    remarks : list of str
        Whatever else a marker has to know.
    seconds : float
        The time that it took.
    """

    possible: dict[str, float]
    given: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> float:
        """The sum of the points."""
        return math.fsum(self.given.values())

    def gradescope(self, key: str) -> dict[str, Any]:
        """The marks as Gradescope reads them, one result for each test, whatever happened."""
        tests = [
            {
                "name": name,
                "score": self.given[name],
                "max_score": most,
                "status": "failed" if name in self.failed else "passed",
                "output": self.failed.get(name, "passed"),
            }
            for name, most in self.possible.items()
        ]
        return {
            "score": self.total,
            "execution_time": round(self.seconds, 1),
            "output": "\n".join(self.remarks),
            "tests": tests,
            "extra_data": {"key": key},
        }


def submissions(folder: Path) -> dict[str, Path]:
    """The submissions in a folder, by the name of the student.

    A submission is a file, or a folder with one notebook in it, at whatever depth, as nbgrader
    keeps them. A file that is no notebook is a submission too, which will get no points.

    Raises
    ------
    ValueError
        There is none, or two have the same name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name = path.stem if path.suffix == ".ipynb" else path.name
        if name in found:
            raise ValueError(f"two submissions in {folder} are called {name}")
        found[name] = path
    if not found:
        raise ValueError(f"{folder} holds no submission")
    return found


def _notebook_of(path: Path) -> Path:
    if path.is_symlink() or not path.is_dir():
        return path
    inside = [
        file for file in sorted(path.rglob("*.ipynb")) if ".ipynb_checkpoints" not in file.parts
    ]
    if len(inside) != 1:
        raise ValueError(f"the folder holds {len(inside)} notebooks; one is graded")
    return inside[0]


def grade_one(
    source: Any, path: Path, confinement: Confinement, secret: str, slot: int = 0
) -> Marks:
    """Grade one submission; whatever it is, the marks have a line for each test.

    Parameters
    ----------
    source : NotebookNode
        The assignment's source.
    path : Path
        The submission: a file, or a folder that holds one notebook.
    confinement : Confinement
        The place where it runs.
    secret : str
        The secret of the hidden tests.
    slot : int
        The place among those that run at the same time. Default 0.
    """
    begin = time.monotonic()
    marks = Marks(points(source))
    verdicts: dict[str, Verdict] = {}
    try:
        steps, marks.remarks = rebuilt(source, read(_notebook_of(path)))
        if steps:
            outcome = run_steps(steps, confinement, secret, slot)
            verdicts = outcome.verdicts
            marks.remarks += outcome.remarks
    except ValueError as error:
        marks.remarks.append(str(error))
    for name, most in marks.possible.items():
        verdict = verdicts.get(name, Verdict("there is nothing to test"))
        marks.given[name] = _points(verdict, most)
        if verdict.error is not None or marks.given[name] < most:
            partly = f"partly, {marks.given[name]:g} of {most:g}"
            partly += f": {verdict.printed}" if verdict.printed else ""
            marks.failed[name] = verdict.error or partly
    marks.seconds = time.monotonic() - begin
    return marks


def _points(verdict: Verdict, most: float) -> float:
    if verdict.error is not None:
        return 0.0
    if verdict.score is None:
        return most
    return min(max(verdict.score, 0.0), most) if math.isfinite(verdict.score) else 0.0


def table(source: Any, marks: dict[str, Marks]) -> str:
    """The marks as a CSV table, a line for each student.

    What a person marks has an empty column, whose name ends in its points.
    """
    tests = list(points(source))
    written = [f"{name} (of {most:g})" for name, most in points(source, "written").items()]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["student", "points", "possible", *tests, *written, "remark"])
    for student, own in sorted(marks.items()):
        given = [f"{own.given[name]:g}" for name in tests]
        said = [f"{name}: {reason}" for name, reason in own.failed.items()]
        remark = one_line("; ".join([*own.remarks, *said]), 2_000)
        row = [student, f"{own.total:g}", f"{math.fsum(own.possible.values()):g}", *given]
        lines.writerow([_harmless(cell) for cell in [*row, *[""] * len(written), remark]])
    return text.getvalue()


def _harmless(cell: str) -> str:
    """A spreadsheet runs a cell that begins so as a formula; its text may be a student's."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell


def grade(
    assignment: Path,
    folder: Path,
    out: Path,
    *,
    limits: Limits,
    jobs: int,
    confined: bool,
    say: Callable[[str], None],
) -> dict[str, Marks]:
    """Grade all submissions of a folder. After an interruption the same call goes on.

    Parameters
    ----------
    assignment : Path
        The assignment's source, with its hidden tests.
    folder : Path
        The submissions, see `submissions`.
    out : Path
        The folder of the results: ``marks.csv``, and ``results/STUDENT.json`` for each student. A
        result is reused if source, submission, secret and limits are the same.
    limits : Limits
        The limits of a submission.
    jobs : int
        The number of submissions that run at the same time.
    confined : bool
        Whether submissions are set apart from the system.
    say : callable
        A function that is given a line about each submission as it ends.

    Returns
    -------
    dict of str to Marks
        The marks of each student.

    Raises
    ------
    ValueError
        The source has faults, there is no submission, or submissions cannot be confined here.
    """
    source = read(assignment)
    wrong = complaints(source)
    if wrong:
        raise ValueError("\n".join([f"{assignment} cannot be graded:", *wrong]))
    secret = os.environ.get(SECRET, PUBLIC)
    handed_in = submissions(folder)
    out.mkdir(parents=True, exist_ok=True)
    confinement = Confinement([folder, out, assignment.resolve().parent], confined, limits)
    reason = unable(confinement) if confined else None
    if reason is not None:
        raise ValueError(
            f"submissions cannot be confined here: {reason}.\nThey would run with your rights, the "
            "network and all your files; if you want that, say --unsafe"
        )
    if secret == PUBLIC:
        say(f"{SECRET} is not set: hidden tests draw the cases that everybody can know")

    places: SimpleQueue[int] = SimpleQueue()
    for place in range(jobs):
        places.put(place)
    found: dict[str, Marks] = {}
    lock = threading.Lock()
    common = json.dumps([source, secret, repr(limits), confined], sort_keys=True)

    def work(student: str) -> None:
        path = out / "results" / f"{student}.json"
        key = _key(common, handed_in[student])
        marks = _stored(path, points(source), key)
        if marks is None:
            place = places.get()
            try:
                marks = grade_one(source, handed_in[student], confinement, secret, place)
            finally:
                places.put(place)
            text = json.dumps(marks.gradescope(key), indent=1)
            write_whole(path, lambda file: _write(file, text + "\n"))
        with lock:
            found[student] = marks
            possible = math.fsum(marks.possible.values())
            remark = f", {one_line('; '.join(marks.remarks), 100)}" if marks.remarks else ""
            say(f"{len(found)}/{len(handed_in)} {student}: {marks.total:g} of {possible:g}{remark}")

    with ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(work, handed_in))
        except BaseException:  # by Ctrl-C too; what has begun ends, what is done is stored
            pool.shutdown(cancel_futures=True)
            raise
    write_whole(out / "marks.csv", lambda file: _write(file, table(source, found)))
    return found


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def _key(common: str, path: Path) -> str:
    """A name of all that a result depends on."""
    digest = hashlib.sha256(common.encode())
    files = [path] if not path.is_dir() else sorted(path.rglob("*.ipynb"))
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode())
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def _stored(path: Path, possible: dict[str, float], key: str) -> Marks | None:
    """The marks in a file of results, if they are of the same submission, source and secret."""
    try:
        stored = json.loads(path.read_text("utf-8"))
        if stored["extra_data"]["key"] != key:
            return None
        tests = {test["name"]: test for test in stored["tests"]}
        return Marks(
            possible,
            {name: float(tests[name]["score"]) for name in possible},
            {n: tests[n]["output"] for n in possible if tests[n]["status"] == "failed"},
            stored["output"].splitlines(),
            float(stored["execution_time"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
