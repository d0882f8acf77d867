"""The adapter page: each mode runs, shows what the command line makes, and wrong links are told."""

from typing import Any

import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

import mltwin as mt
from mltwin.adapters import AdapterScenario
from mltwin.app.explorer.pages.adapters import DEFAULTS, FIELDS, MODES


def drawn(**choices: Any) -> AppTest:
    return drawn_page("adapters", **choices)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_shows_its_run(mode: str) -> None:
    page = drawn(mode=mode, **{"routing.requests": "2000"})
    assert not page.error
    charts = [e for e in page.main if e.type == "vega_lite_chart"]
    assert len(charts) == 1
    scenario = AdapterScenario().set("mode", mode).set("routing.requests", 2000)
    expected = mt.run(scenario).metrics
    first = page.metric[0]
    shown = {"serving": "hit_ratio", "routing": "regret", "agents": "bytes_per_token_per_agent"}
    value = expected[shown.get(mode, "miss_seconds")]
    assert float(first.value.split()[0].replace(",", "").rstrip("%")) == pytest.approx(
        value * (100 if first.value.endswith("%") else 1), rel=0.01
    )


def test_choices_are_fields_of_the_scenario() -> None:
    base = AdapterScenario()
    for fields in FIELDS.values():
        for path in fields:
            assert base.set(path, DEFAULTS[path]) == base


def test_a_wrong_link_is_told_in_a_line() -> None:
    assert "there is no 'queueing'" in drawn(mode="queueing").error[0].value
    page = drawn(mode="agents", model="deepseek-v3")
    assert any("latent" in error.value for error in page.error)
