"""Sphinx extension: a folded cell is called by the words that it shows.

MyST-NB gives the summary of each folded cell the label "Toggle hidden content", which a screen
reader says instead of "Show code cell content", and which a voice command does not find.
"""

LABEL = '<summary aria-label="Toggle hidden content">'


def take_label(app, page, template, context, doctree):
    if context.get("body"):
        context["body"] = context["body"].replace(LABEL, "<summary>")


def setup(app):
    app.connect("html-page-context", take_label)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
