"""Tiers of caches in time: what follows on paper must come out."""

import numpy as np
import pytest
from cache_streams import stream

from mltwin.models.caching.cache import Cache, next_uses
from mltwin.models.caching.registry import EVICTIONS
from mltwin.models.caching.tables import HIT
from mltwin.models.caching.tiers_run import TiersOutcome, run_reference, run_tiers
from mltwin.models.caching.tiers_tables import (
    DELETE,
    GET,
    JOINED,
    SET,
    Level,
    TierPlan,
    link_speed,
)
from mltwin.sim.errors import InputError


def hand_plan(rows: list[tuple], levels: list[Level], **more: object) -> TierPlan:
    """Requests (time, object) or (time, object, op) of 10 bytes each."""
    columns = list(zip(*rows, strict=True))
    op = np.array(columns[2], np.uint8) if len(columns) > 2 else None
    n = len(rows)
    given = {
        "time": np.array(columns[0]),
        "ids": np.array(columns[1], np.uint32),
        "sizes": np.full(n, 10),
        "objects": 8,
        "levels": tuple(levels),
        "op": op,
    }
    return TierPlan(**(given | more))  # type: ignore[arg-type]


def run_hand(
    rows: list[tuple], levels: list[Level], capacities: list[int], **more: object
) -> TiersOutcome:
    caches = [Cache("lru", capacity, 8) for capacity in capacities]
    plan = hand_plan(rows, levels, **more)
    out = run_tiers(plan, caches, log=True)
    twin = run_reference(plan, [Cache("lru", capacity, 8) for capacity in capacities])
    assert [tuple(row) for row in out.log or []] == twin.log
    return out


# 10 bytes cross in 20 ticks at 4 Gbit/s (half a byte a tick).
NEAR, FAR = Level(latency=2), Level(latency=100, gbps=4.0)


def test_each_level_takes_its_time():
    out = run_hand([(0, 0), (500, 0), (600, 1)], [NEAR, FAR], [100])
    assert out.done.tolist() == [120, 502, 720]
    assert out.served.tolist() == [1, 0, 1]


def test_two_transfers_share_a_link():
    """The second starts when half of the first is left: both run at half speed for 20 ticks."""
    out = run_hand([(0, 0), (10, 1)], [NEAR, FAR], [100])
    assert out.done.tolist() == [130, 140]


def test_requests_in_flight_are_fetched_once():
    out = run_hand([(0, 0), (50, 0), (119, 0), (120, 0), (121, 0)], [NEAR, FAR], [100])
    assert out.served.tolist() == [1, 1 + JOINED, 1 + JOINED, 0, 0]
    assert out.done.tolist() == [120, 120, 120, 122, 123]
    assert out.levels[1]["read_bytes"] == 10


def test_an_object_moves_up_at_its_nth_hit():
    rows = [(1000 * k, x) for k, x in enumerate([0, 1, 0, 0, 0, 0])]
    levels = [Level(), Level(), Level()]
    assert run_hand(rows, levels, [10, 100], promote_after=2).served.tolist() == [2, 2, 1, 1, 0, 0]
    assert run_hand(rows, levels, [10, 100]).served.tolist() == [2, 2, 1, 0, 0, 0]


def test_write_through_waits_for_the_slowest():
    out = run_hand([(0, 0, SET), (500, 0, GET)], [NEAR, FAR], [100])
    assert out.done.tolist() == [120, 502]
    assert out.levels[1]["write_bytes"] == 10 and out.levels[0]["write_bytes"] == 10


def test_write_back_waits_for_the_nearest_and_writes_victims():
    rows = [(0, 0, SET), (500, 1, SET), (600, 2, SET)]
    out = run_hand(rows, [NEAR, FAR], [20], back=True)
    assert out.done.tolist() == [2, 502, 602]
    assert out.levels[1]["write_bytes"] == 10  # object 0 had to go
    assert out.dirty == [20]


def test_a_dirty_victim_replaces_the_older_copy_below():
    """Object 0 is fetched into both tiers, written in the nearest, and pushed out of it."""
    rows = [(0, 0, GET), (500, 0, SET), (1000, 1, GET), (1500, 0, GET)]
    out = run_hand(rows, [NEAR, Level(latency=5), FAR], [10, 100], back=True)
    assert out.served.tolist() == [2, 0, 2, 1]
    assert out.levels[2]["write_bytes"] == 0 and out.dirty == [0, 10]


