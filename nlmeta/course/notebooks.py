"""Notebooks of a course: nbgrader's cell metadata, and the regions that students never see."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["MOST_BYTES", "drop_region", "mark", "needed", "one_line", "points", "read", "role"]

# A notebook of this size holds pictures or a flood; parsing it takes memory that grading lacks.
MOST_BYTES = 20_000_000


def needed(name: str) -> Any:
    """Import a library of the extra ``course``.

    Raises
    ------
    ValueError
        It is not installed. The message says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is missing; get it by: pip install nlmeta[course]") from error


def read(path: Path) -> Any:
    """Read a notebook, whoever wrote it.

    Parameters
    ----------
    path : Path
        A regular file; links are refused, since they lead to somebody else's file.

    Returns
    -------
    NotebookNode
        The notebook in format 4. Its cells have a source and metadata, and nothing else is certain.

    Raises
    ------
    ValueError
        The file is empty, too large, or no notebook. The message says which.
    """
    nbformat = needed("nbformat")
    if path.is_symlink() or not path.is_file():
        raise ValueError("this is no regular file")
    size = path.stat().st_size
    if size == 0:
        raise ValueError("the file is empty")
    if size > MOST_BYTES:
        raise ValueError(f"the file has {size:,} bytes; at most {MOST_BYTES:,} are read")
    try:
        # Without nbformat's validation, whose warnings would stand between the lines of progress.
        notebook = nbformat.convert(nbformat.reader.reads(path.read_text("utf-8")), 4)
        texts = [(cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells]
    except Exception as error:  # damaged in whatever way: nbformat raises many kinds
        raise ValueError(f"the file is no notebook ({type(error).__name__})") from error
    if not all(isinstance(text, str) for _, text, _ in texts):
        raise ValueError("the file is no notebook (a cell has no text)")
    return notebook


def mark(cell: Any) -> dict[str, Any]:
    """nbgrader's metadata of a cell; empty if there is none or if it is damaged."""
    found = cell.metadata.get("nbgrader", {})
    good = isinstance(found, dict) and isinstance(found.get("grade_id"), str)
    return found if good else {}


def role(cell: Any) -> str:
    """What a cell of an assignment is for.

    Returns
    -------
    {"answer", "written", "test", "given"}
        ``"answer"`` is code that a student writes, ``"written"`` is marked by a person, ``"test"``
        gives points, and ``"given"`` is all else: texts, imports, set-up.
    """
    found = mark(cell)
    if found.get("solution"):
        return "written" if found.get("grade") else "answer"
    return "test" if found.get("grade") else "given"


def points(notebook: Any, kind: str = "test") -> dict[str, float]:
    """The points of the cells of one role, by their ``grade_id``, in the notebook's order."""
    cells = [mark(cell) for cell in notebook.cells if role(cell) == kind]
    return {cell["grade_id"]: float(cell.get("points") or 0) for cell in cells}


def drop_region(source: str, name: str, stub: str = "") -> tuple[str, list[str]]:
    """Replace each region between ``### BEGIN name`` and ``### END name``.

    Parameters
    ----------
    source : str
        The text of a cell.
    name : {"SOLUTION", "HIDDEN TESTS"}
        The name of the regions.
    stub : str
        Lines that replace each region, indented as its first line. Default: none.

    Returns
    -------
    tuple of str and list of str
        The text without the regions, and the lines that were in them.

    Raises
    ------
    ValueError
        A region begins twice, ends without a beginning, or has no end.
    """
    kept: list[str] = []
    dropped: list[str] = []
    inside = False
    for line in source.split("\n"):
        begins, ends = f"BEGIN {name}" in line, f"END {name}" in line
        if begins == inside and (begins or ends) or ends and not inside:
            raise ValueError(f"### BEGIN {name} and ### END {name} do not alternate")
        if begins:
            indent = re.match(r"\s*", line)[0]  # type: ignore[index]  # it always matches
            kept += [indent + text for text in stub.split("\n")] if stub else []
        elif inside and not ends:
            dropped.append(line)
        elif not ends:
            kept.append(line)
        inside = begins or inside and not ends
    if inside:
        raise ValueError(f"### BEGIN {name} has no ### END {name}")
    return "\n".join(kept), dropped


def one_line(text: str, most: int = 300) -> str:
    """A text in one line of at most `most` characters, for a remark."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."
