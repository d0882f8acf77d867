"""The timeline, trace and calibration pages as a visitor has them, uploads good and corrupt."""

import gzip
import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
import trace_event_rules as rules
from explorer_browser import CHART, settle

from mltwin.validation.pairs import Pair, write_csv

pytestmark = pytest.mark.browser
ERROR = "[data-testid='stAlertContentError']"


def figure(page: Any, label: str) -> str:
    card = page.locator("[data-testid='stMetric']", has_text=label)
    return str(card.locator("[data-testid='stMetricValue']").first.inner_text())


def send(page: Any, name: str, content: bytes) -> None:
    """Upload a file and wait until the page has taken it."""
    page.locator("input[type='file']").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )
    page.wait_for_function("location.search.includes('files=')")
    settle(page)


def good_trace(n: int = 400) -> bytes:
    rng = random.Random(4)
    rows = ["arrival_s,prompt,output"]
    now = 0.0
    for _ in range(n):
        now += rng.expovariate(2.0)
        rows.append(f"{now:.6f},{rng.randint(20, 900)},{rng.randint(1, 300)}")
    return "\n".join(rows).encode()


def test_the_window_slider_loads_a_part_of_the_run(open_page: Any) -> None:
    page = open_page("timeline?requests=1000")
    assert page.locator(CHART).count() == 1
    thumb = page.locator("input[type='range'][aria-label^='Part of the run']").last
    thumb.focus()
    for _ in range(3):
        thumb.press("PageDown")
    thumb.press("ArrowLeft")
    page.wait_for_function("location.search.includes('window=')")
    settle(page)
    page.locator(CHART).wait_for()
    low, high = parse_qs(urlparse(page.url).query)["window"][0].strip("[]").split(",")
    assert float(low) == 0.0 and float(high) > 0
    page.reload()
    settle(page)
    assert f"window=%5B{low}%2C{high}%5D" in page.url or f"window=[{low},{high}]" in page.url


def test_the_perfetto_file_is_made_and_saved(open_page: Any, tmp_path: Path) -> None:
    page = open_page("timeline?requests=300&split=true")
    with page.expect_download(timeout=60_000) as caught:
        page.get_by_role("button", name="Make and save the file").click()
    path = tmp_path / "timeline.json.gz"
    caught.value.save_as(path)
    content = rules.read(path)
    assert caught.value.suggested_filename == path.name and rules.problems(content) == []
    assert {"X", "C", "b", "s"} <= {event["ph"] for event in content["traceEvents"]}


def test_the_serving_page_leads_to_the_timeline(open_page: Any) -> None:
    page = open_page("serving?requests=500&rate=31.5")
    page.get_by_role("link", name="See what each GPU did when").click()
    page.wait_for_selector("h1:has-text('Timeline')")
    settle(page)
    assert "rate=31.5" in page.url and "requests=500" in page.url
    assert page.locator(CHART).count() == 1 and not page.locator(ERROR).count()


