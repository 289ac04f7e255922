"""Tests of grading: each kind of bad submission costs its own student what it should, and no other.

The submissions that loop, print or multiply stop by themselves after a while.
"""

import contextlib
import copy
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from small_course import assignment, handed_in, place, with_answers, without

from nlmeta.__main__ import main
from nlmeta.course import SECRET
from nlmeta.course.confining import Confinement, Limits, unable
from nlmeta.course.grading import grade, grade_one, submissions
from nlmeta.course.notebooks import read
from nlmeta.course.rebuilding import rebuilt

SOURCE, RIGHT = assignment(), handed_in()
LIMITS = Limits(cell_seconds=4, seconds=30, output=100_000, memory=2**30)
UNABLE = unable(Confinement([], confined=True))
needs_confinement = pytest.mark.skipif(UNABLE is not None, reason=f"not confined: {UNABLE}")
WRONG = "def twice(x):\n    return x"
MARKER = f"nlmeta-test-of-a-course-{os.getpid()}"  # other runs of the tests are not meant
# Words for a student's code: a helper that stops by itself.
SLEEPER = "import subprocess, sys\nsleep = [sys.executable, '-c', "
SLEEPER += f"'import time; time.sleep(25)  # {MARKER}']"


def added(notebook, after, source):
    """A notebook with one more cell, the student's own."""
    notebook.cells.insert(place(notebook, after) + 1, new_code_cell(source))
    return notebook


def without_metadata(name):
    made = handed_in()
    made.cells[place(made, name)].metadata = {}
    return made


def doubled(name, first):
    made = handed_in()
    at = place(made, name)
    again = nbformat.from_dict(made.cells[at])
    again.update(source=first, id="copy")
    made.cells.insert(at, again)
    return made


def damaged(value):
    """Metadata that are of no use."""
    made = handed_in()
    made.cells[place(made, "twice")].metadata["nbgrader"] = value
    return made


def answered(**answers):
    return with_answers(RIGHT, **answers)


