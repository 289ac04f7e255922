"""Formulas and the marks after them, which no line may part."""

import pytest

pytest.importorskip("sphinx")
together = pytest.importorskip("together")
from docutils import nodes, utils  # noqa: E402


def parts_of(*children):
    """A paragraph after the transform: texts, and lists of what is kept together."""
    document = utils.new_document("chapter")
    document += nodes.paragraph("", "", *children)
    together.Together(document).run()
    (paragraph,) = document.children
    return [
        [kept.astext() for kept in part] if isinstance(part, nodes.inline) else part.astext()
        for part in paragraph
    ]


def maths(text):
    return nodes.math("", text)


@pytest.mark.parametrize("mark", [",", ".", ")", "):", "?", "].", ";"])
def test_a_mark_stays_with_its_formula(mark):
    given = (nodes.Text("Here "), maths("x"), nodes.Text(f"{mark} and then"))
    assert parts_of(*given) == ["Here ", ["x", mark], " and then"]


def test_each_of_two_formulas_takes_its_own_mark():
    given = (maths("x"), nodes.Text(","), maths("y"), nodes.Text("."))
    assert parts_of(*given) == [["x", ","], "", ["y", "."], ""]


def test_an_opening_bracket_stays_with_its_formula():
    assert parts_of(nodes.Text("rate ("), maths("x"), nodes.Text(")")) == [
        "rate ",
        ["(", "x", ")"],
        "",
    ]
    assert parts_of(nodes.Text("of ["), maths("x"), nodes.Text(" and")) == [
        "of ",
        ["[", "x"],
        " and",
    ]


@pytest.mark.parametrize("after", [" and", "-th step", "’s", "(see"])
def test_what_is_no_mark_may_begin_a_line(after):
    assert parts_of(maths("x"), nodes.Text(after)) == ["x", after]


def test_a_long_formula_may_be_parted():
    """Else it would run out of a phone; 40 characters of TeX are the most that is kept."""
    assert parts_of(maths("x" * 40), nodes.Text(".")) == [["x" * 40, "."], ""]
    assert parts_of(maths("x" * 41), nodes.Text(".")) == ["x" * 41, "."]


def test_a_formula_at_the_end_and_one_before_another_part_are_left():
    assert parts_of(maths("x")) == ["x"]
    assert parts_of(maths("x"), nodes.emphasis("", ", so")) == ["x", ", so"]
