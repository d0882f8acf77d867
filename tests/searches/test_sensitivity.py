"""Sensitivity: the published indices of the Ishigami function, SciPy's estimators, by hand."""

import math

import numpy as np
import pytest
from search_systems import BowlScenario, FleetScenario, IshigamiScenario, QueueScenario, serving

import mltwin as mt
from mltwin.searches.effects import (
    crossed,
    elementary_effects,
    morris_design,
    saltelli_design,
    sobol_indices,
)

CUBE = {name: (-math.pi, math.pi) for name in ("x1", "x2", "x3")}
# Ishigami and Homma (1990), a = 7, b = 0.1.
FIRST = {"x1": 0.3139, "x2": 0.4424, "x3": 0.0}
TOTAL = {"x1": 0.5576, "x2": 0.4424, "x3": 0.2437}


def ishigami(points: np.ndarray) -> np.ndarray:
    x = math.pi * (2 * points - 1)
    return np.sin(x[..., 0]) + 7 * np.sin(x[..., 1]) ** 2 + 0.1 * x[..., 2] ** 4 * np.sin(x[..., 0])


def test_sobol_estimators_give_the_published_indices() -> None:
    a, b = saltelli_design(3, 2**15, seed=0)
    first, total = sobol_indices(ishigami(a), ishigami(b), ishigami(crossed(a, b)))
    assert first == pytest.approx(list(FIRST.values()), abs=0.005)
    assert total == pytest.approx(list(TOTAL.values()), abs=0.005)


def test_sobol_of_a_scenario_gives_the_published_indices() -> None:
    found = mt.sensitivity(
        IshigamiScenario(), CUBE, "y", method="sobol", points=512, seeds=1, workers=1
    )
    for name in FIRST:
        effect = found.effect(name)
        assert effect.values["first order"].estimate == pytest.approx(FIRST[name], abs=0.06)
        assert effect.values["total"].estimate == pytest.approx(TOTAL[name], abs=0.06)
        for quantity, exact in (("first order", FIRST), ("total", TOTAL)):
            value = effect.values[quantity]
            assert value.low - 0.02 <= exact[name] <= value.high + 0.02
            assert value.low < value.high
    assert found.runs == 512 * 5
    assert [e.field for e in found.effects] == ["x1", "x2", "x3"], "sorted by the total"


def test_the_estimators_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = saltelli_design(3, 256, seed=3)
    values = ishigami(a)[None], ishigami(b)[None], ishigami(crossed(a, b))[:, None]
    theirs = stats.sobol_indices(
        func={"f_A": values[0], "f_B": values[1], "f_AB": values[2]}, n=256
    )
    first, total = sobol_indices(values[0][0], values[1][0], values[2][:, 0])
    assert first == pytest.approx(np.ravel(theirs.first_order), rel=1e-9, abs=1e-12)
    assert total == pytest.approx(np.ravel(theirs.total_order), rel=1e-9, abs=1e-12)


def test_morris_finds_a_linear_function_exactly() -> None:
    points = morris_design(4, 12, levels=4, seed=1)
    assert points.shape == (12, 5, 4) and points.min() >= 0 and points.max() <= 1
    moved = np.diff(points, axis=1)
    assert ((moved != 0).sum(axis=2) == 1).all(), "one field a step"
    assert ((moved != 0).sum(axis=1) == 1).all(), "each field once"
    weights = np.array([3.0, -2.0, 0.0, 10.0])
    effects = elementary_effects(points, points @ weights)
    assert effects == pytest.approx(np.tile(weights, (12, 1)))


def test_morris_knows_interaction_from_none() -> None:
    found = mt.sensitivity(
        IshigamiScenario(), CUBE, "y", method="morris", points=40, seeds=1, workers=1
    )
    by_field = {effect.field: effect.values for effect in found.effects}
    # x3 acts through x1 alone: large sigma; x1 and x2 rank above nothing.
    assert by_field["x3"]["sigma"].estimate > by_field["x3"]["mu"].high
    assert by_field["x3"]["mu*"].low > 0
    assert found.runs <= 40 * 4


