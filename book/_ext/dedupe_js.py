"""Sphinx extension: load each script once.

Jupyter Book registers a few scripts through two extensions. A script that declares a constant then
fails on its second loading ("has already been declared"), on every page.
"""


def drop_repeated_scripts(app, pagename, templatename, context, doctree):
    """Keep the first of several equal entries of the page's list of scripts."""
    seen = set()
    kept = []
    for script in context.get("script_files", []):
        name = getattr(script, "filename", None)
        attributes = getattr(script, "attributes", {})
        key = (str(name or ""), attributes.get("body"))
        if key not in seen:
            seen.add(key)
            kept.append(script)
    context["script_files"] = kept


def setup(app):
    app.connect("html-page-context", drop_repeated_scripts, priority=900)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
