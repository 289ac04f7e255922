"""What is run of a submission: the source's cells in their order, with the student's answers.

Only answers and cells of the student's own are taken from a submission. Set-up and tests come from
the source, so nothing that is changed or deleted there changes a mark.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from nlmeta.course.notebooks import mark, role
from nlmeta.course.releasing import released

__all__ = ["Step", "rebuilt", "steps_of"]


@dataclass(frozen=True)
class Step:
    """A piece of code that is run.

    Attributes
    ----------
    name : str
        The ``grade_id`` of its cell, or the words "own cell" for a cell of the student's own.
    kind : {"given", "answer", "test"}
        ``"given"`` and ``"test"`` come from the source, ``"answer"`` from the student.
    source : str
        The code.
    """

    name: str
    kind: str
    source: str


def steps_of(notebook: Any) -> list[Step]:
    """The code of a notebook as it stands, for a source or for a student's own check."""
    kinds = {"written": "answer"}
    return [
        Step(mark(cell).get("grade_id", "own cell"), kinds.get(role(cell), role(cell)), cell.source)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def rebuilt(source: Any, submission: Any) -> tuple[list[Step], list[str]]:
    """Put the answers of a submission into the source.

    A cell of the student's own runs after the cell that it follows in the submission. If an answer
    cell is there twice, as after a copy, both run in their order, as they would in Jupyter.

    Parameters
    ----------
    source, submission : NotebookNode
        The assignment's source, and what was handed in.

    Returns
    -------
    list of Step and list of str
        The cells to run, and remarks on what is missing, doubled or changed. The list of steps is
        empty if the submission has no cell of this assignment.
    """
    student_version = {mark(c)["grade_id"]: c for c in released(source).cells if mark(c)}
    given_texts = {cell.source.strip() for cell in student_version.values()}
    given_texts |= {cell.source.strip() for cell in released(source).cells}
    answers: dict[str, list[Any]] = defaultdict(list)
    own: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, str] = {}
    after = ""
    for cell in submission.cells:
        name = mark(cell).get("grade_id", "")
        if name in student_version:
            after = name
            seen[name] = cell.source
            if role(student_version[name]) in ("answer", "written"):
                answers[name].append(cell)
        elif cell.cell_type == "code" and cell.source.strip() not in given_texts:
            own[after].append(cell.source)
    if not seen:
        return [], ["no cell of this assignment is in the notebook: is it the right one?"]

    remarks = []
    steps = [Step("own cell", "answer", text) for text in own[""]]
    for cell in source.cells:
        name, kind = mark(cell).get("grade_id", ""), role(cell)
        if kind in ("answer", "written"):
            remarks += _remarks_on(name, kind, answers[name], student_version[name])
            if cell.cell_type == "code":
                steps += [Step(name, "answer", answer.source) for answer in answers[name]]
        elif cell.cell_type == "code":
            if kind == "test":
                remarks += _remarks_on_test(name, seen, student_version[name])
            steps.append(Step(name or "own cell", kind, cell.source))
        steps += [Step("own cell", "answer", text) for text in (own[name] if name else [])]
    return steps, remarks


def _remarks_on(name: str, kind: str, answers: list[Any], handed_out: Any) -> list[str]:
    if not answers:
        return [f"answer cell {name} is missing"]
    if len(answers) > 1:
        read = "run in their order" if handed_out.cell_type == "code" else "for the marker to read"
        return [f"answer cell {name} is there {len(answers)} times; all were {read}"]
    if answers[0].source.strip() == handed_out.source.strip():
        return [f"{name} is not answered"]
    if answers[0].cell_type != handed_out.cell_type and handed_out.cell_type == "code":
        return [f"answer cell {name} was made a text; its text was run as code"]
    return []


def _remarks_on_test(name: str, seen: dict[str, str], handed_out: Any) -> list[str]:
    if name not in seen:
        return [f"test {name} is missing; the original was run"]
    if seen[name].strip() != handed_out.source.strip():
        return [f"test {name} was changed; the original was run"]
    return []
