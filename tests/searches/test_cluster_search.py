"""The smallest cluster: against exhaustive search, by hand, and its edges."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_systems import FleetScenario, serving

import mltwin as mt
from mltwin.searches.lattice import Lattice


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    depth=st.integers(1, 3),
    data=st.data(),
)
def test_the_lattice_finds_what_exhaustive_search_finds(shape, depth, data) -> None:
    """Any monotone truth, any increasing cost: the least cost, and every tie tried."""
    corners = data.draw(
        st.lists(st.tuples(*(st.integers(0, n - 1) for n in shape)), min_size=0, max_size=4)
    )
    prices = data.draw(st.lists(st.integers(1, 5), min_size=len(shape), max_size=len(shape)))
    points = list(itertools.product(*(range(n) for n in shape)))
    truth = {
        p: any(all(a >= b for a, b in zip(p, c, strict=True)) for c in corners) for p in points
    }
    cost = np.reshape([float(np.dot(p, prices)) for p in points], shape)
    lattice = Lattice([range(n) for n in shape], cost)
    while chosen := lattice.choose(depth):
        assert not set(chosen) & set(lattice.tried)
        for point in chosen:
            lattice.mark(point, truth[point])
    good = [p for p in points if truth[p]]
    least = min((cost[p] for p in good), default=np.inf)
    assert lattice.least_cost == least
    assert sorted(lattice.best()) == sorted(p for p in good if cost[p] == least)
    assert not lattice.contradictions()


@settings(max_examples=30)
@given(data=st.data())
def test_settling_finds_the_whole_staircase(data) -> None:
    corners = data.draw(
        st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=5)
    )
    points = list(itertools.product(range(8), range(8)))
    truth = {p: any(p[0] >= a and p[1] >= b for a, b in corners) for p in points}
    lattice = Lattice([range(8), range(8)], np.add.outer(np.arange(1.0, 9), np.arange(1.0, 9)))
    while chosen := lattice.choose(1, factor=100.0):
        for point in chosen:
            lattice.mark(point, truth[point])
    minimal = [
        p
        for p in points
        if truth[p]
        and not any(truth[q] and q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)
    ]
    assert lattice.staircase() == sorted(minimal)


def test_bisection_takes_few_steps() -> None:
    truth = 700
    lattice = Lattice([range(1, 1025)], np.arange(1.0, 1025))
    while chosen := lattice.choose(1):
        for point in chosen:
            lattice.mark(point, point[0] >= truth)
    assert lattice.best() == [(truth,)] and len(lattice.tried) <= 14


def test_one_pool_against_exhaustive_search() -> None:
    scenario = serving(**{"workload.rate": 60.0})
    found = mt.smallest_cluster(scenario, fields={"cluster.mixed.replicas": (1, 16)}, seeds=2)
    shares = [
        np.mean(
            [
                scenario.set("cluster.mixed.replicas", n).run(s).metrics["slo_attainment"]
                for s in (0, 1)
            ]
        )
        for n in range(1, 17)
    ]
    first = next(n for n, share in enumerate(shares, 1) if share >= 0.9)
    assert 1 < first < 16
    assert found.values == {"cluster.mixed.replicas": first} and found.cost == first
    assert found.best.mean("slo_attainment") == pytest.approx(shares[first - 1])
    assert {t.values[0] for t in found.tried} >= {first - 1, first, first + 1}
    assert len(found.tried) < 12


def test_two_pools_against_exhaustive_search() -> None:
    scenario = serving(
        cluster={
            "prefill": {"replicas": 1, "gpu": "a100-sxm-80gb"},
            "decode": {"replicas": 1, "gpu": "a100-sxm-80gb", "tp": 2},
        },
        **{"workload.rate": 50.0},
    )
    fields = {"cluster.prefill.replicas": (1, 5), "cluster.decode.replicas": (1, 5)}
    found = mt.smallest_cluster(scenario, fields=fields, seeds=[0], around=0)
    does, cost = {}, {}
    for pair in itertools.product(range(1, 6), repeat=2):
        variant = scenario.changed(dict(zip(fields, pair, strict=True)))
        does[pair] = variant.run(0).metrics["slo_attainment"] >= 0.9
        cost[pair] = variant.gpus
    least = min(cost[pair] for pair in does if does[pair])
    assert found.cost == least and does[found.best.values]
    assert cost[1, 2] == 5 and cost[2, 1] == 4, "pools weigh what their GPUs do"
    assert all(t.does == does[t.values] and t.cost == cost[t.values] for t in found.tried)
    assert len(found.tried) < 25


def test_the_answer_by_hand() -> None:
    fleet = FleetScenario(demand=2.5, need_a=2.0, need_b=3.2, need_c=0.4)
    found = mt.smallest_cluster(
        fleet, fields={"a": (1, 64), "b": (1, 64), "c": (1, 64)}, seeds=1, least=1.0
    )
    assert found.values == {"a": 5, "b": 8, "c": 1} and found.cost == 5 + 2 * 8 + 1
    assert found.runs < 120


def test_dollars_or_any_function_may_be_least() -> None:
    fleet = FleetScenario(demand=6.0, trade=1.0)
    fields = {"a": (1, 20), "b": (1, 20)}
    by_gpus = mt.smallest_cluster(fleet, fields=fields, least=1.0, seeds=1)
    assert by_gpus.cost == min(
        a + 2 * b + 1 for a in range(1, 21) for b in range(1, 21) if a * b >= 36
    )
    dear_a = mt.smallest_cluster(
        fleet, fields=fields, least=1.0, seeds=1, cost=lambda s: 5.0 * s.a + s.b
    )
    assert dear_a.cost == min(5 * a + b for a in range(1, 21) for b in range(1, 21) if a * b >= 36)
    product = mt.smallest_cluster(
        fleet, fields=fields, least=1.0, seeds=1, cost=lambda s: float(s.a * s.b)
    )
    assert product.cost == 36
    priced = serving(**{"cluster.mixed.dollars_per_gpu_hour": 2.5, "workload.rate": 30.0})
    dollars = mt.smallest_cluster(priced, cost="dollars", seeds=1)
    gpus = mt.smallest_cluster(priced, seeds=1)
    assert dollars.cost == 2.5 * gpus.cost and dollars.values == gpus.values
    assert "$ an hour" in dollars.answer()[0]


def test_lists_of_values_are_sought_in_their_order() -> None:
    found = mt.smallest_cluster(
        FleetScenario(demand=11.0),
        fields={"a": [1, 2, 4, 8, 16], "b": [16], "c": [12]},
        least=1.0,
        seeds=1,
    )
    assert found.values["a"] == 16


def test_out_of_reach_says_what_came_closest() -> None:
    found = mt.smallest_cluster(FleetScenario(demand=100.0), fields={"a": (1, 8)}, seeds=1)
    assert not found.reached and found.cost is None and found.values == {}
    assert found.runs == 1, "the largest fails, so all do"
    assert "No cluster up to a = 8" in found.answer()[0] and "0.01" in found.answer()[0]


def test_a_cheaper_hole_is_noticed_and_said() -> None:
    """Nine machines fail where eight do, against all monotony: it is said, and not hidden."""
    fleet = FleetScenario(demand=8.0, hole=9, b=20, c=20)
    found = mt.smallest_cluster(fleet, fields={"a": (1, 20)}, least=1.0, seeds=1)
    assert found.values == {"a": 8}
    assert any("not monotone" in note and "8" in note for note in found.notes)


def test_several_limits_all_count() -> None:
    found = mt.smallest_cluster(
        FleetScenario(demand=4.0, b=20, c=20),
        fields={"a": (1, 20)},
        limits=["slo_attainment>=0.5", "power>=7"],
        seeds=1,
    )
    assert found.values == {"a": 7}
    assert len(found.answer()) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fields": {"a": (5, 2)}}, "is no range"),
        ({"fields": {"a": (1.0, 2.0)}}, "is no range"),
        ({"fields": {"a": []}}, "no values"),
        ({"fields": {}}, "no field"),
        ({"fields": {"aa": (1, 2)}}, "unknown key"),
        ({}, "no pools"),
        ({"fields": {"a": (1, 3)}, "cost": "euros"}, "unknown cost"),
        ({"fields": {"a": (1, 3)}, "limits": {"gpus": 3}}, "no better side"),
        ({"fields": {"a": (1, 3)}, "limits": ["p99<"]}, "is no limit"),
        ({"fields": {"a": (1, 3)}, "limits": ["nothing>=1"]}, "no metric"),
        ({"fields": {"a": (1, 2000), "b": (1, 2000)}}, "million"),
    ],
)
def test_bad_questions_are_refused(options: dict, words: str) -> None:
    with pytest.raises(mt.InputError, match=words):
        mt.smallest_cluster(FleetScenario(), **options)


def test_a_pool_without_a_price_has_no_dollars() -> None:
    with pytest.raises(mt.InputError, match="dollars_per_gpu_hour"):
        mt.smallest_cluster(serving(), cost="dollars")


def test_it_is_written_to_files(tmp_path) -> None:
    found = mt.smallest_cluster(
        FleetScenario(demand=6.0, trade=1.0), fields={"a": (1, 9), "b": (1, 9)}, least=1.0, seeds=1
    )
    written = found.save(tmp_path)
    data = json.loads(written[0].read_text("utf-8"))
    assert data["best"] == found.values and data["least_cost"] == found.cost
    assert "Staircase" in written[3].read_text("utf-8")
    assert [tuple(pair) for pair in data["staircase"]] == found.staircase
    assert found.answer_scenario.run(0).metrics["slo_attainment"] >= 1.0
