"""The pages as a reader sees them: in a browser, from the disk, with the network off.

`NLMETA_SCREENSHOTS=DIRECTORY` stores a picture of every page in every mode.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cards
import chapters
import moving
import pytest

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
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
SHOWN_FRAMES = """
return [...arguments[0].closest('.nlmeta-frames').querySelectorAll('img.nlmeta-frame')]
    .map((image, k) => getComputedStyle(image).display == 'none' ? -1 : k).filter(k => k >= 0);
"""
OPEN_ALL = "document.querySelectorAll('details.nlmeta-reveal').forEach(d => { d.open = true; });"
TYPESET = """
return document.readyState == 'complete'
    && (!window.MathJax || !MathJax.startup || window.nlmetaTypeset === true
        || (MathJax.startup.promise.then(() => { window.nlmetaTypeset = true; }), false));
"""


@pytest.fixture(scope="session")
def book(root, tmp_path_factory):
    """The book from the stored outputs, built strictly in a copy of its sources."""
    place = tmp_path_factory.mktemp("book")
    shutil.copytree(root / "book", place / "book", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "_toc.yml", place)
    config = (root / "_config.yml").read_text("utf-8")
    stored = re.sub(r"(execute_notebooks:) \w+", r"\1 'off'", config)
    assert stored != config
    (place / "_config.yml").write_text(stored, "utf-8")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(place)]
    done = subprocess.run(
        [*command, "--all", "-W", "-n", "--keep-going"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return place / "_build/html"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium that can reach nothing but files."""
    binary = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        reason = "Chromium and chromedriver are needed (Debian: chromium, chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    session = webdriver.Chrome(options=options, service=service)
    session.set_page_load_timeout(60)
    yield session
    session.quit()


def open_page(browser, path: Path, width: int, theme: str, *, opened: bool = True) -> None:
    """Show a page at a width and in a colour scheme, and wait until the mathematics is set.

    Answers to predictions are shown, unless `opened` is False: what is folded has no width.
    """
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get_log("browser")  # forget what earlier pages said
    browser.get(path.as_uri())
    WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(TYPESET))
    if opened:
        browser.execute_script(OPEN_ALL)


def page_errors(browser) -> list[str]:
    """What the page's scripts and requests complained about since it was opened."""
    log = browser.get_log("browser")
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


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
    """A sentence, three doors that lead somewhere, sixteen digits and the button that moves them."""
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
    """By the keyboard: each stored epoch; with reduced motion the button goes to the end at once."""
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


FAULTY = """<!doctype html><html><body><main><article class="bd-article">
<p>Raw \\(T\\) here.</p><img src="missing.png"><pre style="width: 2000px">wide</pre>
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
