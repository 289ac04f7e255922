"""A small assignment, and submissions that are bad in every way that graders have to bear."""

import copy

import nbformat
from nbformat import NotebookNode

from nlmeta.course.releasing import released

SETUP = """
import math

def close(a, b):
    return math.fabs(a - b) < 1e-9
"""
TWICE = """
def twice(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
"""
TEST_TWICE = """
assert close(twice(1), 2), "twice(1) is 2"
### BEGIN HIDDEN TESTS
import random
from nlmeta.course import secret_seed
x = random.Random(secret_seed("twice")).random()
assert close(twice(x), 2 * x), "a fraction has a double too"
### END HIDDEN TESTS
"""
HALF = """
def half(x):
    ### BEGIN SOLUTION
    return x / 2
    ### END SOLUTION
"""
TEST_HALF = """
right = [close(half(k), k / 2) for k in (1, 2, 3)]
print("right for 1, 2, wrong for 3" if right == [True, True, False] else "")
float(sum(right))
"""


def cell(kind, name, text, **metadata):
    """A cell with nbgrader's metadata."""
    new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    made = new(text.strip("\n"), id=name)
    made.metadata["nbgrader"] = {
        "schema_version": 3,
        "grade_id": name,
        "cell_type": kind,
        "grade": "points" in metadata,
        "solution": False,
        "locked": not metadata.get("solution", False),
        "task": False,
        **metadata,
    }
    return made


def assignment() -> NotebookNode:
    """Two functions to write, of 2 and 3 points, the second in parts; and a reason, of 4."""
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Twice and half", id="title"),
            cell("code", "setup", SETUP),
            cell("code", "twice", TWICE, solution=True),
            cell("code", "test_twice", TEST_TWICE, points=2),
            cell("code", "half", HALF, solution=True),
            cell("code", "test_half", TEST_HALF, points=3),
            cell("markdown", "why", "Because 2 is even.", points=4, solution=True),
        ]
    )


def place(notebook: NotebookNode, name: str) -> int:
    """The place of the cell with a name."""
    names = [c.metadata.get("nbgrader", {}).get("grade_id") for c in notebook.cells]
    return names.index(name)


def with_answers(source: NotebookNode, **answers: str) -> NotebookNode:
    """A copy with some cells replaced, by their names."""
    made = copy.deepcopy(source)
    for name, text in answers.items():
        made.cells[place(made, name)].source = text
    return made


def handed_in() -> NotebookNode:
    """A right submission: the student version with answers."""
    answers = {"twice": "def twice(x):\n    return x + x", "half": "half = lambda x: 0.5 * x"}
    return with_answers(released(assignment()), **answers, why="Because it is even.")


def without(source: NotebookNode, *names: str) -> NotebookNode:
    """A copy without some cells."""
    made = copy.deepcopy(source)
    for name in names:
        del made.cells[place(made, name)]
    return made
