"""The questions with choices: what the bank may hold, where they stand, and that they answer."""

import re
from collections import Counter
from itertools import accumulate
from types import SimpleNamespace

import chapters
import pytest

pytest.importorskip("sphinx")
questions = pytest.importorskip("questions")
from docutils import nodes  # noqa: E402

SOUND = {
    "chapter": "noise",
    "section": "Six labels, by hand",
    "ask": "What does row $i$ hold?",
    "right": "probabilities",
    "reply": "They sum to one.",
    "wrong": [["counts", "Divide them first."], ["labels", "They are drawn from it."]],
}


@pytest.fixture(scope="module")
def bank(root):
    return questions.read(root)


LOOKING_BACK = ("Summary", "Exercises", "References", "How this differs", "What this", "Verdict")


def headings(path):
    """Each heading of a chapter as Markdown, and the one of its section; without the title."""
    cells = (cell.source for cell in chapters.read(path).cells if cell.cell_type == "markdown")
    lines = [line for text in cells for line in text.splitlines() if line.startswith("##")]
    sections = accumulate(lines, lambda now, line: line if line.startswith("## ") else now)
    return {
        line.lstrip("# "): section.lstrip("# ")
        for line, section in zip(lines, sections, strict=True)
    }


def test_each_question_belongs_to_a_section_of_its_chapter(root, bank):
    there = {path.stem: headings(path) for path in chapters.notebooks(root)}
    assert len(bank) > 300
    lost = [asked.ask for asked in bank if asked.section not in there.get(asked.chapter, {})]
    assert lost == []


def test_each_section_that_teaches_has_two_questions(root, bank):
    """Sections that look back, list or check are left out."""
    few = []
    for path in chapters.notebooks(root):
        section_of = headings(path)
        asked = Counter(section_of[one.section] for one in bank if one.chapter == path.stem)
        teach = {one for one in section_of.values() if not one.startswith(LOOKING_BACK)}
        few += [f"{path.stem}: {one} ({asked[one]})" for one in teach if asked[one] < 2]
    assert few == []


def test_the_place_of_the_right_answer_tells_nothing(bank):
    """No place among the first three has more than two thirds of them, or less than a tenth."""
    places = [[choice.right for choice in asked.choices].index(True) for asked in bank]
    for place in range(3):
        assert 0.1 < places.count(place) / len(places) < 0.67


def test_names_come_from_the_words_and_differ(bank):
    names = [asked.name for asked in bank]
    assert len(set(names)) == len(names)
    one = questions.question(SOUND)
    assert one.name == questions.question({**SOUND, "reply": "Another reply."}).name
    assert one.name != questions.question({**SOUND, "ask": "What does column $j$ hold?"}).name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wrong": [["counts", "Divide them first."]]}, "has 1 wrong answers; it must have 2 to 4"),
        ({"right": "counts"}, "two choices that are the same"),
        ({"reply": " "}, "without words, or without a reply"),
        ({"hint": "none"}, "'hint'"),
    ],
)
def test_refuses_a_question_that_cannot_be_asked(change, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        questions.question({**SOUND, **change})


def test_markup_of_a_line():
    """Formulas for MathJax, code, stress; all else is escaped."""
    made = questions.marked_up("if $a < b$, *then* `x & y` <b>")
    assert made == (
        'if <span class="math notranslate nohighlight">\\(a &lt; b\\)</span>, <em>then</em> '
        "<code>x &amp; y</code> &lt;b&gt;"
    )


def test_gift_escapes_what_the_format_reserves():
    """A question as learning platforms import it: one right answer, a reply to each."""
    asked = questions.question({**SOUND, "ask": "Is {a} = 1: yes?", "right": "~yes"})
    said = questions.as_gift(asked)
    assert r"Is \{a\} \= 1\: yes?" in said
    assert r"=\~yes #They sum to one." in said
    assert len(re.findall(r"^  ~", said, re.MULTILINE)) == 2


def place(root, section):
    """A chapter with one section, after the questions of a bank with a single one were placed."""
    (root / "book").mkdir()
    (root / questions.BANK).write_text(
        f'[[question]]\nchapter = "noise"\nsection = "{section}"\nask = "Is $1 < 2$?"\n'
        'right = "yes"\nreply = "By $1$."\nwrong = [["a", "No."], ["b", "No."]]\n'
    )
    document = pytest.importorskip("docutils.utils").new_document("noise")
    document += nodes.section("", nodes.title("", "Six labels"))
    document.settings.env = SimpleNamespace(
        docname="book/noise", srcdir=root, note_dependency=lambda name: None
    )
    questions.PlaceQuestions(document).apply()
    return document


def test_a_question_about_a_section_that_is_gone_stops_the_build(tmp_path):
    """It would be lost without a word."""
    with pytest.raises(Exception, match="noise has no section 'Gone'"):
        place(tmp_path, "Gone")


def test_a_formula_of_a_question_brings_mathjax_to_a_page_without_any(tmp_path):
    """Sphinx loads it for pages with a formula of their own; else the reader sees its source."""
    found = place(tmp_path, "Six labels").findall(nodes.math)
    assert [formula.astext() for formula in found] == ["1 < 2", "1"]
