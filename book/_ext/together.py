"""Sphinx extension: a formula and the comma, full stop or bracket after it stay on one line.

To the browser a set formula is a picture, and it may begin a new line after any picture.
"""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

MARK = re.compile(r"[,.;:?!)\]]+")
LONGEST = 40  # characters of TeX: a phone has to break beside anything longer


class Together(SphinxPostTransform):
    """Wrap a short formula and the mark after it in a part that does not break."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs):
        for formula in list(self.document.findall(nodes.math)):
            after = formula.next_node(descend=False, siblings=True)
            mark = MARK.match(after) if isinstance(after, nodes.Text) else None
            if mark and len(formula.astext()) <= LONGEST:
                formula.parent.replace(after, nodes.Text(after[mark.end() :]))
                pair = nodes.inline(classes=["nlmeta-together"])
                formula.replace_self(pair)
                pair += [formula, nodes.Text(mark[0])]


def setup(app):
    app.add_post_transform(Together)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
