"""A system that asks a cache request by request, through `access` as a first-class function."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.models.caching.eviction.lru import access
from mltwin.models.caching.tables import ACCESS, FIRST
from mltwin.sim.jit import kernel, types

_SIGNATURE: Any = types.FunctionType(ACCESS)  # type: ignore[attr-defined]


def replay_by_steps(world: Any, ids: NDArray[np.uint32]) -> int:
    """Hits of unit objects, one call through a pointer for each request."""
    return int(_loop(world, access, ids))


def _make() -> Any:
    from mltwin.models.caching.tables import CACHE

    kind: Any = types
    signature = kind.int64(CACHE, _SIGNATURE, kind.Array(kind.uint32, 1, "C"))

    @kernel(signature)
    def loop(S: Any, one: Any, ids: Any) -> int:
        hits = 0
        for i in range(len(ids)):
            hits += one(S, np.uint64(ids[i]) + np.uint64(FIRST))
        return hits

    return loop


_loop = _make()
