"""The kernel agrees with the plain twin, and does what its rules say on cases done by hand."""

from dataclasses import replace

import numpy as np
import pytest
from semantic_cases import neighbours_of, plain_rules, queries_of, random_case

from mltwin.models.semantic.simulate import simulate, violations
from mltwin.models.semantic.tables import (
    COLUMNS,
    EVICTED,
    EVICTIONS,
    EXPIRED,
    HIT,
    JOINED,
    MISS,
    NEVER,
    ONE,
    REFUSED,
    UNCACHED,
    Outcome,
)
from mltwin.sim.errors import InputError


def assert_equal(a: Outcome, b: Outcome) -> None:
    for name in COLUMNS:
        assert getattr(a, name).tolist() == getattr(b, name).tolist(), name
    assert a.totals == b.totals


def agree(seed: int) -> Outcome:
    case = random_case(seed)
    found = simulate(*case)
    assert_equal(found, simulate(*case, reference=True))
    assert violations(case[0], case[2], found) == []
    return found


def test_random_cases_agree() -> None:
    seen = np.zeros(4, np.int64)
    left = np.zeros(4, np.int64)
    for seed in range(400):
        found = agree(seed)
        seen += np.bincount(found.outcome, minlength=4)
        left += np.bincount(found.left[found.left >= 0], minlength=4)
    assert (seen > 500).all() and (left > 500).all(), "the cases do not reach every outcome"


@pytest.mark.slow
def test_many_random_cases_agree() -> None:
    for seed in range(400, 6000):
        agree(seed)


def test_stepping_changes_nothing() -> None:
    case = random_case(17)
    told: list[float] = []
    assert_equal(simulate(*case), simulate(*case, progress=lambda share, now: told.append(share)))
    assert told == sorted(told) and told[-1] == 1


def test_relabelled_intents_change_nothing() -> None:
    queries, near, rules = random_case(3)
    other = replace(queries, intent=queries.intent[::-1].copy())
    assert_equal(simulate(queries, near, rules), simulate(other, near, rules))


def small(similarity: dict[tuple[int, int], int], n: int, every: int = 100, **changes: object):
    """n queries of one category, `every` ticks apart, near where the mapping says."""
    matrix = np.zeros((n, n), np.int64)
    for (a, b), value in similarity.items():
        matrix[max(a, b), min(a, b)] = value
    category = np.zeros(n, np.int64)
    queries = queries_of([0] * n, (np.arange(n) * every).tolist())
    return simulate(queries, neighbours_of(matrix, category), plain_rules(n, **changes))


def test_the_nearest_resident_entry_is_served() -> None:
    found = small({(0, 2): 850_000, (1, 2): 900_000}, 3)
    assert found.outcome.tolist() == [MISS, MISS, HIT]
    assert found.entry.tolist() == [-1, -1, 1] and found.near[2] == 900_000
    assert found.hits.tolist() == [0, 1, 0]


def test_a_hit_makes_no_entry() -> None:
    found = small({(0, 1): 900_000, (1, 2): 900_000}, 3)
    assert found.outcome.tolist() == [MISS, HIT, MISS]


def test_lower_thresholds_may_lose_a_hit() -> None:
    """A query that hits at the lower threshold is no entry that a later one could hit."""
    chain = {(0, 1): 800_000, (1, 2): 900_000}
    strict = small(chain, 3, threshold=np.array([850_000], np.int32))
    loose = small(chain, 3, threshold=np.array([750_000], np.int32))
    assert strict.outcome.tolist() == [MISS, MISS, HIT]
    assert loose.outcome.tolist() == [MISS, HIT, MISS]


def test_joined_queries_wait_for_the_call() -> None:
    times = {"service": np.full(3, 250), "embed": 7, "fetch": 1000}
    found = small({(0, 1): 900_000, (0, 2): 900_000}, 3, **times)
    assert found.outcome.tolist() == [MISS, JOINED, JOINED]
    assert found.done.tolist() == [257, 257, 257]
    apart = small({(0, 1): 900_000, (0, 2): 900_000}, 3, coalesce=False, **times)
    assert apart.outcome.tolist() == [MISS, MISS, MISS]
    assert apart.done.tolist() == [257, 357, 457]


def test_costs_of_a_lookup() -> None:
    found = small(
        {(0, 1): ONE},
        2,
        service=np.full(2, 50),
        embed=3,
        fetch=11,
        search=np.array([0, 5]),
    )
    assert found.done.tolist() == [53, 100 + 3 + 5 + 11]


def test_the_last_search_time_stands_for_more_entries() -> None:
    found = small({}, 4, search=np.array([1, 2, 30]))
    assert (found.ready - np.arange(4) * 100).tolist() == [1, 2, 30, 30]


def test_calls_wait_for_a_server() -> None:
    found = small({}, 3, every=10, service=np.full(3, 25), servers=1)
    assert found.called.tolist() == [0, 25, 50] and found.done.tolist() == [25, 50, 75]
    assert found.totals["most_waiting"] == 2 and found.totals["busy_ticks"] == 75


def test_an_entry_as_old_as_the_ttl_is_not_served() -> None:
    twice = {(0, 1): ONE}
    assert small(twice, 2, ttl=np.array([101])).outcome[1] == HIT
    found = small(twice, 2, ttl=np.array([100]))
    assert found.outcome[1] == MISS and found.left[0] == EXPIRED and found.left_at[0] == 100


