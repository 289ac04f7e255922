"""Sphinx extension: citations that a notebook holds as comments.

Elsewhere than in this book nobody reads `{cite:p}` and a key, so a chapter has authors and year as
plain words, and the key behind them in a comment, `<!-- cite: wang2020mlc -->`. On the page the
comment becomes a link to the bibliography.
"""

import re

COMMENT = re.compile(r"<!-- cite: ([\w, ]+?) -->")


def linked(text: str) -> str:
    """A text with each comment on a citation as the role that cites."""
    return COMMENT.sub(r" {cite:p}`\1`", text)


def read(app, docname, source):
    source[0] = linked(source[0])


def setup(app):
    app.connect("source-read", read)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
