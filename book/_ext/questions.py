"""Sphinx extension: the questions of `book/questions.toml`, each at the end of its section.

A question answers as soon as a choice is made, by mouse or keyboard and without a script: each
choice has a reply of its own, which a style sheet shows while the choice is checked. The questions
of a section stand behind one fold, so that a page is no longer for them. The directive
`question-bank` lists all of them with their replies, for those who teach. The notebooks hold no
questions, so that those who open them on Colab see no markup.

    python book/_ext/questions.py > questions.gift    # for Moodle, Canvas and others
"""

import hashlib
import html
import re
import sys
import tomllib
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).parents[1] / "_tools"))

from cards import cards

BANK = "book/questions.toml"
FIELDS = {"chapter", "section", "ask", "right", "reply", "wrong"}
MARKED = re.compile(r"\$(?P<maths>[^$]+)\$|`(?P<code>[^`]+)`|\*(?P<stressed>[^*]+)\*")


@dataclass(frozen=True)
class Choice:
    """One answer, whether it is right, and what the reader is told who picks it."""

    text: str
    right: bool
    reply: str


@dataclass(frozen=True)
class Question:
    """One question, and the chapter and heading that it belongs to."""

    chapter: str
    section: str
    ask: str
    choices: tuple[Choice, ...]

    @property
    def name(self) -> str:
        """Made from the words, so that it stays when other questions come or go."""
        return "q-" + hashlib.sha256(f"{self.chapter}: {self.ask}".encode()).hexdigest()[:8]


def question(entry: dict) -> Question:
    """Check one entry of the bank.

    `right` and `reply` are the right answer and what is said to it; `wrong` has pairs of an answer
    and what is behind it. Choices are sorted by a digest of their words, so that the place of the
    right one tells nothing.
    """
    asked = entry.get("ask", "a question without `ask`")
    if set(entry) != FIELDS:
        raise ValueError(
            f"{asked!r} has {sorted(entry)}; a question of {BANK} has {sorted(FIELDS)}"
        )
    wrong = [Choice(text, False, reply) for text, reply in entry["wrong"]]
    if not 2 <= len(wrong) <= 4:
        raise ValueError(f"{asked!r} has {len(wrong)} wrong answers; it must have 2 to 4")
    choices = [Choice(entry["right"], True, entry["reply"]), *wrong]
    if len({choice.text for choice in choices}) < len(choices):
        raise ValueError(f"{asked!r} has two choices that are the same")
    if not all(choice.text.strip() and choice.reply.strip() for choice in choices):
        raise ValueError(f"{asked!r} has a choice without words, or without a reply")
    choices.sort(key=lambda choice: hashlib.sha256((asked + choice.text).encode()).digest())
    return Question(entry["chapter"], entry["section"], asked, tuple(choices))


def read(root: Path) -> list[Question]:
    """All questions, in the order of the file."""
    bank = tomllib.loads((root / BANK).read_text("utf-8"))
    return [question(entry) for entry in bank["question"]]


def marked_up(text: str) -> str:
    """HTML of a line with formulas, code and stressed words."""

    def one(match: re.Match) -> str:
        maths, code, stressed = match.group("maths", "code", "stressed")
        if maths is not None:
            return f'<span class="math notranslate nohighlight">\\({html.escape(maths)}\\)</span>'
        if code is not None:
            return f"<code>{html.escape(code)}</code>"
        return f"<em>{html.escape(stressed)}</em>"

    parts, end = [], 0
    for match in MARKED.finditer(text):
        parts += [html.escape(text[end : match.start()], quote=False), one(match)]
        end = match.end()
    return "".join([*parts, html.escape(text[end:], quote=False)])


def as_html(asked: Question) -> str:
    """A question that answers."""
    lines = [f'<fieldset class="nlmeta-quiz" id="{asked.name}">']
    lines.append(f"<legend>{marked_up(asked.ask)}</legend>")
    for place, choice in enumerate(asked.choices):
        mark = f"{asked.name}-{place}"
        said = "Right." if choice.right else "Not quite."
        kind = "right" if choice.right else "wrong"
        # Not described by the reply: a screen reader would read it before the reader has chosen.
        lines += [
            f'<div class="nlmeta-option"><input type="radio" name="{asked.name}" id="{mark}">',
            f'<label for="{mark}">{marked_up(choice.text)}</label>',
            f'<p class="nlmeta-reply nlmeta-{kind}" role="status"><strong>{said}</strong> '
            f"{marked_up(choice.reply)}</p></div>",
        ]
    return "\n".join([*lines, "</fieldset>"])


