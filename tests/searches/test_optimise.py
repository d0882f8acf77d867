"""Optimisation: it finds the bottom, keeps limits, stops early, and goes on from a store."""

import json

import pytest
from search_systems import BowlScenario, FleetScenario

import mltwin as mt

pytest.importorskip("optuna")
SPACE = {"x": (-10.0, 10.0), "n": (1, 20), "kind": ["bad", "good"]}


def test_it_finds_the_bottom() -> None:
    found = mt.optimise(BowlScenario(), SPACE, "cost_s", trials=120, patience=None)
    assert found.best is not None
    assert abs(found.best.values["x"] - 3) < 1 and abs(found.best.values["n"] - 5) <= 1
    assert found.best.values["kind"] == "good"
    assert found.own_first and found.trials[0].values == {"x": 0.0, "n": 1, "kind": "good"}
    gain = found.gain()
    assert gain is not None and gain.high < -0.8, "from 18 to about 1, whatever the seed"
    course = [value for _, value in found.course()]
    assert course == sorted(course, reverse=True)


def test_it_depends_on_its_seed_alone() -> None:
    def values(**options) -> list:
        found = mt.optimise(BowlScenario(), SPACE, "cost_s", trials=24, **options)
        return [(t.values, t.means, len(t.rows)) for t in found.trials]

    assert values(workers=1) == values(workers=3)
    assert values(seed=1) != values(seed=2)


def test_limits_are_kept() -> None:
    found = mt.optimise(
        BowlScenario(), {"x": (-10.0, 10.0)}, "cost_s", limits=["weight_s<=12"], trials=60
    )
    assert found.best is not None and found.best.means["weight_s"] <= 12
    assert found.best.values["x"] > 0, "the best allowed x is 1"
    assert any(not t.feasible for t in found.trials)
    assert all(t.means["weight_s"] <= 12 for t in found.good)


def test_limits_out_of_reach_say_what_came_closest() -> None:
    found = mt.optimise(
        BowlScenario(), {"x": (-5.0, 5.0)}, "cost_s", limits=["weight_s<=2"], trials=12
    )
    assert not found.reached and "No trial keeps weight_s <= 2" in found.answer()[0]
    assert json.loads(json.dumps(found.data()))["best"] is None


def test_clearly_worse_trials_are_stopped() -> None:
    BowlScenario.calls.clear()
    pruned = mt.optimise(BowlScenario(), SPACE, "cost_s", trials=60, seeds=6, sampler="random")
    runs = len(BowlScenario.calls)
    assert runs == pruned.runs < 0.5 * 6 * len(pruned.trials)
    assert any(t.pruned for t in pruned.trials)
    assert all(len(t.rows) in (1, 6) for t in pruned.trials)
    whole = mt.optimise(
        BowlScenario(), SPACE, "cost_s", trials=60, seeds=6, sampler="random", prune=False
    )
    assert not any(t.pruned for t in whole.trials)
    assert whole.best is not None and pruned.best is not None
    assert whole.best.values == pruned.best.values, "pruning must not lose the best"


def test_a_close_race_is_not_stopped_early() -> None:
    """Points that differ by less than the noise are all run to the end."""
    found = mt.optimise(
        BowlScenario(x=3.0, n=5, noise=5.0),
        {"x": (2.999, 3.001)},
        "cost_s",
        trials=24,
        seeds=4,
        patience=None,
    )
    assert sum(t.pruned for t in found.trials) <= 2


def test_it_stops_when_nothing_gets_better() -> None:
    found = mt.optimise(
        FleetScenario(demand=1.0),
        {"a": (1, 5)},
        {"slo_attainment": "higher"},
        trials=200,
        patience=9,
    )
    assert len(found.trials) < 20 and any("nothing better" in note for note in found.notes)


def test_several_objectives_give_a_front() -> None:
    found = mt.optimise(
        BowlScenario(n=5),
        {"x": (-10.0, 10.0)},
        {"cost_s": "lower", "weight_s": "lower"},
        trials=60,
        seeds=2,
    )
    front = found.front().front
    assert len(front) == len(found.good) > 5
    assert front["weight_s"].is_monotonic_decreasing, "sorted by cost, lighter is dearer"
    assert all(value <= 3.5 for value in front["x"].astype(float))
    assert "on the front" in found.answer()[0]


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_other_samplers(sampler: str) -> None:
    found = mt.optimise(
        BowlScenario(), SPACE, "cost_s", limits={"weight_s": 20.0}, trials=24, sampler=sampler
    )
    assert found.reached and len(found.trials) == 24


def test_broken_points_do_not_stop_the_search() -> None:
    space = {"kind": ["good", "broken"], "x": (0.0, 5.0)}
    found = mt.optimise(BowlScenario(), space, "cost_s", trials=16)
    assert found.reached and any(t.error for t in found.trials)
    assert any("trials failed" in note and "is broken" in note for note in found.notes)
    assert set(found.frame()["state"]) >= {"failed", "whole"}
    with pytest.raises(mt.InputError, match="is broken"):
        mt.optimise(BowlScenario(), {"kind": ["broken"]}, "cost_s", trials=40)


def test_a_store_answers_without_running_again(tmp_path) -> None:
    def search(trials: int):
        return mt.optimise(
            BowlScenario(), SPACE, "cost_s", trials=trials, patience=None, store=tmp_path
        )

    BowlScenario.calls.clear()
    first = search(12)
    made = len(BowlScenario.calls)
    assert made == first.runs
    again = search(12)
    assert len(BowlScenario.calls) == made, "all runs were in the store"
    assert again.data() == first.data()
    more = search(24)
    assert [t.values for t in more.trials[:12]] == [t.values for t in first.trials]
    assert len(BowlScenario.calls) == more.runs
    assert not list(tmp_path.rglob("*.pkl")) and not list(tmp_path.rglob("*.pickle"))


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        ({}, {}, "no field"),
        ({"x": 3}, {}, "no range"),
        ({"x": (5.0, 1.0)}, {}, "no range"),
        ({"x": {"from": 0.0, "to": 1.0, "scale": "log"}}, {}, "logarithm"),
        ({"nothing": (1, 5)}, {}, "unknown key"),
        ({"x": (0.0, 1.0)}, {"sampler": "best"}, "unknown value"),
        ({"x": (0.0, 1.0)}, {"trials": 0}, "at least one"),
        ({"x": (0.0, 1.0)}, {"limits": ["what_s<=1"]}, "no metric"),
    ],
)
def test_bad_questions_are_refused(space: dict, options: dict, words: str) -> None:
    with pytest.raises(mt.InputError, match=words):
        mt.optimise(BowlScenario(), space, "cost_s", **options)


def test_without_optuna_it_says_what_to_install(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(mt.InputError, match=r"pip install mltwin\[optuna\]"):
        mt.optimise(BowlScenario(), SPACE, "cost_s")


def test_it_is_written_to_files(tmp_path) -> None:
    found = mt.optimise(BowlScenario(), SPACE, "cost_s", trials=12)
    found.save(tmp_path)
    data = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert data["best"] == found.best.values and len(data["good"]) <= 15
    assert found.best_scenario.run(0).metrics["cost_s"] == found.best.rows[0].metrics["cost_s"]