def test_elasticity_by_hand() -> None:
    """What a fleet carries is a^(1/2) b^(1/2): each elasticity is 1/2, c has none."""
    fleet = FleetScenario(demand=10.0, trade=1.0, a=20, b=40, c=5)
    found = mt.sensitivity(fleet, ["a", "b", "c"], "power", seeds=2, step=0.1)
    values = {e.field: e.values["elasticity"].estimate for e in found.effects}
    assert values["a"] == pytest.approx(0.5, abs=0.005)
    assert values["b"] == pytest.approx(0.5, abs=0.005)
    assert values["c"] == 0
    assert found.effects[-1].field == "c"
    assert any("c" in line and "beyond chance" in line for line in found.answer()) or found.notes


def test_elasticity_of_a_queue_agrees_with_theory() -> None:
    """M/M/1: mean sojourn 1 / (1 - rate) has elasticity rate / (1 - rate), 1 at a half."""
    found = mt.sensitivity(
        QueueScenario(rate=0.5, customers=30_000), ["rate"], "mean_sojourn_s", seeds=8, step=0.05
    )
    value = found.effect("rate").values["elasticity"]
    exact = (1 / (1 - 0.525) - 1 / (1 - 0.475)) / (1 / (1 - 0.5)) / 0.1
    # 5.41 / 2.36: from a 95 % interval over 8 seeds to one of 99.9 %.
    assert abs(value.estimate - exact) < 2.29 * value.half_width < 0.15
    unpaired = 2 * 0.03 / 0.1  # two means of half-width 3 % each, over a step of 10 %
    assert value.half_width < unpaired / 2, "common random numbers pay"


def test_choices_are_held_against_the_scenarios_own() -> None:
    found = mt.sensitivity(BowlScenario(x=3.0, n=5), {"kind": ["good", "bad"]}, "cost_s", seeds=3)
    assert [e.label for e in found.effects] == ["kind = bad"]
    change = found.effects[0].values["change"]
    assert change.low > 10 and "elasticity" not in found.effects[0].values


def test_whole_numbers_move_by_one_at_least() -> None:
    found = mt.sensitivity(FleetScenario(demand=10.0), ["a"], "power", seeds=1)
    assert {row.get("a") for row in found.rows} == {None, 1, 2}


def test_of_a_serving_scenario(tmp_path) -> None:
    found = mt.sensitivity(
        serving(),
        {"workload.rate": (5.0, 60.0), "policy.route": ["least_requests", "random"]},
        "p99_ttft_ms",
        method="morris",
        points=4,
        seeds=2,
    )
    assert {e.field for e in found.effects} == {"workload.rate", "policy.route"}
    found.save(tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        ({}, {}, "no field"),
        (["rat"], {}, "unknown key"),
        (["rate"], {"method": "guess"}, "unknown value"),
        (["rate"], {"method": "morris"}, "without ranges"),
        (["rate"], {"step": 1.5}, "step"),
        ({"rate": (0.1, 0.2)}, {}, "cannot be changed"),
        ({"rate": (0.1, 0.9)}, {"method": "sobol", "points": 100}, "power of 2"),
        ({"rate": (0.1, 0.9)}, {"method": "morris", "levels": 3}, "even"),
        ({"rate": (0.1, 0.9)}, {"method": "morris", "points": 1}, "too few"),
    ],
)
def test_bad_questions_are_refused(space, options: dict, words: str) -> None:
    with pytest.raises(mt.InputError, match=words):
        mt.sensitivity(QueueScenario(customers=50), space, "mean_sojourn_s", **options)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(mt.InputError, match="no metric"):
        mt.sensitivity(QueueScenario(customers=50), ["rate"], "sojourn")
