"""What must hold of any semantic cache: monotonicity, limits, break-even."""

from dataclasses import replace

import numpy as np
import pytest
from semantic_cases import neighbours_of, plain_rules, queries_of, random_case

from mltwin.models.semantic.simulate import simulate
from mltwin.models.semantic.tables import HIT, JOINED, MISS, NEVER, ONE
from mltwin.semantic_metrics import break_even

SEEDS = range(40)


def instant(seed: int):
    """A random case in which nothing takes time and nothing moves with load."""
    queries, near, rules = random_case(seed)
    n = len(queries)
    still = {"service": np.zeros(n, np.int64), "embed": 0, "search": np.zeros(1, np.int64)}
    return queries, near, replace(rules, fetch=0, adaptive=False, servers=0, **still)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ttl_beyond_the_run_is_none(seed: int) -> None:
    queries, near, rules = random_case(seed)
    none = replace(rules, ttl=np.full_like(rules.ttl, NEVER), adaptive=False)
    long = replace(none, ttl=np.full_like(rules.ttl, 10**15))
    a, b = simulate(queries, near, none), simulate(queries, near, long)
    assert np.array_equal(a.outcome, b.outcome) and np.array_equal(a.entry, b.entry)
    assert a.totals["expirations"] == b.totals["expirations"] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_threshold_above_one_hits_nothing(seed: int) -> None:
    queries, near, rules = random_case(seed)
    above = np.full_like(rules.threshold, ONE + 1)
    found = simulate(queries, near, replace(rules, threshold=above, lowest=above))
    assert not np.isin(found.outcome, (HIT, JOINED)).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_quota_for_all_evicts_nothing(seed: int) -> None:
    queries, near, rules = random_case(seed)
    roomy = replace(rules, quota=np.full_like(rules.quota, len(queries)))
    outcomes = []
    for eviction in range(5):
        found = simulate(queries, near, replace(roomy, eviction=eviction))
        assert found.totals["evictions"] == 0
        outcomes.append(found.outcome.tolist())
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("seed", SEEDS)
def test_hits_are_near_enough_and_misses_have_no_entry_near(seed: int) -> None:
    queries, near, rules = instant(seed)
    rules = replace(rules, quota=np.full_like(rules.quota, len(queries)))
    rules = replace(rules, ttl=np.full_like(rules.ttl, NEVER))
    found = simulate(queries, near, rules)
    assert not (found.outcome == JOINED).any(), "nothing is under way when nothing takes time"
    entries = found.outcome == MISS
    for q in range(len(queries)):
        part = slice(near.start[q], near.start[q + 1])
        tau = rules.threshold[queries.category[q]]
        able = [e for e, s in zip(near.row[part], near.near[part], strict=True) if s >= tau]
        able = [e for e in able if entries[e]]
        if rules.cached[queries.category[q]]:
            assert (found.outcome[q] == HIT) == bool(able)
            assert not able or found.entry[q] == able[0]


@pytest.mark.parametrize("seed", range(10))
def test_lower_thresholds_hit_more_in_nested_clusters(seed: int) -> None:
    """Where near is transitive at every level (nested clusters), the hits at a threshold are all
    queries but the first of their cluster, so that they grow as it falls, one by one. Without
    that they need not: `test_lower_thresholds_may_lose_a_hit`."""
    draw = np.random.default_rng(seed)
    n, levels = 200, (300_000, 500_000, 700_000, 900_000)
    labels = draw.integers(0, 3, (n, len(levels)))
    shared = np.cumprod(labels[:, None, :] == labels[None, :, :], axis=2).sum(axis=2)
    similarity = np.array([100_000, *levels])[shared]
    queries = queries_of([0] * n, (np.arange(n) * 5).tolist())
    near = neighbours_of(similarity, np.zeros(n, int))
    before = np.zeros(n, bool)
    for depth in range(len(levels), 0, -1):
        rules = plain_rules(n, threshold=np.array([levels[depth - 1]], np.int32))
        hits = simulate(queries, near, rules).outcome == HIT
        clusters = np.unique(labels[:, :depth], axis=0, return_index=True)[1]
        assert np.array_equal(np.flatnonzero(~hits), np.sort(clusters))
        assert not (before & ~hits).any()
        before = hits


OVERHEAD, FETCH, CALL = 30_000, 5_000, 200_000


def mean_latency(repeats: int, n: int) -> float:
    """Ticks, mean over n queries of which the last `repeats` ask again what the first asked."""
    similarity = np.zeros((n, n), np.int64)
    similarity[n - repeats :, 0] = ONE
    queries = queries_of([0] * n, (np.arange(n) * 10**9).tolist())
    rules = plain_rules(n, embed=OVERHEAD, fetch=FETCH, service=np.full(n, CALL))
    found = simulate(queries, neighbours_of(similarity, np.zeros(n, int), 1), rules)
    assert (found.outcome == HIT).sum() == repeats
    return float((found.done - queries.arrival).mean())


def test_the_break_even_hit_ratio_is_where_latencies_cross() -> None:
    n = 200
    ratios = np.arange(0, n) / n
    latency = np.array([mean_latency(k, n) for k in range(n)])
    expected = break_even(OVERHEAD, CALL, FETCH)
    crossing = float(np.interp(-CALL, -latency, ratios))  # latency falls
    assert crossing == pytest.approx(expected, abs=1e-12)
    assert np.allclose(latency, OVERHEAD + ratios * FETCH + (1 - ratios) * CALL, rtol=1e-12)


def test_break_even_of_the_published_costs() -> None:
    assert break_even(30, 150) == 0.2 and break_even(30, 200) == 0.15
    assert break_even(2, 150) == pytest.approx(0.0133, abs=1e-4)
    assert break_even(2, 200) == 0.01
    assert break_even(5, 5, 5) == float("inf")


def test_one_server_waits_as_pollaczek_and_khinchine_say() -> None:
    """M/D/1 without a cache: the mean wait is rho / (2 (1 - rho)) service times."""
    from mltwin.workloads.embeddings import Cluster, draw_queries

    queries = draw_queries([Cluster("a", intents=10)], 40_000, rate=7.0, dimensions=2, seed=3)
    n = len(queries)
    near = neighbours_of(np.zeros((0, 0)), np.zeros(0, int))
    near = replace(near, start=np.zeros(n + 1, np.int64), truncated=np.zeros(n, bool))
    service = 100_000_000
    rules = plain_rules(n, service=np.full(n, service), servers=1, cached=np.array([False]))
    found = simulate(queries, near, rules)
    wait = (found.called - queries.arrival).mean() / service
    assert wait == pytest.approx(0.7 / (2 * 0.3), rel=0.05)
