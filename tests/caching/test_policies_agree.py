"""Each compiled policy against its plain-Python reference, step by step, on random streams."""

import numpy as np
import pytest

from mltwin.models.caching.cache import Cache, next_uses
from mltwin.models.caching.reference.driver import ReferenceCache
from mltwin.models.caching.reference.policies import REFERENCES
from mltwin.models.caching.registry import EVICTIONS
from mltwin.models.caching.sketch import ROWS
from mltwin.models.caching.tables import HIT

CASES = 24
COMPARED = sorted(set(EVICTIONS) & set(REFERENCES))


def stream(rng: np.random.Generator, objects: int, n: int) -> np.ndarray:
    """Zipf-like draws with a scan or a loop in the middle."""
    weights = np.arange(1, objects + 1) ** -rng.uniform(0.3, 1.4)
    ids = rng.choice(objects, n, p=weights / weights.sum())
    if rng.random() < 0.5:
        start = rng.integers(n)
        stop = min(n, start + int(rng.integers(1, 2 * objects)))
        ids[start:stop] = np.arange(stop - start) % objects
    return ids.astype(np.uint32)


def make_pair(name: str, capacity: int, ids: np.ndarray, objects: int, limit: int | None):
    """The compiled cache and its reference."""
    future = next_uses(ids, objects) if EVICTIONS[name].future else None
    cache = Cache(name, capacity, objects, next_use=future, max_objects=limit)
    if EVICTIONS[name].future:
        return cache, ReferenceCache(REFERENCES[name](ids), capacity, limit)
    if EVICTIONS[name].sketch:
        counters = len(cache.world.sketch) // ROWS
        return cache, ReferenceCache(REFERENCES[name](counters), capacity, limit)
    if EVICTIONS[name].random:
        return cache, ReferenceCache(REFERENCES[name](cache), capacity, limit)
    return cache, ReferenceCache(REFERENCES[name](), capacity, limit)


def check_step(cache: Cache, twin: ReferenceCache) -> None:
    assert cache.victims() == twin.victims
    totals = cache.totals()
    assert totals["used"] == twin.used
    assert totals["resident"] == len(twin.sizes)


@pytest.mark.parametrize("name", COMPARED)
def test_unit_objects_agree_step_by_step(name):
    for case in range(CASES):
        rng = np.random.default_rng([1, case])
        objects = int(rng.integers(2, 60))
        capacity = int(rng.integers(1, objects + 5))
        ids = stream(rng, objects, 600)
        cache, twin = make_pair(name, capacity, ids, objects, None)
        hits = 0
        for i in ids:
            outcome = cache.request(int(i))
            assert outcome == twin.request(int(i)), (case, capacity)
            hits += outcome == HIT
            check_step(cache, twin)
        assert sorted(cache.resident()) == sorted(twin.sizes)
        future = next_uses(ids, objects) if EVICTIONS[name].future else None
        plain = Cache(name, capacity, objects, full=False, next_use=future)
        assert plain.replay(ids) == hits  # the fast form


@pytest.mark.parametrize("name", COMPARED)
def test_sizes_agree_step_by_step(name):
    for case in range(CASES):
        rng = np.random.default_rng([2, case])
        objects = int(rng.integers(2, 60))
        sizes = rng.integers(1, 40, objects)
        capacity = int(rng.integers(1, sizes.sum() + 10))
        limit = int(rng.integers(1, objects + 1)) if rng.random() < 0.3 else None
        ids = stream(rng, objects, 600)
        cache, twin = make_pair(name, capacity, ids, objects, limit)
        changing = rng.random() < 0.3
        for i in ids:
            size = int(sizes[i]) + (int(rng.integers(0, 3)) if changing else 0)
            assert cache.request(int(i), size) == twin.request(int(i), size), (case, capacity)
            check_step(cache, twin)


@pytest.mark.parametrize("name", [name for name in COMPARED if not EVICTIONS[name].future])
def test_expiry_removal_and_pins_agree_step_by_step(name):
    for case in range(CASES):
        rng = np.random.default_rng([3, case])
        objects = int(rng.integers(2, 40))
        sizes = rng.integers(1, 10, objects)
        capacity = int(rng.integers(5, sizes.sum() + 10))
        ids = stream(rng, objects, 500)
        cache, twin = make_pair(name, capacity, ids, objects, None)
        held: list[int] = []
        now = 0
        for i in map(int, ids):
            now += int(rng.integers(0, 5))
            ttl = int(rng.integers(0, 60))
            what = rng.random()
            if what < 0.08:
                assert cache.remove(i) == twin.remove(i)
            elif what < 0.2 and cache.holds(i):
                cache.pin(i)
                twin.pin(i)
                held.append(i)
            elif what < 0.35 and held:
                let = held.pop(int(rng.integers(len(held))))
                cache.unpin(let)
                twin.unpin(let)
            else:
                size = int(sizes[i])
                ask = "store" if what > 0.8 else "request"
                done = getattr(cache, ask)(i, size, now, ttl)
                assert done == getattr(twin, ask)(i, size, now, ttl), case
                check_step(cache, twin)
            assert sorted(cache.resident()) == sorted(twin.sizes)
        totals = cache.totals()
        assert totals["inserted_size"] + totals["grown_size"] == (
            totals["used"] + totals["evicted_size"] + totals["removed_size"]
        )
        assert totals["inserted"] == (
            totals["resident"] + totals["evicted"] + totals["removed"] + totals["expired"]
        )
        assert totals["pinned"] == len(set(held))
