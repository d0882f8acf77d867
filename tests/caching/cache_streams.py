"""Random streams of requests for caches, and both forms of a cache walked through one of them."""

import numpy as np

from mltwin.models.caching.cache import Cache
from mltwin.models.caching.reference.driver import ReferenceCache


def stream(rng: np.random.Generator, objects: int, n: int) -> np.ndarray:
    """Zipf-like draws with a scan or a loop in the middle."""
    weights = np.arange(1, objects + 1) ** -rng.uniform(0.3, 1.4)
    ids = rng.choice(objects, n, p=weights / weights.sum())
    if rng.random() < 0.5:
        start = rng.integers(n)
        stop = min(n, start + int(rng.integers(1, 2 * objects)))
        ids[start:stop] = np.arange(stop - start) % objects
    return ids.astype(np.uint32)


def walk_both(
    cache: Cache,
    twin: ReferenceCache,
    ids: np.ndarray,
    sizes: np.ndarray,
    rng: np.random.Generator,
    *,
    pins: bool = True,
) -> None:
    """Requests with times and lives, removals and pins; both forms must agree at each step."""
    held: list[int] = []
    now = 0
    for i in map(int, ids):
        now += int(rng.integers(0, 5))
        ttl = int(rng.integers(0, 60))
        what = rng.random()
        if what < 0.06:
            assert cache.remove(i) == twin.remove(i)
        elif pins and what < 0.14 and cache.holds(i):
            cache.pin(i)
            twin.pin(i)
            held.append(i)
        elif pins and what < 0.25 and held:
            let = held.pop(int(rng.integers(len(held))))
            cache.unpin(let)
            twin.unpin(let)
        else:
            size = int(sizes[i])
            ask = "store" if what > 0.8 else "request"
            assert getattr(cache, ask)(i, size, now, ttl) == getattr(twin, ask)(i, size, now, ttl)
            assert cache.victims() == twin.victims
        assert sorted(cache.resident()) == sorted(twin.sizes)
    assert cache.totals()["used"] == twin.used
