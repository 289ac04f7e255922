"""The pages as a reader sees them: in a browser, from the disk, with the network off.

`NLMETA_SCREENSHOTS=DIRECTORY` stores a picture of every page in every mode.
"""

import itertools
import os
import re
import subprocess
from pathlib import Path

import cards
import chapters
import make_book
import meter
import moving
import pytest
import questions
from PIL import Image

selenium = pytest.importorskip("selenium")
from chromium import open_page, page_errors  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

WIDE, NARROW = 1400, 390
PAGES = [file for _, file in chapters.entries()]
NOTEBOOKS = [file for file in PAGES if (chapters.ROOT / f"{file}.ipynb").exists()]
MODES = [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")]
ARTICLE = ".bd-article"

# Everything is asked in one script per question, since each question is a round trip.
IMAGES = f"""
return [...document.querySelectorAll('{ARTICLE} img')].map(image => ({{
    source: image.currentSrc.slice(0, 80), width: image.naturalWidth, alt: image.alt}}));
"""
RAW_MATHS = f"""
const walker = document.createTreeWalker(
    document.querySelector('{ARTICLE}'), NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {{
    const node = walker.currentNode;
    if (node.parentElement.closest('pre, code, script, style, mjx-container')) continue;
    if (/\\\\[([]|\\$\\$/.test(node.textContent)) found.push(node.textContent.trim().slice(0, 80));
}}
return found;
"""
# Formulas that MathJax could not set, and displayed ones whose left end cannot be scrolled to.
BAD_MATHS = """
const shown = [...document.querySelectorAll('%s mjx-container')];
const left = element => element.getBoundingClientRect().left;
return shown.filter(
  maths => maths.querySelector('mjx-merror')
    || (maths.hasAttribute('display') && maths.firstElementChild
        && left(maths.firstElementChild) < left(maths.closest('.bd-article div') ?? maths) - 1)
).map(maths => maths.textContent.slice(0, 60));
"""
WIDER_THAN_PAGE = """
const room = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= room + 1) return [];
return [...document.querySelectorAll('main *')]
    .filter(part => part.getBoundingClientRect().right > room + 1).slice(0, 5)
    .map(part => part.tagName + '.' + part.className + ' ' + part.textContent.slice(0, 40));
"""
# Tables that a reader of the page would have to push sideways. On a phone those with more than four
# columns scroll in a box of their own.
WIDE_TABLES = f"""
return [...document.querySelectorAll('{ARTICLE} table.table')]
    .filter(table => window.innerWidth > 600 || table.rows[0].cells.length <= 4)
    .filter(table => table.scrollWidth > table.clientWidth + 1)
    .map(table => table.textContent.trim().slice(0, 40));
"""
# Boxes that scroll and that a keyboard does not reach.
OUT_OF_REACH = f"""
return [...document.querySelectorAll('{ARTICLE} table, {ARTICLE} pre')]
    .filter(box => /auto|scroll/.test(getComputedStyle(box).overflowX))
    .filter(box => box.scrollWidth > box.clientWidth + 1 && box.tabIndex < 0)
    .map(box => box.textContent.trim().slice(0, 40));
"""
# Folds that are called otherwise than they read.
MISNAMED = f"""
return [...document.querySelectorAll('{ARTICLE} summary[aria-label]')]
    .filter(fold => !fold.getAttribute('aria-label').includes(fold.textContent.trim()))
    .map(fold => fold.textContent.trim().slice(0, 40));
"""
SHOWN_FRAMES = """
return [...arguments[0].closest('.nlmeta-frames').querySelectorAll('img.nlmeta-frame')]
    .map((image, k) => getComputedStyle(image).display == 'none' ? -1 : k).filter(k => k >= 0);
"""


@pytest.fixture(scope="session")
def book(root, tmp_path_factory):
    """The book from the stored outputs, built strictly in a copy of its sources."""
    place = tmp_path_factory.mktemp("book")
    make_book.copy_of_sources(root, place)
    command = make_book.jupyter_book(place)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return place / "_build/html"


def picture(browser, name: str) -> None:
    """Store a picture of the whole page, if asked for by NLMETA_SCREENSHOTS."""
    place = os.environ.get("NLMETA_SCREENSHOTS")
    if not place:
        return
    Path(place).mkdir(parents=True, exist_ok=True)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return window.innerWidth")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": min(height, 12_000), "deviceScaleFactor": 1, "mobile": False},
    )
    browser.save_screenshot(str(Path(place, f"{name}.png")))


