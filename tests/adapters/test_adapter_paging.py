"""Paging: the kernel equals its SimPy twin event by event, and nothing is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.adapters.paging import simulate_paging
from mltwin.models.adapters.reference import simulate_reference
from mltwin.models.adapters.tables import (
    DELAYED,
    EVICTED,
    FINISHED,
    HIT,
    LOAD_BEGAN,
    LOAD_ENDED,
    LRU,
    MISS,
    ORACLE,
    POLICIES,
    STARTED,
    PagingInput,
)
from mltwin.sim.errors import InputError


def case(seed: int, policy: int = LRU, n: int = 60, adapters: int = 9, **changes) -> PagingInput:
    """A random crowd for few slots and little memory, with many ties in time."""
    draw = np.random.default_rng(seed)
    size = draw.integers(1, 6, adapters)
    values = {
        "arrival": np.sort(draw.integers(0, 3 * n, n)),
        "adapter": draw.integers(0, adapters, n) * draw.integers(0, 2, n),
        "service": draw.integers(1, 20, n),
        "size": size,
        "load": draw.integers(1, 8, adapters),
        "slots": int(draw.integers(1, 5)),
        "capacity_bytes": int(size.max() + draw.integers(0, 12)),
        "capacity": int(draw.integers(1, adapters + 1)),
        "policy": policy,
        "seed": seed,
    }
    return PagingInput(**{**values, **changes})


def same(left, right) -> None:
    """Two outcomes are equal: events, requests, counters."""
    np.testing.assert_array_equal(left.log, right.log)
    for name in ("ready", "start", "finish", "found", "resident"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name, value in right.totals.items():
        assert left.totals[name] == value, name


@pytest.mark.parametrize("policy", range(len(POLICIES)), ids=POLICIES)
def test_kernel_equals_twin(policy: int) -> None:
    for seed in range(25):
        given = case(seed, policy)
        same(simulate_paging(given, log=True), simulate_reference(given))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    policy=st.integers(0, len(POLICIES) - 1),
    n=st.integers(1, 40),
    adapters=st.integers(1, 12),
    warm=st.booleans(),
)
def test_kernel_equals_twin_on_any_case(seed, policy, n, adapters, warm) -> None:
    made = case(seed, policy, n, adapters)
    if warm:
        made = case(seed, policy, n, adapters, warm=np.array([adapters - 1], np.int64))
    same(simulate_paging(made, log=True), simulate_reference(made))


def test_conservation_at_every_event() -> None:
    for policy in range(len(POLICIES)):
        given = case(7, policy, n=400, adapters=20)
        out = simulate_paging(given, log=True)
        loads = evictions = running = held = 0
        resident: set[int] = set()
        users = dict.fromkeys(range(20), 0)
        for _, kind, entity in out.log.tolist():
            if kind == STARTED:
                running += 1
                users[int(given.adapter[entity])] += 1
                assert int(given.adapter[entity]) in resident
            elif kind == FINISHED:
                running -= 1
                users[int(given.adapter[entity])] -= 1
            elif kind == LOAD_BEGAN:
                held += int(given.size[entity])
            elif kind == LOAD_ENDED:
                resident.add(entity)
                loads += 1
            elif kind == EVICTED:
                assert not users[entity]
                resident.remove(entity)
                held -= int(given.size[entity])
                evictions += 1
            assert 0 <= running <= given.slots
            assert held <= given.capacity_bytes and len(resident) <= given.capacity
        assert loads == (out.found == MISS).sum() == out.totals["loads"]
        assert loads == evictions + len(out.resident) and set(out.resident.tolist()) == resident
        assert out.totals["bytes_in"] == out.totals["bytes_out"] + given.size[out.resident].sum()
        assert out.totals["done"] == 400 and sum((out.found == k).sum() for k in range(3)) == 400


def test_an_adapter_on_its_way_is_waited_for_once() -> None:
    given = PagingInput(
        arrival=np.array([0, 1, 2, 30]),
        adapter=np.zeros(4, np.int64),
        service=np.full(4, 5),
        size=np.array([1]),
        load=np.array([10]),
        slots=2,
        capacity_bytes=1,
        capacity=1,
    )
    out = simulate_paging(given)
    assert out.found.tolist() == [MISS, DELAYED, DELAYED, HIT]
    assert out.ready.tolist() == [10, 10, 10, 30]
    assert out.start.tolist() == [10, 10, 15, 30] and out.finish.tolist() == [15, 15, 20, 35]
    assert out.totals["loads"] == 1 and out.totals["bytes_in"] == 1


def test_an_adapter_in_use_is_not_evicted() -> None:
    given = PagingInput(
        arrival=np.array([0, 1]),
        adapter=np.array([0, 1]),
        service=np.array([100, 1]),
        size=np.array([1, 1]),
        load=np.array([2, 2]),
        slots=2,
        capacity_bytes=1,
        capacity=1,
    )
    out = simulate_paging(given)
    assert out.start.tolist() == [2, 104]


def test_all_resident_is_a_queue_without_loads() -> None:
    """With every adapter in memory what is left is a queue of `slots` servers."""
    given = case(3, n=200, capacity=9, capacity_bytes=100, warm=np.arange(9))
    out = simulate_paging(given)
    assert (out.found == HIT).all() and out.totals["loads"] == 0
    free = [0] * given.slots
    for arrival, service, start in zip(given.arrival, given.service, out.start, strict=True):
        at = max(int(arrival), min(free))
        assert start == at
        free[free.index(min(free))] = at + int(service)


def test_belady_misses_least_of_all_when_nothing_overlaps() -> None:
    """One request at a time, equal sizes: the classical setting, where the oracle is optimal."""
    draw = np.random.default_rng(5)
    n = 3000
    adapter = np.minimum(draw.zipf(1.3, n) - 1, 29)
    misses = {}
    for policy in range(len(POLICIES)):
        out = simulate_paging(
            PagingInput(
                arrival=np.arange(n) * 100,
                adapter=adapter,
                service=np.ones(n, np.int64),
                size=np.ones(30, np.int64),
                load=np.ones(30, np.int64),
                slots=1,
                capacity_bytes=5,
                capacity=5,
                policy=policy,
            )
        )
        misses[POLICIES[policy]] = int((out.found == MISS).sum())
    assert misses["oracle"] == min(misses.values()) and misses["static"] < misses["random"]
    assert misses["lru"] == _lru_misses(adapter.tolist(), 5)


def _lru_misses(ids: list[int], capacity: int) -> int:
    held: dict[int, None] = {}
    misses = 0
    for a in ids:
        if a in held:
            del held[a]
        else:
            misses += 1
            if len(held) == capacity:
                del held[next(iter(held))]
        held[a] = None
    return misses


def test_more_memory_never_pages_more_under_the_oracle() -> None:
    counts = []
    for capacity in (1, 2, 4, 8):
        given = case(11, ORACLE, n=300, adapters=8, size=np.ones(8, np.int64))
        given = case(
            11,
            ORACLE,
            n=300,
            adapters=8,
            size=np.ones(8, np.int64),
            capacity=capacity,
            capacity_bytes=capacity,
            arrival=np.arange(300) * 50,
            slots=1,
        )
        counts.append(simulate_paging(given).totals["loads"])
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity_bytes": 1, "size": np.full(9, 2)}, "the largest adapter takes 2 bytes"),
        ({"slots": 0}, "must be 1 or more"),
        ({"arrival": np.arange(60)[::-1]}, "arrivals go back"),
        ({"adapter": np.full(60, 9)}, "names no adapter"),
        ({"warm": np.arange(9), "capacity": 3}, "do not fit"),
    ],
)
def test_bad_input_is_told(changes, message) -> None:
    with pytest.raises(InputError, match=message):
        simulate_paging(case(0, **changes))
