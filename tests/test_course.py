"""Tests of releasing and checking an assignment: what students get, and what a source must be."""

import json
import os
import subprocess
import sys
import time

import nbformat
import pytest
from small_course import assignment, cell, place, with_answers, without

from nlmeta.__main__ import main
from nlmeta.course import SECRET, After, secret_seed
from nlmeta.course.confining import Confinement
from nlmeta.course.notebooks import drop_region
from nlmeta.course.rebuilding import Step
from nlmeta.course.releasing import complaints, released
from nlmeta.course.running import run_steps


def write(notebook, path):
    nbformat.write(notebook, path)
    return path


def call(capsys, *arguments):
    status = main(["course", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_the_student_version_has_no_solution_no_hidden_test_and_no_output():
    source = assignment()
    source.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    source.metadata["authors"] = [{"name": "Somebody"}]
    notebook = released(source)
    text = nbformat.writes(notebook)
    for secret in (
        "2 * x",
        "x / 2",
        "secret_seed",
        "SOLUTION",
        "HIDDEN",
        "even",
        "old",
        "Somebody",
    ):
        assert secret not in text
        assert secret in nbformat.writes(source)
    answer = notebook.cells[place(notebook, "twice")].source
    assert answer == "def twice(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert notebook.cells[place(notebook, "why")].source == "YOUR ANSWER HERE"
    assert notebook.cells[place(notebook, "test_twice")].source.startswith("assert close(twice(1)")
    assert notebook.cells[place(notebook, "test_half")].metadata["editable"] is False
    assert "editable" not in notebook.cells[place(notebook, "half")].metadata
    nbformat.validate(notebook)


def test_an_answer_cell_without_a_region_is_replaced_as_a_whole():
    source = with_answers(assignment(), twice="twice = lambda x: 2 * x")
    notebook = released(source)
    answer = notebook.cells[place(notebook, "twice")].source
    assert answer == "# YOUR CODE HERE\nraise NotImplementedError()"


@pytest.mark.parametrize(
    "text",
    [
        "### BEGIN SOLUTION\n1",
        "1\n### END SOLUTION",
        "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION",
    ],
)
def test_a_region_that_does_not_close_is_refused(text):
    with pytest.raises(ValueError, match="### BEGIN SOLUTION"):
        drop_region(text, "SOLUTION")


def test_two_regions_keep_what_is_between_them():
    text = "a\n  ### BEGIN SOLUTION\n  b\n  ### END SOLUTION\nc\n"
    text += "### BEGIN SOLUTION\nd\n### END SOLUTION"
    assert drop_region(text, "SOLUTION", "stub") == ("a\n  stub\nc\nstub", ["  b", "d"])


def test_a_sound_source_has_no_complaint():
    assert complaints(assignment()) == []


def put(name, text, **metadata):
    def fault(source):
        changed = source.cells[place(source, name)]
        changed.source = text
        changed.metadata["nbgrader"].update(metadata)

    return fault


def drop(name, key):
    def fault(source):
        del source.cells[place(source, name)].metadata["nbgrader"][key]

    return fault


def double(source):
    source.cells.append(cell("code", "setup", "1"))


def add_code(source):
    source.cells.append(nbformat.v4.new_code_cell("x = 1"))


def store_output(source):
    source.cells[1].execution_count = 3


def keep_no_test(source):
    source.cells = source.cells[:3]


MESSAGE = 'assert twice(1) == 2, "twice(1) is 2"\n'


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (put("test_half", "import numpy as np\nnp.float64(half(2))"), "not float(...)"),
        (put("test_half", "half(2)"), "not float(...)"),
        (put("test_twice", "twice(1)\nx = 2"), "cannot fail"),
        (put("test_twice", "assert twice(1) == 2"), "no message"),
        (put("test_twice", MESSAGE + "import warnings\nwarnings.warn('no')"), "stderr"),
        (put("test_twice", MESSAGE + "fit(progress=True)"), "stderr"),
        (put("test_twice", MESSAGE + "%time"), "plain Python"),
        (put("test_twice", MESSAGE + "### BEGIN HIDDEN TESTS"), "has no ### END HIDDEN TESTS"),
        (put("setup", "### BEGIN SOLUTION\nx = 1\n### END SOLUTION"), "only removed from cells"),
        (put("twice", "### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS"), "only removed from"),
        (put("test_twice", MESSAGE, points=0), "points are 0"),
        (put("test_twice", MESSAGE, points=None), "points are None"),
        (put("test_twice", MESSAGE, schema_version=1), "schema_version is 1"),
        (put("test_twice", MESSAGE, cell_type="markdown"), "the cell is code"),
        (put("test_twice", MESSAGE, grade_id="test twice"), "letters, digits"),
        (put("why", "Because.", solution=False), "graded and a solution, or neither"),
        (drop("setup", "locked"), "lack locked"),
        (drop("setup", "grade_id"), "no grade_id"),
        (double, "stands in two cells"),
        (add_code, "without nbgrader metadata"),
        (store_output, "outputs are stored"),
        (keep_no_test, "no cell is a test"),
    ],
)
def test_what_graders_get_wrong_is_a_complaint(fault, complaint):
    source = assignment()
    fault(source)
    assert any(complaint in text for text in complaints(source)), complaints(source)