def stored_html(source: Path) -> list[str]:
    """The HTML outputs that a page's source stores."""
    if source.suffix != ".ipynb":
        return []
    outputs = [o for cell in chapters.read(source).cells for o in cell.get("outputs", [])]
    return [output.get("data", {}).get("text/html", "") for output in outputs]


@pytest.mark.parametrize(("width", "theme"), MODES)
@pytest.mark.parametrize("page", PAGES)
def test_page_reads_with_the_network_off(page, width, theme, book, browser):
    """No page error; mathematics set; figures there, with alt text; nothing sticks out."""
    open_page(browser, book / f"{page}.html", width, theme)
    picture(browser, f"{Path(page).name}-{width}-{theme}")
    assert page_errors(browser) == []
    assert browser.execute_script("return document.documentElement.dataset.theme") == theme
    source = chapters.page_path(page)
    has_maths = "$" in re.sub(r"```.*?```", "", source.read_text("utf-8"), flags=re.DOTALL)
    if has_maths and source.suffix == ".md":
        assert browser.find_elements(By.CSS_SELECTOR, f"{ARTICLE} mjx-container")
    assert browser.execute_script(RAW_MATHS) == []
    assert browser.execute_script(BAD_MATHS % ARTICLE) == []
    images = browser.execute_script(IMAGES)
    assert [image for image in images if not image["width"] or not image["alt"]] == []
    if source.suffix == ".ipynb":
        assert images  # at least the badge
    assert browser.execute_script(WIDER_THAN_PAGE) == []
    assert browser.execute_script(OUT_OF_REACH) == []
    assert browser.execute_script(MISNAMED) == []
    if source.suffix == ".md":
        assert browser.execute_script(WIDE_TABLES) == []


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_stored_mathematics_and_figures_reach_the_page(page, book, browser):
    """As many figures as the notebook stores, and mathematics wherever it writes some."""
    source = chapters.page_path(page)
    open_page(browser, book / f"{page}.html", WIDE, "light")
    notebook = chapters.read(source)
    data = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
    figures = sum("image/png" in d and "text/html" not in d for d in data)
    frames = sum(html.count('class="nlmeta-frame"') for html in stored_html(source))
    shown = browser.execute_script(IMAGES)
    assert len(shown) == figures + frames + 1  # and the badge
    written = any("$" in c.source for c in notebook.cells if c.cell_type == "markdown")
    set_ = browser.find_elements(By.CSS_SELECTOR, f"{ARTICLE} mjx-container")
    assert bool(set_) == written


def test_each_chapter_says_where_in_the_book_it_is(book, browser):
    """The part's chapters as links, this one marked; no such line on a page without a number."""
    open_page(browser, book / "book/mslg.html", NARROW, "light")
    place = browser.find_element(By.CSS_SELECTOR, f"{ARTICLE} nav.nlmeta-place")
    assert place.text.split() == ["Methods", "8", "9", "10", "11"]
    links = place.find_elements(By.TAG_NAME, "a")
    assert [link.get_attribute("aria-current") for link in links] == [None, "page", None, None]
    assert links[0].get_attribute("aria-label").startswith("8. Meta loss correction")
    assert Path(links[3].get_attribute("href")).name == "clid_mu.html"
    for page in ("book/index", "book/teaching", "book/api"):
        open_page(browser, book / f"{page}.html", NARROW, "light")
        assert browser.find_elements(By.CSS_SELECTOR, "nav.nlmeta-place") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", NOTEBOOKS)
