"""The trace page: catalogue and uploads, findings, charts, and where it leads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

from mltwin.app.explorer import trace_charts as charts
from mltwin.app.explorer import uploads, workspace
from mltwin.app.explorer.pages.traces import DEFAULTS, _serving
from mltwin.app.explorer.serving_choices import UPLOAD
from mltwin.app.explorer.view import View
from mltwin.trace_report import inspect_trace
from mltwin.workloads.table import Trace


def drawn(**choices: Any) -> AppTest:
    return drawn_page("traces", **choices)


def figures(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def uploaded(name: str, content: bytes) -> tuple[str, str]:
    """A visitor's token, and what the choice of the file is called."""
    token = workspace.new_token()
    folder = workspace.private(workspace.root() / "uploads" / token)
    return token, UPLOAD + uploads.keep(folder, name, content).name


def test_the_default_trace_is_described() -> None:
    page = drawn()
    trace = inspect_trace(DEFAULTS["trace"]).statistics
    assert figures(page)["Requests"] == f"{trace['rows']:,}"
    assert figures(page)["Prompt mean"] == f"{trace['prompt']['mean']:,.0f}"
    assert [s.value for s in page.success] == ["Nothing is odd about this trace."]
    assert sum(e.type == "vega_lite_chart" for e in page.main) == 5 and not page.error


def test_shared_prefixes_are_shown() -> None:
    page = drawn(trace="mooncake-conv-synthetic")
    assert figures(page)["Shared prefix"] == "35 %"


def test_an_upload_is_inspected_under_its_own_name() -> None:
    rows = [f"{i % 90},{50 + i % 40},{1 + i % 9}" for i in range(300)]
    text = "arrival_s,prompt,output\n" + "\n".join(rows) + "\n9.0,7,0\n"
    token, chosen = uploaded("of *mine*.csv", text.encode())
    page = drawn(trace=chosen, files=token)
    assert figures(page)["Requests"] == "300"
    assert len(page.error) == 1 and "refuses this file" in page.error[0].value
    shown = [markdown.value for markdown in page.markdown]
    assert any("1 line left out" in text for text in shown)
    assert any("Times go back at" in text for text in shown)
    everything = " ".join([*shown, page.error[0].value, *(code.value for code in page.code)])
    assert str(workspace.root()) not in everything and token not in everything


def test_an_unreadable_upload_is_one_line() -> None:
    token, chosen = uploaded("junk.csv", b"a,b\n1,2\n")
    page = drawn(trace=chosen, files=token)
    assert len(page.error) == 1 and not page.metric
    assert "no known format" in page.error[0].value.replace("\\", "")
    assert str(workspace.root()) not in page.error[0].value.replace("\\", "")


@pytest.mark.parametrize("trace", ["/etc/passwd", "../x.csv", "upload:0123.csv", "nonsense"])
def test_strangers_files_are_not_read(trace: str) -> None:
    _, other = uploaded("theirs.csv", b"arrival_s,prompt,output\n1,2,3\n")
    for chosen in (trace, other):
        page = drawn(trace=chosen)
        assert len(page.error) == 1 and not page.metric


def test_it_leads_to_the_serving_page(monkeypatch: pytest.MonkeyPatch) -> None:
    view: Any = View.__new__(View)
    monkeypatch.setattr(View, "get", lambda self, name: DEFAULTS[name])
    assert _serving(view, {"rate_per_s": 5.52}) == {"trace": DEFAULTS["trace"], "rate": 5.5}
    assert _serving(view, {"rate_per_s": 900.0})["rate"] == 100.0
    assert "rate" not in _serving(view, {"rate_per_s": None})


def test_charts_of_a_trace_hold_what_it_is() -> None:
    report = inspect_trace("azure-conv-synthetic")
    pictures = json.loads(json.dumps(report.data()))["pictures"]
    joint = charts.joint_frame(pictures)
    assert joint["requests"].sum() == len(report.trace)
    gaps = charts.gaps_frame(pictures)
    poisson = gaps[gaps["stream"] == "Poisson"]
    mean = np.diff(report.trace.arrival).mean() / 1e12
    assert np.interp(mean, poisson["gap_s"], poisson["share"]) == pytest.approx(
        1 - np.exp(-1), 0.01
    )
    for make in (
        *(charts.rate_chart, charts.gaps_chart, charts.lengths_chart),
        *(charts.dispersion_chart, charts.joint_chart),
    ):
        assert make(pictures).to_dict()


def test_charts_of_a_tiny_trace(tmp_path: Path) -> None:
    Trace.make([0, 0], [5, 5], [1, 1]).save(tmp_path / "t.parquet")
    token, chosen = uploaded("t.parquet", (tmp_path / "t.parquet").read_bytes())
    page = drawn(trace=chosen, files=token)
    assert not page.error and len(page.info) == 2 and figures(page)["Requests"] == "2"
