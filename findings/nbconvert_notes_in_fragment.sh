#!/usr/bin/env bash
# A slide with a question, an answer that waits as a fragment, and notes for the speaker, in this
# order. One would guess that the notes belong to the slide, as the tag `notes` says nothing of
# fragments. nbconvert closes a fragment only at the next fragment or slide, so the notes lie
# within the answer's element. The speaker's window of reveal.js leaves out notes within fragments
# until those are shown: what the lecturer wanted to read before the answer comes after it. With
# the notes cell before the fragment they belong to the slide.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check nbconvert==7.17.2 nbformat==5.11.1
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
from html.parser import HTMLParser
from importlib.metadata import version

import nbformat
from nbconvert import SlidesExporter

TEXTS = {"slide": "Which one wins?", "fragment": "The second.", "notes": "Let them vote."}


class Places(HTMLParser):
    """For each text of TEXTS the fragments and notes that it lies in."""

    def __init__(self):
        super().__init__()
        self.open, self.found = [], {}

    def handle_starttag(self, tag, attributes):
        if tag in ("div", "aside", "section"):
            self.open.append(dict(attributes).get("class") or tag)

    def handle_endtag(self, tag):
        if tag in ("div", "aside", "section"):
            self.open.pop()

    def handle_data(self, data):
        for kind, text in TEXTS.items():
            if data.strip() == text:
                self.found[kind] = [name for name in self.open if name in ("fragment", "notes")]


def places(*kinds):
    notebook = nbformat.v4.new_notebook()
    for kind in kinds:
        cell = nbformat.v4.new_markdown_cell(TEXTS[kind])
        cell.metadata["slideshow"] = {"slide_type": kind}
        notebook.cells.append(cell)
    reader = Places()
    reader.feed(SlidesExporter().from_notebook_node(notebook)[0])
    return reader.found


print("nbconvert", version("nbconvert"))
print("expected: the notes lie in the slide in both orders")
after = places("slide", "fragment", "notes")
before = places("slide", "notes", "fragment")
print("slide, fragment, notes: the notes lie in", after["notes"])
print("slide, notes, fragment: the notes lie in", before["notes"])
assert after["notes"] == ["fragment", "notes"]
assert before["notes"] == ["notes"]
assert after["fragment"] == before["fragment"] == ["fragment"]
PYTHON
