"""Sphinx extension: the picture that a link to the book shows where people share it.

It is drawn when the book is built, from the digits of the front page: each with the label that it
was given and, where the training moved it, the label that it has at the end.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

sys.path.append(str(Path(__file__).parents[1] / "_tools"))

import moving

from nlmeta.plots import RIGHT, WRONG

FILE = "_static/preview.png"
DATA = "book/_static/sixteen.js"
SIZE = (1200, 630)  # pixels, as the platforms ask for
INK = "#1a1a1a"
SIDE, LEFT, TOP = 118, 650, 42  # of the digits, in pixels


def drawn(title: str, digits: dict) -> Figure:
    """The picture, with the book's title at its left."""
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, SIZE[0]), ylim=(SIZE[1], 0))
    page.axis("off")
    words, lines = title.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 16:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    page.text(60, 90, "\n".join(lines), size=38, weight="bold", color=INK, va="top")
    ends = [says[-1] for says in digits["says"]]
    below = "Four methods from scratch,\neach beside the rival\nthat it contains"
    page.text(60, 400, below, size=24, color=INK, va="top", linespacing=1.4)
    shown = zip(digits["pictures"], digits["given"], digits["true"], ends, strict=True)
    for place, (picture, given, true, end) in enumerate(shown):
        x = LEFT + place % 4 * (SIDE + 14)
        y = TOP + place // 4 * (SIDE + 24)
        image = np.array(moving.shades(picture)).reshape(8, 8)
        page.imshow(image, cmap="gray_r", extent=(x, x + 80, y + 80, y), interpolation="nearest")
        colour = RIGHT if given == true else WRONG
        frame = Rectangle((x, y), 80, 80, fill=False, edgecolor=colour, linewidth=3)
        page.add_patch(frame)
        said = f"{given}" if end == given else f"{given} → {end}"
        colour = RIGHT if end == true else WRONG
        page.text(x + 40, y + 103, said, size=17, color=colour, ha="center", va="center")
    page.set(xlim=(0, SIZE[0]), ylim=(SIZE[1], 0), aspect="auto")
    return figure


def write(app, failed) -> None:
    """Put the picture beside the other static files."""
    if failed or app.builder.format != "html":
        return
    digits = moving.read(Path(app.srcdir) / DATA)["labels"]
    path = Path(app.outdir) / FILE
    path.parent.mkdir(exist_ok=True)
    drawn(app.config.ogp_site_name, digits).savefig(path)


def setup(app):
    app.connect("build-finished", write)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
