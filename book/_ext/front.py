"""Sphinx extension: the front page's moving picture and its cards of the chapters.

`front-hero` puts what it contains (a sentence or two, in Markdown) beside sixteen digits, whose
labels `play.js` moves; without a script they show where each label begins and ends. `front-cards`
has a card for each chapter of `_toc.yml`, in the chapter's own words.
"""

import base64
import html
import io
import posixpath
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from PIL import Image
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).parents[1] / "_tools"))

import cards
import moving
from chapters import numbers, page_path

DATA = "book/_static/sixteen.js"
DOORS = {"read": "Read", "run": "Run", "teach": "Teach"}
TILE = """<li class="nlmeta-tile" data-given="{given}" data-true="{true}">
<img src="data:image/png;base64,{png}" width="64" height="64" alt="A handwritten {true}">
<span class="nlmeta-says">{says}</span></li>"""
HERO = """<div class="nlmeta-play nlmeta-sixteen" data-play="sixteen">
<ul class="nlmeta-tiles" aria-label="Sixteen digits and their labels">{tiles}</ul>
<p class="nlmeta-still">Each digit with the label that it was given; where the label moved, an arrow
leads to what it says after {epochs} epochs.</p>
</div>
<p class="nlmeta-small">{samples:,} digits, {wrong} of them mislabelled (dashed frames); {checked}
others have right labels and judge each step. The method is MSLG, of chapter {number}: at its
end {mended} of the wrong labels are right, and {spoilt} right ones wrong. What that is worth
beside simpler means, the chapters say.</p>"""
CARD = """<li class="nlmeta-card">{figure}
<p class="nlmeta-part">{part}</p>
<p class="nlmeta-title"><a href="{href}">{title}</a></p>
<p class="nlmeta-question">{question}</p>
<p class="nlmeta-time"><span>{reading} to read, runs in {running}</span>
<a class="nlmeta-badge" href="{badge}"><img src="{static}/colab-badge.svg" width="117" height="20"
alt="Open chapter {number} in Colab"></a></p></li>"""


def enlarged(pixels: str) -> str:
    """Sixty-four pixels, each a digit of base 17, as a PNG in base64: black on white."""
    shades = bytes(255 - 255 * shade // 16 for shade in moving.shades(pixels))
    png = io.BytesIO()
    Image.frombytes("L", (8, 8), shades).save(png, "PNG", optimize=True)
    return base64.b64encode(png.getvalue()).decode()


def tile(pixels: str, given: int, true: int, end: int) -> str:
    """One digit; its label without a script."""
    says = str(given) if end == given else f"{given} → {end}"
    return TILE.format(png=enlarged(pixels), given=given, true=true, says=says)


class Front(SphinxDirective):
    """What both directives need: where other pages lie, and that they are read anew."""

    def href(self, file: str) -> str:
        return posixpath.relpath(file, posixpath.dirname(self.env.docname)) + ".html"

    def root(self) -> Path:
        return Path(self.env.srcdir)

    def raw(self, text: str) -> nodes.raw:
        return nodes.raw("", text, format="html")


class Hero(Front):
    """A sentence and doors on one side, the moving picture on the other."""

    has_content = True
    option_spec = dict.fromkeys(DOORS, directives.unchanged_required)

    def run(self):
        data = moving.read(self.root() / DATA)["labels"]
        self.env.note_dependency(DATA)
        ends = [says[-1] for says in data["says"]]
        digits = zip(data["pictures"], data["given"], data["true"], ends, strict=True)
        picture = HERO.format(
            tiles="".join(tile(*digit) for digit in digits),
            epochs=data["start"] + len(data["mended"]) - 1,
            number=numbers(self.root())["mslg"],
            samples=data["samples"],
            wrong=data["wrong"],
            checked=data["checked"],
            mended=data["mended"][-1],
            spoilt=data["spoilt"][-1],
        )
        doors = "".join(
            f'<a class="nlmeta-door" href="{html.escape(self.options[name])}">{text}</a>'
            for name, text in DOORS.items()
        )
        said = nodes.container(classes=["nlmeta-said"])
        self.state.nested_parse(self.content, self.content_offset, said)
        said += self.raw(f'<p class="nlmeta-doors">{doors}</p>')
        shown = nodes.container("", self.raw(picture), classes=["nlmeta-shown"])
        return [nodes.container("", said, shown, classes=["nlmeta-hero"])]


class Cards(Front):
    """A card for each chapter."""

    def run(self):
        static = posixpath.relpath("_static", posixpath.dirname(self.env.docname))
        shown = []
        for card in cards.cards(self.root()):
            self.env.note_dependency(str(page_path(card.file, self.root())))
            texts = {name: html.escape(value) for name, value in vars(card).items()}
            png = f'<img src="data:image/png;base64,{card.thumbnail}" alt="{texts["alt"]}">'
            texts["figure"] = f'<div class="nlmeta-thumbnail">{png if card.thumbnail else ""}</div>'
            number = card.title.partition(".")[0]
            shown.append(
                CARD.format(href=self.href(card.file), static=static, number=number, **texts)
            )
        return [self.raw(f'<ol class="nlmeta-cards">{"".join(shown)}</ol>')]


def setup(app):
    app.add_directive("front-hero", Hero)
    app.add_directive("front-cards", Cards)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
