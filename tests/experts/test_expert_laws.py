"""What follows on paper must come out: cold misses, cyclic scans, stalls, oracles."""

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest

from mltwin.models.experts import POLICIES, Plan, make_plan, run_plan
from mltwin.models.experts.prediction import given, issued
from mltwin.models.experts.routing import routes, visits_of

DENSE, COMPUTE, LOAD = 70, 11, 100


def routed(
    seed: int,
    *,
    layers: int = 5,
    experts: int = 6,
    chosen: int = 1,
    steps: int = 60,
    batch: int = 1,
    correlation: float = 0.3,
) -> tuple[np.ndarray, np.ndarray]:
    """Activations of a synthetic router: starts and keys."""
    found = routes(
        seed,
        steps=steps,
        batch=batch,
        layers=layers,
        experts=experts,
        chosen=chosen,
        skew=0.8,
        token_correlation=correlation,
        layer_correlation=0.2,
    )
    order = np.tile(np.arange(batch), (steps, 1))
    start, keys, _, _ = visits_of(found, order, experts, 1)
    return start, keys


def plan_of(
    start: np.ndarray,
    keys: np.ndarray,
    capacity: int,
    policy: str = "lru",
    *,
    layers: int = 5,
    experts: int = 6,
    dense: int = DENSE,
    recall: float | None = None,
    ahead: int | str = "pass",
    **more: object,
) -> Plan:
    """A plan of fixed durations, with a predictor of that recall and full precision."""
    visits = len(start) - 1
    told_start, told = np.zeros(visits + 1, np.int64), np.zeros(0, np.int64)
    if recall is not None:
        told_start, told = given(3, start, keys, experts, recall, 1.0)
    return make_plan(
        layers=layers,
        experts=experts,
        capacity=capacity,
        policy=policy,
        visit_start=start,
        entry_key=keys,
        entry_ticks=np.full(len(keys), COMPUTE),
        dense_ticks=np.full(visits, dense),
        load_ticks=np.full(layers * experts, LOAD),
        pred_start=told_start,
        pred_key=told,
        issue_at=issued(visits, layers, 1, ahead),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_cache_for_all_misses_only_what_is_cold(policy: str) -> None:
    start, keys = routed(1, chosen=2)
    totals = run_plan(plan_of(start, keys, 30, policy, preload=False)).totals
    assert totals["misses"] == totals["demand"] == len(np.unique(keys))
    assert totals["evicted"] == 0
    assert totals["hits"] == len(keys) - len(np.unique(keys))


def test_a_cyclic_scan_defeats_lru_and_not_the_layers() -> None:
    """One expert a layer: the run asks for 0 1 .. L-1 0 1 .. Below L, LRU has no hit at all;
    Belady keeps C - 1 of the L - 1 that follow, and so does going by layers."""
    layers, rounds = 12, 50
    start, keys = np.arange(layers * rounds + 1), np.tile(np.arange(layers), rounds)
    for capacity in range(1, layers):
        hits = {
            policy: run_plan(
                plan_of(start, keys, capacity, policy, layers=layers, experts=1)
            ).totals["hits"]
            for policy in ("lru", "belady", "layer")
        }
        assert hits["lru"] == 0
        assert hits["layer"] == hits["belady"]
        ideal = (capacity - 1) / (layers - 1)
        assert hits["belady"] / (layers * (rounds - 1)) == pytest.approx(ideal, abs=0.02)
    all_fit = run_plan(plan_of(start, keys, layers, layers=layers, experts=1)).totals
    assert all_fit["hits"] == layers * (rounds - 1)


def test_lru_is_the_untimed_lru() -> None:
    for capacity in (3, 9, 20):
        start, keys = routed(4)
        resident: OrderedDict[int, None] = OrderedDict()
        hits = 0
        for key in keys.tolist():
            hits += key in resident
            resident[key] = None
            resident.move_to_end(key)
            if len(resident) > capacity:
                resident.popitem(last=False)
        assert run_plan(plan_of(start, keys, capacity)).totals["hits"] == hits


@pytest.mark.parametrize("chosen", [1, 2])
def test_no_policy_beats_belady(chosen: int) -> None:
    for seed in range(8):
        start, keys = routed(seed, chosen=chosen)
        for capacity in (4, 10, 20):
            hits = {
                policy: run_plan(plan_of(start, keys, capacity, policy, preload=False)).totals[
                    "hits"
                ]
                for policy in POLICIES
            }
            assert max(hits.values()) == hits["belady"], (seed, capacity, hits)


def test_without_prefetch_each_miss_costs_its_load() -> None:
    start, keys = routed(2)
    totals = run_plan(plan_of(start, keys, 10)).totals
    assert totals["stalled"] == totals["misses"] * LOAD
    assert totals["end"] == len(keys) * (DENSE + COMPUTE) + totals["misses"] * LOAD


def test_two_misses_of_a_layer_overlap_with_its_compute() -> None:
    """Resident experts are computed while the others are loaded: two misses of two stall for two
    loads less the compute of the first."""
    start, keys = np.array([0, 2]), np.array([0, 1])
    totals = run_plan(plan_of(start, keys, 4, layers=1, experts=4)).totals
    assert totals["stalled"] == 2 * LOAD - COMPUTE
    both = run_plan(plan_of(start, keys, 4, layers=1, experts=4, streams=2)).totals
    assert both["stalled"] == LOAD


@pytest.mark.parametrize("policy", POLICIES)
def test_perfect_predictions_in_time_leave_no_stall(policy: str) -> None:
    """Recall 1, and the dense part of each layer lasts as long as the loads of one layer."""
    start, keys = routed(5, chosen=2)
    plan = plan_of(start, keys, 10, policy, dense=2 * LOAD, recall=1.0, preload=False)
    totals = run_plan(plan).totals
    assert totals["stalled"] == totals["late"] == totals["misses"] == totals["demand"] == 0
    assert totals["hits"] == len(keys) and totals["prefetch"] == totals["useful"]
    assert totals["end"] == (len(start) - 1) * 2 * LOAD + len(keys) * COMPUTE


def test_perfect_predictions_too_late_are_late() -> None:
    start, keys = routed(5, chosen=2)
    plan = plan_of(start, keys, 10, dense=LOAD // 2, recall=1.0, ahead=0)
    totals = run_plan(plan).totals
    assert totals["misses"] == 0 and totals["late"] > 0 and totals["stalled"] > 0


def test_more_recall_fewer_stalls() -> None:
    """One layer ahead; predictions of a whole pass fill so small a cache (see the study)."""
    start, keys = routed(6, chosen=2, steps=300)
    stalls = [
        run_plan(plan_of(start, keys, 10, dense=2 * LOAD, recall=recall, ahead=1)).totals["stalled"]
        for recall in (0.0, 0.3, 0.6, 0.9, 1.0)
    ]
    assert all(b < a for a, b in pairwise(stalls))


def test_wrong_predictions_cost_room_and_link() -> None:
    start, keys = routed(7, chosen=2, steps=300)
    visits = len(start) - 1
    stalls = []
    for precision in (1.0, 0.5, 0.25):
        told_start, told = given(3, start, keys, 6, 0.8, precision)
        plan = make_plan(
            layers=5,
            experts=6,
            capacity=10,
            policy="lru",
            visit_start=start,
            entry_key=keys,
            entry_ticks=np.full(len(keys), COMPUTE),
            dense_ticks=np.full(visits, 150),
            load_ticks=np.full(30, LOAD),
            pred_start=told_start,
            pred_key=told,
            issue_at=issued(visits, 5, 1, 1),
        )
        stalls.append(run_plan(plan).totals["stalled"])
    assert stalls[0] < stalls[1] < stalls[2]


def test_ranks_of_a_tie_load_before_gate() -> None:
    """A prefetch that ends in the very tick of the gate is in time."""
    start, keys = np.array([0, 1]), np.array([2])
    plan = plan_of(start, keys, 1, layers=1, experts=4, dense=LOAD, recall=1.0)
    totals = run_plan(plan).totals
    assert totals["hits"] == totals["in_time"] == 1 and totals["stalled"] == 0
