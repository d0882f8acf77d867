"""What the agreement of all policies does not reach: other parameters, costs, long ages, oracles
under pins and removals, and the structures below.
"""

import functools
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from cache_streams import stream, walk_both

from mltwin.models.caching.bits import bit_add, bit_greatest, bit_levels, bit_remove
from mltwin.models.caching.cache import Cache, next_uses
from mltwin.models.caching.reference.chance import Lhd
from mltwin.models.caching.reference.driver import ReferenceCache
from mltwin.models.caching.reference.oracles import Belady, BeladySize
from mltwin.models.caching.reference.scores import Gdsf, LruK
from mltwin.models.caching.registry import EVICTIONS
from mltwin.sim.errors import InputError


@pytest.mark.parametrize("k", [1, 3, 5])
def test_lru_k_agrees_for_other_k(k):
    for case in range(6):
        rng = np.random.default_rng([8, case])
        objects = int(rng.integers(3, 40))
        sizes = rng.integers(1, 5, objects)
        capacity = int(rng.integers(5, sizes.sum() + 5))
        cache = Cache("lru_k", capacity, objects, params={"k": k})
        walk_both(cache, ReferenceCache(LruK(k), capacity), stream(rng, objects, 600), sizes, rng)


def test_lru_1_is_lru():
    ids = stream(np.random.default_rng(9), 500, 20_000)
    lru = Cache("lru", 50, 500, full=False).replay(ids)
    assert Cache("lru_k", 50, 500, params={"k": 1}, full=False).replay(ids) == lru


@pytest.mark.parametrize("name", [name for name in EVICTIONS if not EVICTIONS[name].future])
@pytest.mark.parametrize("full", [False, True])
def test_a_growing_cache_decides_as_one_that_knew_all_objects(name, full):
    ids = stream(np.random.default_rng(9), 500, 6000)
    order = np.argsort(np.unique(ids, return_index=True)[1], kind="stable")
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order))
    ids = rank[np.unique(ids, return_inverse=True)[1]]  # numbered by first appearance
    whole = Cache(name, 50, len(order), full=full)
    growing = Cache(name, 50, 1, full=full, stream=True)
    for part in np.array_split(ids, 40):
        growing.grow(int(part.max()) + 1)
        if full:
            assert (growing.replay_full(part) == whole.replay_full(part)).all()
        else:
            assert growing.replay(part) == whole.replay(part)


@pytest.mark.parametrize("k", [0, 1.5, 65, np.nan])
def test_lru_k_wants_a_whole_k(k):
    with pytest.raises(InputError, match=r"eviction\.k: k = "):
        Cache("lru_k", 5, 5, params={"k": k})


def test_gdsf_weighs_costs():
    for case in range(8):
        rng = np.random.default_rng([10, case])
        objects = int(rng.integers(3, 40))
        sizes = rng.integers(1, 9, objects)
        costs = rng.uniform(0.1, 20.0, objects)
        capacity = int(rng.integers(5, sizes.sum() + 5))
        cache = Cache("gdsf", capacity, objects, costs=costs)
        twin = Gdsf({i: float(cost) for i, cost in enumerate(costs)})
        walk_both(cache, ReferenceCache(twin, capacity), stream(rng, objects, 500), sizes, rng)
    with pytest.raises(InputError, match="does not weigh costs"):
        Cache("gdsf", 5, 5, costs=np.ones(5), full=False)


def test_lhd_agrees_when_ages_outgrow_its_steps():
    """Objects that wait longer than there are steps before they go: the steps become wider."""
    rounds = [np.r_[np.arange(40) + 40 * r, np.full(2100, 40 * r)] for r in range(4)]
    ids = np.concatenate(rounds).astype(np.uint32)
    cache = Cache("lhd", 40, 160, params={"samples": 4, "interval": 2500})
    twin = ReferenceCache(Lhd(cache), 40)
    before = int(cache.world.own[0])
    for i in map(int, ids):
        assert cache.request(i) == twin.request(i)
        assert cache.victims() == twin.victims
    assert int(cache.world.own[0]) == twin.policy.shift > before


@pytest.mark.parametrize(("name", "make"), [("belady", Belady), ("belady_size", BeladySize)])
def test_oracles_agree_under_pins_removals_and_expiry(name, make):
    for case in range(10):
        rng = np.random.default_rng([12, case])
        objects = int(rng.integers(2, 40))
        sizes = rng.integers(1, 9, objects)
        capacity = int(rng.integers(5, sizes.sum() + 10))
        ids = stream(rng, objects, 400)
        cache = Cache(name, capacity, objects, next_use=next_uses(ids, objects))
        twin = ReferenceCache(make(ids), capacity)
        held: list[int] = []
        for now, i in enumerate(map(int, ids)):
            other = int(rng.integers(objects))
            what = rng.random()
            if what < 0.1:
                assert cache.remove(other) == twin.remove(other)
            elif what < 0.2 and cache.holds(other):
                cache.pin(other)
                twin.pin(other)
                held.append(other)
            elif what < 0.3 and held:
                let = held.pop()
                cache.unpin(let)
                twin.unpin(let)
            ttl = int(rng.integers(0, 80))
            assert cache.request(i, int(sizes[i]), now, ttl) == twin.request(
                i, int(sizes[i]), now, ttl
            )
            assert cache.victims() == twin.victims
            assert sorted(cache.resident()) == sorted(twin.sizes)


