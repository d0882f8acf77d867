"""Replays against what is known without them: fixed points of independent requests, and bounds."""

import numpy as np
import pytest
from scipy.optimize import brentq

from mltwin.models.caching.cache import Cache, next_uses
from mltwin.models.caching.registry import EVICTIONS

OBJECTS, REQUESTS = 50_000, 4_000_000


def probabilities(alpha: float) -> np.ndarray:
    weights = np.arange(1, OBJECTS + 1, dtype=float) ** -alpha
    return weights / weights.sum()


@pytest.fixture(scope="module", params=[0.8, 1.0])
def stream(request):
    """Independent requests, and the probabilities they were drawn with."""
    p = probabilities(request.param)
    rng = np.random.Generator(np.random.PCG64(7))
    ids = np.minimum(np.searchsorted(np.cumsum(p), rng.random(REQUESTS)), OBJECTS - 1)
    return p, ids.astype(np.uint32)


def che(p: np.ndarray, capacity: int) -> float:
    """Miss ratio of LRU: Che, Tung, Wang, IEEE JSAC 20 (7), 2002."""
    time = brentq(lambda t: (1 - np.exp(-p * t)).sum() - capacity, 1, 1e12)
    return float((p * np.exp(-p * time)).sum())


def gelenbe(p: np.ndarray, capacity: int) -> float:
    """Miss ratio of FIFO and random: Gelenbe, IEEE Trans. Computers C-22, 1973."""
    time = brentq(lambda t: (p * t / (1 + p * t)).sum() - capacity, 1, 1e12)
    return float((p / (1 + p * time)).sum())


@pytest.mark.parametrize(("policy", "law"), [("lru", che), ("fifo", gelenbe), ("random", gelenbe)])
@pytest.mark.parametrize("capacity", [500, 5_000])
def test_independent_requests_follow_the_fixed_point(stream, policy, law, capacity):
    p, ids = stream
    cache = Cache(policy, capacity, OBJECTS, full=False)
    half = len(ids) // 2
    cache.replay(ids[:half])  # warm
    missed = 1 - cache.replay(ids[half:]) / (len(ids) - half)
    assert missed == pytest.approx(law(p, capacity), abs=1e-3)


def test_nobody_beats_belady():
    rng = np.random.default_rng(3)
    p = probabilities(0.9)[:3000]
    ids = rng.choice(3000, 60_000, p=p / p.sum()).astype(np.uint32)
    ids[20_000:23_000] = np.arange(3000)  # a scan
    future = next_uses(ids, 3000)
    for capacity in (10, 100, 1000):
        best = Cache("belady", capacity, 3000, full=False, next_use=future).replay(ids)
        for name, policy in EVICTIONS.items():
            if policy.future:
                continue
            hits = Cache(name, capacity, 3000, full=False).replay(ids)
            assert hits <= best, (name, capacity)
            assert hits > 0


def test_belady_is_the_best_of_all_choices():
    """Against every choice there is, on streams small enough to try them all."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        ids = rng.integers(0, 5, 11).astype(np.uint32)
        capacity = int(rng.integers(1, 4))
        future = next_uses(ids, 5)
        hits = Cache("belady", capacity, 5, full=False, next_use=future).replay(ids)
        assert hits == best_of_all(ids.tolist(), frozenset(), capacity)


def best_of_all(ids: list[int], held: frozenset[int], capacity: int) -> int:
    """Most hits that any demand policy can have."""
    if not ids:
        return 0
    first, rest = ids[0], ids[1:]
    if first in held:
        return 1 + best_of_all(rest, held, capacity)
    if len(held) < capacity:
        return best_of_all(rest, held | {first}, capacity)
    return max(best_of_all(rest, (held - {out}) | {first}, capacity) for out in held)
