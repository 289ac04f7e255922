"""Sphinx extension: a line below each chapter's title says where in the book the reader is.

It has the name of the part and a link to each of its chapters, as numbers. The parts are those of
`_toc.yml`; a page whose title has no number gets no such line.
"""

import re
from html import escape

NUMBER = re.compile(r"(\d+)\. ")


def line(app, page):
    """The line of one page as HTML; empty for a page that is no chapter."""
    titles = {name: title.astext() for name, title in app.env.titles.items()}
    for part in app.env.external_site_map.root.subtrees:
        chapters = [name for name in map(str, part.items) if NUMBER.match(titles[name])]
        if page not in chapters:
            continue
        links = []
        for name in chapters:
            title = escape(titles[name], quote=True)
            here = ' aria-current="page"' if name == page else ""
            to = f'href="{app.builder.get_relative_uri(page, name) or "#"}"{here}'
            number = NUMBER.match(titles[name])[1]
            links.append(f'<a {to} title="{title}" aria-label="{title}">{number}</a>')
        return (
            '<nav class="nlmeta-place" aria-label="Chapters of this part">'
            f"<span>{escape(part.caption)}</span> {' '.join(links)}</nav>"
        )
    return ""


def add_line(app, page, template, context, doctree):
    body = context.get("body") or ""
    if doctree is not None and "</h1>" in body:
        context["body"] = body.replace("</h1>", f"</h1>\n{line(app, page)}", 1)


def setup(app):
    app.connect("html-page-context", add_line)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
