"""Slide decks from the chapters' stored figures: one figure and one question a slide.

    python book/_tools/slides.py _build/html/slides

`book/slides.toml` lists the slides of each week. A figure is named as in its chapter, or by its
cell; what students are likely to guess wrong comes from `book/predictions.md`. The decks read with
the network off: reveal.js comes out of the package sphinx-revealjs, MathJax is that of the book.
"""

import argparse
import html
import re
import shutil
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nbformat
from chapters import ROOT, numbers, read
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from traitlets.config import Config

TEMPLATE = Path(__file__).with_name("slides.html.j2")
FRAME = re.compile(
    r'<img class="nlmeta-frame"[^>]*?alt="([^"]*)"[^>]*?src="data:image/png;base64,([^"]*)"'
)
PARTS = ("dist", "plugin/notes")  # of reveal.js
FIGURE = """<figure class="shown"><img src="data:image/png;base64,{png}" alt="{alt}"></figure>

<p class="says">{says}</p>
<p class="from"><a href="../book/{chapter}.html">Chapter {number}. {title}</a></p>"""
NOTES = """**A likely wrong answer:** {wrong}

**What is behind it:** {behind}

**Ask back:** {back}"""


@dataclass(frozen=True)
class Slide:
    """One slide: a figure of a chapter, a question, a sentence, and the guess in the notes."""

    chapter: str
    figure: str
    asks: str
    says: str
    guess: str  # the first column of a row of `predictions.md`
    frame: int | None = None  # of a slider, which picture


@dataclass(frozen=True)
class Week:
    """The slides of one week."""

    number: int
    title: str
    slides: list[Slide]


def weeks(root: Path = ROOT) -> list[Week]:
    """All decks as `slides.toml` lists them."""
    listed = tomllib.loads((root / "book/slides.toml").read_text("utf-8"))["week"]
    return [Week(w["number"], w["title"], [Slide(**slide) for slide in w["slide"]]) for w in listed]


def figure(slide: Slide, root: Path = ROOT) -> tuple[str, str]:
    """The PNG of a slide's figure in base64, and its alt text."""
    for cell in read(root / f"book/{slide.chapter}.ipynb").cells:
        mystnb = cell.metadata.get("mystnb", {})
        if slide.figure not in (cell.id, mystnb.get("figure", {}).get("name")):
            continue
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        frames = FRAME.findall("".join(data.get("text/html", "") for data in shown))
        if slide.frame is not None and frames:
            alt, png = frames[slide.frame]
            return png, html.unescape(alt)
        alt = mystnb.get("image", {}).get("alt") or html.unescape(frames[0][0] if frames else "")
        for data in shown:
            if "image/png" in data:
                return "".join(data["image/png"].split()), alt
    raise ValueError(f"chapter {slide.chapter!r} stores no figure {slide.figure!r}")


def guesses(root: Path = ROOT) -> dict[str, list[str]]:
    """The rows of the page of predictions by their first column: wrong, behind, ask back."""
    page = (root / "book/predictions.md").read_text("utf-8")
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line[:1] == "|"]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def title_of(chapter: str, root: Path = ROOT) -> str:
    """A chapter's title without its number."""
    first = read(root / f"book/{chapter}.ipynb").cells[0].source.partition("\n")[0]
    return first.lstrip("# ").partition(". ")[2]


def notebook(week: Week, root: Path = ROOT) -> NotebookNode:
    """A week as a notebook whose metadata say what is a slide, a fragment and a note."""
    cells, known, places = [], guesses(root), numbers(root)
    for slide in week.slides:
        if slide.guess not in known:
            raise ValueError(f"`predictions.md` has no row {slide.guess!r}")
        png, alt = figure(slide, root)
        wrong, behind, back = known[slide.guess]
        shown = FIGURE.format(
            png=png,
            alt=html.escape(alt),
            says=html.escape(slide.says),
            chapter=slide.chapter,
            number=places[slide.chapter],
            title=html.escape(title_of(slide.chapter, root)),
        )
        notes = NOTES.format(wrong=wrong, behind=behind, back=back)
        # The notes come first: below a fragment they would show only once that is shown.
        parts = {"slide": f"## {slide.asks}", "notes": notes, "fragment": shown}
        for kind, text in parts.items():
            name = f"week{week.number}-{len(cells)}"
            metadata = {"slideshow": {"slide_type": kind}}
            cells.append(new_markdown_cell(text, metadata=metadata, id=name))
    title = f"Week {week.number}: {week.title}"
    return nbformat.from_dict(new_notebook(cells=cells, metadata={"title": title}))


def write(place: Path, root: Path = ROOT) -> list[Path]:
    """Write all decks, and reveal.js beside them; return the decks."""
    package = find_spec("sphinx_revealjs")
    if package is None:
        raise ModuleNotFoundError("reveal.js is missing: install the extra `book` of this project")
    reveal = Path(package.submodule_search_locations[0], "_static/revealjs")
    for part in PARTS:
        shutil.copytree(reveal / part, place / "reveal" / part, dirs_exist_ok=True)
    options = {"reveal_url_prefix": "reveal", "reveal_theme": "white", "exclude_anchor_links": True}
    config = Config({"SlidesExporter": options})
    exporter = SlidesExporter(config=config, raw_template=TEMPLATE.read_text("utf-8"))
    decks = []
    for week in weeks(root):
        page, _ = exporter.from_notebook_node(notebook(week, root))
        decks.append(place / f"week{week.number}.html")
        decks[-1].write_text(page, "utf-8")
    return decks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("place", type=Path, help="folder for the decks")
    for deck in write(parser.parse_args().place):
        print(deck)
