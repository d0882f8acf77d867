"""Each admission policy against its plain-Python twin, and what may not be combined."""

import numpy as np
import pytest
from cache_streams import stream, walk_both

from mltwin.models.caching.cache import Cache
from mltwin.models.caching.reference import admission as twins
from mltwin.models.caching.reference.driver import ReferenceCache
from mltwin.models.caching.reference.policies import REFERENCES
from mltwin.models.caching.registry import EVICTIONS
from mltwin.models.caching.sketch import ROWS, sketch_length
from mltwin.models.caching.tables import MISS, REFUSED
from mltwin.sim.errors import InputError

KINDS = {
    "size": ({"max_size": 6}, lambda fits: twins.BySize(6)),
    "probability": ({"chance": 0.6}, lambda fits: twins.ByChance(0.6, 0.0, 5)),
    "probability by size": (
        {"chance": 0.9, "by_size": 1, "scale": 8.0},
        lambda fits: twins.ByChance(0.9, 8.0, 5),
    ),
    "second_hit": ({"window": 7}, lambda fits: twins.SecondHit(7)),
    "tinylfu": ({}, lambda fits: twins.TinyLfu(sketch_length(fits) // ROWS)),
}


@pytest.mark.parametrize("policy", ["lru", "lfu", "gdsf", "random"])
@pytest.mark.parametrize("kind", KINDS)
def test_admission_agrees_step_by_step(kind, policy):
    settings, make_twin = KINDS[kind]
    refused = 0
    for case in range(8):
        rng = np.random.default_rng([4, case])
        objects = int(rng.integers(5, 50))
        sizes = rng.integers(1, 12, objects)
        capacity = int(rng.integers(12, sizes.sum() + 10))
        limit = int(rng.integers(2, objects)) if rng.random() < 0.4 else None
        cache = Cache(
            policy,
            capacity,
            objects,
            admission=kind.partition(" ")[0],
            settings=settings,
            max_objects=limit,
            seed=5,
        )
        fits = min(capacity, objects, limit or objects)
        make = REFERENCES[policy]
        inner = make(cache) if EVICTIONS[policy].random else make()
        twin = ReferenceCache(inner, capacity, limit, make_twin(fits))
        walk_both(cache, twin, stream(rng, objects, 700), sizes, rng)
        refused += cache.totals()["refused"]
    assert refused > 100, "the case must say something"


def test_always_refuses_nothing_that_fits():
    cache = Cache("lru", 3, 10)
    assert [cache.request(i, 1 + i) for i in range(5)] == [MISS, MISS, MISS, REFUSED, REFUSED]


def test_tiny_lfu_needs_to_know_the_victim():
    module = EVICTIONS["lru"].load()
    kept = module.STEPS
    module.STEPS = kept._replace(peeks=False)
    try:
        with pytest.raises(InputError, match="does not say whom it would evict"):
            Cache("lru", 3, 10, admission="tinylfu")
    finally:
        module.STEPS = kept
    assert Cache("lru", 3, 10, admission="tinylfu").request(1) == MISS
    with pytest.raises(InputError, match="no admission policy 'tinylfoo'"):
        Cache("lru", 3, 10, admission="tinylfoo")
