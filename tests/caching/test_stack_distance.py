"""Stack distances against the obvious way, and the curve against replays of LRU."""

import numpy as np
import pytest

from mltwin.models.caching import stack_distance
from mltwin.models.caching.cache import Cache
from mltwin.models.caching.shards import sampled_miss_ratio
from mltwin.models.caching.stack_distance import ByteDistances, StackDistances
from mltwin.sim.errors import InputError


def zipf(seed: int, objects: int, n: int, alpha: float = 0.8) -> np.ndarray:
    weights = np.arange(1, objects + 1) ** -alpha
    drawn = np.random.default_rng(seed).choice(objects, n, p=weights / weights.sum())
    return drawn.astype(np.uint32)


def obvious(ids: np.ndarray, sizes: np.ndarray) -> list[int | None]:
    """Distance of each request: sizes of the distinct objects since its last, itself included."""
    stack: list[tuple[int, int]] = []  # latest first: id and its size then
    found: list[int | None] = []
    for x, size in zip(ids.tolist(), sizes.tolist(), strict=True):
        places = [k for k, (other, _) in enumerate(stack) if other == x]
        if places:
            found.append(sum(s for _, s in stack[: places[0]]) + size)
            del stack[places[0]]
        else:
            found.append(None)
        stack.insert(0, (x, size))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_distances_are_the_obvious_ones(seed):
    ids = zipf(seed, 40, 700, alpha=0.3 * seed)
    expected = obvious(ids, np.ones(len(ids), np.int64))
    histogram = np.zeros(41, np.int64)
    for distance in expected:
        if distance is not None:
            histogram[distance] += 1
    found = StackDistances(40).add(ids[:300]).add(ids[300:])
    assert found.histogram.tolist() == histogram.tolist()
    assert found.cold == len(set(ids.tolist()))


@pytest.mark.parametrize("seed", range(4))
def test_byte_distances_are_the_obvious_ones(seed):
    rng = np.random.default_rng(seed)
    ids = zipf(seed, 40, 700)
    sizes = rng.integers(1, 50, 40)[ids] + rng.integers(0, 2, len(ids))
    capacities = np.unique(rng.integers(1, 1000, 30))
    found = ByteDistances(40, capacities).add(ids[:300], sizes[:300]).add(ids[300:], sizes[300:])
    distances = obvious(ids, sizes)
    for k, capacity in enumerate(capacities):
        hit = [d is not None and d <= capacity for d in distances]
        assert found.miss_ratio()[k] == pytest.approx(1 - np.mean(hit), abs=1e-12)
        share = sizes[np.array(hit)].sum() / sizes.sum()
        assert found.byte_miss_ratio()[k] == pytest.approx(1 - share, abs=1e-12)


def test_numbering_anew_changes_nothing():
    """More requests than positions, so that they are numbered anew (2^18 positions)."""
    ids = zipf(3, 2000, 700_000)
    whole = StackDistances(2000).add(ids)
    sizes = np.ones(len(ids), np.int64)
    grid = np.arange(1, 2001)
    by_bytes = ByteDistances(2000, grid).add(ids, sizes)
    assert len(ids) > stack_distance.LEAST_POSITIONS
    assert np.array_equal(by_bytes.miss_ratio(), whole.miss_ratio()[1:])
    for capacity in (1, 7, 100, 1500):
        hits = Cache("lru", capacity, 2000, full=False).replay(ids)
        assert whole.miss_ratio()[capacity] == 1 - hits / len(ids)


def test_the_curve_is_lru_at_every_size():
    ids = zipf(1, 120, 4000)
    curve = StackDistances(120).add(ids).miss_ratio()
    direct = [
        1 - Cache("lru", capacity, 120, full=False).replay(ids) / len(ids)
        for capacity in range(1, 121)
    ]
    assert curve[0] == 1
    assert curve[1:].tolist() == direct
    assert (np.diff(curve) <= 0).all()


def test_bytes_in_one_pass_come_near_replays():
    rng = np.random.default_rng(5)
    ids = zipf(5, 3000, 60_000)
    size_of = np.exp(rng.normal(6, 1.2, 3000)).astype(np.int64) + 1
    sizes = size_of[ids]
    grid = (size_of.sum() * np.array([0.02, 0.1, 0.3])).astype(np.int64)
    curve = ByteDistances(3000, grid).add(ids, sizes).miss_ratio()
    for capacity, ratio in zip(grid, curve, strict=True):
        outcome = Cache("lru", int(capacity), 3000).replay_full(ids, sizes)
        assert ratio == pytest.approx(1 - np.mean(outcome == 1), abs=0.01)


def test_samples_come_near_and_know_their_error():
    ids = zipf(2, 50_000, 400_000)
    grid = np.array([500, 2000, 8000, 30_000])
    exact = StackDistances(50_000).add(ids).miss_ratio()[grid]
    found = sampled_miss_ratio(ids, 50_000, grid, rate=0.05, replicates=8)
    assert np.abs(found.miss_ratio - exact).max() < 0.02
    assert (np.abs(found.miss_ratio - exact) < 4 * found.error + 0.004).all()
    everything = sampled_miss_ratio(ids, 50_000, grid, rate=1.0, replicates=1)
    assert everything.miss_ratio == pytest.approx(exact, abs=1e-12)
    assert np.isnan(everything.error).all()


@pytest.mark.parametrize(("rate", "replicates"), [(0, 1), (-0.1, 1), (0.6, 2), (1.5, 1), (0.1, 0)])
def test_bad_samples_are_refused(rate, replicates):
    with pytest.raises(InputError, match="sample"):
        sampled_miss_ratio(
            np.zeros(5, np.uint32), 1, np.array([1]), rate=rate, replicates=replicates
        )