@pytest.mark.parametrize("how", [{}, {"back": True}, {"exclusive": True}])
def test_a_write_begins_the_time_to_live_anew(how):
    """In at 120, stale from 220 on; written at 190, it is there until 290."""
    levels = [Level(latency=2, life=100), FAR]
    assert run_hand([(0, 0), (190, 0), (250, 0)], levels, [100]).served.tolist() == [1, 0, 1]
    rows = [(0, 0, GET), (190, 0, SET), (250, 0, GET), (295, 0, GET)]
    assert run_hand(rows, levels, [100], **how).served.tolist() == [1, 0, 0, 1]


def test_a_write_makes_a_fetch_too_late():
    rows = [(0, 0, GET), (50, 0, SET), (60, 0, GET), (500, 0, DELETE), (600, 0, GET)]
    out = run_hand(rows, [NEAR, FAR], [100], back=True)
    assert out.served.tolist()[:3] == [1, 0, 0] and out.served[4] == 1
    assert out.stale == 1


def test_duplex_writes_leave_reads_alone():
    rows = [(0, 0, SET), (0, 1, GET)]
    slow = run_hand(rows, [NEAR, FAR], [100]).done.tolist()
    assert slow == [140, 140]
    duplex = Level(latency=100, gbps=4.0, duplex=True)
    assert run_hand(rows, [NEAR, duplex], [100]).done.tolist() == [120, 120]


