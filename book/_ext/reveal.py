"""Sphinx extension: what a prediction asks for stays folded until the reader asks for it.

A paragraph with **Predict:** is followed by the cells that answer it and by the sentences that read
the answer aloud. From the first output to the end of the first paragraph after the cells, and of a
list that comes with it, all goes into a fold.
"""

from docutils import nodes
from folds import Fold
from sphinx.transforms.post_transforms import SphinxPostTransform

ASKS = "Predict:"
SUMMARY = "Check your prediction"


def asks(node):
    """Whether the node is a paragraph that asks for a prediction."""
    strong = node.findall(nodes.strong) if isinstance(node, nodes.paragraph) else ()
    return any(part.astext().strip() == ASKS for part in strong)


def is_text(node):
    """Whether the node reads an answer aloud: a list, or a paragraph that asks nothing itself."""
    told = isinstance(node, nodes.paragraph | nodes.bullet_list)
    return told and not asks(node)


def is_cell(node):
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def output_of(cell):
    """The output of a cell, unless the whole cell is folded or prints nothing."""
    return next((part for part in cell if part.get("nb_element") == "cell_code_output"), None)


class FoldAnswers(SphinxPostTransform):
    """Move each answer into a fold."""

    default_priority = 200  # after the folds of MyST-NB, at 199

    def run(self, **kwargs):
        for question in list(self.document.findall(asks)):
            self.fold(question)

    def fold(self, question):
        place = question.parent
        after = place.index(question) + 1
        end = after
        while end < len(place) and is_cell(place[end]):
            end += 1
        cells = place[after:end]
        first = next((k for k, cell in enumerate(cells) if output_of(cell) is not None), None)
        if first is None:
            return
        output = output_of(cells[first])
        cells[first].remove(output)
        shell = nodes.container("", output, classes=["cell"])  # so that styles of cells apply
        told = place[end : end + 2]
        read = told[:1] if told and is_text(told[0]) else []
        if read and isinstance(told[-1], nodes.bullet_list):
            read = told
        folded = [*cells[first + 1 :], *read]
        for node in folded:
            place.remove(node)
        fold = Fold("", shell, *folded, classes=["nlmeta-reveal"], summary=SUMMARY)
        place.insert(after + first + 1, fold)


def setup(app):
    app.add_post_transform(FoldAnswers)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