def test_sliders_answer_to_the_keyboard(page, theme, book, browser):
    """Each stored slider is on the page; an arrow key shows the next of its pictures."""
    source = chapters.page_path(page)
    stored = sum(html.count("nlmeta-slider") for html in stored_html(source))
    if not stored:
        pytest.skip("the page has no slider")
    open_page(browser, book / f"{page}.html", NARROW, theme)
    sliders = browser.find_elements(By.CSS_SELECTOR, f"{ARTICLE} input.nlmeta-slider")
    assert len(sliders) == stored
    for slider in sliders:
        (before,) = browser.execute_script(SHOWN_FRAMES, slider)
        last = int(slider.get_attribute("max"))
        step = 1 if before < last else -1
        slider.send_keys(Keys.ARROW_RIGHT if step == 1 else Keys.ARROW_LEFT)
        assert browser.execute_script(SHOWN_FRAMES, slider) == [before + step]
    assert page_errors(browser) == []


def answered(notebook) -> int:
    """Predictions whose answer is an output of the next cells that are not folded as a whole."""
    found = 0
    for place, cell in enumerate(notebook.cells):
        last = cell.source.rpartition("\n\n")[2] if cell.cell_type == "markdown" else ""
        if "**Predict:**" not in last:
            continue
        rest = notebook.cells[place + 1 :]
        code = itertools.takewhile(lambda other: other.cell_type == "code", rest)
        found += any(
            other.outputs and "hide-cell" not in other.metadata.get("tags", []) for other in code
        )
    return found


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_an_answer_is_folded_until_the_reader_asks_for_it(page, book, browser):
    """By the keyboard, without a script; what reads the answer aloud is folded with it."""
    source = chapters.page_path(page)
    open_page(browser, book / f"{page}.html", WIDE, "light", opened=False)
    boxes = browser.find_elements(By.CSS_SELECTOR, f"{ARTICLE} details.nlmeta-reveal")
    assert len(boxes) == answered(chapters.read(source)) > 0
    for box in boxes:
        assert box.get_attribute("open") is None
        assert not box.find_element(By.CSS_SELECTOR, ".cell_output").is_displayed()
    boxes[0].find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert boxes[0].find_element(By.CSS_SELECTOR, ".cell_output").is_displayed()


def test_a_shared_link_shows_a_picture(book):
    """As large as platforms ask for, with words for those who do not see it."""
    with Image.open(book / "_static/preview.png") as shown:
        assert shown.size == (1200, 630)
        assert len(shown.getcolors(1 << 20)) > 20  # not a blank page
    for page in PAGES:
        head = (book / f"{page}.html").read_text("utf-8").partition("</head>")[0]
        assert re.search(r'property="og:image" content="https://[^"]+/_static/preview.png"', head)
        assert re.search(r'property="og:image:alt" content="Sixteen handwritten digits', head)


# The replies that are shown after each choice of a question, in one round trip.
REPLIES = """
const box = document.getElementById(arguments[0]);
return [...box.querySelectorAll('input')].map(choice => {
    choice.click();
    return [...box.querySelectorAll('.nlmeta-reply')].map(
        reply => reply.checkVisibility() ? reply.querySelector('strong').textContent : '');
});
"""


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_question_answers_to_the_keyboard(page, book, browser):
    """Behind its fold, each choice shows its own reply and hides that of the one before."""
    asked = [one for one in questions.read(book.parents[1]) if f"book/{one.chapter}" == page]
    open_page(browser, book / f"{page}.html", NARROW, "light", opened=False)
    assert asked
    boxes = [browser.find_element(By.ID, one.name) for one in asked]
    assert not any(box.is_displayed() for box in boxes)
    for fold in browser.find_elements(By.CSS_SELECTOR, "details.nlmeta-checks > summary"):
        fold.send_keys(Keys.ENTER)
    assert all(box.is_displayed() for box in boxes)

    replies = browser.find_elements(By.CSS_SELECTOR, f"{ARTICLE} .nlmeta-reply")
    assert not browser.execute_script("return arguments[0].some(r => r.checkVisibility())", replies)
    first, second = boxes[0].find_elements(By.TAG_NAME, "input")[:2]
    first.send_keys(Keys.SPACE)
    first.send_keys(Keys.ARROW_DOWN)
    replies = boxes[0].find_elements(By.CLASS_NAME, "nlmeta-reply")
    assert [reply.is_displayed() for reply in replies][:2] == [False, True]
    assert second.is_selected()

    for one in asked:
        said = ["Right." if choice.right else "Not quite." for choice in one.choices]
        wanted = [
            [word if k == at else "" for k, word in enumerate(said)] for at in range(len(said))
        ]
        assert browser.execute_script(REPLIES, one.name) == wanted, one.ask
    assert page_errors(browser) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_describes_itself_by_its_first_words(page, book):
    """To searches and link previews; once by each name, and not by what the badge says."""
    head = (book / f"{page}.html").read_text("utf-8").partition("</head>")[0]
    for name in ('property="og:description"', 'name="description"'):
        (described,) = re.findall(rf'<meta {name} content="([^"]*)"', head)
        assert 20 < len(described) < 300
        assert "Open in Colab" not in described


