"""The web page: both kinds run, show what the command line makes, and wrong links are told."""

from typing import Any

import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

import mltwin as mt
from mltwin.app.explorer.pages.web import DEFAULTS, FIELDS, KINDS
from mltwin.web import WebScenario


def drawn(**choices: Any) -> AppTest:
    return drawn_page("web", **choices)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_shows_its_run(kind: str) -> None:
    page = drawn(kind=kind, **{"activity.objects": "300", "requests.requests": "3000"})
    assert not page.error
    assert len([e for e in page.main if e.type == "vega_lite_chart"]) == 2
    changes = {"kind": kind, "activity.objects": 300, "requests.requests": 3000}
    expected = mt.run(WebScenario().changed(changes)).metrics["offload_ratio"]
    assert float(page.metric[0].value) == pytest.approx(expected, rel=0.01)


def test_choices_are_fields_of_the_scenario() -> None:
    base = WebScenario()
    for fields in FIELDS.values():
        for path in fields:
            assert base.set(path, DEFAULTS[path]) == base


def test_a_wrong_link_is_told_in_a_line() -> None:
    assert "there is no 'torrent'" in drawn(kind="torrent").error[0].value
