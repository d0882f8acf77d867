"""Finish times are SimGrid's, on random cases: those it gave once, and fresh ones where it runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.network_simgrid import Case, ours, random_case, simgrid
from benchmarks.process import MeasureError
from mltwin.models.network.simulate import simulate_flows

GIVEN = json.loads(Path(__file__).with_name("simgrid_flows.json").read_text("utf-8"))["cases"]
APART_S = 1e-10


def apart_s(case: Case, end_s: list[float]) -> float:
    run = simulate_flows(*ours(case))
    return float(np.abs(run.end / 1e12 - end_s).max())


@pytest.mark.parametrize("number", range(len(GIVEN)))
def test_what_simgrid_gave(number: int) -> None:
    case = Case(**{name: GIVEN[number][name] for name in Case._fields})
    assert apart_s(case, GIVEN[number]["end_s"]) < APART_S


@pytest.mark.slow
def test_what_simgrid_gives() -> None:
    for seed in range(100, 200):
        case = random_case(seed)
        try:
            said = simgrid(case)
        except MeasureError as error:
            pytest.skip(str(error))
        assert apart_s(case, said.end_s) < APART_S, seed
