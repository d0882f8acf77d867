"""The serving page as a visitor has it: a control changes the figures, a run can be stopped and
survives a reload, links carry the view and nothing else, visitors do not see each other."""

import contextlib
import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from explorer_browser import CHART, settle

from mltwin.text import show

pytestmark = pytest.mark.browser
PlaywrightTimeout = pytest.importorskip("playwright.sync_api").TimeoutError
# A run that lasts long enough to be caught at it: shortest remaining time under overload is slow.
LONG = "serving?requests=200000&rate=60.0&policies=%7B%22priority%22%3A%22srpt%22%7D"
P99 = "TTFT p99 (ms)"


def figure(page: Any, label: str) -> str:
    """What the page shows of a figure."""
    card = page.locator("[data-testid='stMetric']", has_text=label)
    return str(card.locator("[data-testid='stMetricValue']").inner_text())


def slide(page: Any, label: str, key: str) -> None:
    slider = page.locator(f"input[type='range'][aria-label^='{label}']").first
    slider.focus()
    slider.press(key)


def token(page: Any, name: str = "run") -> str:
    return parse_qs(urlparse(page.url).query).get(name, [""])[0]


def code_of(page: Any, tab: str) -> str:
    """The text of a tab of "Copy as ..."."""
    page.get_by_text("Copy as TOML, Python or command line").click()
    page.get_by_role("tab", name=tab, exact=True).click()
    return str(page.locator("[data-testid='stCode']:visible").first.inner_text())


