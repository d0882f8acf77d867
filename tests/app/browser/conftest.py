"""A real explorer and a real Chromium: `explorer` serves it, `open_page` opens a page of it.

At the end of a test that used `open_page`, errors in a page's console, page errors and requests to
other hosts fail it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from explorer_browser import (
    ARGUMENTS,
    HEIGHTS,
    TIMEOUT_MS,
    Explorer,
    Watched,
    chromium_path,
    settle,
)

OpenPage = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium on this machine")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def explorer(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """An explorer on a free port with a workspace of its own, for all tests together."""
    server = Explorer(tmp_path_factory.mktemp("explorer") / "workspace")
    try:
        server.wait()
        yield server
    finally:
        server.stop()


class Contexts:
    """Browser contexts; one for each window and theme is kept for all tests, so that Streamlit's
    own files are loaded and compiled once."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.kept: dict[tuple[int, bool], Any] = {}

    def new(self, width: int, dark: bool) -> Any:
        """A fresh one."""
        context = self.browser.new_context(
            viewport={"width": width, "height": HEIGHTS.get(width, 900)},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        context.set_default_timeout(TIMEOUT_MS)
        return context

    def get(self, width: int, dark: bool) -> Any:
        """The kept one."""
        if (width, dark) not in self.kept:
            self.kept[width, dark] = self.new(width, dark)
        return self.kept[width, dark]


@pytest.fixture(scope="session")
def contexts(chromium: Any) -> Contexts:
    """The browser's contexts."""
    return Contexts(chromium)


@pytest.fixture
def open_page(contexts: Contexts, explorer: Explorer) -> Iterator[OpenPage]:
    """`open_page("serving?rate=30", width=1280, dark=False)`: the page, once it has settled.

    Each call in a test is a visitor of their own (a browser context that shares nothing with those
    of the test's other calls); `beside=page` opens another tab of the same one. `settled=False`
    does not wait.
    """
    watched: list[Watched] = []
    fresh: list[Any] = []

    def opened(
        path: str = "",
        *,
        width: int = 1280,
        dark: bool = False,
        beside: Any = None,
        settled: bool = True,
    ) -> Any:
        if beside is not None:
            context = beside.context
        elif not watched:
            context = contexts.get(width, dark)
        else:
            context = contexts.new(width, dark)
            fresh.append(context)
        page = context.new_page()
        watched.append(Watched(page, explorer.url))
        page.goto(f"{explorer.url}/{path.lstrip('/')}")
        if settled:
            settle(page, 4 * TIMEOUT_MS)  # the kernel may have to be compiled
        return page

    yield opened
    wrong = [line for one in watched for line in one.wrong]
    for one in watched:
        one.page.close()
    for context in fresh:
        context.close()
    assert not wrong, "\n".join(wrong)
