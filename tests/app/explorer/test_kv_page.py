"""The KV page: it runs, shows what the command line makes, and wrong links are told."""

from typing import Any

import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

import mltwin as mt
from mltwin.app.explorer.pages.kv_cache import DEFAULTS, PATHS, USUAL
from mltwin.kv_cache import KvCacheScenario


def drawn(**choices: Any) -> AppTest:
    return drawn_page("kv_cache", **choices)


def test_it_shows_its_run() -> None:
    given = {"workload.requests": "300", "routing.policy": "affinity", "nodes.count": "3"}
    page = drawn(**given)
    assert not page.error
    assert len([e for e in page.main if e.type == "vega_lite_chart"]) == 3
    scenario = KvCacheScenario().changed(
        {**USUAL, "workload.requests": 300, "routing.policy": "affinity", "nodes.count": 3}
    )
    expected = mt.run(scenario).metrics["token_hit_ratio"]
    shown = float(page.metric[0].value.split()[0].strip("%"))
    assert shown in (pytest.approx(expected, rel=0.01), pytest.approx(100 * expected, rel=0.01))


def test_choices_are_fields_of_the_scenario() -> None:
    base = KvCacheScenario().changed(USUAL)
    for path in PATHS:
        assert base.set(path, DEFAULTS[path]) == base


def test_a_wrong_link_is_told_in_a_line() -> None:
    assert "there is no 'never'" in drawn(trace="never").error[0].value
    assert "there is no 'magic'" in drawn(**{"eviction.policy": "magic"}).error[0].value
