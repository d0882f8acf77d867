"""The federated page as a visitor has it: a method is added, the link carries it, and the copied
command finds what the page shows."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from explorer_browser import settle

pytestmark = pytest.mark.browser
SMALL = "clients.count=30&stop.updates=300&target.accuracy=0.5&alpha=0.5&seeds=2"


def figures(page: Any) -> dict[str, str]:
    """Label to value of each figure on the page."""
    cards = page.locator("[data-testid='stMetric']")
    labels = cards.locator("[data-testid='stMetricLabel']").all_inner_texts()
    values = cards.locator("[data-testid='stMetricValue']").all_inner_texts()
    return {label.split(" (")[0]: value for label, value in zip(labels, values, strict=True)}


def test_a_method_is_added_and_the_copy_finds_the_same(open_page: Any, tmp_path: Path) -> None:
    page = open_page(f"federated?{SMALL}&methods=%5B%22fedavg%22%5D")
    assert set(figures(page)) == {"fedavg"}
    box = page.locator("[data-testid='stMultiSelect'] input")
    box.fill("fedbuff")
    box.press("Enter")
    page.get_by_text("Parameters of fedbuff").wait_for()
    page.locator("[data-testid='stMetricLabel']", has_text="fedbuff").wait_for()
    settle(page)
    shown = figures(page)
    assert set(shown) == {"fedavg", "fedbuff"} and '"fedbuff"' in unquote(page.url)
    page.get_by_text("Copy as TOML, Python or command line").click()
    page.get_by_role("tab", name="Command line", exact=True).click()
    command = str(page.locator("[data-testid='stCode']:visible").first.inner_text())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    rows = {words[0]: words for line in found.stdout.splitlines() if (words := line.split())}
    for name, value in shown.items():
        assert value in rows[name]
