"""The explorer in a real Chromium: a server of its own, and what one asks of a page.

Used by tests/app/browser and benchmarks/studio_pages.py.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HEIGHTS = {375: 812, 768: 1024, 1280: 900}
WIDTHS = tuple(HEIGHTS)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 30_000
CHART = "[data-testid='stVegaLiteChart'] canvas, [data-testid='stVegaLiteChart'] svg"


def chromium_path() -> str | None:
    """Debian's Chromium, or whatever Chromium the path has."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    return None


class Explorer:
    """A running explorer: `url`, `process`, `workspace`; `started` on time.perf_counter's clock."""

    def __init__(self, workspace: Path) -> None:
        """Start it on a free port; `wait` until it answers."""
        self.workspace = workspace
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        words = ["app", "--no-browser", "--port", str(self.port), "--workspace", str(workspace)]
        workspace.mkdir(parents=True, exist_ok=True)
        self._printed = workspace / "server.log"
        self.started = time.perf_counter()
        with open(self._printed, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mltwin", *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float = 60.0) -> None:
        """Until it answers. Raises RuntimeError if it does not."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"no answer from {self.url}: {self.printed()}")

    def printed(self) -> str:
        """What the server printed."""
        return self._printed.read_text("utf-8", "replace")

    def stop(self) -> None:
        """End it; its workers notice by themselves."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Watched:
    """A page whose console and requests are watched: `wrong` holds what should not have been."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin = page, origin
        self.wrong: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        place = (message.location or {}).get("url", "")
        if message.type == "error" and not self._harmless(place):
            self.wrong.append(f"console: {message.text} ({place})")

    def _harmless(self, place: str) -> bool:
        """Whether it is Streamlit's search for its own base address: opened at /page, its client
        asks /page/_stcore/... first, gets 404, and goes on with /_stcore/..."""
        path = place.removeprefix(self.origin + "/")
        return path != place and path.count("/") == 2 and path.endswith(_PROBES)

    def _request(self, request: Any) -> None:
        own = (self.origin, self.origin.replace("http", "ws", 1), "data:", "blob:", "about:")
        if not request.url.startswith(own):
            self.wrong.append(f"request leaves the machine: {request.url}")


_PROBES = ("/_stcore/health", "/_stcore/host-config")


def settle(page: Any, timeout_ms: int = TIMEOUT_MS) -> None:
    """Wait until the page is drawn, no script of it runs and no job is under way."""
    page.wait_for_selector("h1", timeout=timeout_ms)
    page.wait_for_function(_QUIET, timeout=timeout_ms, polling=60)


_QUIET = """() => {
  const state = document.querySelector('[data-test-script-state]');
  const still = state && state.getAttribute('data-test-script-state') === 'notRunning'
    && !document.querySelector('[data-testid="stProgress"], [data-testid="stSkeleton"]');
  window.mltwinStill = still ? (window.mltwinStill || 0) + 1 : 0;
  return window.mltwinStill >= 3;
}"""


def overflow_px(page: Any) -> int:
    """How far the page is wider than the window."""
    return int(
        page.evaluate(
            "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth,"
            " document.querySelector('[data-testid=stMain]').scrollWidth)"
            " - document.documentElement.clientWidth"
        )
    )


def screenshot(page: Any, name: str) -> Path:
    """Keep a picture of the whole page in $MLTWIN_SCREENSHOTS."""
    folder = Path(os.environ.get("MLTWIN_SCREENSHOTS", "results/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    tall = int(page.locator("[data-testid='stMain']").evaluate("e => e.scrollHeight"))
    size = page.viewport_size
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], tall)})
    page.wait_for_timeout(250)
    page.screenshot(path=path)
    page.set_viewport_size(size)
    return path
