"""Measure the pages of a built book as a reader sees them, 1400 pixels wide.

    python book/_tools/meter.py _build/html            # a table
    python book/_tools/meter.py _build/html --bounds   # and store what no page may exceed

Answers and folds are as the page opens; only cut boxes are looked for with everything unfolded. A
minute is 200 words, 20 lines of code or 12 numbers of a table; exercises are left out. A test holds
every page to the stored bounds, so that a page which gets worse says so.
"""

import argparse
import csv
import shutil
import sys
from dataclasses import asdict, dataclass, fields
from math import ceil
from pathlib import Path
from typing import Any

from chapters import ROOT, entries

BOUNDS = ROOT / "book/_tools/meter_bounds.csv"
WIDTH = 1400
WORDS, LINES, NUMBERS = 200, 20, 12  # a minute
LONG = 25  # lines of an open cell

SECONDS = 300  # for a page, also on a busy machine
READY = """
document.fonts.ready.then(() => window.MathJax?.startup?.promise)
    .then(() => { window.nlmetaReady = true; });
"""
# One script, since each question to the browser is a round trip.
MEASURE = (
    r"""
const article = document.querySelector('.bd-article');
const top = article.getBoundingClientRect().top;
const shown = part => part.checkVisibility();
const all = selector => [...article.querySelectorAll(selector)];
const height = parts => parts.reduce((sum, part) => sum + part.getBoundingClientRect().height, 0);
const code = all('.cell_input').filter(shown);
const lines = box => box.textContent.replace(/\n+$/, '').split('\n').length;
const sizes = code.map(box => lines(box.querySelector('pre')));
const pictures = all('.cell_output img, .nlmeta-frames, .nlmeta-play, figure img').filter(shown);
const places = pictures.map(part => part.getBoundingClientRect().top + window.scrollY);
const read = all('p, li, h1, h2, h3, figcaption').filter(part => shown(part)
    && !part.closest('section[id^="exercises"], .cell_input, .cell_output pre, table')
    && !part.querySelector('p, li'));
const count = (parts, kind) =>
    parts.reduce((n, part) => n + (part.textContent.match(kind) ?? []).length, 0);
const cells = all('table td').filter(shown);
const measured = {
    height: Math.round(article.getBoundingClientRect().height),
    code: Math.round(100 * height(code) / article.getBoundingClientRect().height),
    long: sizes.filter(size => size > """
    + str(LONG)
    + r""").length,
    figure: places.length ? Math.round(Math.min(...places)) : 0,
    interactives: all('.nlmeta-frames, .nlmeta-play').length,
    plus_minus: count([article], /±/g),
    words: count(read, /[\p{L}\d]+/gu),
    numbers: count(cells, /\d+(\.\d+)?/g),
    lines: sizes.reduce((a, b) => a + b, 0),
};
all('details').forEach(part => { part.open = true; });
const cut = all('pre').filter(box => shown(box) && box.scrollWidth > box.clientWidth + 1);
measured.cut = cut.filter(box => box.closest('.cell_input')).length;
measured.cut_outputs = cut.length - measured.cut;
return measured;
"""
)


@dataclass(frozen=True)
class Page:
    """What is measured of a page."""

    page: str
    height: int  # pixels
    code: int  # percent of the height that open code takes
    long: int  # open cells above 25 lines
    cut: int  # boxes of code that are cut at their right edge
    cut_outputs: int  # other boxes that are
    figure: int  # pixels from the top to the first figure; 0 where there is none
    interactives: int
    plus_minus: int
    minutes: int


# What may not grow, and how much a page may grow until it counts: other fonts break other lines.
SLACK = {"height": 1.08, "code": 1.08, "long": 1, "cut_outputs": 1, "figure": 1.08}
SLACK |= {"plus_minus": 1, "minutes": 1.08}


def page_of(name: str, measured: dict[str, Any]) -> Page:
    """A page from what the browser says."""
    parts = ((measured["words"], WORDS), (measured["lines"], LINES), (measured["numbers"], NUMBERS))
    minutes = round(sum(count / rate for count, rate in parts))
    known = {field.name for field in fields(Page)}
    return Page(page=name, minutes=minutes, **{k: v for k, v in measured.items() if k in known})


def bound(name: str, value: int) -> int:
    """What a page may come to, that has this value now."""
    return ceil(round(value * SLACK[name], 6))


def read_bounds(path: Path = BOUNDS) -> dict[str, dict[str, int]]:
    """The stored bounds, by page."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("page"): {name: int(value) for name, value in row.items()} for row in rows}


def write_bounds(pages: list[Page], path: Path = BOUNDS) -> None:
    """Store the bounds of these pages, and no others."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["page", *SLACK])
        for page in pages:
            writer.writerow([page.page, *(bound(name, getattr(page, name)) for name in SLACK)])


def complaints(page: Page, bounds: dict[str, int]) -> list[str]:
    """In what a page is worse than its bounds allow; code is cut nowhere."""
    found = []
    if page.cut:
        found.append(f"{page.page}: {page.cut} boxes of code are cut at their right edge")
    if bounds.get("figure") and not page.figure:
        found.append(f"{page.page}: no figure is to be seen without a click")
    return found + [
        f"{page.page}: {name} is {getattr(page, name)}, and the bound is {most}"
        for name, most in bounds.items()
        if getattr(page, name) > most
    ]


def measure(browser: Any, html: Path, name: str) -> Page:
    """A page that the browser is asked to show."""
    from selenium.webdriver.support.ui import WebDriverWait

    metrics = {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get((html / f"{name}.html").resolve().as_uri())
    wait = WebDriverWait(browser, SECONDS)
    wait.until(lambda driver: driver.execute_script("return document.readyState") == "complete")
    browser.execute_script(READY)
    wait.until(lambda driver: driver.execute_script("return window.nlmetaReady === true"))
    return page_of(name, browser.execute_script(MEASURE))


def _chromium() -> Any:
    from selenium import webdriver

    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        raise FileNotFoundError("Chromium and chromedriver are needed (apt: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    options.page_load_strategy = "eager"  # what is waited for, `measure` says
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("html", type=Path, help="the folder that `make book` builds")
    parser.add_argument("--bounds", action="store_true", help="store what no page may exceed")
    options = parser.parse_args(arguments)
    browser = _chromium()
    try:
        pages = [measure(browser, options.html, file) for _, file in entries()]
    finally:
        browser.quit()
    names = [field.name for field in fields(Page)]
    print("".join(f"{name:>13s}" for name in names[1:]), "page")
    for page in pages:
        values = asdict(page)
        print("".join(f"{values[name]:13,d}" for name in names[1:]), page.page)
    if options.bounds:
        write_bounds(pages)
        print(f"stored: {BOUNDS.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
