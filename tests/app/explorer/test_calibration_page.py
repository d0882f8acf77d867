"""The calibration page: what is known of each GPU, and reports of measured against predicted."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

from mltwin import calibration_view as facts
from mltwin.app.explorer import calibration_charts as charts
from mltwin.models.gpu.profile import load_profile
from mltwin.validation.kernel_report import OURS, SHIPPED, KernelReport, KernelRow
from mltwin.validation.pairs import Pair
from mltwin.validation.reading import points_of
from mltwin.validation.report import ValidationReport


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLTWIN_DATA", raising=False)
    yield


def drawn(**choices: Any) -> AppTest:
    return drawn_page("calibration", **choices)


@pytest.mark.parametrize("gpu", facts.profiles())
def test_every_profile_is_shown(gpu: str) -> None:
    page = drawn(gpu=gpu)
    shown = {metric.label: metric.value for metric in page.metric}
    profile = load_profile(gpu)
    assert shown["Operators"] == str(len(profile.provenance)) and not page.error
    assert shown["Rows held out"] == f"{sum(p.held_rows for p in profile.provenance):,}"
    assert any("Host time" in info.value for info in page.info)


def test_scoring_is_offered_only_where_there_is_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered() -> list[str]:
        return [option.content for option in drawn().get("button_group")[0].proto.options]

    assert offered() == ["A GPU's profile", "A report of mine"]
    monkeypatch.setenv("MLTWIN_DATA", "/nowhere")
    assert offered()[-1] == "Score the kernels here"


@pytest.mark.parametrize("choice", [{"gpu": "tpu"}, {"what": "here"}, {"what": "nonsense"}])
def test_a_strange_link_gives_way(choice: dict[str, str]) -> None:
    page = drawn(**choice)
    assert len(page.warning) == 1 and page.metric


def test_errors_are_those_of_the_profile() -> None:
    frame = facts.errors_frame("h100-sxm-80gb").set_index("operator")
    held = {p.operator: p for p in load_profile("h100-sxm-80gb").provenance}
    assert set(frame.index) == set(held)
    for operator, row in frame.iterrows():
        assert row["median_pct"] == pytest.approx(100 * held[str(operator)].median)
        assert row["family"] != "other"
    assert set(facts.overview_frame()["gpu"]) == set(facts.profiles())
    assert any("taken from another GPU" in s for s in facts.assumptions("h200-sxm"))
    assert charts.errors_chart(frame.reset_index()).to_dict()
    assert charts.overview_chart(facts.overview_frame()).to_dict()


def report_data() -> dict[str, Any]:
    pairs = [
        Pair("lab", f"r{i}", "H100", "vllm", "8b", "agg", "below", metric, 0.2, 0.2 + i / 50)
        for i in range(30)
        for metric in ("ttft_mean", "tpot_mean")
    ]
    report = ValidationReport(pairs)
    return {**report.data(), "points": points_of(report, 10)}


def test_pairs_become_charts() -> None:
    data = report_data()
    frame = charts.pairs_frame(data)
    assert len(frame) == 10 and set(frame["quantity"]) == {"ttft", "tpot"}
    assert charts.pairs_chart(frame).to_dict()
    scores = charts.scores_frame(data, "source")
    assert list(scores["answered"]) == [30, 30] and charts.scores_chart(scores).to_dict()
    assert charts.pairs_frame({"points": []}).empty


def test_groups_become_charts() -> None:
    row = KernelRow(SHIPPED, "h100-sxm-80gb", "gemm", OURS, "vllm", 10, 2, 2.5, 9.0, -0.1)
    frame = charts.groups_frame(KernelReport((row,)).data())
    assert frame["median_pct"].iloc[0] == 2.5 and charts.groups_chart(frame).to_dict()
    mixed = pd.concat([frame.assign(task=task) for task in ("repeats", "unseen shapes", SHIPPED)])
    assert [task for task, _ in charts.kinds_of(mixed)] == [SHIPPED, "unseen shapes", "repeats"]
