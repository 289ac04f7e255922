"""Citations of chapters: a link on the page, and nothing odd to read in a notebook."""

import re

import chapters
import pytest

pytest.importorskip("sphinx")
citations = pytest.importorskip("citations")


def test_a_comment_becomes_a_citation_and_the_words_stay():
    told = "of EMLC<!-- cite: taraday2023emlc -->, and of two <!-- cite: a_1, b2 -->."
    assert citations.linked(told) == (
        "of EMLC {cite:p}`taraday2023emlc`, and of two  {cite:p}`a_1, b2`."
    )
    assert citations.linked("<!-- another comment -->") == "<!-- another comment -->"


def test_no_notebook_holds_a_role_and_each_key_is_in_the_bibliography(root):
    """A role reads as raw markup wherever a notebook is opened but in this book."""
    entries = set(re.findall(r"^@\w+\{(\w+),", (root / "book/references.bib").read_text(), re.M))
    used = set()
    for path in chapters.notebooks(root):
        text = "\n".join(c.source for c in chapters.read(path).cells if c.cell_type == "markdown")
        assert "{cite" not in text, path.name
        # A comment that opens a line would end the paragraph.
        assert not re.search(r"^\s*<!-- cite", text, re.M), path.name
        for keys in citations.COMMENT.findall(text):
            used |= {key.strip() for key in keys.split(",")}
    assert len(used) > 30
    assert used <= entries
