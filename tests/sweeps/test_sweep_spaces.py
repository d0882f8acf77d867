"""Spaces: grids, random points, Latin hypercubes, lists; the same points from the same space."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flipping import FlipScenario
from hypothesis import given
from hypothesis import strategies as st

import mltwin as mt
from mltwin.sweeps.spaces import points_of
from mltwin.sweeps.study import make_study


def points(space: Any, folder: Path | None = None) -> list[dict[str, Any]]:
    return points_of(space, folder=folder, whole=lambda field, spec: field == "flips")


def test_a_grid_is_all_combinations_in_order() -> None:
    found = points({"flips": [1, 2], "heads": [0.1, 0.2]})
    assert found == points({"grid": {"flips": [1, 2], "heads": [0.1, 0.2]}})
    assert found[:2] == [{"flips": 1, "heads": 0.1}, {"flips": 1, "heads": 0.2}]
    assert len(found) == 4


def test_ranges() -> None:
    logarithmic = points({"heads": {"from": 0.001, "to": 1, "steps": 4, "scale": "log"}})
    assert [p["heads"] for p in logarithmic] == [0.001, 0.01, 0.1, 1]
    assert [p["heads"] for p in points({"heads": {"from": 0, "to": 0.3, "steps": 4}})] == [
        *(0, 0.1, 0.2, 0.3)
    ]
    whole = points({"flips": {"from": 1, "to": 64, "steps": 7, "scale": "log"}})
    assert [p["flips"] for p in whole] == [1, 2, 4, 8, 16, 32, 64]
    few = points({"flips": {"from": 1, "to": 3, "steps": 50}})
    assert [p["flips"] for p in few] == [1, 2, 3]  # each whole number once
    assert points({"heads": {"from": 1, "to": 2, "steps": 1}}) == [{"heads": 1}]
    assert points({"heads": {"choices": [0.5]}}) == [{"heads": 0.5}]
    forced = points({"heads": {"from": 1, "to": 9, "steps": 3, "integer": True}})
    assert [type(p["heads"]) for p in forced] == [int] * 3


def test_nested_tables_are_dotted_fields() -> None:
    assert points({"grid": {"workload": {"rate": [1, 2]}}}) == points({"workload.rate": [1, 2]})


def test_kinds_are_combined() -> None:
    space = {"grid": {"flips": [1, 2]}, "list": [{"heads": 0.1}, {"heads": 0.9, "colour": "blue"}]}
    found = points(space)
    assert len(found) == 4 and found[1] == {"flips": 1, "heads": 0.9, "colour": "blue"}


def test_whole_numbers_follow_the_field() -> None:
    study = make_study(FlipScenario(), {"random": {"points": 20, "flips": {"from": 1, "to": 9}}})
    assert {type(point["flips"]) for point in study.points} == {int}
    study = make_study(FlipScenario(), {"random": {"points": 20, "heads": {"from": 0, "to": 1}}})
    assert len({point["heads"] for point in study.points}) == 20


@given(st.integers(1, 200), st.integers(0, 2**61))
def test_a_latin_hypercube_hits_each_slice_once(count: int, seed: int) -> None:
    space = {"lhs": {"points": count, "seed": seed, "a": {"from": 0.0, "to": 1.0}}}
    space["lhs"]["b"] = {"from": 1.0, "to": 10.0, "scale": "log"}
    found = points(space)
    assert found == points(space)
    for values in ([p["a"] for p in found], [np.log10(p["b"]) for p in found]):
        slices = np.floor(np.array(values) * count + 1e-7 * (np.array(values) < 0.999))
        assert len(set(np.minimum(slices, count - 1))) >= count - 1  # rounding may touch an edge


@given(st.integers(1, 100), st.integers(0, 1000), st.integers(-50, 50), st.integers(1, 100))
def test_random_points_stay_in_range(count: int, seed: int, low: int, width: int) -> None:
    space = {
        "random": {
            "points": count,
            "seed": seed,
            "flips": {"from": low, "to": low + width},
            "x": {"from": low, "to": low + width},
            "c": ["a", "b"],
        }
    }
    for point in points(space):
        assert low <= point["flips"] <= low + width and isinstance(point["flips"], int)
        assert low <= point["x"] <= low + width
        assert point["c"] in ("a", "b")


def test_another_field_leaves_the_draws_of_the_first() -> None:
    one = {"random": {"points": 5, "heads": {"from": 0.0, "to": 1.0}}}
    two = {"random": {**one["random"], "x": [1, 2]}}
    assert [p["heads"] for p in points(one)] == [p["heads"] for p in points(two)]
    other = {"random": {**one["random"], "seed": 1}}
    assert [p["heads"] for p in points(one)] != [p["heads"] for p in points(other)]


def test_every_whole_number_is_drawn() -> None:
    space = {"random": {"points": 400, "flips": {"from": 1, "to": 4}}}
    assert {p["flips"] for p in points(space)} == {1, 2, 3, 4}


def test_points_from_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("flips,colour,heads\n4,blue,\n8,red,0.25\n", "utf-8")
    found = points({"list": "rows.csv"}, tmp_path)
    assert found == [{"flips": 4, "colour": "blue"}, {"flips": 8, "colour": "red", "heads": 0.25}]


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({}, "varies nothing"),
        ({"grid": {}}, "varies nothing"),
        ({"flips": []}, "no values"),
        ({"flips": [1, 1]}, "twice"),
        ({"flip": [1]}, "did you mean 'flips'"),
        ({"flips": [0]}, "flips"),
        ({"flips": ["many"]}, "flips"),
        ({"flips": {"from": 1, "to": 9}}, "steps"),
        ({"flips": {"from": 9, "to": 1, "steps": 2}}, "no range"),
        ({"flips": {"from": 0, "to": 1, "steps": 2, "scale": "log"}}, "logarithm"),
        ({"flips": {"from": 1, "to": 2, "step": 2}}, "did you mean 'steps'"),
        ({"flips": {"from": 1, "to": 2, "steps": 2, "scale": "exp"}}, "exp"),
        ({"heads": {"from": 0, "to": 1.5, "steps": 2, "integer": True}}, "whole"),
        ({"grid": {"flips": [1]}, "heads": [1]}, "stands beside"),
        ({"grid": {"flips": [1]}, "list": [{"flips": 2}]}, "varied in grid too"),
        ({"random": {"flips": [1]}}, "points"),
        ({"random": {"points": -1, "flips": [1]}}, "points"),
        ({"random": {"points": True, "flips": [1]}}, "points"),
        ({"random": {"points": 3, "seed": -1, "flips": [1]}}, "seed"),
        ({"random": {"points": 3}}, "varies no field"),
        ({"lhs": {"points": 10**9, "flips": [1]}}, "1,000,000,000 points"),
        (
            {"grid": {"flips": {"from": 1, "to": 90000, "steps": 90000}, "heads": [0, 1, 0.5]}},
            "270",
        ),
        ({"list": "nowhere.csv"}, "no such file"),
        ({"list": [{}]}, "varies no field"),
        ({"list": 3}, "no list of points"),
        ({"grid": 3}, "no table"),
        ({"seed": [1, 2]}, "seeds"),
        ({"system": ["flip"]}, "cannot be varied"),
        ({"name": ["a"]}, "changes nothing"),
        ({"flips": [float("nan")]}, "flips"),
    ],
)
def test_wrong_spaces_are_told(space: Any, told: str) -> None:
    with pytest.raises(mt.InputError, match=told) as error:
        make_study(FlipScenario(), space, where="study.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flips\n", "no points"),
        ("flips,flips\n1,2\n", "stands twice"),
        ("flips,\n1,2\n", "no name"),
        ("flips,heads\n1\n", "line 2"),
        ("flips\n1\n\n2\n", "line 3"),
        ('flips\n"1\n', "no CSV"),
    ],
)
def test_wrong_lists_are_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "rows.csv").write_text(text, "utf-8")
    with pytest.raises(mt.InputError, match=told) as error:
        make_study(FlipScenario(), {"list": "rows.csv"}, folder=tmp_path)
    assert "rows.csv" in str(error.value)


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1], [-1], [True], "3", [0.5], 10**9])
def test_wrong_seeds_are_told(seeds: Any) -> None:
    with pytest.raises(mt.InputError, match="seed"):
        make_study(FlipScenario(), {"flips": [1]}, seeds=seeds)


def test_seeds_count_from_the_scenarios_own() -> None:
    assert make_study(FlipScenario(seed=5), {"flips": [1]}, seeds=3).seeds == (5, 6, 7)
    assert make_study(FlipScenario(), {"flips": [1]}, seeds=[4, 2]).seeds == (4, 2)


def test_a_point_that_does_not_fit_as_a_whole_is_named() -> None:
    with pytest.raises(mt.InputError, match=r"point 2 of 2 \(cluster.mixed.replicas = 0\)"):
        make_study(mt.ServingScenario(), {"cluster.mixed.replicas": [1, 0]})