STUBBORN = """
import time
def half(x):
    while time.process_time() < 15:
        try:
            sum(range(10_000))
        except BaseException:
            pass
"""
FORGED = """
import json, os
verdict = json.dumps({"word": "", "error": None, "score": 9}).encode()
for handle in range(1, 20):
    try:
        os.write(handle, verdict + b"\\n")
    except OSError:
        pass
"""
WITHOUT_ASSERTS = f"""
{WRONG}
import ast
class Gone(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Gone())
"""
# Name: submission, points for the two tests, words of the remark.
NOTEBOOKS = {
    "right": (answered(), 2, 3, ""),
    "wrong": (answered(twice=WRONG), 0, 3, "test_twice: AssertionError: twice(1) is 2"),
    "by_heart": (answered(twice="def twice(x):\n    return 2"), 0, 3, "a fraction has a double"),
    "partly": (
        answered(half="def half(x):\n    return min(x / 2, 1)"),
        2,
        2,
        "partly, 2 of 3: right for 1, 2, wrong for 3",
    ),
    "missing": (without(RIGHT, "twice"), 0, 3, "answer cell twice is missing"),
    "missing_text": (without(RIGHT, "why"), 2, 3, "answer cell why is missing"),
    "no_id": (without_metadata("twice"), 2, 3, "answer cell twice is missing"),
    "strange_id": (damaged(3), 2, 3, "answer cell twice is missing"),
    "strange_list": (damaged({"grade_id": [1]}), 2, 3, "answer cell twice is missing"),
    "doubled": (doubled("twice", WRONG), 2, 3, "twice is there 2 times; all were run"),
    "doubled_wrong": (answered(twice=WRONG), 0, 3, "test_twice"),
    "own_helper": (
        added(
            answered(twice="def twice(x):\n    return helper(x)"),
            "setup",
            "helper = lambda x: x + x",
        ),
        2,
        3,
        "",
    ),
    "own_error": (added(handed_in(), "half", "1 / 0"), 2, 3, "own cell raises ZeroDivisionError"),
    "magic": (added(handed_in(), "half", "%precision 3\n!true\nhalf"), 2, 3, ""),
    "stderr": (
        answered(half="import sys\nprint('!', file=sys.stderr)\n" + "half = lambda x: x / 2"),
        2,
        3,
        "",
    ),
    "no_test": (
        without(answered(twice=WRONG), "test_twice", "setup"),
        0,
        3,
        "test_twice is missing",
    ),
    "changed_test": (
        answered(twice=WRONG, test_twice="assert True"),
        0,
        3,
        "test test_twice was changed; the original was run",
    ),
    "changed_points": (damaged({"grade_id": "twice", "points": 100, "grade": True}), 2, 3, ""),
    "syntax": (answered(twice="def twice(x) return"), 0, 3, "twice raises SyntaxError"),
    "exit": (answered(twice="import sys\nsys.exit(0)"), 0, 3, "twice raises SystemExit"),
    "quit_in_test": (answered(twice="def twice(x):\n    raise SystemExit(0)"), 0, 3, "SystemExit"),
    "hard_exit": (
        answered(twice="import os\nos._exit(0)"),
        0,
        3,
        "twice: the process ended with status 0",
    ),
    "hard_exit_in_test": (
        answered(twice="def twice(x):\n    import os\n    os._exit(0)"),
        0,
        3,
        "test_twice: the process ended with status 0",
    ),
    "segfault": (
        answered(twice="import ctypes\nctypes.string_at(0)"),
        0,
        3,
        "twice: the process ended",
    ),
    "loop": (
        answered(twice="import time\nwhile time.process_time() < 15:\n    pass"),
        0,
        3,
        "twice: it took more than 4 seconds",
    ),
    "stubborn_loop": (answered(half=STUBBORN), 2, 0, "test_half: it took more than 4 seconds"),
    "flood": (
        answered(twice="for _ in range(1000):\n    print('x' * 1_000_000)"),
        0,
        3,
        "twice: more than 100,000 bytes were printed",
    ),
    "flood_past_python": (
        answered(twice="import os\nfor _ in range(1000):\n    os.write(2, b'x' * 1_000_000)"),
        0,
        3,
        "twice: more than 100,000 bytes were printed",
    ),
    "memory": (answered(twice="block = bytearray(3 * 2**30)"), 0, 3, "twice raises MemoryError"),
    "deep": (answered(twice="def twice(x):\n    return twice(x)"), 0, 3, "RecursionError"),
    "input": (answered(twice="twice = input()"), 0, 3, "twice raises"),
    "long_error": (answered(twice="raise ValueError('x' * 10_000_000)"), 0, 3, "ValueError: xxx"),
    "bad_error": (
        answered(twice="class E(Exception):\n    def __str__(self):\n        1 / 0\nraise E()"),
        0,
        3,
        "an error without a text",
    ),
    "patched_helper": (
        answered(twice=WRONG + "\nclose = lambda a, b: True"),
        0,
        3,
        "the notebook changes close; tests put the original back",
    ),
    "patched_library": (
        answered(twice=WRONG + "\nimport math\nmath.fabs = lambda x: 0.0"),
        0,
        3,
        "the notebook changes math.fabs",
    ),
    "patched_builtin": (
        answered(twice=WRONG + "\nimport builtins\nbuiltins.AssertionError = Warning"),
        0,
        3,
        "changes builtins.AssertionError",
    ),
    "patched_module": (
        answered(
            twice=WRONG + "\nimport sys, types\nsys.modules['random'] = types.ModuleType('r')"
        ),
        0,
        3,
        "changes random",
    ),
    "own_builtins": (
        answered(twice=WRONG + "\n__builtins__ = {'__build_class__': None}"),
        0,
        3,
        "test_twice: AssertionError",
    ),
    "patched_assert": (answered(twice=WITHOUT_ASSERTS), 0, 3, "test_twice: AssertionError"),
    "forged": (answered(twice=FORGED), 0, 3, "test_twice: NameError"),
    "too_many_points": (
        answered(half="def half(x):\n    return x / 2\nsum = lambda _: 100"),
        2,
        3,
        "",
    ),
}
FILES = {
    "empty.ipynb": (b"", "the file is empty"),
    "text.pdf": (b"%PDF", "the file is no notebook"),
    "broken.ipynb": (b'{"cells": [', "the file is no notebook"),
    "list.ipynb": (b"[1, 2]", "the file is no notebook"),
    "numbers.ipynb": (
        b'{"nbformat": 4, "nbformat_minor": 5, "cells": 3}',
        "the file is no notebook",
    ),
    "nested.ipynb": (b"[" * 100_000, "the file is no notebook"),
    "bytes.ipynb": (b"\xff\xfe\x00", "the file is no notebook"),
}


