"""The page of a run as people open it: a real browser, a window of a desk and of a phone, light and dark."""

import pytest

from src.layout import PIPELINE_RUN, RunFolder
from src.visualization.visualize import visualize
from tests.project import ROOT
from tests.visualization.browser import Browser, browser_path
from tests.visualization.test_cases import write_extras

RUN = RunFolder(PIPELINE_RUN)
PICTURES = ROOT / "build/screenshots/report"
"""Kept after the test, to be looked at."""

WINDOWS = {"wide": (1280, "light"), "phone": (390, "light"), "dark": (1280, "dark")}

# an image outside the window is loaded only once it is scrolled to
LOAD_ALL = "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode(); })).then(() => true)"


@pytest.mark.slow
@pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")
def test_the_page_opens_without_a_fault_at_every_size_and_its_images_load(drawn_run, cfg):
    PICTURES.mkdir(parents=True, exist_ok=True)
    root = drawn_run(scores_train=True, temperature=1.5)
    write_extras()
    visualize(cfg)
    page = (root / RUN.report / "index.html").as_uri()
    colours = {}
    with Browser() as browser:
        for name, (width, scheme) in WINDOWS.items():
            browser.open(page, width=width, scheme=scheme)
            assert browser.value(LOAD_ALL)
            assert browser.value("[...document.images].every(image => image.naturalWidth > 0)")
            assert browser.value("document.images.length") > 20
            # tables scroll inside their cards, the page itself never sideways
            assert browser.value("document.documentElement.scrollWidth") <= width
            colours[name] = browser.value("getComputedStyle(document.body).backgroundColor")
            picture = PICTURES / f"{name}.png"
            browser.picture(picture)
            assert picture.stat().st_size > 10_000
        assert (
            browser.value("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
            == 0
        )
        # a page that scrolls smoothly is still on its way when the mouse comes down
        browser.value("document.documentElement.style.scrollBehavior = 'auto'")
        browser.click("table.sortable th:nth-child(3) button")
        browser.wait_for("document.querySelector('th[aria-sort=descending]') !== null")
        assert browser.messages == []
    assert colours["wide"] == colours["phone"] != colours["dark"]


@pytest.mark.slow
@pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")
def test_what_a_page_writes_to_the_console_as_an_error_is_noticed(tmp_path):
    (tmp_path / "page.html").write_text("<!doctype html><title>x</title><script>console.error('broken')</script>")
    with Browser() as browser:
        browser.open((tmp_path / "page.html").as_uri())
        browser.wait_for("document.title === 'x'")
        (message,) = browser.messages
    assert "broken" in message