TILES = """
return [...document.querySelectorAll('.nlmeta-tile')].map(tile => [
    tile.querySelector('.nlmeta-says').textContent, tile.classList.contains('nlmeta-lies')]);
"""


@pytest.mark.parametrize(("width", "height"), [(WIDE, 900), (NARROW, 844)])
def test_the_first_screen_says_what_this_is_and_where_to_go(width, height, book, browser):
    """A sentence, three doors that lead somewhere, sixteen digits and their button."""
    open_page(browser, book / "book/index.html", width, "light")
    doors = browser.find_elements(By.CSS_SELECTOR, ".nlmeta-door")
    tiles = browser.find_elements(By.CSS_SELECTOR, ".nlmeta-tile")
    play = browser.find_element(By.CSS_SELECTOR, ".nlmeta-sixteen button")
    assert (len(doors), len(tiles)) == (3, 16)
    for part in (*doors, *tiles, play):
        assert part.rect["y"] + part.rect["height"] <= height
    for door in doors:
        file, _, place = door.get_dom_attribute("href").partition("#")
        assert (book / "book" / (file or "index.html")).exists()
        assert not place or browser.find_element(By.ID, place)


def test_the_digits_of_the_front_page_move_and_hold_still_for_who_asks(book, browser):
    """By the keyboard each stored epoch; with reduced motion the button goes to the end."""
    stored = moving.read(book / "_static/sixteen.js")["labels"]

    def wanted(epoch):
        says = [labels[epoch] for labels in stored["says"]]
        return [[str(k), k != true] for k, true in zip(says, stored["true"], strict=True)]

    open_page(browser, book / "book/index.html", WIDE, "light")
    assert browser.execute_script(TILES) == wanted(0)
    slider = browser.find_element(By.CSS_SELECTOR, ".nlmeta-sixteen input")
    for epoch in (1, 2, 3):
        slider.send_keys(Keys.ARROW_RIGHT)
        assert browser.execute_script(TILES) == wanted(epoch)
        said = browser.find_element(By.CSS_SELECTOR, ".nlmeta-sixteen .nlmeta-result").text
        assert f"{stored['mended'][epoch]} are right now" in said
        assert said.endswith(f"{stored['spoilt'][epoch]} are wrong.")
    play = browser.find_element(By.CSS_SELECTOR, ".nlmeta-sixteen button")
    play.send_keys(Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(TILES) == wanted(8))
    assert play.text == "Pause"
    play.send_keys(Keys.SPACE)
    assert play.text == "Play"
    reduced = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": reduced})
    play.send_keys(Keys.ENTER)
    assert browser.execute_script(TILES) == wanted(len(stored["mended"]) - 1)
    assert page_errors(browser) == []


def test_the_front_page_has_a_card_for_each_chapter(book, browser):
    """In the book's order; the card leads to the chapter, its badge to Colab."""
    open_page(browser, book / "book/index.html", WIDE, "light")
    shown = browser.find_elements(By.CSS_SELECTOR, "li.nlmeta-card")
    assert len(shown) == len(NOTEBOOKS) > 10
    for element, card in zip(shown, cards.cards(), strict=True):
        link, badge = element.find_elements(By.TAG_NAME, "a")
        assert link.text == card.title
        assert card.question in element.text
        href = link.get_dom_attribute("href")
        assert href == f"{Path(card.file).name}.html"
        assert (book / "book" / href).exists()
        assert badge.get_dom_attribute("href") == card.badge


