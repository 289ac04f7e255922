"""The slide decks: one figure and one question a slide, in a browser without a network."""

import html
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import slides
from chapters import numbers
from chromium import open_page, page_errors
from selenium.webdriver.common.keys import Keys

WEEKS = slides.weeks()
# What of the present slide sticks out of the window: nothing may.
NOTES = """
return [...Reveal.getCurrentSlide().querySelectorAll('aside.notes')]
    .map(notes => notes.closest('.fragment') !== null);
"""
STICKS_OUT = """
const slide = Reveal.getCurrentSlide();
return [...slide.querySelectorAll('h2, img, p.says, p.from')].filter(part => {
    const box = part.getBoundingClientRect();
    return box.left < -1 || box.top < -1 || box.right > window.innerWidth + 1
        || box.bottom > window.innerHeight + 1 || Math.min(box.width, box.height) < 8;
}).map(part => part.tagName + ' ' + part.textContent.slice(0, 60));
"""
PLACE = "return Reveal.getIndices().h"
BROKEN = "return [...document.images].filter(i => !i.naturalWidth || !i.alt).length"


@pytest.fixture(scope="module")
def decks(root, tmp_path_factory):
    """All decks, beside a copy of the book's MathJax."""
    place = tmp_path_factory.mktemp("html")
    mathjax = find_spec("sphinx-mathjax-offline").submodule_search_locations[0]
    shutil.copytree(Path(mathjax, "static/mathjax"), place / "_static/mathjax")
    return slides.write(place / "slides", root)


@pytest.mark.parametrize("week", WEEKS, ids=lambda week: f"week{week.number}")
def test_each_slide_has_one_figure_and_one_question(week, root):
    deck = slides.notebook(week, root)
    kinds = [cell.metadata["slideshow"]["slide_type"] for cell in deck.cells]
    assert kinds == ["slide", "notes", "fragment"] * len(week.slides)
    for slide, question, notes, shown in zip(
        week.slides, deck.cells[::3], deck.cells[1::3], deck.cells[2::3], strict=True
    ):
        assert re.fullmatch(r"## [^?]+\?", question.source)
        assert shown.source.count("<img ") == 1
        assert len(re.search(r'alt="([^"]*)"', shown.source)[1]) > 20
        assert "?" not in slide.says
        assert f"Chapter {numbers(root)[slide.chapter]}. " in shown.source
        assert "likely wrong answer" in notes.source
    assert len({slide.figure for slide in week.slides}) == len(week.slides)


def test_the_weeks_are_those_of_the_course(root):
    """Each chapter of a deck is read in its week, and the page links each deck."""
    page = (root / "book/syllabus.md").read_text("utf-8")
    assert [week.number for week in WEEKS] == list(range(1, 9))
    for week in WEEKS:
        row = re.search(rf"^\| {week.number} \|.*$", page, re.MULTILINE)[0]
        assert f'href="../slides/week{week.number}.html"' in row
        for slide in week.slides:
            assert f"({slide.chapter}.ipynb)" in row


def test_what_does_not_exist_is_refused(root):
    slide = WEEKS[0].slides[0]
    fields = vars(slide)
    with pytest.raises(ValueError, match="chapter 'welcome' stores no figure 'fig-nowhere'"):
        slides.figure(slides.Slide(**{**fields, "figure": "fig-nowhere"}), root)
    unknown = slides.Slide(**{**fields, "guess": "Nobody, ever"})
    with pytest.raises(ValueError, match="`predictions.md` has no row 'Nobody, ever'"):
        slides.notebook(slides.Week(9, "none", [unknown]), root)


def test_notes_hold_the_row_of_the_predictions(root):
    rows = slides.guesses(root)
    wrong, behind, back = rows["MLC, what is left if $T$ stays"]
    assert wrong == '"about cross-entropy"'
    week = next(week for week in WEEKS if week.number == 4)
    notes = slides.notebook(week, root).cells[1].source
    assert all(text in notes for text in (wrong, behind, back))


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("week", [week.number for week in WEEKS])
def test_a_deck_opens_offline_and_moves_by_the_arrow_key(week, width, decks, browser):
    """To its end: all figures are there, nothing sticks out, nothing is asked of the network."""
    deck = decks[week - 1]
    assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', deck.read_text("utf-8"))
    open_page(browser, deck, width, "light")
    body = browser.find_element("tag name", "body")
    count = len(WEEKS[week - 1].slides)
    for place in range(count):
        assert browser.execute_script(PLACE) == place
        # The speaker needs the likely answers while the class guesses, so not within the figure.
        assert browser.execute_script(NOTES) == [False]
        body.send_keys(Keys.ARROW_RIGHT)  # the figure
        assert browser.execute_script(PLACE) == place
        assert browser.execute_script(STICKS_OUT) == []
        body.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(PLACE) == count - 1
    body.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert browser.execute_script(PLACE) == count - 2
    assert browser.execute_script(BROKEN) == 0
    assert page_errors(browser) == []


def test_a_deck_names_its_week(decks):
    for week, deck in zip(WEEKS, decks, strict=True):
        title = re.search("<title>(.*?)</title>", deck.read_text("utf-8"), re.DOTALL)[1]
        assert f"Week {week.number}: {week.title}" in html.unescape(title)
