"""What the front page says about each chapter, read from the chapter's own first cell.

So a new chapter is on the front page as soon as it is in `_toc.yml`, in its own words.
"""

import base64
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from chapters import ROOT, entries, page_path, read
from nbformat import NotebookNode
from PIL import Image

TITLE = re.compile(r"# (\d+\. \S.*)")
TIME = re.compile(r"\*\*Time and hardware\*\*: (.+?) to read; runs in (.+?) on ", re.DOTALL)
BADGE = re.compile(r"^\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)$", re.MULTILINE)
ROOM = 390  # characters: a short question takes the sentences before it along
THUMBNAIL = (320, 200)  # twice the size on the page, for sharp screens


@dataclass(frozen=True)
class Card:
    """One chapter: all strings are plain text; `thumbnail` is a PNG in base64, or empty."""

    file: str
    part: str
    title: str
    question: str
    reading: str
    running: str
    badge: str
    thumbnail: str
    alt: str


def plain(text: str) -> str:
    """Markdown of a sentence or two as text: no quotation marks, emphasis or links, one line."""
    text = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r'\*\*|\*(?=[\w"])|(?<=[\w.?!"])\*|`|\$', "", text)
    return " ".join(text.split())


def question(first_cell: str, room: int = ROOM) -> str:
    """The questions that a chapter opens with, after as many sentences as there is room for.

    They stand between the badge and the prerequisites.
    """
    opening = BADGE.split(first_cell.partition("\n**Prerequisites**")[0])[-1]
    sentences = re.split(r"(?<=[.?!])\s+", plain(opening))
    asked = [place for place, sentence in enumerate(sentences) if sentence.endswith("?")]
    if not asked:
        raise ValueError(f"the first cell asks no question: {sentences[0][:60]!r}")
    start, end = asked[0], asked[-1] + 1
    while start and len(" ".join(sentences[start - 1 : end])) <= room:
        start -= 1
    return " ".join(sentences[start:end])


def first_figure(notebook: NotebookNode) -> tuple[str, str]:
    """The first still figure as a small PNG in base64, and its alt text; empty if there is none."""
    for cell in notebook.cells:
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png and alt:
                return _small(png), alt
    return "", ""


def _small(png: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    # of a tall figure the upper panel, for the whole would be a strip too thin to see
    picture = picture.crop(
        (0, 0, picture.width, min(picture.height, math.ceil(0.8 * picture.width)))
    )
    picture.thumbnail(THUMBNAIL)
    small = io.BytesIO()
    picture.quantize(32, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def card(part: str, file: str, path: Path) -> Card:
    """The card of one chapter."""
    notebook = read(path)
    first = notebook.cells[0].source
    found = {"title": TITLE.match(first), "time": TIME.search(first), "badge": BADGE.search(first)}
    missing = [name for name, match in found.items() if not match]
    if missing:
        raise ValueError(f"the first cell of {path.name} lacks its {' and its '.join(missing)}")
    reading, running = map(plain, found["time"].groups())
    figure, alt = first_figure(notebook)
    title, badge = plain(found["title"][1]), found["badge"][1]
    return Card(file, part, title, question(first), reading, running, badge, figure, alt)


def cards(root: Path = ROOT) -> list[Card]:
    """The cards of all chapters, in the book's order."""
    pages = ((part, file, page_path(file, root)) for part, file in entries(root))
    return [card(part, file, path) for part, file, path in pages if path.suffix == ".ipynb"]
