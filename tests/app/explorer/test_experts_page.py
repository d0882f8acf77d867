"""The expert page: it runs, shows what the command line makes, and wrong links are told."""

from typing import Any

import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

import mltwin as mt
from mltwin.app.explorer.pages.experts import DEFAULTS, PATHS
from mltwin.experts import ExpertScenario


def drawn(**choices: Any) -> AppTest:
    return drawn_page("experts", **choices)


def test_it_shows_its_run() -> None:
    given = {"predictor.kind": "given", "lookahead": "2", "memory.hbm_share": "0.3"}
    page = drawn(**given, **{"routing.steps": "20"})
    assert not page.error
    assert len([e for e in page.main if e.type == "vega_lite_chart"]) == 2
    scenario = ExpertScenario().changed(
        {
            "predictor.kind": "given",
            "predictor.lookahead": 2,
            "memory.hbm_share": 0.3,
            "routing.steps": 20,
        }
    )
    expected = mt.run(scenario).metrics["output_throughput"]
    shown = float(page.metric[0].value.split()[0].replace(",", ""))
    assert shown == pytest.approx(expected, rel=0.01)


def test_choices_are_fields_of_the_scenario() -> None:
    base = ExpertScenario()
    for path in PATHS:
        assert base.set(path, DEFAULTS[path]) == base


def test_a_wrong_link_is_told_in_a_line() -> None:
    assert "there is no 'never'" in drawn(lookahead="never").error[0].value
    assert any("has no experts" in e.value for e in drawn(model="llama-3.1-8b").error)
