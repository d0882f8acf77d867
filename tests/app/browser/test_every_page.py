"""Every page of the explorer, later ones too: it loads, runs its default and fits its window."""

from typing import Any

import pytest
from explorer_browser import WIDTHS, overflow_px, screenshot

from mltwin.app.explorer.frame import pages

pytestmark = pytest.mark.browser
SLUGS = [page.slug for page in pages()]
SHOTS = [(width, False) for width in WIDTHS] + [(1280, True), (375, True)]


@pytest.mark.parametrize("slug", SLUGS)
def test_a_page_shows_its_default_at_every_width(slug: str, open_page: Any) -> None:
    page = open_page(slug, width=1280)
    for width, dark in SHOTS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.wait_for_timeout(250)
        assert not page.locator("[data-testid='stException']").count()
        assert not page.locator("[data-testid='stAlertContentError']").count()
        assert overflow_px(page) <= 0, f"{slug} is wider than {width} px"
        screenshot(page, f"{slug}-{width}{'-dark' if dark else ''}")


def test_the_bare_address_leads_to_the_first_page(open_page: Any, explorer: Any) -> None:
    page = open_page("")
    page.wait_for_url(f"{explorer.url}/{SLUGS[0]}**")
    assert page.locator("h1").inner_text() == pages()[0].title


def test_pages_are_reached_from_the_navigation(open_page: Any) -> None:
    page = open_page(SLUGS[0])
    for other in pages()[1:3]:
        page.locator("[data-testid='stTopNavSection']", has_text=other.section).click()
        page.locator(f"a[href$='/{other.slug}']").click()
        page.locator("h1", has_text=other.title).wait_for()
        page.wait_for_url(f"**/{other.slug}**")
