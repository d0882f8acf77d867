"""The sweep page in a real browser."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from explorer_browser import screenshot, settle

pytestmark = pytest.mark.browser


def finished(page: Any) -> None:
    """Until the sweep is drawn."""
    page.get_by_text("Every run").first.wait_for(timeout=90_000)
    settle(page)


def test_it_shows_its_default(open_page: Callable[..., Any]) -> None:
    page = open_page("sweep")
    finished(page)
    assert page.locator(".vega-embed canvas, .vega-embed svg").count() >= 1


def test_it_is_watched_cancelled_and_goes_on(open_page: Callable[..., Any]) -> None:
    # Runs of almost a second each, as this policy is asked at every iteration: too many to end
    # before the last click.
    base = "system = 'serving'\n[workload]\nrequests = 60000\narrivals = 'poisson'\n"
    base += "[policy]\npriority = 'vtc'\n"
    query = urlencode({"base": base, "seeds": 20})
    page = open_page(f"sweep?{query}", settled=False)
    page.get_by_role("button", name="Cancel").wait_for(timeout=90_000)
    page.locator("[data-testid='stDataFrame']").first.wait_for(timeout=60_000)
    page.reload()
    page.get_by_role("button", name="Cancel").click(timeout=60_000)
    told = page.get_by_text("runs are kept").first
    told.wait_for(timeout=60_000)
    kept = int(told.inner_text().split()[0])
    assert 0 < kept < 240
    page.get_by_role("button", name="Run again").click()
    going = page.get_by_text(re.compile(r"240 runs: [1-9]\d* of 240 runs")).first
    going.wait_for(timeout=60_000)
    screenshot(page, "sweep-live")
    assert int(going.inner_text().split()[2]) >= kept
    page.get_by_role("button", name="Cancel").click()
    told.wait_for(timeout=60_000)


def test_failures_are_shown_and_tried_again(open_page: Callable[..., Any]) -> None:
    page = open_page(
        "sweep?field2=cluster.mixed.tp&values2=4%2C1&values1=8.0%2C16.0", settled=False
    )
    page.get_by_text("6 of 12 runs failed").first.wait_for(timeout=90_000)
    settle(page)
    screenshot(page, "sweep-failures")
    page.get_by_role("button", name="Try the failed runs again").click()
    settle(page)
    page.get_by_text("6 of 12 runs failed").first.wait_for(timeout=90_000)


def test_a_wrong_field_is_one_line(open_page: Callable[..., Any]) -> None:
    page = open_page("sweep")
    finished(page)
    field = page.get_by_role("textbox", name="Values 1")
    field.fill("many")
    field.press("Enter")
    page.get_by_role("alert").first.wait_for()
    assert "Traceback" not in page.content()


def test_the_report_downloads(open_page: Callable[..., Any], tmp_path: Any) -> None:
    page = open_page("sweep")
    finished(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Report (HTML)").click()
    waiting.value.save_as(tmp_path / "sweep.html")
    assert "Digest of the sweep" in (tmp_path / "sweep.html").read_text()
