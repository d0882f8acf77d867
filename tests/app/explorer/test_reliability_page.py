"""The page of long training runs shows what the command line makes, and tells wrong links."""

import pytest
from drawn_page import drawn_page

import mltwin as mt
from mltwin.app.explorer.pages.reliability import DEFAULTS
from mltwin.reliability import TrainingRunScenario


def test_it_shows_its_run() -> None:
    changes = {"job.nodes": 32, "job.days": 2.0, "failures.mtbf_days": 20.0}
    page = drawn_page("reliability", **changes)
    assert not page.error
    assert len([e for e in page.main if e.type == "vega_lite_chart"]) == 2
    expected = mt.run(TrainingRunScenario().changed(changes)).metrics["goodput_ratio"]
    assert float(page.metric[0].value) == pytest.approx(expected, rel=0.01)


def test_choices_are_fields_of_the_scenario() -> None:
    base = TrainingRunScenario()
    for path, value in DEFAULTS.items():
        assert base.set(path, value) == base


def test_a_wrong_link_is_told_in_a_line() -> None:
    page = drawn_page("reliability", **{"checkpoint.strategy": "later"})
    assert any("later" in one.value for one in page.error)
