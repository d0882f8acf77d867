"""What a visitor of the explorer waits for, in a real headless Chromium, on a warm kernel cache.

`page_first_result_s`: from starting `mltwin app` until the serving page shows the first chart of
its default run, the page being opened as soon as the server answers.
`control_to_chart_s`: in a scenario of 100,000 requests, from moving the slider of the rate until
the chart of the new run is on the screen. Both are medians; nothing is run beforehand or kept from
an earlier run: each step asks for a rate that was not asked for before.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.explorer_browser import ARGUMENTS, CHART, Explorer, chromium_path, settle

from .process import MeasureError

STARTS = 5
CHANGES = 7
REQUESTS = 100_000
_RATE = "input[type='range'][aria-label^='Rate']"
_FIGURE = "[data-testid='stMetricValue']"
_CHANGED = """([figures, charts, before]) => {
  const texts = [...document.querySelectorAll(figures)].map(e => e.textContent).join('|');
  if (!texts || texts === before.texts) return false;
  const chart = document.querySelector(charts);
  const drawn = chart.tagName === 'CANVAS' ? chart.toDataURL() : chart.innerHTML;
  return drawn !== before.drawn;
}"""
_SHOWN = """([figures, charts]) => {
  const texts = [...document.querySelectorAll(figures)].map(e => e.textContent).join('|');
  const chart = document.querySelector(charts);
  return {texts, drawn: chart.tagName === 'CANVAS' ? chart.toDataURL() : chart.innerHTML};
}"""


def figures() -> tuple[dict[str, float], dict[str, Any]]:
    """Both figures, and the single measurements.

    Raises MeasureError where playwright or Chromium is missing, or a page does not answer.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise MeasureError("playwright is missing: pip install mltwin[dev]") from None
    path = chromium_path()
    if path is None:
        raise MeasureError("there is no Chromium on this machine")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            starts = [first_result_s(browser) for _ in range(1 + STARTS)][1:]
            changes = control_to_chart_s(browser)
            browser.close()
    except (Error, RuntimeError) as error:
        raise MeasureError(str(error).splitlines()[0]) from None
    values = {
        "page_first_result_s": statistics.median(starts),
        "control_to_chart_s": statistics.median(changes),
    }
    return values, {"starts_s": starts, "changes_s": changes, "requests": REQUESTS}


def first_result_s(browser: Any) -> float:
    """Seconds from the start of the explorer to its first chart."""
    with tempfile.TemporaryDirectory() as folder:
        server = Explorer(Path(folder) / "workspace")
        try:
            server.wait()
            page = browser.new_page()
            page.goto(f"{server.url}/serving", wait_until="commit")
            page.wait_for_selector(CHART)
            taken = time.perf_counter() - server.started
            page.close()
            return taken
        finally:
            server.stop()


def control_to_chart_s(browser: Any) -> list[float]:
    """Seconds from each move of the slider to its chart."""
    with tempfile.TemporaryDirectory() as folder:
        server = Explorer(Path(folder) / "workspace")
        try:
            server.wait()
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(f"{server.url}/serving?requests={REQUESTS}")
            page.wait_for_selector(CHART)
            settle(page)
            page.wait_for_timeout(3000)  # the spare worker has come up
            return [_change_s(page) for _ in range(CHANGES)]
        finally:
            server.stop()


def _change_s(page: Any) -> float:
    before = page.evaluate(_SHOWN, [_FIGURE, CHART])
    slider = page.locator(_RATE).first
    slider.focus()
    started = time.perf_counter()
    slider.press("ArrowLeft")
    page.wait_for_function(_CHANGED, arg=[_FIGURE, CHART, before], polling=20)
    taken = time.perf_counter() - started
    settle(page)
    page.wait_for_timeout(500)
    return taken


if __name__ == "__main__":
    found, detail = figures()
    print(found, detail, file=sys.stdout)
