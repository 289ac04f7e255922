"""`make book`, on a book of two short chapters."""

import os
import subprocess
import sys

import chapters
import make_book
import nbformat
import pytest

CONFIG = """
title: Two chapters
only_build_toc_files: true
execute: {execute_notebooks: force}
"""
TOC = """
format: jb-book
root: book/index
parts:
  - {caption: Both, chapters: [{file: book/first}, {file: book/second}]}
  - {caption: Reference, chapters: [{file: book/status}]}
"""
STATUS = "# Status\n\n```{nb-exec-table}\n```\n"


def chapter(path, title, code):
    """A chapter of one cell, whose stored output is an old one."""
    cells = [nbformat.v4.new_markdown_cell(f"# {title}"), nbformat.v4.new_code_cell(code)]
    cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="an old output\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def small_book(tmp_path):
    """The sources of the book: its first chapter prints 42, its second is up to the test."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "book/index.md").write_text("# Two chapters\n")
    (tmp_path / "book/status.md").write_text(STATUS)
    chapter(tmp_path / "book/first.ipynb", "1. Counting", "print(6 * 7)")
    return tmp_path


def test_the_book_shows_what_the_chapters_print_now_and_how_they_ran(small_book):
    """The repository's own files stay as they are; each chapter has an empty directory."""
    count = "import os\nprint(len(os.listdir()), 'files here')"
    chapter(small_book / "book/second.ipynb", "2. Looking", count)
    before = (small_book / "book/first.ipynb").read_bytes()
    assert make_book.build(small_book) == 0
    pages = small_book / "_build/html/book"
    assert "42" in (pages / "first.html").read_text()
    assert "an old output" not in (pages / "first.html").read_text()
    assert "0 files here" in (pages / "second.html").read_text()
    assert (small_book / "book/first.ipynb").read_bytes() == before
    status = (pages / "status.html").read_text()
    for said in ("1. Counting", "2. Looking", "every cell ran", "torch 2.", "processors"):
        assert said in status
    assert 'href="second.html"' in status


def test_a_failing_cell_makes_no_book_and_the_other_chapters_still_run(small_book, capfd):
    """All that failed is named at the end, with its error."""
    chapter(small_book / "book/second.ipynb", "2. Failing", "raise ValueError('on purpose')")
    assert make_book.build(small_book) == 1
    said = capfd.readouterr()
    assert "first: ran" in said.out
    assert "second: FAILED" in said.out
    assert "on purpose" in said.err
    assert "a cell failed in: second" in said.err
    assert not (small_book / "_build/html").exists()


def test_the_page_must_have_a_place_for_the_table(tmp_path):
    """A table that nobody sees would say that all is well."""
    (tmp_path / "status.md").write_text("# Status\n")
    with pytest.raises(ValueError, match=r"status\.md must have one empty `nb-exec-table`"):
        make_book.write_status(tmp_path / "status.md", [], 0.0)


def test_the_copy_of_this_book_runs_nothing(root, tmp_path):
    """So that `jupyter-book` shows the outputs that are in it."""
    make_book.copy_of_sources(root, tmp_path)
    assert "execute_notebooks: 'off'" in (tmp_path / "_config.yml").read_text("utf-8")
    assert chapters.numbers(tmp_path) == chapters.numbers(root)
    assert make_book.TABLE.search((tmp_path / "book/status.md").read_text("utf-8"))


def test_the_commands_name_each_other(root):
    """`make book` is the tool."""
    shown = subprocess.run(
        ["make", "--dry-run", "book"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert "book/_tools/make_book.py" in shown.stdout
