"""The compare page in a real browser."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from explorer_browser import screenshot, settle

SHOTS = Path(os.environ.get("MLTWIN_SCREENSHOTS", "results/screenshots"))
pytestmark = pytest.mark.browser


def finished(page: Any) -> None:
    """Until the comparison is drawn."""
    page.get_by_text("over 5 paired seeds").first.wait_for(timeout=90_000)
    settle(page)


def test_a_change_runs_again_and_a_link_shows_it(open_page: Callable[..., Any]) -> None:
    page = open_page("compare")
    finished(page)
    area = page.get_by_role("textbox", name="Variant 1")
    area.fill("cluster.mixed.replicas = 3")
    area.press("Control+Enter")
    page.get_by_text("replicas = 3 against base").first.wait_for(timeout=60_000)
    settle(page)
    assert "replicas" in page.url
    page.reload()
    page.get_by_text("replicas = 3 against base").first.wait_for(timeout=60_000)
    link = re.sub(r"[?&]run=[^&]*", "", page.url).partition("/compare")[2].replace("&", "?", 1)
    other = open_page(f"compare?{link.lstrip('?')}")
    other.get_by_text("replicas = 3 against base").first.wait_for(timeout=60_000)
    settle(other)
    area = other.get_by_role("textbox", name="Variant 1")
    area.fill("cluster.mixd.replicas = 3")
    area.press("Control+Enter")
    other.get_by_text("did you mean").first.wait_for()
    assert "Traceback" not in other.content()


def test_a_brush_over_one_distribution_is_drawn_in_the_others(
    open_page: Callable[..., Any],
) -> None:
    page = open_page("compare")
    finished(page)
    chart = page.locator("[data-testid='stVegaLiteChart']").nth(1)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    below = {**box, "y": box["y"] + 0.4 * box["height"], "height": 0.5 * box["height"]}
    before = page.screenshot(clip=below)
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 125, steps=12)
    page.mouse.up()
    page.wait_for_timeout(800)
    assert page.screenshot(clip=below) != before
    chart.screenshot(path=screenshot(page, "compare-brushed").with_name("compare-brush.png"))


def test_the_report_downloads(open_page: Callable[..., Any], tmp_path: Any) -> None:
    page = open_page("compare")
    finished(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Report (HTML)").click()
    path = tmp_path / "r.html"
    waiting.value.save_as(path)
    text = path.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>") and "route = random against base" in text
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width, scheme in ((375, "dark"), (375, "light"), (1280, "dark"), (1280, "light")):
        asked: list[str] = []
        context = page.context.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        tab = context.new_page()
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.on("console", lambda message, asked=asked: asked.append(message.text))
        tab.goto(path.as_uri())
        pictures = tab.locator("img")
        drawn = [pictures.nth(i).evaluate("e => e.naturalWidth > 0") for i in range(3)]
        assert all(drawn) and tab.evaluate("document.documentElement.scrollWidth") == width
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        dark = (
            tab.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        )
        assert dark == (scheme == "dark")
        tab.screenshot(path=SHOTS / f"report-{width}-{scheme}.png", full_page=True)
        context.close()
