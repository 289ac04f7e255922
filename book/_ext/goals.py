"""Sphinx extension: the quoted block "You will learn" of a chapter becomes a box of the book.

In the notebook it is plain Markdown, which reads on Colab too, where MyST's own box would show its
colons.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform

TITLE = "You will learn"


def is_goals(quote: nodes.block_quote) -> bool:
    """Whether a quoted block begins with a paragraph that holds the title alone."""
    first = quote[0] if len(quote) else None
    return isinstance(first, nodes.paragraph) and first.astext().strip() == TITLE


class Goals(SphinxTransform):
    """Put what the block holds into an admonition, which the theme draws."""

    default_priority = 200

    def apply(self, **kwargs):
        for quote in list(self.document.findall(nodes.block_quote)):
            if is_goals(quote):
                box = nodes.admonition(classes=["admonition-you-will-learn"])
                box += nodes.title("", TITLE)
                box += quote.children[1:]
                quote.replace_self(box)


def setup(app):
    app.add_transform(Goals)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
