"""Stock nbgrader takes the assignments' sources as they are, and gives the same points.

nbgrader lives in an environment of its own, since it brings half of Jupyter; its kernels are those
of the interpreter that runs the tests. NLMETA_NBGRADER names an environment that is there already.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from small_course import with_answers

from nlmeta.course.notebooks import points, read, role
from nlmeta.course.releasing import released, solved

ROOT = Path(__file__).resolve().parents[1]
VERSION = "0.9.6"
EVERYTHING = os.environ.get("NLMETA_TEST_ALL") == "1"
NAMES = sorted(path.stem for path in (ROOT / "book/assignments/source").glob("*.ipynb"))
USUAL = ["audit", "human_noise"]  # the quickest two
READ = """
import json, sys
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    print(json.dumps({
        submission.student.id: {
            grade.name: grade.auto_score
            for notebook in submission.notebooks
            for grade in notebook.grades
            if grade.cell.cell_type == "code"
        }
        for submission in book.assignment_submissions(sys.argv[1])
    }))
"""
CONFIG = """
c.OverwriteCells.add_missing_cells = True
c.ExecutePreprocessor.timeout = 300
c.Exchange.path_includes_course = False
"""


def failed(what, done):
    """Skip without packages to be had, as on a machine without a network; not on a server."""
    said = f"{what}: {done.stderr.strip()[-600:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


@pytest.fixture(scope="module")
def nbgrader(tmp_path_factory):
    """The folder `bin` of an environment with nbgrader."""
    given = os.environ.get("NLMETA_NBGRADER")
    folder = Path(given) if given else tmp_path_factory.mktemp("nbgrader")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    if not given:
        run = {"capture_output": True, "text": True}
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], **run)
        if made.returncode:
            failed("no environment can be made", made)
        # Without compiling to bytecode, which takes longer than all that is run of it.
        pip = [programs / "python", "-m", "pip", "install", "-q", "--no-compile"]
        done = subprocess.run([*pip, f"nbgrader=={VERSION}"], **run)
        if done.returncode:
            failed(f"nbgrader {VERSION} cannot be had", done)
    return programs


def environment(nbgrader, folder):
    """What nbgrader is run with: its own programs first, our kernel, no settings of the user's."""
    kernel = folder / "jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    own = {
        "PATH": f"{nbgrader}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        own[name] = str(folder / name.lower())
    return {**os.environ, **own}


def submissions(name, source):
    """Notebooks that are handed in, by student, each with what it must get."""
    full = points(source)
    found = {
        "solution": (solved(source), full),
        "empty": (released(source), dict.fromkeys(full, 0.0)),
    }
    wrong = tomllib.loads((ROOT / f"tests/course/{name}.toml").read_text())["submission"]
    for place, one in enumerate(wrong if EVERYTHING else wrong[:1]):
        notebook = with_answers(solved(source), **one["answers"])
        found[f"wrong{place}"] = (notebook, full | one["points"])
    return found


class Course:
    """A course of nbgrader's own in a folder, with one assignment, generated."""

    def __init__(self, name, programs, folder):
        self.name, self.programs, self.folder = name, programs, folder / "course"
        self.around = environment(programs, folder)
        self.put(read(ROOT / f"book/assignments/source/{name}.ipynb"), "source")
        (self.folder / "nbgrader_config.py").write_text(f"c = get_config()\n{CONFIG}")
        self.call("nbgrader", "generate_assignment", name)

    def call(self, program, *words):
        command = [str(self.programs / program), *words]
        given = {"cwd": self.folder, "env": self.around, "capture_output": True, "text": True}
        done = subprocess.run(command, **given)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def put(self, notebook, *place):
        path = self.folder.joinpath(*place, self.name, f"{self.name}.ipynb")
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)

    def points(self):
        """The points of all submissions, by student and test, once they are graded."""
        return json.loads(self.call("python", "-c", READ, self.name))


@pytest.mark.parametrize("name", NAMES if EVERYTHING else USUAL)
def test_nbgrader_takes_the_source_and_gives_the_same_points(name, nbgrader, tmp_path):
    source = read(ROOT / f"book/assignments/source/{name}.ipynb")
    course = Course(name, nbgrader, tmp_path)
    theirs = nbformat.read(course.folder / f"release/{name}/{name}.ipynb", as_version=4)
    for ours, other in zip(released(source).cells, theirs.cells, strict=True):
        if role(ours) != "written":  # whose stub has a word of its own in nbgrader
            assert ours.source.strip() == other.source.strip()
    handed_in = submissions(name, source)
    for student, (notebook, _) in handed_in.items():
        course.put(notebook, "submitted", student)
    course.call("nbgrader", "autograde", name)
    assert course.points() == {
        student: pytest.approx(wanted, abs=0.01) for student, (_, wanted) in handed_in.items()
    }
