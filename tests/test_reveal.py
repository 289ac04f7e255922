"""What is folded behind a prediction: outputs, and the text that reads them aloud."""

import pytest

pytest.importorskip("sphinx")
reveal = pytest.importorskip("reveal")
from docutils import nodes, utils  # noqa: E402
from folds import Fold  # noqa: E402


def cell():
    """A code cell with its input and its output, as MyST-NB makes it."""
    code, output = nodes.container("code"), nodes.container("output")
    code["nb_element"], output["nb_element"] = "cell_code_source", "cell_code_output"
    made = nodes.container("", code, output)
    made["nb_element"] = "cell_code"
    return made


def paragraph(text):
    return nodes.paragraph("", text)


def question():
    return nodes.paragraph("", "", nodes.strong("", "Predict:"), nodes.Text(" which one?"))


def points(text):
    return nodes.bullet_list("", nodes.list_item("", paragraph(text)))


def texts_after_folding(*following):
    """The texts that stay open and those within folds."""
    document = utils.new_document("chapter")
    document += nodes.section("", question(), cell(), *following)
    reveal.FoldAnswers(document).run()
    folds = list(document.findall(Fold))
    (section,) = document.children
    is_open = [part.astext() for part in section if not isinstance(part, Fold)]
    return is_open, [fold.astext() for fold in folds]


def test_the_first_paragraph_goes_with_the_output():
    is_open, (folded,) = texts_after_folding(paragraph("It is A."), paragraph("And now B."))
    assert "It is A." in folded
    assert is_open[-1] == "And now B."


def test_a_list_that_comes_with_the_answer_goes_with_it():
    """Else the answers would stand below the fold that asks for a guess."""
    is_open, (folded,) = texts_after_folding(
        paragraph("Two answers."), points("A gains."), paragraph("And now B.")
    )
    assert "Two answers." in folded
    assert "A gains." in folded
    assert is_open[-1] == "And now B."
    is_open, (folded,) = texts_after_folding(points("A gains."), points("C is level."))
    assert "A gains." in folded
    assert "C is level." in folded


def test_the_next_prediction_is_not_folded():
    is_open, _ = texts_after_folding(question(), points("A gains."))
    assert is_open[-2:] == ["Predict: which one?", "A gains."]