def command_line(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mltwin", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_control_changes_the_figures_and_the_link(open_page: Any) -> None:
    page = open_page("serving?requests=1000")
    before, first = figure(page, P99), token(page)
    slide(page, "Rate", "End")
    page.wait_for_function(
        "old => document.body.innerText.includes('TTFT p99') && "
        "[...document.querySelectorAll('[data-testid=stMetricValue]')][1].textContent !== old",
        arg=before,
    )
    settle(page)
    assert figure(page, P99) != before and token(page) != first
    assert "rate=100.0" in page.url
    page.locator(CHART).nth(2).wait_for()
    page.wait_for_timeout(2000)
    for _ in range(2):  # the browser's own button undoes the run, then the change
        page.go_back()
        settle(page)
    assert "rate=" not in page.url and token(page) == first
    assert figure(page, P99) == before


def test_the_copied_toml_gives_the_same_figures(open_page: Any, tmp_path: Path) -> None:
    page = open_page("serving?requests=700&rate=31.0&split=true&error_bars=0")
    (tmp_path / "copied.toml").write_text(code_of(page, "TOML"))
    told = json.loads(command_line(tmp_path, "run", "copied.toml", "--format", "json"))
    metrics = told["summary"]
    expected = {
        P99: metrics["ttft_ms"]["p99"],
        "TPOT p50 (ms)": metrics["tpot_ms"]["p50"],
        "Goodput (/s)": metrics["request_goodput"],
        "Cost ($/M)": metrics["dollars_per_million_tokens"],
        "Within limits (%)": 100 * metrics["slo_attainment"],
    }
    assert {label: figure(page, label) for label in expected} == {
        label: show(value) for label, value in expected.items()
    }
    # To the last digit: the page's CSV of the table against the command line's numbers.
    page.get_by_text("All figures, as the command line prints them").click()
    with page.expect_download() as caught:
        page.locator(".st-key-csv-serving-0 button").click()
    rows = list(csv.DictReader(io.StringIO(Path(caught.value.path()).read_text("utf-8"))))
    ttft = next(row for row in rows if row["latency"] == "TTFT (ms)")
    assert {k: float(v) for k, v in ttft.items() if k != "latency"} == metrics["ttft_ms"]
    assert told["digest"][:16] in page.inner_text("body")


def test_the_copied_python_and_command_run(open_page: Any, tmp_path: Path) -> None:
    page = open_page("serving?requests=300")
    python = code_of(page, "Python")
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page.get_by_role("tab", name="Command line", exact=True).click()
    command = page.locator("[data-testid='stCode']:visible").first.inner_text()
    script = command.replace("\nmltwin ", f"\n{sys.executable} -m mltwin ")
    again = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    for text in (done.stdout, again.stdout):
        assert figure(page, P99) in text


def test_a_run_is_cancelled(open_page: Any) -> None:
    page = open_page(LONG, settled=False)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text(re.compile("cancelled after")).wait_for()
    settle(page)
    page.get_by_role("button", name="Run again").click()
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text(re.compile("cancelled after")).wait_for()


def test_a_reload_finds_the_run(open_page: Any) -> None:
    page = open_page(LONG, settled=False)
    page.locator("[data-testid='stProgress']").wait_for()
    run = token(page)
    page.reload()
    page.locator("[data-testid='stProgress']").wait_for()
    assert run and token(page) == run
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text(re.compile("cancelled after")).wait_for()


def test_a_finished_run_is_shown_after_a_reload_without_running_again(open_page: Any) -> None:
    page = open_page("serving?requests=500")
    run, shown = token(page), figure(page, P99)
    page.reload()
    settle(page)
    assert token(page) == run and figure(page, P99) == shown


def test_the_shared_link_shows_the_view_but_not_the_run(open_page: Any) -> None:
    page = open_page("serving?requests=500&rate=33.5")
    page.get_by_text("Share this view").click()
    link = page.locator("[data-testid='stCode']:visible").last.inner_text()
    assert "rate=33.5" in link and "run=" not in link and token(page) not in link
    other = open_page(urlparse(link).path.lstrip("/") + "?" + urlparse(link).query)
    assert figure(other, P99) == figure(page, P99) and token(other) != token(page)


def test_two_visitors_do_not_see_each_other(open_page: Any, explorer: Any) -> None:
    mine = open_page(LONG, settled=False)
    mine.locator("[data-testid='stProgress']").wait_for()
    other = open_page("serving?requests=400&rate=5.0")
    assert token(mine) != token(other)
    assert not other.get_by_role("button", name="Cancel").count()
    assert token(mine) not in other.content()
    # A guess, and an id of another form, reach nothing: the page runs its own default.
    for guess in ("../" + token(mine), token(mine)[:-1] + "A"):
        wrong = open_page(f"serving?requests=400&rate=5.0&run={guess}")
        assert token(wrong) not in ("", token(mine), guess)
        assert figure(wrong, P99) == figure(other, P99)
    with contextlib.suppress(PlaywrightTimeout):  # on a busy machine it may be over by now
        mine.get_by_role("button", name="Cancel").click(timeout=2_000)


def test_two_results_stand_side_by_side(open_page: Any) -> None:
    page = open_page("serving?requests=500&rate=20.0")
    pinned = figure(page, P99)
    page.get_by_role("button", name="Pin this result").click()
    page.get_by_role("button", name="Unpin").wait_for()
    slide(page, "Rate", "End")
    page.get_by_text("Compare on the command line").wait_for()
    page.wait_for_function(
        "document.querySelectorAll('[data-testid=stMetricDelta]').length >= 6 && "
        "!document.body.innerText.includes('+0.0 %')"
    )
    settle(page)
    assert figure(page, P99) != pinned
    page.reload()
    settle(page)
    assert page.get_by_role("button", name="Unpin").count() == 1
    page.get_by_role("button", name="Unpin").click()
    page.get_by_role("button", name="Unpin").wait_for(state="detached")


@pytest.mark.parametrize(
    "query",
    [
        "rate=" + "9" * 7900,
        "trace=%2Fetc%2Fpasswd",
        "evil=%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ],
)
def test_a_hostile_link_shows_one_line_and_the_defaults(query: str, open_page: Any) -> None:
    page = open_page(f"serving?{query}")
    warnings = page.locator("[data-testid='stAlertContentWarning']")
    assert warnings.count() == 1, page.inner_text("body")[:500]
    text = warnings.inner_text()
    assert "could not be followed" in text and "Traceback" not in page.content()
    page.locator(CHART).nth(2).wait_for()
    assert not urlparse(page.url).query.replace("run=" + token(page), "")


def test_requests_are_downloaded(open_page: Any) -> None:
    import pyarrow.parquet as pq

    page = open_page("serving?requests=500")
    with page.expect_download() as caught:
        page.get_by_role("button", name="All requests (Parquet)").click()
    assert pq.read_table(caught.value.path()).num_rows == 500


def test_wrong_toml_in_more_fields_is_one_line(open_page: Any) -> None:
    page = open_page("serving?requests=500")
    page.get_by_text("More fields").click()
    box = page.get_by_role("textbox", name="Any other field of a scenario, as TOML")
    box.fill("[workload]\nnonsense = 1")
    box.press("Control+Enter")
    page.locator("[data-testid='stAlertContentError']").wait_for()
    assert "unknown key" in page.locator("[data-testid='stAlertContentError']").inner_text()
    box.fill("[control]\nsnapshot_s = 0.5")
    box.press("Control+Enter")
    page.locator(CHART).first.wait_for()
