"""Sphinx extension: show the repository's own copy of the "Open in Colab" badge.

In a notebook the badge's image must be a web address, since on Colab there is no file next to the
notebook. In the book it must be a file, since the book has to read with the network off.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform

REMOTE = "https://colab.research.google.com/assets/colab-badge.svg"
LOCAL = "/book/_static/colab-badge.svg"  # from the root of the sources


class LocalBadge(SphinxTransform):
    """Point the badge at the local file before Sphinx collects the images."""

    default_priority = 200

    def apply(self, **kwargs):
        for image in self.document.findall(nodes.image):
            if image.get("uri") == REMOTE:
                image["uri"] = LOCAL


def setup(app):
    app.add_transform(LocalBadge)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
