"""The assignments: what a solution, an empty notebook and wrong answers get.

Wrong answers lie in `course/NAME.toml`, as replacements of answer cells.
"""

import ast
import random
import re
import tomllib
import warnings
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from small_course import with_answers

import nlmeta
from nlmeta.course import SECRET
from nlmeta.course.confining import Confinement
from nlmeta.course.grading import grade_one
from nlmeta.course.notebooks import drop_region, mark, points, read, role
from nlmeta.course.releasing import complaints, released, solved

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "book/assignments/source").glob("*.ipynb"))
WRONG = [
    pytest.param(path, submission, id=f"{path.stem}: {submission['name']}")
    for path in SOURCES
    for submission in tomllib.loads((ROOT / f"tests/course/{path.stem}.toml").read_text())[
        "submission"
    ]
]
# Points by tests. A person marks most of the project on human noise.
BY_TESTS = dict.fromkeys(("audit", "hypergradient", "reweight_mlc", "mslg"), 20)
BY_TESTS |= dict.fromkeys(("loss_correction", "mlnt", "epoch_rules"), 20) | {"human_noise": 8}
names = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


@cache
def source(path):
    return read(path)


def marks_of(path, notebook, folder, secret="public"):
    nbformat.write(notebook, folder / "one.ipynb")
    confinement = Confinement([], confined=False)
    return grade_one(source(path), folder / "one.ipynb", confinement, secret)


def test_there_are_assignments_each_with_four_wrong_submissions():
    stems = [path.stem for path in SOURCES]
    assert set(stems) == set(BY_TESTS)
    for stem in stems:
        assert sum(case.values[0].stem == stem for case in WRONG) >= 4


@names
def test_the_source_can_be_released(path):
    assert complaints(source(path)) == []
    assert sum(points(source(path)).values()) == BY_TESTS[path.stem]
    nbformat.validate(source(path))


@names
def test_the_solution_gets_all_points(path, tmp_path):
    """By a secret that is not the one of the other tests."""
    marks = marks_of(path, solved(source(path)), tmp_path, "another")
    assert marks.failed == {}
    assert marks.remarks == []


@names
def test_the_empty_notebook_gets_nothing_and_its_secrets_are_gone(path, tmp_path):
    notebook = released(source(path))
    lines = {line.strip() for cell in notebook.cells for line in cell.source.splitlines()}
    assert not any("BEGIN" in line or "END" in line for line in lines)
    shown, hidden = set(), set()
    for cell in source(path).cells:
        region = {"answer": "SOLUTION", "test": "HIDDEN TESTS"}.get(role(cell), "SOLUTION")
        kept, dropped = drop_region(cell.source, region)
        shown |= {line.strip() for line in kept.splitlines()}
        hidden |= {line.strip() for line in dropped if len(line.strip()) > 30}
    assert len(hidden - shown) > 2 * BY_TESTS[path.stem]
    assert not (hidden - shown) & lines
    marks = marks_of(path, notebook, tmp_path)
    assert marks.total == 0
    assert set(marks.failed) == set(points(source(path)))


@names
def test_no_mark_hangs_on_the_state_of_the_random_generators(path):
    """A test that draws seeds what it draws from: the same answers get the same marks again."""

    def states():
        _, keys, place, *_ = np.random.get_state()  # noqa: NPY002 - what a notebook may use
        return torch.get_rng_state().tolist(), random.getstate(), (keys.tolist(), place)

    space, tests = {"__name__": "__main__"}, 0
    with warnings.catch_warnings():
        for cell in solved(source(path)).cells:
            if cell.cell_type != "code":
                continue
            if role(cell) != "test":
                exec(cell.source, space)
                continue
            tests += 1
            pairs = []
            for seed in (1, 2):
                torch.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                before = states()
                exec(cell.source, space)
                pairs.append(zip(before, states(), strict=True))
            # Of each generator: not drawn from, or seeded first, so that both ends are the same.
            for (start, end), (other_start, other_end) in zip(*pairs, strict=True):
                untouched = (start, other_start) == (end, other_end)
                assert untouched or end == other_end, cell.metadata.nbgrader.grade_id
    assert tests >= 3


@pytest.mark.parametrize(("path", "submission"), WRONG)
def test_a_wrong_solution_gets_what_it_deserves_and_is_told_why(path, submission, tmp_path):
    full = points(source(path))
    notebook = with_answers(solved(source(path)), **submission["answers"])
    marks = marks_of(path, notebook, tmp_path)
    less = {name: given for name, given in marks.given.items() if given != full[name]}
    assert less == pytest.approx(submission["points"], abs=0.01), marks.failed
    for name, words in submission.get("says", {}).items():
        assert any(word in marks.failed[name] for word in words.split("|")), marks.failed[name]