def test_the_bank_of_questions_has_the_chapters_in_the_book_s_order_by_title(book, browser):
    open_page(browser, book / "book/questions.html", WIDE, "light")
    folds = browser.find_elements(By.CSS_SELECTOR, "details.nlmeta-checks > summary")
    titles = [fold.text.rpartition(" (")[0] for fold in folds]
    assert titles == [card.title for card in cards.cards()]


PLAYED = {  # figure: page, a slider or choice, how it is moved, words of the result afterwards
    "step": ("welcome", "input[type=range]", Keys.END, "After a step of 12.0"),
    "weight": ("bilevel", "input[type=range]", Keys.HOME, "foretold"),
    "inner": ("optimum", "input[type=range]", Keys.HOME, "One step has the right sign"),
    "explain": ("mlc", "input[type=range]", Keys.END, "3 are explained away"),
    "row": ("mslg", "input[type=range]", Keys.HOME, "class 0"),
    "suspects": ("own_data", "button.nlmeta-tile", Keys.SPACE, "You call 1 of 16 labels wrong."),
}


@pytest.mark.parametrize("figure", PLAYED)
def test_figures_compute_from_what_the_keyboard_moves(figure, book, browser):
    """One press changes drawing and words; controls have names; nothing sticks out on a phone."""
    page, control, key, words = PLAYED[figure]
    open_page(browser, book / f"book/{page}.html", NARROW, "dark")
    place = browser.find_element(By.CSS_SELECTOR, f'.nlmeta-play[data-play="{figure}"]')
    result = place.find_element(By.CSS_SELECTOR, ".nlmeta-result")
    before, drawn = result.text, place.get_attribute("innerHTML")
    place.find_element(By.CSS_SELECTOR, control).send_keys(key)
    assert result.text != before
    assert words in result.text
    assert place.get_attribute("innerHTML") != drawn
    for part in place.find_elements(By.CSS_SELECTOR, "input, button, svg[role=img]"):
        assert part.accessible_name
    assert page_errors(browser) == []


def test_the_truth_on_the_suspects_is_shown_when_asked_for(book, browser):
    """Nobody called wrong is right for eight; then nothing can be changed any more."""
    open_page(browser, book / "book/own_data.html", NARROW, "light")
    place = browser.find_element(By.CSS_SELECTOR, '.nlmeta-play[data-play="suspects"]')
    assert "→" not in place.text
    place.find_elements(By.CSS_SELECTOR, ".nlmeta-button")[-1].send_keys(Keys.ENTER)
    said = place.find_element(By.CSS_SELECTOR, ".nlmeta-result").text
    assert said.startswith("You judged 8 of 16 rightly.")
    assert place.text.count("→") == 8
    tile = place.find_element(By.CSS_SELECTOR, "button.nlmeta-tile")
    tile.send_keys(Keys.SPACE)
    assert tile.get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("page", PAGES)
def test_no_page_gets_worse(page, book, browser):
    """Its length, code, tables and minutes, by the bounds that `meter.py` has stored."""
    bounds = meter.read_bounds()
    found = meter.complaints(meter.measure(browser, book, page), bounds.get(page, {}))
    assert not found, "\n".join(found)


def test_every_bound_is_of_a_page():
    assert set(meter.read_bounds()) <= set(PAGES)
    assert len(meter.read_bounds()) > 20


# Pixels: three fifths of what each method chapter once had.
SHORT = {"mlc": 14_478, "mslg": 13_860, "mlnt": 18_536, "clid_mu": 17_648}


@pytest.mark.parametrize("name", SHORT)
def test_no_bound_lets_a_method_chapter_grow_again(name):
    bounds = meter.read_bounds()
    assert bounds[f"book/{name}"]["height"] <= meter.bound("height", SHORT[name])


