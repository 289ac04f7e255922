"""How long a reader takes for each chapter and assignment, at a stated rate.

    python book/_tools/minutes.py    # prints the table of book/syllabus.md

The rate is a guess, 200 words, 20 lines of code and 12 printed numbers a minute. What is folded on
the page, exercises and references are not counted.
"""

import math
import re
from pathlib import Path

import nbformat
from chapters import ROOT, notebooks, numbers, read, tags

from nlmeta.course.releasing import released

WORDS, LINES, NUMBERS = 200, 20, 12  # a minute
FOLDED = {"hide-cell", "hide-input", "setup", "claims"}
SHOWN = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?")


def counts(cells: list[nbformat.NotebookNode]) -> tuple[int, int, int]:
    """Words, lines of code and printed numbers that a reader of these cells sees.

    Parameters
    ----------
    cells : list of NotebookNode
        Cells of a notebook. Those from the heading "Exercises" on are left out.

    Returns
    -------
    tuple of int
        Words, lines of code, numbers.
    """
    words = lines = printed = 0
    for cell in cells:
        if cell.cell_type == "markdown":
            text, exercises, _ = cell.source.partition("## Exercises\n")
            text = re.sub(r"<!--.*?-->|\]\([^)]*\)|^\[!.*$", " ", text, flags=re.M | re.S)
            words += sum(any(map(str.isalnum, word)) for word in text.split())
            if exercises:
                break
            continue
        if not tags(cell) & FOLDED:
            lines += sum(bool(line.strip()) for line in cell.source.splitlines())
        if tags(cell) & {"hide-output", "hide-cell"}:
            continue
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            if not text.startswith("<Figure"):
                printed += len(SHOWN.findall(text))
    return words, lines, printed


def minutes(words: int, lines: int, printed: int) -> int:
    """The minutes at the rate of this file, rounded up to five."""
    return 5 * math.ceil((words / WORDS + lines / LINES + printed / NUMBERS) / 5)


def assignments(root: Path = ROOT) -> list[Path]:
    """The sources of the assignments."""
    return sorted((root / "book/assignments/source").glob("*.ipynb"))


def table(root: Path = ROOT) -> list[str]:
    """The rows of the page, as Markdown."""
    rows = [
        "| chapter or assignment | words | lines | numbers | minutes |",
        "|---|---|---|---|---|",
    ]
    for path in notebooks(root):
        found = counts(read(path).cells)
        name = f"{numbers(root)[path.stem]}. `{path.stem}`"
        rows.append(f"| {name} | {' | '.join(f'{n:,}' for n in found)} | {minutes(*found)} |")
    for path in assignments(root):
        found = counts(released(read(path)).cells)
        name = f"assignment `{path.stem}`, reading it"
        rows.append(f"| {name} | {' | '.join(f'{n:,}' for n in found)} | {minutes(*found)} |")
    return rows


if __name__ == "__main__":
    print("\n".join(table()))