def test_release_proves_the_marks_of_both_versions_and_writes(capsys, tmp_path):
    path = write(assignment(), tmp_path / "source.ipynb")
    status, said = call(capsys, "release", path, tmp_path / "new" / "student.ipynb")
    assert status == 0
    assert "the solution gets 5 of 5 points\nthe student version gets 0 of 5 points" in said
    assert nbformat.read(tmp_path / "new" / "student.ipynb", as_version=4) == released(assignment())
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["student.ipynb"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "half",
            "def half(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION",
            "2 of 5",
        ),
        ("test_half", "float(3)", "student version gets 3 of 5"),
        ("test_half", "assert True", "no message"),
    ],
)
def test_release_writes_nothing_where_the_marks_are_wrong(capsys, tmp_path, name, text, complaint):
    path = write(with_answers(assignment(), **{name: text}), tmp_path / "source.ipynb")
    status, said = call(capsys, "release", path, tmp_path / "student.ipynb")
    assert status == 1
    assert complaint in said
    assert not (tmp_path / "student.ipynb").exists()


def test_check_runs_the_tests_that_a_student_sees(capsys, tmp_path):
    notebook = released(assignment())
    right = with_answers(
        notebook,
        twice="def twice(x):\n    return 2",
        half="half = lambda x: min(x / 2, 1)",
        why="So.",
    )
    status, said = call(capsys, "check", write(right, tmp_path / "mine.ipynb"))
    assert "test_twice: passed (2 of 2 points)" in said  # a hidden test will find it
    assert "test_half: right for 1, 2, wrong for 3 (2 of 3 points)" in said
    last = (
        "the shown parts of the tests give 4 of 5 points; hidden parts can still take any of them"
    )
    assert said.splitlines()[-1] == last
    assert status == 1


def test_check_does_not_call_what_the_shown_tests_give_the_marks(capsys, tmp_path):
    """The shown part of test_twice passes, its hidden part will take its two points."""
    answers = {
        "twice": "def twice(x):\n    return 2",
        "half": "half = lambda x: x / 2",
        "why": "So.",
    }
    mine = write(with_answers(released(assignment()), **answers), tmp_path / "mine.ipynb")
    status, said = call(capsys, "check", mine)
    first, *_, last = said.splitlines()
    assert first == "2 tests run now; the whole may take a minute"
    assert last == (
        "the shown part of each test passes; hidden parts can still take any of these 5 points"
    )
    assert status == 0


def test_check_counts_the_points_of_tests_that_are_hidden_as_a_whole(capsys, tmp_path):
    notebook = with_answers(
        released(assignment()), twice="twice = lambda x: 2 * x", test_half="# All of it is hidden."
    )
    _, said = call(capsys, "check", write(notebook, tmp_path / "mine.ipynb"))
    assert "test_half" not in said
    assert said.splitlines()[-1] == (
        "the shown part of each test passes; hidden parts can still take any of these 2 points; "
        "3 more are in tests that you do not see"
    )


