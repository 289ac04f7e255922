"""Headless Chromium for the tests of pages and of what pages compute."""

import os
import shutil
from pathlib import Path

import pytest

FOLDS = "details.nlmeta-reveal, details.nlmeta-checks"
OPEN_ALL = f"document.querySelectorAll('{FOLDS}').forEach(d => {{ d.open = true; }});"
TYPESET = """
return document.readyState == 'complete'
    && (!window.MathJax || !MathJax.startup || window.nlmetaTypeset === true
        || (MathJax.startup.promise.then(() => { window.nlmetaTypeset = true; }), false));
"""


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium that can reach nothing but files."""
    pytest.importorskip("selenium")
    from selenium import webdriver

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
    from selenium.webdriver.support.ui import WebDriverWait

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