def test_a_hit_does_not_make_an_entry_younger() -> None:
    same = {(0, 1): ONE, (0, 2): ONE, (1, 2): ONE}
    assert small(same, 3, ttl=np.array([150])).outcome.tolist() == [MISS, HIT, MISS]


def victims(eviction: str, **changes: object) -> list[int]:
    """Who leaves a cache of two, in order: 1 is used once, then 0 twice; then 5 and 6 come in."""
    uses = {(1, 2): ONE, (0, 3): ONE, (0, 4): ONE}
    found = small(uses, 7, quota=np.array([2], np.int32), eviction=EVICTIONS[eviction], **changes)
    gone = np.flatnonzero(found.left == EVICTED)
    return gone[np.argsort(found.left_at[gone])].tolist()


def test_eviction_by_each_rule() -> None:
    assert victims("fifo") == [0, 1]
    assert victims("lru") == victims("ttl") == [1, 0]
    assert victims("lfu") == [1, 5]
    costs = np.array([10, 90, 10, 10, 10, 10, 10]) * 1000
    every = 10**6  # calls are done before the next query
    assert victims("gdsf", service=costs, every=every) == [0, 5]
    equal = np.full(7, 10_000)
    assert victims("gdsf", service=equal, every=every) == [1, 0], "5 has aged as much, but is new"


def test_expired_entries_go_first() -> None:
    """Entry 0 was used last, but is too old when 3 needs room."""
    late = {(0, 2): ONE}
    common = {"quota": np.array([2], np.int32), "ttl": np.array([250])}
    by_ttl = small(late, 4, eviction=EVICTIONS["ttl"], **common)
    assert by_ttl.left[0] == EXPIRED and by_ttl.left[1] == 0
    by_lru = small(late, 4, eviction=EVICTIONS["lru"], **common)
    assert by_lru.left[0] == 0 and by_lru.left[1] == EVICTED


def test_no_quota_refuses_and_uncached_passes() -> None:
    found = small({(0, 1): ONE}, 2, quota=np.array([0], np.int32))
    assert found.left.tolist() == [REFUSED, REFUSED] and found.outcome.tolist() == [MISS, MISS]
    found = small({(0, 1): ONE}, 2, cached=np.array([False]), embed=9)
    assert found.outcome.tolist() == [UNCACHED, UNCACHED] and found.done.tolist() == [0, 100]
    assert found.left.tolist() == [-1, -1]


def test_truncated_misses_are_marked() -> None:
    queries, near, rules = random_case(5)
    marked = replace(near, truncated=np.ones(len(queries), bool))
    found = simulate(queries, marked, rules)
    assert np.array_equal(found.cut, found.outcome == MISS)


def test_load_lowers_the_threshold_and_back() -> None:
    """Two calls on one server: full load, threshold 0.5; when they are done it is 0.9 again."""
    rules = {
        "threshold": np.array([900_000], np.int32),
        "lowest": np.array([500_000], np.int32),
        "service": np.array([250, 250, 0, 0]),
        "servers": 1,
        "adaptive": True,
        "period": 50,
        "low": 1000,
        "high": 2000,
    }
    similar = {(0, 2): 600_000, (0, 3): 600_000, (0, 1): 0}
    found = small(similar, 4, every=200, **rules)
    # at 200 one call runs (load 1, nothing moves); at 400 one runs; query 1 waited from 200 on
    assert found.outcome[2] == MISS
    busy = small(similar, 4, every=100, **rules)
    assert busy.outcome[2] == JOINED, "two calls in the system at 150: the threshold fell to 0.5"
    assert busy.totals["moved_sum"] > 0
    fixed = small(similar, 4, every=100, **{**rules, "adaptive": False})
    assert fixed.outcome[2] == MISS


def test_a_floor_above_a_threshold_is_refused() -> None:
    queries, near, rules = random_case(5)
    high = replace(near, floor=np.full(len(near.floor), ONE, np.int32))
    low = replace(rules, threshold=np.full_like(rules.threshold, 10), cached=rules.cached | True)
    with pytest.raises(InputError, match=r"lies below the floor .*lower neighbours\.floor"):
        simulate(queries, high, replace(low, adaptive=False))


def test_lengths_must_fit() -> None:
    queries, near, rules = random_case(5)
    with pytest.raises(ValueError, match="one row a query"):
        simulate(queries, near, replace(rules, service=rules.service[1:]))
    with pytest.raises(ValueError, match="one row a category"):
        simulate(queries, near, replace(rules, quota=np.zeros(9, np.int32)))


def test_no_queries() -> None:
    queries = queries_of([], [])
    found = simulate(queries, neighbours_of(np.zeros((0, 0)), np.zeros(0, int)), plain_rules(0))
    assert len(found.outcome) == 0 and found.totals["calls"] == 0


def test_violations_are_seen() -> None:
    queries, near, rules = random_case(1)
    found = simulate(queries, near, rules)
    broken = replace(found, totals={**found.totals, "evictions": found.totals["evictions"] + 1})
    assert violations(queries, rules, broken) == [
        "broken: insertions are resident, evicted or expired"
    ]
    early = replace(found, done=found.done - 10**9)
    assert any("answered" in law for law in violations(queries, rules, early))
    assert NEVER > 10**18
