"""The end of a chapter: exercises with one fold each, and the folded works."""

import pytest

pytest.importorskip("sphinx")
endings = pytest.importorskip("endings")
from docutils import nodes, utils  # noqa: E402
from folds import Fold  # noqa: E402


def section(title, *parts):
    return nodes.section("", nodes.title("", title), *parts)


def paragraph(text):
    return nodes.paragraph("", text)


def markup(text):
    return nodes.raw("", text, format="html")


def cell(text, *classes):
    """A folded cell without a name of its own, as MyST-NB makes it."""
    made = nodes.container("", paragraph(text), classes=["cell", *classes])
    made["hide_mode"], made["prompt_show"] = "all", "Show code cell {type}"
    return made


def ended(*parts):
    """The sections of a chapter's end, as the extension leaves them."""
    document = utils.new_document("chapter")
    document += section("A chapter", *parts)
    endings.Endings(document).run()
    (chapter,) = document.children
    return chapter.children[1:]


def texts(section):
    return [part.astext() for part in section.children[1:]]


def test_the_cell_of_a_solution_stands_open_in_its_fold():
    """Else the reader opens two folds, of which the second has no name."""
    exercise = section("Exercise 1 (easy)", markup("<details>"), paragraph("So."))
    exercise += [markup("</details>"), cell("print(1)")]
    (exercises,) = ended(section("Exercises", exercise))
    assert texts(exercises[1]) == ["<details>", "So.", "print(1)", "</details>"]
    assert "hide_mode" not in exercises[1][3]


def test_a_solution_in_code_alone_stays_folded_and_has_a_name():
    exercise = section("Exercise 2 (hard)", paragraph("Why?"), cell("print(2)"))
    (exercises,) = ended(section("Exercises", exercise))
    assert exercises[1][2]["hide_mode"] == "all"
    assert exercises[1][2]["prompt_show"] == "Solution, in code"


def test_claims_are_no_solution():
    """They follow the last exercise, and stay in a fold of their own below it."""
    exercise = section("Exercise 3 (open)", markup("<details>"), markup("</details>"))
    exercise += cell("assert True", "tag_claims")
    (exercises,) = ended(section("Exercises", exercise))
    assert texts(exercises[1]) == ["<details>", "</details>", "assert True"]
    assert exercises[1][3]["hide_mode"] == "all"


def test_only_an_exercise_has_its_name_in_its_first_line():
    parts = section("Exercise 1 (easy)", paragraph("?")), section("What this chapter claims")
    (exercises,) = ended(section("Exercises", *parts))
    assert exercises[1]["classes"] == ["nlmeta-exercise"]
    assert exercises[2]["classes"] == []


def test_cells_outside_the_exercises_stay():
    (other,) = ended(section("Imports", markup("</details>"), cell("import torch")))
    assert texts(other) == ["</details>", "import torch"]
    assert other[2]["hide_mode"] == "all"


@pytest.mark.parametrize(("count", "words"), [(1, "1 work that"), (3, "3 works that")])
def test_the_works_are_folded_and_counted(count, words):
    works = nodes.bullet_list("", *(nodes.list_item("", paragraph("A")) for _ in range(count)))
    (references,) = ended(section("References", works))
    (fold,) = references.children[1:]
    assert isinstance(fold, Fold)
    assert fold.children == [works]
    assert fold["summary"] == f"{words} this chapter refers to"
