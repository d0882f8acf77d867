"""The CDN: what follows on paper must come out."""

import csv
import os
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mltwin.models.web import CdnPlan, run_cdn
from mltwin.models.web.cdn_tables import (
    EDGE_HIT,
    EDGE_JOINED,
    FROM_ORIGIN,
    PARENT_HIT,
    PARENT_JOINED,
    POLICIES,
)
from mltwin.web import WebScenario

DATA = os.environ.get("MLTWIN_DATA")
NO_TIME = {
    "cdn.parent_ms": 0.0,
    "cdn.origin_ms": 0.0,
    "cdn.parent_gbit_per_s": 1e9,
    "cdn.origin_gbit_per_s": 1e9,
}


def hand_plan(requests: list[tuple[int, int]], **more: object) -> CdnPlan:
    """Two edges, one object; 3 ticks to the parent, 20 to the origin, 5 and 7 of transfer."""
    given = {
        "time": [t for t, _ in requests],
        "edge": [e for _, e in requests],
        "item": [0] * len(requests),
        "item_bytes": [10],
        "capacity": [100, 100, 100],
        "parent_ticks": [5],
        "origin_ticks": [7],
        "parent_latency": 3,
        "origin_latency": 20,
    }
    return CdnPlan(**(given | more))  # type: ignore[arg-type]


def test_each_way_takes_its_time() -> None:
    """Origin: 3 + 20 + 20 + 7 + 3 + 5 = 58; from the parent 3 + 3 + 5 = 11."""
    out = run_cdn(hand_plan([(0, 0), (10, 0), (20, 1), (100, 1), (200, 0)]))
    assert out.source.tolist() == [FROM_ORIGIN, EDGE_JOINED, PARENT_JOINED, EDGE_HIT, EDGE_HIT]
    # Edge 1 asks at 20, the parent has it at 50 (and sends it on at once): 50 + 3 + 5.
    assert out.done.tolist() == [58, 58, 58, 100, 200]
    later = run_cdn(hand_plan([(0, 0), (60, 1)]))
    assert later.source.tolist() == [FROM_ORIGIN, PARENT_HIT] and later.done.tolist() == [58, 71]


def test_a_burst_asks_the_origin_once() -> None:
    burst = [(t, t % 2) for t in range(40)]
    assert run_cdn(hand_plan(burst)).totals["origin_requests"] == 1
    alone = run_cdn(hand_plan(burst, collapse=False))
    # What comes before the first answer is at the parent (43 less 3) all asks the origin.
    assert alone.totals["origin_requests"] == 40
    two = run_cdn(hand_plan(burst, parent=False))
    assert two.totals["origin_requests"] == 2


@pytest.mark.parametrize("parent", [False, True])
def test_without_time_it_is_the_untimed_lru(parent: bool) -> None:
    scenario = WebScenario(kind="cdn").changed(
        NO_TIME
        | {
            "requests.requests": 20_000,
            "requests.objects": 500,
            "cdn.edge_gb": 0.02,
            "cdn.parent_gb": 0.05,
            "cdn.parent": parent,
        }
    )
    result = scenario.run()
    rows = result.tables["requests"]
    caches = [OrderedDict() for _ in range(5)]  # type: list[OrderedDict[int, int]]
    room = [20_000_000] * 4 + [50_000_000]

    def found(node: int, item: int, size: int) -> bool:
        cache = caches[node]
        if item in cache:
            cache.move_to_end(item)
            return True
        if size <= room[node]:
            while sum(cache.values()) + size > room[node]:
                cache.popitem(last=False)
            cache[item] = size
        return False

    expected = []
    for edge, item, size in zip(rows["edge"], rows["item"], rows["bytes"], strict=True):
        if found(int(edge), int(item), int(size)):
            expected.append(EDGE_HIT)
        else:
            hit = parent and found(4, int(item), int(size))
            expected.append(PARENT_HIT if hit else FROM_ORIGIN)
    assert rows["source"].tolist() == expected
    assert set(expected) == (
        {EDGE_HIT, PARENT_HIT, FROM_ORIGIN} if parent else {EDGE_HIT, FROM_ORIGIN}
    )


def test_a_larger_lru_edge_hits_more() -> None:
    base = WebScenario(kind="cdn").changed(
        {"requests.requests": 20_000, "requests.size_sigma": 0.0, "cdn.edges": 1} | NO_TIME
    )
    hits = [
        base.set("cdn.edge_gb", gb).run().tables["requests"]["source"] == EDGE_HIT
        for gb in (0.01, 0.1, 1.0)
    ]
    assert all((small <= large).all() for small, large in pairwise(hits))


def test_collapsing_spares_the_origin_and_changes_no_bytes_kept() -> None:
    base = WebScenario(kind="cdn").changed({"requests.rate_per_s": 20_000.0})
    collapsed, alone = base.run().metrics, base.set("cdn.collapse", False).run().metrics
    assert collapsed["origin_requests"] < 0.95 * alone["origin_requests"]
    assert collapsed["joined_ratio"] > 0 == alone["joined_ratio"]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="MLTWIN_DATA names no folder")
@pytest.mark.parametrize("policy", POLICIES)
def test_one_edge_without_time_has_the_published_miss_ratios(policy: str) -> None:
    """libCacheSim's object miss ratios of a Zipf trace (10^7 requests), to eight digits."""
    draw = np.random.Generator(np.random.PCG64(42))
    weight = np.arange(1, 1_000_001, dtype=np.float64) ** -1.0
    law = np.cumsum(weight)
    rank = np.minimum(np.searchsorted(law / law[-1], draw.random(10_000_000)), 999_999)
    item = draw.permutation(1_000_000)[rank]
    nothing = np.zeros(len(item), np.int64)
    plan = CdnPlan(
        time=np.arange(len(item)),
        edge=nothing,
        item=item,
        item_bytes=np.ones(1_000_000, np.int64),
        capacity=np.array([10_000, 0]),
        parent_ticks=nothing[:1_000_000],
        origin_ticks=nothing[:1_000_000],
        policy=POLICIES.index(policy),
        parent=False,
    )
    missed = np.mean(run_cdn(plan).source != EDGE_HIT)
    table = Path(str(DATA)) / "reference" / "caching_miss_ratios.csv"
    with table.open(newline="") as file:
        rows = {(r["policy"].lower(), r["trace"], r["cache_size"]): r for r in csv.DictReader(file)}
    published = float(rows[policy, "zipf1.0", "10000"]["obj_miss_ratio"])
    assert missed == pytest.approx(published, abs=1e-8)
