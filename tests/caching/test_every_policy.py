"""What every policy of the registry must have, whoever adds one."""

import numpy as np
import pytest

from mltwin.models.caching.cache import Cache, next_uses
from mltwin.models.caching.driver import REQUEST
from mltwin.models.caching.registry import EVICTIONS
from mltwin.models.caching.tables import FIRST, HIT

OBJECTS, CAPACITY = 60, 12


@pytest.mark.parametrize("name", sorted(EVICTIONS))
def test_replay_access_and_step_do_the_same(name):
    rng = np.random.default_rng(8)
    ids = rng.zipf(1.3, 3000).astype(np.uint32) % OBJECTS
    future = next_uses(ids, OBJECTS) if EVICTIONS[name].future else None
    caches = [
        Cache(name, CAPACITY, OBJECTS, full=full, next_use=future, seed=3)
        for full in (False, False, True)
    ]
    fused = caches[0].replay(ids)
    module = EVICTIONS[name].load()
    rows = [np.uint64(int(i) + FIRST) for i in ids]
    single = sum(int(module.access(caches[1].world, x)) for x in rows)
    numbered = sum(module.step(caches[2].world, REQUEST, x, 1, 0, 0) == HIT for x in rows)
    assert fused == single == numbered
    assert caches[0].resident().tolist() == caches[1].resident().tolist()