def hand_in(folder, notebooks):
    folder.mkdir(parents=True, exist_ok=True)
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """All bad submissions and a right one, graded at once: marks, table and what was said."""
    place = tmp_path_factory.mktemp("course")
    nbformat.write(SOURCE, place / "source.ipynb")
    folder = place / "in"
    hand_in(folder, {name: notebook for name, (notebook, *_) in NOTEBOOKS.items()})
    for name, (content, _) in FILES.items():
        (folder / name).write_bytes(content)
    other = handed_in()
    for cell in other.cells:
        cell.metadata.pop("nbgrader", None)
    hand_in(folder, {"other": other})
    (folder / "link.ipynb").symlink_to(folder / "right.ipynb")
    hand_in(folder / "two", {"a": RIGHT, "b": RIGHT})
    hand_in(folder / "as_nbgrader" / "twice", {"source": RIGHT})
    hand_in(folder / "as_nbgrader" / "twice" / ".ipynb_checkpoints", {"source": RIGHT})
    (folder / ".hidden").touch()
    said = []
    marks = grade(
        place / "source.ipynb",
        folder,
        place / "out",
        limits=LIMITS,
        jobs=2,
        confined=UNABLE is None,
        say=said.append,
    )
    with (place / "out" / "marks.csv").open() as file:
        lines = {line["student"]: line for line in csv.DictReader(file)}
    return place, marks, lines, said


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_submission_gets_the_marks_that_it_deserves(name, marked):
    _, _, lines, _ = marked
    _, twice, half, remark = NOTEBOOKS[name]
    line = lines[name]
    assert (line["test_twice"], line["test_half"]) == (str(twice), str(half)), line["remark"]
    assert line["points"] == str(twice + half)
    assert line["possible"] == "5"
    assert line["why (of 4)"] == ""
    assert remark in line["remark"] if remark else twice + half < 5 or line["remark"] == ""
    assert len(line["remark"]) < 2_100


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_notebook_gets_no_points_and_a_remark(name, marked):
    line = marked[2][name.removesuffix(".ipynb")]
    assert line["points"] == "0"
    assert line["possible"] == "5"
    assert line["remark"].startswith(FILES[name][1])


@pytest.mark.parametrize(
    ("name", "points", "remark"),
    [
        ("other", "0", "no cell of this assignment is in the notebook: is it the right one?"),
        ("link", "0", "this is no regular file"),
        ("two", "0", "the folder holds 2 notebooks; one is graded"),
        ("as_nbgrader", "5", ""),
    ],
)
def test_other_ways_to_hand_in(name, points, remark, marked):
    line = marked[2][name]
    assert line["points"] == points
    assert line["remark"].startswith(remark)


def test_there_is_a_line_and_a_file_for_each_student_and_progress(marked):
    place, marks, lines, said = marked
    there = {path.stem for path in (place / "out" / "results").iterdir()}
    assert set(marks) == set(lines)
    assert there == {name.removesuffix(".json") for name in there} == set(marks)
    assert len(marks) == len(NOTEBOOKS) + len(FILES) + 4
    assert said[-1].startswith(f"{len(marks)}/{len(marks)} ")


def test_the_results_are_as_gradescope_reads_them(marked):
    """A result for each question, the possible total always the same."""
    place, marks, _, _ = marked
    for name in marks:
        results = json.loads((place / "out" / "results" / f"{name}.json").read_text())
        assert [test["name"] for test in results["tests"]] == ["test_twice", "test_half"]
        assert [test["max_score"] for test in results["tests"]] == [2, 3]
        assert results["score"] == sum(test["score"] for test in results["tests"])
        assert {test["status"] for test in results["tests"]} <= {"passed", "failed"}
    partly = json.loads((place / "out" / "results" / "partly.json").read_text())
    assert partly["tests"][1]["score"] == 2
    assert partly["tests"][1]["status"] == "failed"
    assert partly["tests"][1]["output"] == "partly, 2 of 3: right for 1, 2, wrong for 3"


