"""Sphinx extension: in a docstring, |v| is an absolute value.

reStructuredText takes it for the name of a text to be substituted. This book defines none, so the
bars are given back.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform


class AbsoluteValue(SphinxTransform):
    """Turn references to undefined substitutions into the text they were written as."""

    default_priority = 215  # docutils reports them at 220

    def apply(self, **kwargs):
        for reference in list(self.document.findall(nodes.substitution_reference)):
            if reference["refname"] not in self.document.substitution_defs:
                reference.replace_self(nodes.Text(f"|{reference.astext()}|"))


def setup(app):
    app.add_transform(AbsoluteValue)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
