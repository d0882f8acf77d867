"""Pareto fronts: against the definition, on frames, sweeps and comparisons."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_systems import FleetScenario

import mltwin as mt
from mltwin.searches.pareto import non_dominated


@given(
    st.integers(1, 3).flatmap(
        lambda d: st.lists(
            st.lists(st.integers(0, 4), min_size=d, max_size=d), min_size=1, max_size=30
        )
    )
)
def test_it_is_the_definition(rows) -> None:
    costs = np.array(rows, float)
    for i, row in enumerate(costs):
        dominated = ((costs <= row).all(1) & (costs < row).any(1)).any()
        assert non_dominated(costs)[i] == (not dominated)


def test_sides_and_order() -> None:
    rows = [
        {"name": "slow", "p99_ttft_ms": 9.0, "request_goodput": 9.0},
        {"name": "fast", "p99_ttft_ms": 1.0, "request_goodput": 5.0},
        {"name": "worse", "p99_ttft_ms": 9.5, "request_goodput": 5.0},
        {"name": "middle", "p99_ttft_ms": 4.0, "request_goodput": 7.0},
    ]
    found = mt.pareto(rows, ["p99_ttft_ms", "request_goodput"])
    assert found.objectives == {"p99_ttft_ms": "lower", "request_goodput": "higher"}
    assert list(found.front["name"]) == ["fast", "middle", "slow"]
    flipped = mt.pareto(rows, {"p99_ttft_ms": "higher", "request_goodput": "higher"})
    assert list(flipped.front["name"]) == ["worse", "slow"]
    assert [row[0] for row in found.table().rows] == ["fast", "middle", "slow"]


def test_seeds_of_a_sweep_are_averaged_first() -> None:
    found = mt.pareto(
        pd.DataFrame(
            {
                "policy": ["a", "a", "b", "b", "c", "c"],
                "seed": [0, 1, 0, 1, 0, 1],
                "x_s": [1.0, 9.0, 4.0, 4.0, 5.5, 5.5],
                "y_s": [1.0, 9.0, 4.0, 4.0, 1.0, 1.0],
                "error": ["", "", "", "", "", ""],
            }
        ),
        ["x_s", "y_s"],
    )
    assert found.fields == ["policy"] and len(found.points) == 3
    assert list(found.front["policy"]) == ["b", "c"], "a is 5, 5 on average: b beats it"


def test_a_sweep_goes_in_as_it_is() -> None:
    swept = mt.sweep(
        FleetScenario(demand=4.0, b=9), {"a": [1, 2, 3, 4, 5], "c": [1, 3, 5]}, seeds=2
    )
    found = mt.pareto(swept, {"slo_attainment": "higher", "a": "lower", "c": "lower"})
    kept = {(row.a, row.c): row.slo_attainment for row in found.front.itertuples()}
    assert kept == {(n, n if n != 4 else 5): n / 4 for n in ()} | {
        (1, 1): 0.25,
        (2, 3): 0.5,
        (3, 3): 0.75,
        (4, 5): 1.0,
    }


def test_a_comparison_goes_in_as_it_is() -> None:
    compared = mt.compare(
        [FleetScenario(a=n, b=9, c=9, demand=4.0, name=f"a{n}") for n in (1, 2, 3)], seeds=[0, 1]
    )
    found = mt.pareto(compared, {"slo_attainment": "higher"})
    assert list(found.front["name"]) == ["a3"]


def test_failed_and_empty_rows_are_left_out_and_said() -> None:
    frame = pd.DataFrame(
        {
            "name": ["a", "b", "c"],
            "seed": 0,
            "x_s": [1.0, np.nan, 3.0],
            "error": ["", "", "is broken"],
        }
    )
    found = mt.pareto(frame, ["x_s"])
    assert list(found.front["name"]) == ["a"]
    assert found.notes == ["1 failed runs are left out", "1 points without a value are left out"]


@pytest.mark.parametrize(
    ("rows", "objectives", "words"),
    [
        ([{"x_s": 1.0}], ["y_s"], "no column 'y_s'"),
        ([{"x_s": 1.0}], {"x_s": "up"}, "no side"),
        ([{"gpus": 1.0}], ["gpus"], "no side"),
        ([{"x_s": 1.0}], [], "no objective"),
        ([{"x_s": np.nan}], ["x_s"], "no row has a value"),
        ([{"x_s": "many"}], ["x_s"], "no row has a value"),
        (3, ["x_s"], "no rows"),
    ],
)
def test_bad_questions_are_refused(rows, objectives, words) -> None:
    with pytest.raises(mt.InputError, match=words):
        mt.pareto(rows, objectives)


def test_it_is_drawn_and_written(tmp_path) -> None:
    rows = [{"name": f"=n{i}", "x_s": i, "y_s": 9 - i, "z_s": i % 3} for i in range(9)]
    found = mt.pareto(rows, ["x_s", "y_s", "z_s"])
    found.save(tmp_path)
    data = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert len(data["front"]) == len(found.front) and data["points"] == 9
    assert "\n'=n0" in (tmp_path / "rows.csv").read_text("utf-8").replace("\r", "")
    mt.pareto(rows, ["x_s"]).plot(tmp_path / "one.png")
