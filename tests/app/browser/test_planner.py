"""The planner in a real browser."""

from pathlib import Path
from typing import Any

import pytest
from explorer_browser import CHART, settle

pytestmark = pytest.mark.browser
QUICK = "planner?requests=500&seeds=1&most=8"
ANSWER = "[data-testid='stAlertContentSuccess']"


def answer(page: Any) -> str:
    page.wait_for_selector(ANSWER, timeout=90_000)
    settle(page)
    return str(page.locator(ANSWER).first.inner_text())


def test_it_answers_with_its_defaults(open_page: Any) -> None:
    page = open_page("planner")
    assert "GPUs keep 90 % of the requests within the SLO" in answer(page)
    assert page.locator(CHART).count() >= 3


def test_a_stricter_goal_changes_the_answer_and_the_link(open_page: Any) -> None:
    page = open_page(QUICK)
    before = answer(page)
    box = page.get_by_role("spinbutton", name="TTFT limit (ms)")
    box.fill("300")
    box.press("Enter")
    page.wait_for_function(
        f'old => {{ const a = document.querySelector("{ANSWER}");'
        " return a && a.innerText !== old; }",
        arg=before,
        timeout=60_000,
    )
    settle(page)
    assert "ttft_ms=300.0" in page.url


def test_an_slo_out_of_reach_is_one_line(open_page: Any) -> None:
    page = open_page("planner?requests=500&seeds=1&most=4&ttft_ms=1.0")
    page.get_by_text("No cluster up to 4").first.wait_for(timeout=60_000)
    assert page.locator("[data-testid='stException']").count() == 0


def test_it_can_be_cancelled_and_survives_a_reload(open_page: Any) -> None:
    page = open_page("planner?requests=20000&seeds=10&most=64", settled=False)
    page.get_by_role("button", name="Cancel").wait_for(timeout=60_000)
    page.reload()
    page.get_by_role("button", name="Cancel").click(timeout=60_000)
    page.get_by_text("cancelled after").first.wait_for()
    page.get_by_role("button", name="Run again").wait_for()


def test_the_answer_opens_on_the_serving_page_and_the_report_downloads(
    open_page: Any, tmp_path: Path
) -> None:
    page = open_page(QUICK)
    answer(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Report (HTML)").click()
    waiting.value.save_as(tmp_path / "plan.html")
    assert "Prefill and decode GPUs" in (tmp_path / "plan.html").read_text("utf-8")
    page.get_by_role("link", name="See the answer on the serving page").click()
    page.wait_for_url("**/serving?**")
    settle(page, 60_000)
    assert page.locator("[data-testid='stMetric']").count() >= 6
