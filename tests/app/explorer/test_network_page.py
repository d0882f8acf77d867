"""The network page: each kind of traffic runs, as the command line has it."""

from typing import Any

import pytest
from drawn_page import drawn_page

import mltwin as mt
from mltwin.app.explorer.pages.network import DEFAULTS, FIELDS, KINDS, TOPOLOGIES
from mltwin.network import NetworkScenario
from mltwin.topologies import named_topology

STAR = TOPOLOGIES["Star, 8 hosts"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_shows_its_run(kind: str) -> None:
    choices: dict[str, Any] = {"topology": "Star, 8 hosts", "kind": kind, "traffic.flows": "200"}
    page = drawn_page("network", **choices)
    assert not page.error
    assert len([e for e in page.main if e.type == "vega_lite_chart"]) == 2
    changes = {"topology": STAR, "traffic.kind": kind, "traffic.flows": 200}
    expected = mt.run(NetworkScenario().changed(changes)).metrics["makespan_ms"]
    assert ("mean_slowdown" in [m.label for m in page.metric]) == (kind != "collective")
    assert float(page.metric[0].value) == pytest.approx(expected, rel=0.01)


def test_choices_are_fields_of_the_scenario() -> None:
    base = NetworkScenario()
    for fields in FIELDS.values():
        for path in fields:
            assert base.set(path, DEFAULTS[path]) == base


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_each_topology_can_be_built(name: str) -> None:
    assert len(named_topology(TOPOLOGIES[name]).endpoints) >= 8


def test_a_wrong_link_is_told_in_a_line() -> None:
    assert "there is no 'mesh'" in drawn_page("network", topology="mesh").error[0].value