def folded(mine: list[Question]) -> str:
    """The questions of one section behind one fold that opens without a script."""
    inside = "\n".join(map(as_html, mine))
    return (
        f'<details class="nlmeta-checks"><summary>Check yourself ({len(mine)})</summary>\n'
        f"{inside}\n</details>"
    )


def as_gift(asked: Question) -> str:
    """A question in the format GIFT, which Moodle, Canvas and others import."""

    def escaped(text: str) -> str:
        return re.sub(r"([~=#{}:\\])", r"\\\1", " ".join(text.split()))

    lines = [f"::{escaped(asked.chapter)} {asked.name}:: {escaped(asked.ask)} {{"]
    for choice in asked.choices:
        sign = "=" if choice.right else "~"
        lines.append(f"  {sign}{escaped(choice.text)} #{escaped(choice.reply)}")
    return "\n".join([*lines, "}"])


MATHS = re.compile(r'<span class="math notranslate nohighlight">\\\((.*?)\\\)</span>')


def as_nodes(text: str) -> nodes.container:
    """HTML as nodes, with each formula as a node of its own: they bring MathJax to the page."""
    box = nodes.container(classes=["nlmeta-asked"])
    for place, part in enumerate(MATHS.split(text)):  # formulas stand at odd places
        box += (
            nodes.math("", html.unescape(part)) if place % 2 else nodes.raw("", part, format="html")
        )
    return box


class PlaceQuestions(SphinxTransform):
    """Put each question behind the text of its section, before what lies below it."""

    default_priority = 400

    def apply(self, **kwargs):
        chapter = self.env.docname.removeprefix("book/")
        mine = [asked for asked in read(Path(self.env.srcdir)) if asked.chapter == chapter]
        sections = {
            section[0].astext(): section
            for section in self.document.findall(nodes.section)
            if section.children and isinstance(section[0], nodes.title)
        }
        by_section = {}
        for asked in mine:
            heading = re.sub(r"[$`*]", "", asked.section)  # as Sphinx has it, without markup
            if heading not in sections:
                raise ExtensionError(
                    f"{BANK}: {chapter} has no section {asked.section!r}, which {asked.ask!r} asks "
                    f"about; its sections are {list(sections)}"
                )
            by_section.setdefault(heading, []).append(asked)
        for heading, group in by_section.items():
            section = sections[heading]
            below = (k for k, part in enumerate(section) if isinstance(part, nodes.section))
            section.insert(next(below, len(section)), as_nodes(folded(group)))
        if mine:
            self.env.note_dependency(BANK)


class QuestionBank(SphinxDirective):
    """All questions of the book by chapter, with the right answers and what is behind the wrong."""

    def run(self):
        self.env.note_dependency(BANK)
        root = Path(self.env.srcdir)
        titles = {Path(card.file).name: card.title for card in cards(root)}  # in the book's order
        by_place = sorted(read(root), key=lambda asked: list(titles).index(asked.chapter))
        lines = []
        for chapter, group in groupby(by_place, lambda asked: asked.chapter):
            questions = list(group)
            title = html.escape(titles[chapter])
            lines.append(
                f'<details class="nlmeta-checks"><summary>{title} ({len(questions)})</summary>\n'
                f'<p><a href="{chapter}.html">To the chapter</a></p>'
            )
            for asked in questions:
                link = f"{chapter}.html#{asked.name}"
                lines.append(f'<p><a href="{link}">{marked_up(asked.ask)}</a></p>')
                for choice in sorted(asked.choices, key=lambda choice: not choice.right):
                    sign = "Right" if choice.right else "Wrong"
                    lines.append(
                        f"<li><strong>{sign}:</strong> {marked_up(choice.text)}<br>"
                        f"<em>{marked_up(choice.reply)}</em></li>"
                    )
            lines.append("</details>")
        text = re.sub(r"((?:<li>.*</li>\n?)+)", r"<ul>\1</ul>", "\n".join(lines))
        return [as_nodes(text)]


def setup(app):
    app.add_transform(PlaceQuestions)
    app.add_directive("question-bank", QuestionBank)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    print("\n\n".join(map(as_gift, read(Path(__file__).parents[2]))))
