"""Sphinx extension: a line below each chapter's title says where in the book the reader is.

It has the name of the part and a link to each of its chapters, as numbers. Pages that are no
notebooks have no number and get no such line.
"""

import sys
from html import escape
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "_tools"))

from chapters import entries, numbers


def line(app, page):
    """The line of one page as HTML; empty for a page that is no chapter."""
    root = Path(app.srcdir)
    places = numbers(root)
    parts = {file: part for part, file in entries(root) if Path(file).name in places}
    if page not in parts:
        return ""
    links = []
    for name in (file for file, part in parts.items() if part == parts[page]):
        title = escape(app.env.titles[name].astext(), quote=True)
        here = ' aria-current="page"' if name == page else ""
        to = f'href="{app.builder.get_relative_uri(page, name) or "#"}"{here}'
        number = places[Path(name).name]
        links.append(f'<a {to} title="{title}" aria-label="{title}">{number}</a>')
    return (
        '<nav class="nlmeta-place" aria-label="Chapters of this part">'
        f"<span>{escape(parts[page])}</span> {' '.join(links)}</nav>"
    )


def add_line(app, page, template, context, doctree):
    body = context.get("body") or ""
    if doctree is not None and "</h1>" in body:
        context["body"] = body.replace("</h1>", f"</h1>\n{line(app, page)}", 1)


def setup(app):
    app.connect("html-page-context", add_line)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
