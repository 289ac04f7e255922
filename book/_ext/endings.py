"""Sphinx extension: the end of a chapter takes little room until the reader opens it.

An exercise is a paragraph that its name begins, and one fold with its solution: a cell of code that
checks the solution stands in that fold as well, open, so that one click shows the whole answer. The
works that a chapter refers to are folded below their heading.

In the notebook each of these is plain Markdown or a cell of its own, which Colab shows too.
"""

from docutils import nodes
from folds import Fold
from sphinx.transforms.post_transforms import SphinxPostTransform

EXERCISES, EXERCISE, REFERENCES = "Exercises", "Exercise ", "References"
CLOSES = "</details>"
IN_CODE = "Solution, in code"
UNNAMED = "Show code cell"  # how MyST-NB calls a folded cell that has no name of its own


def sections(node, title):
    """The sections of this title."""
    return [part for part in node.findall(nodes.section) if part[0].astext() == title]


def is_solution(node):
    """Whether the node is a folded cell of an exercise, which the claims of a chapter are not."""
    folded = isinstance(node, nodes.container) and node.get("hide_mode") == "all"
    return folded and "tag_claims" not in node["classes"]


def closes_fold(node):
    return isinstance(node, nodes.raw) and node.astext().strip() == CLOSES


def join_solution(exercise):
    """Move each cell that follows a fold into it, and name those that stand alone."""
    for cell in [part for part in exercise if is_solution(part)]:
        place = exercise.index(cell)
        if closes_fold(exercise[place - 1]):
            exercise.remove(cell)
            exercise.insert(place - 1, cell)
            del cell["hide_mode"]
        elif str(cell.get("prompt_show", "")).startswith(UNNAMED):
            cell["prompt_show"] = IN_CODE


def how_many(listed):
    """The words above the folded works."""
    works = sum(len(list(part.findall(nodes.list_item))) for part in listed)
    return f"{works} work{'' if works == 1 else 's'} that this chapter refers to"


class Endings(SphinxPostTransform):
    """Shorten the sections that end a chapter."""

    default_priority = 150  # before MyST-NB folds cells, at 199

    def run(self, **kwargs):
        for section in sections(self.document, EXERCISES):
            for exercise in section.findall(nodes.section):
                if exercise[0].astext().startswith(EXERCISE):
                    exercise["classes"].append("nlmeta-exercise")
                    join_solution(exercise)
        for section in sections(self.document, REFERENCES):
            _, *listed = section.children
            for part in listed:
                section.remove(part)
            section += Fold("", *listed, classes=["nlmeta-references"], summary=how_many(listed))


def setup(app):
    app.add_post_transform(Endings)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
