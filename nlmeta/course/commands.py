"""The commands of a course: `course release`, `course check`, `course grade`."""

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import Any

from nlmeta._files import write_whole
from nlmeta.course.confining import Confinement, Limits
from nlmeta.course.grading import Marks, grade, grade_one
from nlmeta.course.notebooks import mark, needed, points, read, role
from nlmeta.course.rebuilding import steps_of
from nlmeta.course.releasing import CODE_STUB, TEXT_STUB, complaints, released, solved
from nlmeta.course.running import Verdict, run_steps
from nlmeta.course.secret import PUBLIC

__all__ = ["add_course"]


def add_course(commands: Any) -> None:
    """Add the commands to a parser.

    Parameters
    ----------
    commands : argparse subparsers
        The commands of the parser. Each new one sets ``run``, which takes the parsed arguments and
        returns an exit status.
    """
    course = commands.add_parser("course", help="release, check and grade assignments")
    of_course = course.add_subparsers(dest="of_course", required=True)

    release = of_course.add_parser("release", help="make the notebook that students get")
    release.add_argument("source", type=Path, help="the assignment, with solutions and tests")
    release.add_argument("out", type=Path, help="the notebook to write")
    release.set_defaults(run=_release)

    check = of_course.add_parser("check", help="run the tests that a notebook shows, as a student")
    check.add_argument("notebook", type=Path)
    check.set_defaults(run=_check)

    graded = of_course.add_parser("grade", help="grade a folder of submissions; run again to go on")
    graded.add_argument("source", type=Path, help="the assignment, with solutions and tests")
    graded.add_argument("folder", type=Path, help="a notebook, or a folder, for each student")
    graded.add_argument("out", type=Path, help="folder of marks.csv and results/STUDENT.json")
    graded.add_argument("--jobs", type=int, help="submissions at a time (default: one a processor)")
    seconds: Any = {"type": float, "metavar": "SECONDS"}
    of_cell = "processor time of a cell (default: %(default)g)"
    graded.add_argument("--cell-seconds", default=Limits.cell_seconds, help=of_cell, **seconds)
    of_all = "of a submission (default: %(default)g)"
    graded.add_argument("--seconds", default=Limits.seconds, help=of_all, **seconds)
    graded.add_argument(
        "--unsafe", action="store_true", help="run submissions with your rights, files and network"
    )
    graded.set_defaults(run=_grade)


def _release(given: argparse.Namespace) -> int:
    source = read(given.source)
    wrong = complaints(source)
    if wrong:
        raise ValueError("\n".join([f"{given.source} cannot be released:", *wrong]))
    notebook = released(source)
    full = sum(points(source).values())
    for name, version, wanted in (
        ("solution", solved(source), full),
        ("student version", notebook, 0.0),
    ):
        marks = _marks_of(source, version, given.out)
        print(f"the {name} gets {marks.total:g} of {full:g} points")
        if marks.total != wanted:
            said = [f"{test}: {text}" for test, text in marks.failed.items()] + marks.remarks
            raise ValueError("\n".join([f"it must get {wanted:g}; nothing was written", *said]))
    write_whole(given.out, lambda file: needed("nbformat").write(notebook, file))
    print(f"{given.out} is written")
    return 0


def _marks_of(source: Any, version: Any, out: Path) -> Marks:
    """The marks of the lecturer's own notebook, which nothing needs to be kept from."""
    nbformat = needed("nbformat")
    path = out.with_name(f"{out.stem}.trial.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        nbformat.write(version, path)
        return grade_one(source, path, Confinement([], confined=False), PUBLIC)
    finally:
        path.unlink(missing_ok=True)


def _check(given: argparse.Namespace) -> int:
    notebook = read(given.notebook)
    for line in _missing(notebook):
        print(line)
    steps = [step for step in steps_of(notebook) if step.kind != "test" or not _hidden(step.source)]
    worth = points(notebook)
    given_points: dict[str, float] = {}

    def report(name: str, verdict: Verdict) -> None:
        most = worth.get(name, 0.0)
        own = 0.0 if verdict.error else most if verdict.score is None else verdict.score
        given_points[name] = own
        said = verdict.error or ("passed" if own == most else verdict.printed or "partly")
        print(f"{name}: {said} ({own:g} of {most:g} points)", flush=True)

    count = sum(step.kind == "test" for step in steps)
    print(f"{count} tests run now; the whole may take a minute", flush=True)
    outcome = run_steps(steps, Confinement([], confined=False), PUBLIC, report=report)
    for remark in outcome.remarks:
        print(f"note: {remark}")
    good, full = sum(given_points.values()), sum(worth.get(name, 0.0) for name in given_points)
    unseen = sum(worth.values()) - full
    still = "hidden parts can still take any of"
    if good == full:
        said = f"the shown part of each test passes; {still} these {full:g} points"
    else:
        said = f"the shown parts of the tests give {good:g} of {full:g} points; {still} them"
    print(said + (f"; {unseen:g} more are in tests that you do not see" if unseen else ""))
    return 0 if good == full else 1


def _hidden(source: str) -> bool:
    """Whether nothing of a test was released, so that it would pass whatever the answer."""
    return all(line.lstrip().startswith("#") or not line.strip() for line in source.splitlines())


def _missing(notebook: Any) -> list[str]:
    """What was handed out and is no longer in the notebook, is there twice, or has no answer."""
    handed_out = notebook.metadata.get("nlmeta_course", {}).get("cells", [])
    there = Counter(mark(cell)["grade_id"] for cell in notebook.cells if mark(cell))
    gone = [name for name in handed_out if name not in there]
    lines = [f"cell {name} is missing; take it from the original" for name in gone]
    lines += [f"cell {name} is there {count} times" for name, count in there.items() if count > 1]
    for cell in notebook.cells:
        stub = CODE_STUB if cell.cell_type == "code" else TEXT_STUB
        if role(cell) in ("answer", "written") and stub.partition("\n")[0] in cell.source:
            lines.append(f"{mark(cell)['grade_id']} is not answered")
    return lines


def _grade(given: argparse.Namespace) -> int:
    limits = Limits(cell_seconds=given.cell_seconds, seconds=given.seconds)
    jobs = given.jobs or os.cpu_count() or 1
    marks = grade(
        given.source,
        given.folder,
        given.out,
        limits=limits,
        jobs=jobs,
        confined=not given.unsafe,
        say=lambda line: print(line, flush=True),
    )
    print(f"{given.out / 'marks.csv'}: {len(marks)} submissions")
    return 0