def test_the_brush_narrows_the_lanes(open_page: Any) -> None:
    """Dragging over the strip at the bottom changes what is drawn above."""
    page = open_page("timeline?requests=500")
    canvas = page.locator(CHART).first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    lanes = {k: box[k] for k in ("x", "y", "width")} | {"height": 110.0}
    before = page.screenshot(clip=lanes)
    y = box["y"] + box["height"] - 75
    page.mouse.move(box["x"] + box["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, y, steps=8)
    page.mouse.up()
    page.wait_for_timeout(800)
    assert page.screenshot(clip=lanes) != before


def test_a_good_trace_is_uploaded_inspected_and_used(open_page: Any) -> None:
    page = open_page("traces")
    assert figure(page, "Requests") == "19,334"
    send(page, "mine.csv.gz", gzip.compress(good_trace()))
    page.wait_for_function("document.body.innerText.includes('Nothing is odd')")
    page.locator("[data-testid='stMetricValue']", has_text="400").first.wait_for()
    settle(page)
    assert figure(page, "Requests") == "400" and page.locator(CHART).count() == 5
    page.reload()
    settle(page)
    assert figure(page, "Requests") == "400"
    page.get_by_role("link", name="Use this trace on the serving page").click()
    page.wait_for_selector("h1:has-text('Serving')")
    settle(page)
    page.locator("[data-testid='stMetric']", has_text="TTFT p99").wait_for()
    assert not page.locator(ERROR).count() and "trace=upload" in page.url


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("junk.csv", b"a,b\n1,2\n", "no known format"),
        ("binary.csv", bytes(range(256)) * 30, "binary.csv"),
        ("cut.csv.gz", gzip.compress(good_trace())[:-40], "cut.csv.gz"),
        ("bomb.csv.gz", gzip.compress(b"0" * 80_000_000), "bomb.csv.gz"),
        ("not.parquet", b"PAR1" + b"\xff" * 400 + b"PAR1", "not.parquet"),
        ("<img src=x onerror=alert(1)>.csv", b"a,b\n1,2\n", "<img src=x onerror=alert(1)>"),
    ],
    ids=["junk", "binary", "cut", "bomb", "parquet", "script"],
)
def test_a_corrupt_trace_is_one_friendly_line(
    name: str, content: bytes, said: str, open_page: Any
) -> None:
    page = open_page("traces")
    send(page, name, content)
    page.locator(ERROR).wait_for()
    settle(page)
    text = page.locator(ERROR).inner_text()
    assert page.locator(ERROR).count() == 1 and said in text, text
    assert "Traceback" not in page.content() and "uploads/" not in text
    assert not page.locator("[data-testid='stMetric']").count()


def test_a_trace_with_findings(open_page: Any) -> None:
    page = open_page("traces")
    rows = good_trace().decode().splitlines()
    rows[20], rows[21], rows[40] = rows[21], rows[20], "9.9,5,0"
    send(page, "odd.csv", "\n".join(rows).encode())
    page.get_by_text("Findings", exact=True).wait_for()
    settle(page)
    body = page.inner_text("body")
    assert "Times go back at" in body and "left out: column 'output'" in body
    assert "refuses this file as it stands: odd.csv, line" in body


def test_another_visitor_cannot_open_an_upload(open_page: Any) -> None:
    page = open_page("traces")
    send(page, "mine.csv", good_trace())
    page.wait_for_function("location.search.includes('trace=upload')")
    chosen = parse_qs(urlparse(page.url).query)["trace"][0]
    other = open_page(f"traces?trace={chosen}")
    assert "uploaded by someone else" in other.locator(ERROR).inner_text()


def test_a_report_is_uploaded(open_page: Any, tmp_path: Path) -> None:
    pairs = [
        Pair("lab", f"r{i}", "H100", "vllm", "8b", "agg", "below", metric, 0.2, 0.2 + i / 99)
        for i in range(30)
        for metric in ("ttft_mean", "tpot_mean")
    ]
    write_csv(pairs, tmp_path / "pairs.csv")
    page = open_page("calibration?what=report")
    send(page, "pairs.csv", (tmp_path / "pairs.csv").read_bytes())
    page.locator(CHART).nth(1).wait_for()
    settle(page)
    assert "60 pairs" in page.inner_text("body") and not page.locator(ERROR).count()


def test_a_corrupt_report_is_one_line(open_page: Any) -> None:
    page = open_page("calibration?what=report")
    send(page, "pairs.csv", b"nothing,of,use\n1,2,3\n")
    page.locator(ERROR).wait_for()
    text = page.locator(ERROR).inner_text()
    assert "pairs.csv: is no report" in text and "uploads/" not in text


def test_another_gpu_is_chosen(open_page: Any) -> None:
    page = open_page("calibration")
    before = figure(page, "Memory")
    page.locator("[data-testid='stSelectbox'] input").first.click()
    page.get_by_role("option", name="b200").click()
    page.wait_for_function("location.search.includes('gpu=b200')")
    settle(page)
    assert figure(page, "Memory") != before and page.locator(CHART).count() >= 1
