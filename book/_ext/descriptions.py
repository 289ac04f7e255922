"""Sphinx extension: searches and link previews show a page's question, not its badge.

The description of a page is its first paragraph of text, shortened at a word. It is written before
`sphinxext.opengraph` looks for one, which would begin with what the badge says.
"""

import html
import textwrap

from docutils import nodes

WIDTH = 200  # characters; search engines cut longer ones


def is_badge(paragraph):
    """Whether a paragraph is a linked picture and nothing else."""
    linked = [
        isinstance(child, nodes.reference) and child.next_node(nodes.image) for child in paragraph
    ]
    return bool(linked) and all(linked)


def describe(app, pagename, templatename, context, doctree):
    if doctree is None:
        return
    texts = (p.astext() for p in doctree.findall(nodes.paragraph) if not is_badge(p))
    text = textwrap.shorten(next(texts, ""), WIDTH, placeholder=" …")
    if text:
        context["meta"] = {**(context["meta"] or {}), "og:description": html.escape(text)}
        context["metatags"] += f'<meta name="description" content="{html.escape(text)}" />\n'


def setup(app):
    app.connect("html-page-context", describe, priority=400)  # opengraph's is 500
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
