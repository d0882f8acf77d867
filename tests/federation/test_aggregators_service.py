"""Aggregation services against closed forms and recursions; nothing is lost on the way."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mltwin.models.federation.aggregators import (
    DESIGNS,
    AggregationRun,
    Service,
    design,
    simulate_aggregation,
)
from mltwin.models.federation.aggregators.placement import best_fit
from mltwin.models.federation.aggregators.tables import HOPS, PLACEMENTS, SCALINGS, TIMINGS
from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError

SIZE = 6e9  # bytes; folded in one second
FOLD = TICKS_PER_S
FREE: dict[str, Any] = {
    "serialise_gb_per_s": math.inf, "sidecar_gb_per_s": math.inf, "broker_gb_per_s": math.inf,
    "nic_gbit_per_s": math.inf, "latency_s": 0.0, "pass_s": 0.0, "cold_start_s": 0.0,
    "node_gb": 1e5,
}  # fmt: skip


def free(name: str, **changes: Any) -> Service:
    """A service in which only folding takes time."""
    return design(name, **{**FREE, **changes})


def run_of(service: Service, *rounds: Any, size: float = SIZE, **more: Any) -> AggregationRun:
    run = simulate_aggregation(service, rounds, update_bytes=size, **more)
    assert not run.violations
    return run


def test_one_aggregator_is_lindleys_recursion() -> None:
    gaps = np.random.default_rng(1).exponential(1 / 0.7, 3000)
    times = np.cumsum(gaps)
    run = run_of(free("always_on", levels=1, timing="eager"), times)
    end = 0
    for tick in np.rint(times * TICKS_PER_S).astype(np.int64).tolist():
        end = max(end, tick) + FOLD
    assert run.steps["made"][0] == end
    # Folds of an M/D/1 queue: the Pollaczek-Khinchine mean wait, by the many last updates of runs.
    waits = [
        float(run_of(free("always_on", levels=1, timing="eager"), t).latency_s[0]) - 1.0
        for t in np.cumsum(np.random.default_rng(2).exponential(1 / 0.7, (400, 200)), axis=1)
    ]
    assert np.mean(waits) == pytest.approx(0.7 / (2 * 0.3), rel=0.15)


def lindley(arrivals: list[int], service: int) -> list[int]:
    """Ends of work of one server, first come first served."""
    ends = [0]
    for tick in sorted(arrivals):
        ends.append(max(ends[-1], tick) + service)
    return ends[1:]


def test_trees_are_queues_one_after_another() -> None:
    rng = np.random.default_rng(7)
    for case in range(40):
        count, leaves = int(rng.integers(2, 40)), int(rng.integers(2, 9))
        times = rng.uniform(0, 3 * count / leaves, count)
        ticks = np.rint(times * TICKS_PER_S).astype(np.int64)
        # Eager, always on, one node: the NIC, then each client's leaf, then the top one.
        nic = dict(zip(sorted(ticks.tolist()), lindley(ticks.tolist(), FOLD // 8), strict=True))
        sums = [
            lindley([nic[tick] for tick in ticks[leaf::leaves].tolist()], FOLD)[-1]
            for leaf in range(min(leaves, count))
        ]
        eager = free("always_on", timing="eager", nodes=1, leaves=leaves, nic_gbit_per_s=384.0)
        assert run_of(eager, times).steps["made"][0] == lindley(sums, FOLD)[-1], case
        # Lazy, as updates come, with cores for all: leaves of fan_in in the order of arrival.
        fan_in = int(rng.integers(1, 5))
        order = np.sort(ticks).tolist()
        groups = [order[k : k + fan_in] for k in range(0, count, fan_in)]
        ends = [group[-1] + len(group) * FOLD for group in groups]
        lazy = free("broker", fan_in=fan_in, nodes=1, cores=64)
        last = max(max(ends), order[-1]) + (len(groups) > 1) * len(groups) * FOLD
        assert run_of(lazy, times).steps["made"][0] == last, case


@pytest.mark.parametrize("timing", TIMINGS)
def test_a_tree_of_equal_arrivals_has_a_closed_form(timing: str) -> None:
    fan_in, leaves, nodes = 5, 3, 4
    fixed = free("always_on", leaves=leaves * nodes, nodes=nodes, timing=timing)
    equal = np.zeros(fan_in * leaves * nodes)
    two = run_of(fixed, equal).steps["made"][0]
    assert two == (fan_in + leaves * nodes) * FOLD
    three = run_of(replace(fixed, levels=3), equal).steps["made"][0]
    assert three == (fan_in + leaves + nodes) * FOLD
    demand = free("lifl", placement="spread", fan_in=fan_in, nodes=nodes, timing=timing)
    assert run_of(demand, equal).steps["made"][0] == three
    few_cores = run_of(replace(demand, cores=1, timing="lazy"), equal).steps["made"][0]
    assert few_cores == (fan_in * leaves + leaves + nodes) * FOLD


def test_without_hop_costs_one_leaf_is_direct_and_eager_is_not_later() -> None:
    times = np.random.default_rng(3).uniform(0, 300, 150)
    direct = run_of(free("always_on", levels=1), times).steps["made"][0]
    assert run_of(free("always_on", leaves=1), times).steps["made"][0] == direct
    assert direct == round(times.max() * TICKS_PER_S) + 150 * FOLD  # lazy
    for name in DESIGNS:
        lazy, eager = (run_of(free(name, timing=t), times).latency_s[0] for t in TIMINGS)
        assert 1.0 <= eager <= lazy


def test_ways_cost_what_the_docstring_says() -> None:
    size = 1.25e9
    costs = {"serialise_gb_per_s": 1.25, "nic_gbit_per_s": 10.0, "latency_s": 0.5}
    one = np.zeros(1)
    fold = round(size / 6e9 * TICKS_PER_S)
    assert run_of(free("lifl", **costs), one, size=size).steps["made"][0] == 2 * FOLD + fold
    brokered = {**costs, "sidecar_gb_per_s": 1.25, "broker_gb_per_s": 0.625}
    made = run_of(free("broker", **brokered), one, size=size).steps["made"][0]
    assert made == (1 + 2 + 1 + 1 + 1 + 1) * FOLD + FOLD // 2 + fold
    # Two leaves of one update on two nodes: the top one gets one sum by gRPC, one by itself.
    far = free("always_on", leaves=2, nodes=2, **costs)
    run = run_of(far, np.zeros(2), size=size)
    assert run.steps["off_node_bytes"][0] == size
    # in (2), fold, out: serialise, NIC, latency, NIC, serialise (4.5); the two sums are folded
    assert run.steps["made"][0] == 2 * FOLD + fold + 4 * FOLD + FOLD // 2 + 2 * fold


def test_traffic_between_machines_is_counted_by_hop() -> None:
    updates, nodes = np.zeros(64), 4
    size = 1e8
    leaves = 64 // 2
    brokered = run_of(design("broker", nodes=nodes), updates, size=size)
    assert brokered.steps["leaves"][0] == leaves
    assert brokered.totals["off_node_gb"] == pytest.approx((64 + 2 * leaves) * size / 1e9)
    grpc = run_of(design("always_on", nodes=nodes, leaves=8), updates, size=size)
    assert grpc.totals["off_node_gb"] == pytest.approx(6 * size / 1e9)  # 2 of 8 leaves are at home
    packed = run_of(design("lifl", nodes=nodes, node_updates=64), updates, size=size)
    assert packed.totals["off_node_gb"] == 0 and packed.steps["nodes"][0] == 1
    tight = run_of(design("lifl", nodes=nodes, node_updates=20), updates, size=size)
    assert tight.steps["nodes"][0] == 4  # 64 at once, 20 a node
    assert tight.totals["off_node_gb"] == pytest.approx(3 * size / 1e9)  # a sum of each other node
    spread = run_of(design("lifl", nodes=nodes, placement="spread", levels=2), updates, size=size)
    assert spread.totals["off_node_gb"] == pytest.approx(leaves * 3 / 4 * size / 1e9)


def test_fixed_leaves_have_their_clients() -> None:
    """Leaf 0 (clients 0 and 2) is done at 3 and sends at once; leaf 1 (1 and 3) at 12."""
    costs = {"nic_gbit_per_s": 48.0}  # a second for 6 GB
    two = free("always_on", leaves=2, nodes=2, timing="eager", **costs)
    times = np.array([0.0, 9.0, 1.0, 10.0])
    run = run_of(two, times)
    # Client 3 at 10, NIC 11, fold 12, its leaf's sum: NIC out and in 14, fold 15.
    assert run.steps["made"][0] == 15 * FOLD
    swapped = run_of(two, times[[1, 0, 3, 2]])
    assert swapped.steps["made"][0] == 13 * FOLD  # the late leaf is on the top one's node


def test_best_fit_takes_the_fullest_with_room() -> None:
    assert best_fit([0, 3, 2], 4) == 1
    assert best_fit([0, 4, 2], 4) == 2
    assert best_fit([4, 5, 4], 4) == 0
    load = [0] * 10
    for _ in range(50):
        load[best_fit(load, 20)] += 1
    assert load == [20, 20, 10] + [0] * 7  # the fewest nodes, as first fit of equal items


def test_instances_stay_warm_and_leaves_become_parents() -> None:
    rounds = np.zeros((3, 8))
    kept = run_of(design("lifl", keep_alive_s=1e6), *rounds, size=1e8)
    assert kept.steps["cold_starts"].tolist() == [4, 0, 0]  # parents are leaves that are done
    own = run_of(design("lifl", keep_alive_s=1e6, reuse=False), *rounds, size=1e8)
    assert own.steps["cold_starts"].tolist() == [5, 0, 0]
    cold = run_of(design("lifl", keep_alive_s=5.0), *(rounds + 100.0), size=1e8)
    assert cold.steps["cold_starts"].tolist() == [4, 4, 4]
    small, late = (
        run_of(design("lifl", keep_alive_s=keep), *(rounds + 100.0), size=1e6)
        for keep in (1e6, 5.0)
    )
    assert (late.latency_s[1:] > small.latency_s[1:] + 1.9).all()
    assert run_of(design("always_on"), *rounds, size=1e8).totals["cold_starts"] == 0


def test_the_average_queue_plans_the_leaves() -> None:
    gap = 30.0
    steady = np.full((4, 12), gap)
    run = run_of(design("lifl", ewma=0.5, fan_in=3), *steady, size=1e8)
    assert run.steps["queue"].tolist() == [12] * 4
    assert run.steps["average_queue"].tolist() == [-1.0, 12.0, 12.0, 12.0]
    uneven = run_of(design("lifl", ewma=0.5), np.zeros(8), np.zeros(4), np.zeros(4), size=1e8)
    assert uneven.steps["average_queue"].tolist() == [-1.0, 8.0, 6.0]
    # Planned leaves start with the first update: those of later updates are warm when they come.
    late = [np.r_[0.0, np.full(9, 2.5)]] * 2
    demand, planned = (
        run_of(design("lifl", scaling=how, keep_alive_s=5.0), *(np.array(late) + gap), size=1e8)
        for how in ("demand", "ewma")
    )
    assert planned.latency_s[1] < demand.latency_s[1] - 1.0
    assert planned.latency_s[0] == demand.latency_s[0]


def test_costs_add_up() -> None:
    rounds = np.random.default_rng(4).uniform(10, 60, (3, 40))
    for name in DESIGNS:
        run = run_of(design(name), *rounds, size=1e8, until_s=500.0)
        t = run.totals
        assert t["cpu_s"] == pytest.approx(t["busy_s"] + t["start_s"] + t["idle_s"])
        assert run.steps["busy_ticks"].sum() / TICKS_PER_S <= t["busy_s"] + t["start_s"] + 1e-9
        assert t["idle_s"] > 0 and t["dollars"] > 0 and t["memory_gb"] > 0
    always = run_of(design("always_on", leaves=8), *rounds, size=1e8, until_s=500.0)
    assert always.totals["fold_s"] + always.totals["idle_s"] == pytest.approx(9 * 500.0)
    one = run_of(design("lifl"), np.zeros(1), size=6e9, until_s=100.0)
    assert one.totals["fold_s"] == 1.0 and one.totals["start_s"] == 2.0
    # One instance: born at 0 and held for 2.0 (start) .. after NIC and copy; then kept 60 s.
    held = one.steps["made"][0] / TICKS_PER_S
    assert one.totals["idle_s"] == pytest.approx(held + 60.0 - 3.0)


services = st.builds(
    Service,
    nodes=st.integers(1, 4),
    cores=st.integers(1, 3),
    levels=st.integers(1, 3),
    fan_in=st.integers(1, 5),
    leaves=st.integers(1, 6),
    hops=st.sampled_from(HOPS),
    placement=st.sampled_from(PLACEMENTS),
    timing=st.sampled_from(TIMINGS),
    scaling=st.sampled_from(SCALINGS),
    reuse=st.booleans(),
    node_updates=st.integers(1, 6),
    ewma=st.floats(0, 1),
    cold_start_s=st.sampled_from([0.0, 1.0, 5.0]),
    keep_alive_s=st.sampled_from([0.0, 3.0, 1e6]),
    latency_s=st.sampled_from([0.0, 0.01]),
    nic_gbit_per_s=st.sampled_from([1.0, math.inf]),
)
updates = st.lists(st.sampled_from([0.0, 0.0, 1.0, 1.5, 2.0, 30.0]), min_size=1, max_size=14)


STARTING_AT_THE_END = Service(
    nodes=1, cores=2, levels=1, fan_in=1, leaves=1, hops="grpc", timing="lazy", scaling="ewma",
    reuse=False, node_updates=1, ewma=0.0, cold_start_s=1.0, keep_alive_s=0.0, latency_s=0.0,
)  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(services, st.lists(updates, min_size=1, max_size=4), st.booleans())
@example(STARTING_AT_THE_END, [[0.0, 0.0], [0.0]], False)
def test_every_update_is_aggregated_once(
    service: Service, rounds: list[list[float]], from_version: bool
) -> None:
    run = run_of(service, *rounds, size=1e8, from_version=from_version)
    steps = run.steps
    assert steps["updates"].tolist() == [len(one) for one in rounds]
    assert (steps["made"] > steps["last"]).all() and (np.diff(steps["made"]) > 0).all()
    assert all(value >= 0 for value in run.totals.values()), run.totals
    again = run_of(service, *rounds, size=1e8, from_version=from_version)
    assert all(np.array_equal(again.steps[name], steps[name]) for name in steps)
    assert again.totals == run.totals


def test_steps_are_served_one_after_another() -> None:
    one = free("lifl", nodes=1)
    at_once = run_of(one, np.zeros(4), np.zeros(4), np.full(4, 2.0), from_version=False)
    made = at_once.steps["made"]  # 2 folds in leaves, 2 in the middle
    assert made.tolist() == [4 * FOLD, 8 * FOLD, 12 * FOLD]
    assert at_once.latency_s.tolist() == [4.0, 8.0, 10.0]
    running = one.begin(SIZE)
    late = 9 * FOLD
    assert running.step([0, 0, 0], late) == late + FOLD  # the odd update waits for its leaf's close
    assert running.step([], late) == late + FOLD
    with pytest.raises(InputError, match="the step closes"):
        running.step([late + 1], late)


def test_what_cannot_be_is_refused() -> None:
    for bad in ({"cores": 0}, {"fan_in": 0}, {"ewma": 1.5}, {"hops": "pigeon"}, {"colour": 1},
                {"nic_gbit_per_s": 0.0}, {"levels": 4}, {"cold_start_s": math.nan}):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(bad))):
            design("lifl", **bad)
    with pytest.raises(InputError, match="always_on"):
        design("sometimes_on")
    with pytest.raises(InputError, match="larger nodes"):
        simulate_aggregation(design("lifl", node_gb=1.0), [[0.0]], update_bytes=1e9)
    for rounds in ([], [[]], [[-1.0]], [[math.nan]]):
        with pytest.raises(InputError, match="round"):
            simulate_aggregation(design("lifl"), rounds, update_bytes=1e6)
    with pytest.raises(InputError, match="bytes"):
        simulate_aggregation(design("lifl"), [[0.0]], update_bytes=-1)