def test_belady_is_optimal_for_unit_objects():
    """Against a search over all choices of victims (without bypass)."""

    def fewest(ids, capacity):
        @functools.cache
        def misses(place, held):
            if place == len(ids):
                return 0
            x = ids[place]
            if x in held:
                return misses(place + 1, held)
            if len(held) < capacity:
                return 1 + misses(place + 1, held | {x})
            return 1 + min(misses(place + 1, (held - {y}) | {x}) for y in held)

        return misses(0, frozenset())

    for case in range(20):
        rng = np.random.default_rng([13, case])
        ids = rng.integers(0, 6, 25).astype(np.uint32)
        for capacity in (1, 2, 4):
            future = next_uses(ids, 6)
            hits = Cache("belady", capacity, 6, next_use=future, full=False).replay(ids)
            assert len(ids) - hits == fewest(tuple(map(int, ids)), capacity)


def test_belady_has_the_fewest_misses_of_all():
    ids = stream(np.random.default_rng(14), 800, 30_000)
    future = next_uses(ids, 800)
    best = Cache("belady", 80, 800, next_use=future, full=False).replay(ids)
    for name in EVICTIONS:
        assert Cache(name, 80, 800, next_use=future, full=False).replay(ids) <= best, name


def test_a_belady_cache_outlives_its_trace():
    """Requests beyond those foreseen are taken to be the last of their objects."""
    ids = stream(np.random.default_rng(15), 50, 500)
    cache = Cache("belady", 10, 50, next_use=next_uses(ids, 50))
    for i in itertools.chain(ids, ids):
        cache.request(int(i))
    totals = cache.totals()
    assert totals["resident"] == len(cache.resident()) == 10
    assert totals["inserted"] == totals["evicted"] + 10


def test_seeds_change_what_is_drawn_and_nothing_else():
    ids = stream(np.random.default_rng(16), 300, 5000)
    for name in ("random", "hyperbolic", "lhd", "lecar"):
        runs = [Cache(name, 30, 300, seed=seed, full=False).replay(ids) for seed in (1, 1, 2)]
        assert runs[0] == runs[1] != runs[2], name


def test_random_misses_as_fifo_under_independent_references():
    """Gelenbe 1973: the two agree in the long run."""
    rng = np.random.default_rng(17)
    weights = np.arange(1, 2001) ** -0.8
    ids = rng.choice(2000, 1_000_000, p=weights / weights.sum()).astype(np.uint32)
    ratios = [Cache(name, 200, 2000, full=False).replay(ids) / 1e6 for name in ("random", "fifo")]
    assert abs(ratios[0] - ratios[1]) < 2e-3


def test_the_greatest_of_a_set_of_numbers():
    for most in (1, 64, 65, 5000, 300_000):
        words, starts = bit_levels(most)
        table, rng = np.zeros(words, np.int64), np.random.default_rng(most)
        starts = np.array(starts, np.int64)
        members: set[int] = set()
        for _ in range(400):
            number = int(rng.integers(most))
            if number in members and rng.random() < 0.7:
                members.discard(number)
                bit_remove(table, starts, number)
            else:
                members.add(number)
                bit_add(table, starts, number)
            assert bit_greatest(table, starts) == max(members, default=-1)


@pytest.mark.slow
def test_all_policies_decide_alike_without_the_compiler(tmp_path):
    """Warnings are errors there: NumPy tells of an unsigned number that wraps."""
    script = tmp_path / "plain.py"
    script.write_text(
        "import json\n"
        "import numpy as np\n"
        "from mltwin.models.caching.cache import Cache, next_uses\n"
        "from mltwin.models.caching.registry import EVICTIONS\n"
        "rng = np.random.default_rng(18)\n"
        "ids = (rng.zipf(1.3, 800).clip(max=50) - 1).astype(np.uint32)\n"
        "sizes, future = rng.integers(1, 9, 50)[ids], next_uses(ids, 50)\n"
        "hits = {}\n"
        "for name in EVICTIONS:\n"
        "    fast = Cache(name, 9, 50, full=False, next_use=future).replay(ids)\n"
        "    full = Cache(name, 60, 50, next_use=future).replay_full(ids, sizes) == 1\n"
        "    hits[name] = (fast, int(full.sum()))\n"
        "print(json.dumps(hits))\n"
    )
    told = []
    for off in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", str(script)],
            env={**os.environ, "NUMBA_DISABLE_JIT": off},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        told.append(json.loads(run.stdout))
    assert told[0] == told[1] and set(told[0]) == set(EVICTIONS)