def test_no_bound_allows_much_code_or_a_second_long_cell():
    """A quarter of a page is open code at most; only the step from scratch may be long."""
    for page, bounds in meter.read_bounds().items():
        assert bounds["code"] <= meter.bound("code", 25), page
        assert bounds["long"] <= 1, page


def test_every_chapter_opens_with_a_picture(root):
    """Its first figure starts within 1,300 pixels; a fold or a long text above it fails here."""
    bounds = meter.read_bounds()
    for path in chapters.notebooks(root):
        figure = bounds[f"book/{path.stem}"]["figure"]
        assert 0 < figure <= meter.bound("figure", 1300), path.stem


METERED = """<!doctype html><html><body><article class="bd-article" style="margin: 0">
<h1 style="height: 100px; margin: 0">Four words of it</h1><p>one two</p>
<div class="cell_input"><pre style="width: 100px; overflow: auto">{code}</pre></div>
<div class="cell_output"><pre style="width: 50px; overflow: auto">{output}</pre></div>
<table><tr><td>1.5 ± 2</td><td>3</td></tr></table><div class="nlmeta-frames">x</div>
<details><summary>more</summary><div class="cell_input"><pre>hidden</pre></div></details>
<section id="exercises"><p>Not read.</p></section></article></body></html>"""


def test_the_meter_measures(browser, tmp_path):
    """On a page whose numbers are known."""
    text = METERED.format(code="x = 1\n" * 26, output="0123456789" * 9)
    (tmp_path / "page.html").write_text(text)
    got = meter.measure(browser, tmp_path, "page")
    assert (got.long, got.cut, got.cut_outputs) == (1, 0, 1)
    assert (got.interactives, got.plus_minus) == (1, 1)
    assert 100 < got.figure < got.height
    assert 50 < got.code < 100
    counts = {"words": 400, "lines": 100, "numbers": 60}
    sizes = {"height": 900, "code": 20, "long": 0, "cut": 2, "cut_outputs": 0, "figure": 0}
    sizes |= {"interactives": 0, "plus_minus": 3}
    measured = meter.page_of("page", {**counts, **sizes})
    assert measured.minutes == 2 + 5 + 5
    bounds = {name: meter.bound(name, getattr(measured, name)) for name in meter.SLACK}
    assert meter.complaints(measured, bounds) == [
        "page: 2 boxes of code are cut at their right edge"
    ]
    worse = meter.page_of("page", {**counts, **sizes, "cut": 0, "height": 999, "plus_minus": 4})
    assert meter.complaints(worse, bounds) == [
        "page: height is 999, and the bound is 972",
        "page: plus_minus is 4, and the bound is 3",
    ]
    seen = bounds | {"figure": 1300}
    assert "page: no figure is to be seen without a click" in meter.complaints(measured, seen)


FAULTY = """<!doctype html><html><body><main><article class="bd-article">
<p>Raw \\(T\\) here.</p><details><summary aria-label="Toggle">Show</summary></details>
<table style="display: block; width: 50px; overflow-x: auto"><tr>
<td>unbreakable words</td></tr></table>
<img src="missing.png"><pre style="width: 2000px">wide</pre>
<script src="https://example.org/remote.js"></script><script>undefinedFunction()</script>
</article></main></body></html>"""


def test_checks_of_a_page_can_fail(browser, tmp_path):
    """A page with one fault of each kind is caught on each."""
    path = tmp_path / "faulty.html"
    path.write_text(FAULTY)
    open_page(browser, path, NARROW, "light")
    errors = " ".join(page_errors(browser))
    assert "undefinedFunction" in errors
    assert "remote.js" in errors
    assert browser.execute_script(RAW_MATHS) == ["Raw \\(T\\) here."]
    (image,) = browser.execute_script(IMAGES)
    assert not image["width"]
    assert not image["alt"]
    assert browser.execute_script(WIDER_THAN_PAGE)
    assert browser.execute_script(OUT_OF_REACH) == ["unbreakable words"]
    assert browser.execute_script(MISNAMED) == ["Show"]