def test_a_test_after_a_wrong_part_names_that_part():
    """One that passes is not looked at again; with right parts its own error stays."""

    def broken():
        raise KeyError("x")

    with After({"part 1": lambda: False}):
        pass
    with pytest.raises(AssertionError, match="^own$"), After({"part 1": lambda: True}):
        raise AssertionError("own")
    for wrong in (lambda: False, broken):
        parts = {"part 1": lambda: True, "part 2": wrong}
        with pytest.raises(AssertionError, match="^part 2 fails, .* first") as told, After(parts):
            raise ValueError
        assert str(told.value).endswith("(Here: ValueError)")
    with pytest.raises(KeyboardInterrupt), After({"part 1": lambda: False}):
        raise KeyboardInterrupt


def test_a_verdict_is_reported_when_its_test_ends():
    """The second test waits for half a second, so a report at the end of all would come late."""
    slow = "import time\ntime.sleep(0.5)\nassert True, 'no'"
    steps = [Step("first", "test", "assert 1, 'no'"), Step("second", "test", slow)]
    reported = []
    run_steps(
        steps,
        Confinement([], confined=False),
        "public",
        report=lambda name, verdict: reported.append((name, verdict.error, time.monotonic())),
    )
    assert [report[:2] for report in reported] == [("first", None), ("second", None)]
    assert reported[1][2] - reported[0][2] > 0.45


def test_check_says_what_is_missing_doubled_or_not_answered(capsys, tmp_path):
    notebook = without(released(assignment()), "test_twice")
    notebook.cells.append(cell("code", "half", "half = None", solution=True))
    notebook.cells[-1].id = "copy"
    _, said = call(capsys, "check", write(notebook, tmp_path / "mine.ipynb"))
    assert "cell test_twice is missing; take it from the original" in said
    assert "cell half is there 2 times" in said
    assert "twice is not answered" in said
    assert "why is not answered" in said
    assert "test_half: NotImplementedError (0 of 3 points)" in said


def test_what_is_no_notebook_is_refused_in_words(capsys, tmp_path):
    (tmp_path / "mine.ipynb").write_text("{}")
    status, said = call(capsys, "check", tmp_path / "mine.ipynb")
    assert status == 1
    assert "the file is no notebook" in said


def test_the_seed_follows_secret_and_question(monkeypatch):
    monkeypatch.delenv(SECRET, raising=False)
    public = secret_seed("a")
    assert public != secret_seed("b")
    monkeypatch.setenv(SECRET, "public")
    assert secret_seed("a") == public
    monkeypatch.setenv(SECRET, "another")
    assert secret_seed("a") != public
    assert 0 <= secret_seed("a") < 2**31


def test_the_commands_import_no_torch_and_stay_small(tmp_path):
    """The process that grades; submissions run in others."""
    write(assignment(), tmp_path / "source.ipynb")
    (tmp_path / "in").mkdir()
    write(assignment(), tmp_path / "in" / "anna.ipynb")
    code = """
import json, sys
from pathlib import Path
from nlmeta.__main__ import main
status = main(["course", "grade", *sys.argv[1:], "--unsafe"])
# Of this program alone: `ru_maxrss` also knows the process that it was forked from.
lines = Path("/proc/self/status").read_text().splitlines() if sys.platform == "linux" else []
peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
print(json.dumps([status, sorted(sys.modules), peak]))
"""
    paths = [str(tmp_path / name) for name in ("source.ipynb", "in", "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    status, modules, peak = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    assert "nbformat" in modules
    assert not {"torch", "numpy", "pandas", "IPython"} & set(modules)
    assert len(peak) == (sys.platform == "linux")
    assert all(1e6 < 1024 * kilobytes < 200e6 for kilobytes in peak)


def test_a_missing_extra_is_named(tmp_path):
    (tmp_path / "nbformat.py").write_text("raise ImportError")
    write(assignment(), tmp_path / "source.ipynb")
    command = [sys.executable, "-m", "nlmeta", "course", "check", str(tmp_path / "source.ipynb")]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 1
    assert done.stderr == "nbformat is missing; get it by: pip install nlmeta[course]\n"