@names
def test_there_is_something_to_learn_to_read_to_mark_and_to_think_about(path):
    texts = "\n".join(c.source for c in source(path).cells if c.cell_type == "markdown")
    for words in ("You will learn", "Read first", "Warm-up", "Rubric", "Open question", "Time:"):
        assert words in texts, words
    total = sum(points(source(path)).values()), sum(points(source(path), "written").values())
    said = re.search(r"\*\*Points:\*\* (\d+) by tests, (\d+) for written answers", texts)
    assert tuple(map(float, said.groups())) == total
    by_title = re.findall(r"^### .*\((\d+) points\)$", texts, re.MULTILINE)
    assert sum(map(int, by_title)) == sum(total)


@names
def test_the_page_for_lecturers_has_its_line(path):
    page = (ROOT / "book/teaching.md").read_text("utf-8")
    (line,) = re.findall(rf"^\| `{path.stem}` \| \[.*", page, re.MULTILINE)
    by_tests, by_hand = (
        sum(points(source(path)).values()),
        sum(points(source(path), "written").values()),
    )
    assert f"| {by_tests:g} + {by_hand:g} |" in line


@names
def test_a_warning_in_an_answer_costs_no_points_in_nbgrader_either(path):
    """NumPy warns of the mean of nothing on stderr, and nbgrader 0.9.6 then gives the test 0."""
    set_up = next(cell.source for cell in source(path).cells if cell.cell_type == "code")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.warn("seen before the set-up", RuntimeWarning, stacklevel=1)
        exec(set_up, {})
        warnings.warn("of an answer", RuntimeWarning, stacklevel=1)
    assert [str(one.message) for one in said] == ["seen before the set-up"]


@names
def test_hidden_tests_draw_from_the_secret(path):
    hidden = [
        "\n".join(drop_region(cell.source, "HIDDEN TESTS")[1])
        for cell in source(path).cells
        if role(cell) == "test"
    ]
    assert sum("secret_seed(" in text for text in hidden) >= 3
    assert SECRET not in nbformat.writes(source(path))


@names
def test_a_test_defines_nothing_that_an_answer_needs(path):
    """An answer that ends the process runs again, and tests that are done do not."""
    defined, used = set(), set()
    for cell in source(path).cells:
        if cell.cell_type == "code":
            tree = ast.parse(cell.source)
            stored = {
                n.id
                for n in ast.walk(tree)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            stored |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
            loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            if role(cell) == "test":
                assert not (loaded - stored) & (defined - used), mark(cell)["grade_id"]
                defined |= stored
            else:
                used |= stored


def test_the_project_takes_labels_of_people_where_they_are(monkeypatch):
    """The cell that gets the data, with a small copy in the place of CIFAR-10N."""
    names = {}
    path = ROOT / "book/assignments/source/human_noise.ipynb"
    setup = next(
        cell.source for cell in source(path).cells if mark(cell).get("grade_id") == "setup"
    )
    exec(setup, names)
    monkeypatch.setattr(nlmeta.data, "at_hand", lambda name: "there is no such file")
    imagined = names["people"](0)
    assert imagined["name"] == "digits, imagined people"
    wrong = imagined["votes"] != imagined["true"][:, None]
    assert 0.1 < wrong.double().mean() < 0.25
    assert (
        wrong.all(1).double().mean() > 5 * wrong.double().mean() ** 3
    )  # errors follow the picture

    y = torch.arange(40) % 10
    images = (torch.arange(40 * 3072) % 256).reshape(40, 3, 32, 32).to(torch.uint8)
    votes = {f"random{k}": (y + k) % 10 for k in (1, 2, 3)}
    parts = SimpleNamespace(x=images, y=y, annotations=votes), SimpleNamespace(x=images, y=y)
    reader = SimpleNamespace(reader=lambda: SimpleNamespace(train=parts[0], test=parts[1]))
    monkeypatch.setattr(nlmeta.data, "at_hand", lambda name: None)
    monkeypatch.setattr(nlmeta.data, "DATASETS", {"cifar10n": reader})
    real = names["people"](0)
    assert real["name"] == "CIFAR-10N"
    assert real["x"].shape == (40, 192)
    assert torch.equal(real["votes"], (real["true"][:, None] + torch.arange(1, 4)) % 10)
    assert sorted(real["true"].tolist()) == sorted(y.tolist())
    assert real["test_x"].shape == (40, 192)
