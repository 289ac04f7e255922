"""Sphinx extension: the slide decks of the course are written beside the pages of the book."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "_tools"))

import slides


def write_decks(app, exception):
    """Write them where pages were written, and where that went well."""
    if exception is None and app.builder.format == "html":
        slides.write(Path(app.outdir, "slides"), Path(app.srcdir))


def setup(app):
    app.connect("build-finished", write_decks)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
