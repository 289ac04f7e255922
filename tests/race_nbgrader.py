"""How long grading takes beside stock nbgrader, on one folder: a benchmark and no test.

    NLMETA_NBGRADER=/path/to/environment python tests/race_nbgrader.py [ASSIGNMENT] [COUNT]

Makes COUNT submissions (default 12) of an assignment (default reweight_mlc): the solution, the
empty notebook and the wrong ones of `tests/course/` in turn. Grades them by `python -m nlmeta
course grade` and by `nbgrader autograde` (with `add_missing_cells`; a cell may take 300 s),
compares the points, and prints both wall times and their ratio.
"""

import csv
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import test_course_nbgrader as stock  # noqa: E402

from nlmeta.course.notebooks import points, read  # noqa: E402


def ours(source: Path, folder: Path, out: Path) -> tuple[float, dict]:
    """Seconds, and points by student and test."""
    command = [sys.executable, "-m", "nlmeta", "course", "grade"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, str(source), str(folder), str(out)], capture_output=True, text=True, cwd=ROOT
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    with (out / "marks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tests = points(read(source))
    found = {row["student"]: {name: float(row[name]) for name in tests} for row in rows}
    return seconds, found


def theirs(course: stock.Course, handed_in: dict) -> tuple[float, dict]:
    """Seconds of autograde alone, and points by student and test."""
    for student, notebook in handed_in.items():
        course.put(notebook, "submitted", student)
    began = time.perf_counter()
    course.call("nbgrader", "autograde", course.name)
    return time.perf_counter() - began, course.points()


def main(name: str = "reweight_mlc", count: str = "12") -> None:
    """Run both and print the table."""
    programs = Path(os.environ["NLMETA_NBGRADER"]) / ("Scripts" if os.name == "nt" else "bin")
    source = ROOT / f"book/assignments/source/{name}.ipynb"
    stock.EVERYTHING = True
    kinds = itertools.cycle(stock.submissions(name, read(source)).items())
    handed_in = {
        f"{place:02}_{kind}": notebook
        for place, (kind, (notebook, _)) in enumerate(itertools.islice(kinds, int(count)))
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "submitted")
        folder.mkdir()
        for student, notebook in handed_in.items():
            nbformat.write(notebook, folder / f"{student}.ipynb")
        first, points_here = ours(source, folder, Path(scratch, "marks"))
        course = stock.Course(name, programs, Path(scratch, "stock"))
        second, points_there = theirs(course, handed_in)
    differ = [
        (student, test, value, points_there[student][test])
        for student, tests in points_here.items()
        for test, value in tests.items()
        if abs(value - points_there[student][test]) > 0.01
    ]
    print(f"{count} submissions of {name}: {first:.1f} s; nbgrader {stock.VERSION}: {second:.1f} s")
    print(f"ratio {first / second:.2f}")
    print("the same points" if not differ else f"points differ: {differ}")


if __name__ == "__main__":
    main(*sys.argv[1:])
