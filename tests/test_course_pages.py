"""The pages for lecturers and students: minutes by the stated rate, and what they link."""

import re

import nbformat
import pytest
from chapters import notebooks, read
from minutes import assignments, counts, minutes, table

from nlmeta.course.releasing import released


def code(text, *, tags=(), output=None):
    outputs = [nbformat.v4.new_output("stream", text=output)] if output else []
    return nbformat.v4.new_code_cell(text, metadata={"tags": list(tags)}, outputs=outputs)


def test_what_a_reader_sees_is_counted_and_what_is_folded_is_not():
    cells = [
        nbformat.v4.new_markdown_cell("# A title\n\nFour [words](here.ipynb) more - <!-- no -->"),
        code("a = 1\n\nb = 2", output="a 1.5, b -2 and 1,000 of x3\n"),
        code("import torch", tags=["hide-cell"]),
        nbformat.v4.new_markdown_cell("One.\n\n## Exercises\n\nNever read."),
        code("c = 3", output="3"),
    ]
    assert counts(cells) == (2 + 3 + 1, 2, 3)


def test_minutes_are_those_of_the_stated_rate():
    assert minutes(200, 20, 12) == 5  # three minutes, rounded up
    assert minutes(2000, 100, 60) == 20
    assert minutes(2001, 100, 60) == 25


def test_the_page_has_the_minutes_of_each_chapter_and_assignment(root):
    """Within a tenth or five minutes, so that a changed sentence does not ask for a new table."""
    page = (root / "book/syllabus.md").read_text("utf-8")
    rows = re.findall(r"^\| .*?`(\w+)`(, reading it)? \|.* (\d+) \|$", page, re.MULTILINE)
    said = {(name, bool(reading)): int(number) for name, reading, number in rows}
    wanted = {(path.stem, False): minutes(*counts(read(path).cells)) for path in notebooks(root)}
    for path in assignments(root):
        wanted[path.stem, True] = minutes(*counts(released(read(path)).cells))
    assert said == pytest.approx(wanted, rel=0.1, abs=5)
    assert len(table(root)) == 2 + len(said)


def test_a_chapter_names_the_minutes_that_the_page_for_lecturers_has(root):
    """One rate for both; a reader who is told 25 and needs 45 thinks that the fault is theirs."""
    for path in notebooks(root):
        cells = read(path).cells
        said = re.findall(r"\*\*Time and hardware\*\*: (\d+) minutes to read", cells[0].source)
        assert list(map(int, said)) == pytest.approx([minutes(*counts(cells))], abs=5), path.stem


def test_each_assignment_has_its_week_and_its_mistakes(root):
    pages = {
        name: (root / f"book/{name}.md").read_text("utf-8") for name in ("syllabus", "teaching")
    }
    weeks = re.findall(r"^\| \d \|.*", pages["syllabus"], re.MULTILINE)
    mistakes = pages["teaching"].partition("## Common mistakes")[2].partition("\n## ")[0]
    for path in assignments(root):
        assert any(f"`{path.stem}`" in week for week in weeks), path.stem
        assert f"| `{path.stem}` |" in mistakes, path.stem


def test_sections_that_are_shown_live_exist(root):
    """A heading in quotes is one of the chapter in its row."""
    page = (root / "book/syllabus.md").read_text("utf-8")
    live = page.partition("## What to show live")[2].partition("\n## ")[0]
    titles = {
        line.strip("# ")
        for path in notebooks(root)
        for cell in read(path).cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("##")
    }
    shown = [
        name
        for row in re.findall(r"^\| (?!chapter|---).*", live, re.MULTILINE)
        for name in re.findall(r'"(.+?)"', row.split(" | ")[1])
    ]
    assert len(shown) >= 14
    assert [name for name in shown if name not in titles] == []
