"""From an assignment's source to the notebook for students, and what is wrong with a source."""

import ast
import copy
import re
from typing import Any

from nlmeta.course.notebooks import drop_region, mark, points, role

__all__ = ["CODE_STUB", "TEXT_STUB", "complaints", "released", "solved"]

CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
FIELDS = {"grade", "solution", "locked", "grade_id", "schema_version", "cell_type", "task"}
METADATA = {"kernelspec", "language_info"}
# nbgrader gives no point to a test that writes to stderr, as these do.
ON_STDERR = re.compile(r"\b(?:tqdm|warnings\.warn|sys\.stderr|logging)\b|progress=True")


def released(source: Any) -> Any:
    """The notebook for students: solutions, hidden tests and outputs are gone.

    Parameters
    ----------
    source : NotebookNode
        An assignment in which `complaints` finds nothing.

    Returns
    -------
    NotebookNode
        A new notebook. Its metadata keep the names of the cells that are handed in, by which a
        student's own check finds out that one is missing.
    """
    notebook = copy.deepcopy(source)
    for cell in notebook.cells:
        kind = role(cell)
        if kind in ("answer", "written"):
            stub = CODE_STUB if cell.cell_type == "code" else TEXT_STUB
            text, dropped = drop_region(cell.source, "SOLUTION", stub)
            cell.source = text if dropped else stub
        if kind == "test":
            cell.source = drop_region(cell.source, "HIDDEN TESTS")[0].strip("\n")
        if mark(cell).get("locked"):
            cell.metadata.update(editable=False, deletable=False)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    named = [mark(cell)["grade_id"] for cell in notebook.cells if mark(cell)]
    kept = {key: value for key, value in source.metadata.items() if key in METADATA}
    notebook.metadata = type(source.metadata)({**kept, "nlmeta_course": {"cells": named}})
    return notebook


def solved(source: Any) -> Any:
    """What the best student would hand in: the notebook for students with the source's answers."""
    notebook = released(source)
    for cell, original in zip(notebook.cells, source.cells, strict=True):
        if role(cell) in ("answer", "written"):
            cell.source = original.source
    return notebook


def complaints(source: Any) -> list[str]:
    """What is wrong with an assignment's source, as sentences that name the cell.

    Beside damaged metadata these are the things that graders read in a way that was not meant:
    nbgrader 0.9.6 gives full marks to a partial score that is no plain number, and none to a test
    that writes to stderr.

    Parameters
    ----------
    source : NotebookNode
        The assignment.

    Returns
    -------
    list of str
        The complaints; empty if the source can be released.
    """
    found = []
    names: set[str] = set()
    for place, cell in enumerate(source.cells, start=1):
        marked = mark(cell)
        where = marked.get("grade_id", f"number {place}")
        if "nbgrader" in cell.metadata and not marked:
            found.append("the nbgrader metadata have no grade_id")
        problems = _of_metadata(cell, marked) if marked else []
        if marked and where in names:
            problems.append("the grade_id stands in two cells")
        names.add(where)
        if cell.cell_type == "code":
            problems += _of_code(cell, role(cell), bool(marked))
        found += [f"cell {where}: {problem}" for problem in problems]
    if not points(source) and not found:
        found.append("no cell is a test with points")
    return found


def _of_metadata(cell: Any, marked: dict[str, Any]) -> list[str]:
    missing = sorted(FIELDS - marked.keys())
    if missing:
        return [f"the nbgrader metadata lack {', '.join(missing)}"]
    found = []
    if not re.fullmatch(r"[A-Za-z0-9_-]+", marked["grade_id"]):
        found.append("a grade_id has letters, digits, _ and - only")
    if marked["schema_version"] != 3:
        found.append(f"schema_version is {marked['schema_version']}; 3 is understood")
    if marked["cell_type"] != cell.cell_type:
        found.append(f"the metadata say {marked['cell_type']}, the cell is {cell.cell_type}")
    given = marked.get("points")
    if marked["grade"] and not (isinstance(given, int | float) and given > 0):
        found.append(f"points are {given}; a graded cell needs a positive number")
    if cell.cell_type == "markdown" and marked["grade"] != marked["solution"]:
        found.append("a text is graded and a solution, or neither")
    return found


def _of_code(cell: Any, kind: str, marked: bool) -> list[str]:
    found = []
    if cell.outputs or cell.execution_count is not None:
        found.append("outputs are stored; a source has none")
    if not marked:
        found.append("code without nbgrader metadata: what a student changes there is lost")
    hidden = ("SOLUTION", {"answer", "written"}), ("HIDDEN TESTS", {"test"})
    for name, allowed in hidden:
        try:
            dropped = drop_region(cell.source, name)[1]
        except ValueError as error:
            return [*found, str(error)]
        if dropped and kind not in allowed:
            found.append(f"a region {name} is only removed from cells with the role {allowed}")
    return found + (_of_test(cell.source) if kind == "test" else [])


def _of_test(source: str) -> list[str]:
    """A test can fail, says why, and shows its score in a way that all graders read."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        return [f"a test is plain Python ({error.msg})"]
    found = []
    last = body[-1] if body else None
    score = isinstance(last, ast.Expr)
    if score and not _is_number(last.value):  # type: ignore[union-attr]
        found.append("the last line has a value that is not float(...): nbgrader gives full marks")
    asserts = [node for body_part in body for node in ast.walk(body_part)]
    asserts = [node for node in asserts if isinstance(node, ast.Assert)]
    if not asserts and not score:
        found.append("the test asserts nothing and shows no score, so it cannot fail")
    if any(node.msg is None for node in asserts):  # type: ignore[attr-defined]
        found.append("an assert has no message, so a student learns nothing from it")
    if ON_STDERR.search(source):
        found.append("the test may write to stderr, for which nbgrader takes all points")
    return found


def _is_number(node: ast.expr) -> bool:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return called and node.func.id == "float"  # type: ignore[attr-defined]