@pytest.mark.parametrize("name", sorted(EVICTIONS))
@pytest.mark.parametrize("exclusive", [False, True])
def test_no_latency_equals_the_plain_replay(name, exclusive):
    """Request by request, with sizes, lives, writes and deletes (none for oracles)."""
    for case in range(6):
        rng = np.random.default_rng([3, case])
        objects, n = int(rng.integers(5, 60)), 500
        ids = stream(rng, objects, n)
        future = next_uses(ids, objects) if EVICTIONS[name].future else None
        sizes = rng.integers(1, 20, objects)[ids] if case % 2 else np.ones(n, np.int64)
        capacity = int(rng.integers(1, sizes.sum() // 4 + 2))
        op = None
        if case > 2 and future is None:
            op = rng.choice(3, n, p=[0.8, 0.15, 0.05]).astype(np.uint8)
        life = rng.integers(0, 300, n) if case > 3 else np.zeros(n, np.int64)
        times = np.cumsum(rng.integers(0, 3, n))
        plain = Cache(name, capacity, objects, next_use=future, seed=case)
        given = sizes if op is None else np.where(op == DELETE, -1, sizes)
        lives = life if op is None else np.where(op == SET, ~life, life)
        outcome = plain.replay_full(ids, given, times, lives)
        tiered = Cache(name, capacity, objects, next_use=future, seed=case)
        plan = TierPlan(
            times, ids, sizes, objects, (Level(), Level()), op, life, exclusive=exclusive
        )
        out = run_tiers(plan, [tiered])
        gets = np.ones(n, bool) if op is None else op == GET
        assert ((out.served == 0) == (outcome == HIT))[gets].all()
        assert plain.resident().tolist() == out.resident[0]
        assert (out.done == times).all()


def test_exclusive_lru_is_one_lru_of_the_sum():
    for case in range(40):
        rng = np.random.default_rng([5, case])
        objects, n = 80, 1500
        ids = stream(rng, objects, n)
        parts = rng.integers(1, 25, int(rng.integers(2, 5))).tolist()
        one = Cache("lru", sum(parts), objects)
        outcome = one.replay_full(ids)
        plan = TierPlan(
            np.zeros(n, np.int64),
            ids,
            np.ones(n, np.int64),
            objects,
            tuple(Level() for _ in range(len(parts) + 1)),
            exclusive=True,
        )
        out = run_tiers(plan, [Cache("lru", part, objects) for part in parts])
        assert ((out.served < len(parts)) == (outcome == HIT)).all()
        union = sorted(x for tier in out.resident for x in tier)
        assert union == one.resident().tolist()


@pytest.mark.parametrize("latency", [0, 40])
def test_strict_tiers_hold_parts_of_one_another(latency):
    """At the end of every prefix of a run; without `strict` it is not so."""
    broken = 0
    for case in range(60):
        rng = np.random.default_rng([6, case])
        objects, n = 40, int(rng.integers(20, 300))
        ids = stream(rng, objects, n)
        sizes = rng.integers(1, 9, objects)[ids]
        near = int(rng.integers(10, 60))
        op = rng.choice(3, n, p=[0.8, 0.15, 0.05]).astype(np.uint8)
        for strict in (True, False):
            plan = TierPlan(
                np.cumsum(rng.integers(0, 9, n)),
                ids,
                sizes,
                objects,
                tuple(Level(latency * k) for k in range(4)),
                op,
                strict=strict,
            )
            sized = [near, near + int(rng.integers(0, 40)), near + 40]
            out = run_tiers(plan, [Cache("lru", capacity, objects) for capacity in sized])
            inner, middle, outer = (set(tier) for tier in out.resident)
            if strict:
                assert inner <= middle <= outer
            else:
                broken += not inner <= middle
    assert broken, "or the test would say nothing"


@pytest.mark.parametrize("law", ["fixed", "two", "exponential"])
def test_a_link_is_an_m_g_1_with_processor_sharing(law):
    """E[T] = E[S] / (1 - rho) whatever the law of sizes, and E[T | x] = x / (1 - rho)."""
    n, rho, mean = 200_000, 0.7, 100_000.0
    rng = np.random.default_rng(11)
    sizes = {
        "fixed": np.full(n, mean),
        "two": np.where(rng.random(n) < 0.9, mean / 2, mean * 5.5),
        "exponential": rng.exponential(mean, n),
    }[law].astype(np.int64)
    time = np.cumsum(rng.exponential(mean / rho, n)).astype(np.int64)
    ids = np.arange(n, dtype=np.uint32)  # all different: nothing is cached
    plan = TierPlan(time, ids, sizes, n, (Level(), Level(gbps=8.0)))  # a byte a tick
    out = run_tiers(plan, [Cache("fifo", 1, n)])
    response = (out.done - time).astype(np.float64)
    batches = response[n // 10 :].reshape(30, -1).mean(axis=1)
    expected, error = sizes.mean() / (1 - rho), batches.std(ddof=1) / np.sqrt(30)
    assert abs(batches.mean() - expected) < 3 * error + 0.01 * expected
    assert out.links[1]["busy"] == pytest.approx(sizes.sum(), rel=1e-4)
    if law == "two":
        slowdown = response / sizes
        small, large = slowdown[sizes < mean], slowdown[sizes > mean]
        assert small.mean() == pytest.approx(large.mean(), rel=0.05)


def test_a_link_that_is_busy_for_long_stays_exact():
    """Seconds of work: the kernel counts anew before its numbers grow too large."""
    rng = np.random.default_rng(2)
    n = 400
    plan = TierPlan(
        np.cumsum(rng.integers(0, 10_000_000, n)),
        np.arange(n, dtype=np.uint32),
        rng.integers(1, 10_000_000, n),
        n,
        (Level(), Level(latency=1000, gbps=8.0)),
    )
    out = run_tiers(plan, [Cache("lru", 10**8, n)])
    twin = run_reference(plan, [Cache("lru", 10**8, n)])
    assert out.links[1]["busy"] > 1e9
    assert out.done.tolist() == twin.done.tolist()


def test_heaps_grow_as_they_must():
    """Everything in flight at once."""
    n = 3000
    plan = TierPlan(
        np.zeros(n, np.int64),
        np.arange(n, dtype=np.uint32),
        np.full(n, 5),
        n,
        (Level(), Level(latency=10, gbps=8.0)),
    )
    out = run_tiers(plan, [Cache("lru", 10**6, n)])
    assert out.links[1]["peak"] == n
    # All cross together, and end together but for a rate rounded down.
    assert (out.done == out.done[0]).all() and 0 <= out.done[0] - (10 + 5 * n) <= 1


def test_speeds_keep_their_precision():
    for gbps in (1e-6, 0.013, 1.0, 800.0, 1e6):
        rate, units = link_speed(gbps, 1000)
        assert units / rate == pytest.approx(8 / gbps, rel=1e-4)
    with pytest.raises(InputError, match="bytes take"):
        link_speed(1e-6, 10**12)


def test_what_cannot_be_combined():
    with pytest.raises(InputError, match="strict"):
        hand_plan([(0, 0)], [NEAR, FAR], strict=True, back=True)
    with pytest.raises(InputError, match="5 tiers"):
        hand_plan([(0, 0)], [NEAR] * 6)