def test_no_process_is_left(marked):
    """Every one that was started here is gone, and waited for."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may be gone by now
            stats.append(path.read_text())
    children = [stat for stat in stats if stat.rpartition(")")[2].split()[1] == str(os.getpid())]
    assert not [stat for stat in children if "setpriv" in stat or "unshare" in stat]


def processes(words):
    """The processes whose command has some words, this one left out."""
    found = []
    for folder in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if folder.isdigit() and int(folder) != os.getpid():
            try:
                with open(f"/proc/{folder}/cmdline", "rb") as file:
                    command = file.read().decode(errors="replace")
            except OSError:
                continue
            found += [folder] if words in command else []
    return found


def graded(tmp_path, notebook, *hidden, secret="public", limits=LIMITS):
    """The marks of one confined submission."""
    nbformat.write(notebook, tmp_path / "one.ipynb")
    confinement = Confinement([tmp_path, *hidden], confined=True, limits=limits)
    return grade_one(SOURCE, tmp_path / "one.ipynb", confinement, secret)


def telling(code):
    """A submission whose own error tells what its code has found out."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    return answered(twice=f"def found():\n{body}\nraise RuntimeError(str(found()))")


@needs_confinement
def test_the_network_is_out_of_reach(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        code = f"import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 2)\n"
        code += "except OSError as error:\n    return repr(error)\nreturn 'through'"
        marks = graded(tmp_path, telling(code))
        with pytest.raises(TimeoutError):
            server.accept()
    assert "unreachable" in str(marks.remarks)
    assert marks.given == {"test_twice": 0, "test_half": 3}


@needs_confinement
def test_marks_other_work_and_hidden_tests_are_out_of_reach(tmp_path):
    """Neither to be read nor to be written, nor is anything else outside its own folder."""
    work = tmp_path / "work"
    (work / "out").mkdir(parents=True)
    (work / "out" / "marks.csv").write_text("marks")
    (work / "out" / "marks.csv").chmod(0o666)
    marks = str(work / "out" / "marks.csv")
    code = f"""
import os
found = []
import nlmeta
for path in ({str(tmp_path / "one.ipynb")!r}, {marks!r}, nlmeta.__file__):
    for mode in 'ra':
        try:
            open(path, mode).close()
            found.append((os.path.basename(path), mode))
        except OSError:
            pass
open('mine.txt', 'w').write('my own folder')
return found, sorted(os.listdir('.')), os.environ.get({SECRET!r}), os.getppid()"""
    own = graded(tmp_path, telling(code), work, secret="very secret")
    assert (
        "RuntimeError: ([('__init__.py', 'r')], ['mine.txt', 'profile_default'], None, 0)"
        in own.remarks[0]
    )
    assert (work / "out" / "marks.csv").read_text() == "marks"
    assert own.given == {"test_twice": 0, "test_half": 3}


@needs_confinement
def test_a_submission_gives_up_all_rights(tmp_path):
    """Not even what root could take back: its capabilities are gone for good."""
    code = "return [l.split() for l in open('/proc/self/status') if l.startswith(('Cap', 'NoNew'))]"
    (remark,) = graded(tmp_path, telling(code)).remarks
    none = "0000000000000000"
    for name in ("CapPrm", "CapEff", "CapBnd", "CapInh"):
        assert f"['{name}:', '{none}']" in remark
    assert "['NoNewPrivs:', '1']" in remark


@needs_confinement
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
def test_as_root_it_is_another_user_of_its_own(tmp_path):
    (remark,) = graded(tmp_path, telling("import os\nreturn os.getuid(), os.getgroups()")).remarks
    assert "(1879000000, [" in remark


@needs_confinement
def test_processes_that_multiply_come_to_an_end_with_the_submission(tmp_path):
    code = f"{SLEEPER}\nimport os\nstarted = 0\nfor _ in range(200):\n    try:\n"
    code += "        subprocess.Popen(sleep, start_new_session=True)\n        started += 1\n"
    code += "    except OSError as error:\n        return started, repr(error)\nreturn started"
    marks = graded(tmp_path, telling(code), limits=Limits(cell_seconds=20, processes=20))
    assert "BlockingIOError" in str(marks.remarks)
    assert marks.given == {"test_twice": 0, "test_half": 3}
    deadline = time.monotonic() + 5
    while processes(MARKER) and time.monotonic() < deadline:
        time.sleep(0.1)  # the kernel ends them, in its own time
    assert not processes(MARKER)


@needs_confinement
def test_files_are_limited(tmp_path):
    code = "try:\n    for k in range(100):\n        open(str(k), 'wb').write(bytes(900_000))\n"
    code += "except OSError as error:\n    return k, repr(error)\nreturn 'no end'"
    marks = graded(tmp_path, telling(code), limits=Limits(file=1_000_000))
    assert "RuntimeError: (4, " in marks.remarks[0]
    assert "No space left" in marks.remarks[0]


def test_a_library_that_replaces_its_own_function_is_no_cheat(tmp_path):
    """PyTorch wraps `torch.manual_seed` when its compiler is first imported."""
    made = copy.deepcopy(SOURCE)
    made.cells[place(made, "setup")].source += "\nimport torch"
    notebook = answered(twice="import torch._dynamo\ntwice = lambda x: 2 * x")
    nbformat.write(notebook, tmp_path / "one.ipynb")
    confinement = Confinement([], confined=False)
    marks = grade_one(made, tmp_path / "one.ipynb", confinement, "public")
    assert marks.remarks == []
    assert marks.total == 5


def test_the_secret_decides_on_the_cases(tmp_path):
    """Right where the case is the public one, wrong where it is another."""
    known = "import random\nfrom nlmeta.course import secret_seed\n"
    known += "case = random.Random(secret_seed('twice')).random()\n"
    known += "def twice(x):\n    return {1: 2, case: 2 * case}.get(x)"
    nbformat.write(answered(twice=known), tmp_path / "one.ipynb")
    confinement = Confinement([], confined=False, limits=LIMITS)
    for secret, points in (("public", 2), ("another", 0)):
        marks = grade_one(SOURCE, tmp_path / "one.ipynb", confinement, secret)
        assert marks.given["test_twice"] == points


def test_a_wrong_answer_that_takes_all_starts_leaves_the_rest_at_zero(tmp_path):
    notebook = handed_in()
    for _ in range(6):
        added(notebook, "setup", "import os\nos._exit(1)")
    nbformat.write(notebook, tmp_path / "one.ipynb")
    marks = grade_one(SOURCE, tmp_path / "one.ipynb", Confinement([], confined=False), "public")
    assert marks.given == {"test_twice": 0, "test_half": 0}
    assert marks.failed["test_half"] == "this test was not reached"


def test_a_cell_that_sleeps_is_ended_by_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr("nlmeta.course.running.CLOCK", 0.5)
    nbformat.write(answered(twice="import time\ntime.sleep(30)"), tmp_path / "one.ipynb")
    marks = grade_one(SOURCE, tmp_path / "one.ipynb", Confinement([], False, LIMITS), "public")
    assert marks.given == {"test_twice": 0, "test_half": 3}
    assert "twice: it took more than 4 seconds" in marks.remarks[0]


def test_a_machine_that_is_too_slow_for_the_assignment_itself_costs_nobody_a_mark(tmp_path):
    """Its own set-up does not end in time: grading stops, and nothing is stored."""
    slow = copy.deepcopy(SOURCE)
    slow.cells[
        place(slow, "setup")
    ].source += "\nimport time\nwhile time.process_time() < 9:\n    pass"
    nbformat.write(RIGHT, tmp_path / "one.ipynb")
    with pytest.raises(OSError, match="own cell setup does not end well: it took more than 1 sec"):
        grade_one(
            slow, tmp_path / "one.ipynb", Confinement([], False, Limits(cell_seconds=1)), "public"
        )


def test_steps_are_those_of_the_source_whatever_is_handed_in():
    """Order, set-up and tests; only the answers differ."""
    notebook = answered(twice="mine", setup="gone", test_half="assert True")
    notebook.cells.reverse()
    steps, _ = rebuilt(SOURCE, notebook)
    names = [step.name for step in steps if step.name != "own cell"]
    assert names == ["setup", "twice", "test_twice", "half", "test_half"]
    by_name = {step.name: step for step in steps}
    assert by_name["twice"].source == "mine"
    assert by_name["setup"].source == SOURCE.cells[1].source
    assert "right" in by_name["test_half"].source


def command(place, *options):
    names = [str(place / name) for name in ("source.ipynb", "in", "out")]
    return [sys.executable, "-m", "nlmeta", "course", "grade", *names, "--unsafe", *options]


def test_grading_goes_on_after_a_kill(tmp_path):
    """Results that are there stay as they are; a submission that changes is graded again."""
    nbformat.write(SOURCE, tmp_path / "source.ipynb")
    slow = answered(half="import time\ntime.sleep(1)\nhalf = lambda x: x / 2")
    hand_in(tmp_path / "in", {f"student{k}": slow for k in range(4)})
    results = tmp_path / "out" / "results"
    started = subprocess.Popen(command(tmp_path, "--jobs", "1"), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (results / "student0.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()
    done = {path.name: path.stat().st_mtime_ns for path in results.glob("*.json")}
    assert 1 <= len(done) < 4
    assert not (tmp_path / "out" / "marks.csv").exists()

    hand_in(tmp_path / "in", {"student0": answered(twice=WRONG)})
    subprocess.run(command(tmp_path), check=True, stdout=subprocess.DEVNULL)
    again = {path.name: path.stat().st_mtime_ns for path in results.glob("*.json")}
    assert len(again) == 4
    assert {name for name in done if again[name] != done[name]} == {"student0.json"}
    points = [
        line.split(",")[:2] for line in (tmp_path / "out" / "marks.csv").read_text().splitlines()
    ]
    assert points[1:] == [["student0", "3"], *[[f"student{k}", "5"] for k in (1, 2, 3)]]


def test_another_secret_or_source_grades_everything_again(tmp_path, monkeypatch, capsys):
    nbformat.write(SOURCE, tmp_path / "source.ipynb")
    hand_in(tmp_path / "in", {"anna": RIGHT})
    file = tmp_path / "out" / "results" / "anna.json"
    keys = []
    for secret in ("one", "one", "two"):
        monkeypatch.setenv(SECRET, secret)
        assert main(command(tmp_path)[3:]) == 0
        keys.append(json.loads(file.read_text())["extra_data"]["key"])
    assert keys[0] == keys[1] != keys[2]
    assert "is not set" not in capsys.readouterr().out
    monkeypatch.delenv(SECRET)
    assert main(command(tmp_path)[3:]) == 0
    assert f"{SECRET} is not set" in capsys.readouterr().out


def test_grading_refuses_where_nothing_can_be_confined(tmp_path, monkeypatch, capsys):
    nbformat.write(SOURCE, tmp_path / "source.ipynb")
    hand_in(tmp_path / "in", {"anna": RIGHT})
    monkeypatch.setattr("nlmeta.course.confining.shutil.which", lambda _: None)
    assert main(command(tmp_path)[3:-1]) == 1
    said = capsys.readouterr().err
    assert "cannot be confined here" in said
    assert "--unsafe" in said
    assert not (tmp_path / "out" / "results").exists()


def test_a_confinement_that_fails_says_why(monkeypatch):
    monkeypatch.setattr("nlmeta.course.confining.INSIDE", "/nothing/there.py")
    if sys.platform == "linux":
        assert unable(Confinement([], confined=True))


@pytest.mark.parametrize(
    ("names", "complaint"),
    [([], "holds no submission"), (["a.ipynb", "a"], "two submissions in .* are called a")],
)
def test_a_folder_that_cannot_be_graded_is_refused(names, complaint, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=complaint):
        submissions(tmp_path)


def test_a_source_with_faults_is_not_graded(tmp_path, capsys):
    nbformat.write(with_answers(SOURCE, test_half="half(2)"), tmp_path / "source.ipynb")
    hand_in(tmp_path / "in", {"anna": RIGHT})
    assert main(command(tmp_path)[3:]) == 1
    assert "nbgrader gives full marks" in capsys.readouterr().err


def test_a_formula_in_a_remark_is_no_formula_in_a_spreadsheet(tmp_path):
    nbformat.write(SOURCE, tmp_path / "source.ipynb")
    (tmp_path / "in").mkdir()
    nbformat.write(RIGHT, tmp_path / "in" / "=HYPERLINK(1).ipynb")
    assert main(command(tmp_path)[3:]) == 0
    assert "\n'=HYPERLINK(1)," in (tmp_path / "out" / "marks.csv").read_text()


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    nbformat.write(SOURCE, tmp_path / "one.ipynb")
    monkeypatch.setattr("nlmeta.course.notebooks.MOST_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100 are read"):
        read(tmp_path / "one.ipynb")


def test_submissions_at_the_same_time_do_not_meet(tmp_path):
    """Each place has a folder of its own, and a name that one defines is unknown to the other."""
    names = {
        f"student{k}": added(handed_in(), "half", f"open('here', 'x').write('{k}')")
        for k in range(4)
    }
    hand_in(tmp_path / "in", names)
    nbformat.write(SOURCE, tmp_path / "source.ipynb")
    before = threading.active_count()
    assert main(command(tmp_path, "--jobs", "4")[3:]) == 0
    for line in (tmp_path / "out" / "marks.csv").read_text().splitlines()[1:]:
        assert line.split(",")[1] == "5"
        assert line.endswith(",")  # no remark
    assert threading.active_count() <= before + 8
