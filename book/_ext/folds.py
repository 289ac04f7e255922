"""Sphinx extension: folds, which a click or the keyboard opens, without a script.

`Fold` is a part of a page that begins folded; other extensions put into it what has to wait.

MyST-NB folds cells by itself. It gives the summary of each the label "Toggle hidden content", which
a screen reader says instead of "Show code cell content", and which a voice command does not find.
The label is taken away.
"""

from docutils import nodes

LABEL = '<summary aria-label="Toggle hidden content">'


class Fold(nodes.General, nodes.Element):
    """What is folded: a `details` element with one class, below the words of its `summary`."""


def visit_html(translator, node):
    (name,) = node["classes"]
    translator.body.append(f'<details class="{name}"><summary>{node["summary"]}</summary>\n')


def depart_html(translator, node):
    translator.body.append("</details>\n")


def pass_by(translator, node):
    """Other formats have nothing to fold."""


def take_label(app, page, template, context, doctree):
    if context.get("body"):
        context["body"] = context["body"].replace(LABEL, "<summary>")


def setup(app):
    other = (pass_by, pass_by)
    app.add_node(Fold, html=(visit_html, depart_html), latex=other, text=other)
    app.connect("html-page-context", take_label)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
