"""Sphinx extension: a formula stays on one line with its comma, full stop or brackets.

To the browser a set formula is a picture, and it may begin a new line after any picture.
"""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

MARK = re.compile(r"[,.;:?!)\]]+")
OPENING = re.compile(r"[(\[]+$")
LONGEST = 40  # characters of TeX: a phone has to break beside anything longer


class Together(SphinxPostTransform):
    """Wrap a short formula and the marks around it in a part that does not break."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs):
        for formula in list(self.document.findall(nodes.math)):
            if len(formula.astext()) > LONGEST:
                continue
            place = formula.parent
            at = place.index(formula)
            before, after = place[max(at - 1, 0)], place[min(at + 1, len(place) - 1)]
            opening = OPENING.search(before) if isinstance(before, nodes.Text) else None
            mark = MARK.match(after) if isinstance(after, nodes.Text) else None
            if opening:
                place.replace(before, nodes.Text(before[: opening.start()]))
            if mark:
                place.replace(after, nodes.Text(after[mark.end() :]))
            if opening or mark:
                kept = nodes.inline(classes=["nlmeta-together"])
                formula.replace_self(kept)
                kept += [nodes.Text(opening[0])] if opening else []
                kept += formula
                kept += [nodes.Text(mark[0])] if mark else []


def setup(app):
    app.add_post_transform(Together)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
