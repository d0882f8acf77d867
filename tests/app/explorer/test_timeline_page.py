"""The timeline page: its choices, its links, and that it shows what the command line makes."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

import mltwin as mt
from mltwin.app.explorer.serving_choices import DEFAULTS as SERVING
from mltwin.app.explorer.timeline_choices import (
    DEFAULTS,
    check_choices,
    python_text,
    timeline_link,
    window_words,
)
from mltwin.app.explorer.view import read_choices

SMALL: dict[str, Any] = {"system": "serving", "workload": {"requests": 50}}


def drawn(**choices: Any) -> AppTest:
    return drawn_page("timeline", **choices)


def charts_of(page: AppTest) -> list[list[pd.DataFrame]]:
    """The tables of each chart on the page."""
    drawn = [e.proto for e in page.main if e.type == "vega_lite_chart"]
    return [
        [pa.ipc.open_stream(data.data.data).read_pandas() for data in proto.datasets]
        for proto in drawn
    ]


def slices_of(page: AppTest) -> pd.DataFrame:
    return next(t for chart in charts_of(page) for t in chart if "text" in t.columns)


def test_the_page_shows_the_lanes_of_the_run() -> None:
    page = drawn(requests="60", split="true")
    assert not page.error and not page.warning
    rows = set(slices_of(page)["row"])
    assert "prefill: replica 0" in rows and any("KV transfers: to replica" in r for r in rows)
    assert page.slider[0].label == "Part of the run (s)" and page.slider[0].value[0] == 0.0


def test_a_window_is_loaded_from_the_link_and_from_the_slider() -> None:
    page = drawn(requests="120", window="[1,2.5]")
    assert page.slider[0].value == (1.0, 2.5)
    slices = slices_of(page)
    assert slices["start_s"].min() == 1.0 and slices["end_s"].max() == 2.5
    page.slider[0].set_value((0.0, page.slider[0].max)).run()
    assert not page.exception and "window" not in page.query_params


def test_the_script_to_take_along_makes_what_the_page_shows() -> None:
    page = drawn(requests="60")
    code = next(c.value for c in page.code if "Scenario.parse" in c.value)
    space: dict[str, Any] = {}
    exec(code[: code.index("timeline.save")], space)
    made, shown = space["timeline"].replay().slices, slices_of(page)
    columns = ["row", "kind", "text", "count"]
    assert made[columns].to_numpy().tolist() == shown[columns].to_numpy().tolist()
    assert (made["end_s"].to_numpy() == shown["end_s"].to_numpy()).all()


@pytest.mark.parametrize(
    "window", ["[5]", "[5,2]", "[-1,2]", '["a","b"]', "[1,2,3]", "[true,false]"]
)
def test_a_window_that_is_none_gives_way(window: str) -> None:
    page = drawn(requests="50", window=window)
    assert len(page.warning) == 1 and "could not be followed" in page.warning[0].value
    assert not page.error


def test_choices() -> None:
    check_choices(DEFAULTS)
    assert window_words([]) == [] and window_words([1.5, 20]) == ["--window", "1.5:20"]
    for wrong in ({"window": [2.0, 1.0]}, {"window": [float("nan"), 1.0]}, {"shown": 10**6}):
        with pytest.raises(mt.InputError):
            check_choices(DEFAULTS | wrong)


def test_the_serving_pages_choices_lead_here() -> None:
    link = timeline_link(SERVING | {"rate": 7.5, "error_bars": 0})
    assert link == "/timeline?rate=7.5"
    choices, wrong = read_choices({"rate": "7.5"}, DEFAULTS)
    assert not wrong and choices["rate"] == 7.5 and choices["window"] == []


def test_the_script_to_take_along_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(python_text(mt.Scenario.parse(SMALL), [0.5, 3.0]), {})
    assert (tmp_path / "timeline.json.gz").stat().st_size > 500
    assert "vegaEmbed" in (tmp_path / "timeline.html").read_text()
