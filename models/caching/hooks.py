"""The decision point of a cache: what a user's own eviction score is given, and what it answers.

The score of an object is asked for when it enters and at each hit, and kept until the next one; the
smallest is evicted first, among equals the one scored earliest. Arguments:

========== ======================================================================================
object     one `OBJECT` record
ctx        one `CACHE_CONTEXT` record
params     float64 array, the policy's parameters in the order in which it declares them
memory     float64 array that the policy alone reads and writes, zero at the start
========== ======================================================================================

A tick is 1 ns (`mltwin.models.caching.TICKS_PER_S`). Traces without times stand still at 0: count
requests there (`clock`, `entered`, `asked`).
"""

import functools
from typing import Any

from mltwin.sim.hook import Hook, hook_signature
from mltwin.sim.records import record

OBJECT = record(
    "Object",
    [
        ("id", "i8"),  # dense, by first appearance in the trace
        ("bytes", "i8"),  # 1 where the cache counts objects
        ("cost", "f8"),  # of fetching it; 1 unless the trace says
        ("hits", "i8"),  # since it entered, this one included; 0 as it enters
        ("inserted", "i8"),  # ticks when it entered
        ("last_use", "i8"),  # ticks of the request before this one; now as it enters
        ("entered", "i8"),  # number of the request with which it entered, from 1
        ("asked", "i8"),  # number of the request before this one; this one as it enters
    ],
)

CACHE_CONTEXT = record(
    "CacheContext",
    [
        ("now", "i8"),  # ticks
        ("clock", "i8"),  # number of this request, from 1
        ("used", "i8"),  # objects or bytes that are resident, without one that enters
        ("capacity", "i8"),  # objects or bytes
        ("resident", "i8"),  # objects, without one that enters
        ("seed", "i8"),
    ],
)

RECORDS = {"object": OBJECT, "ctx": CACHE_CONTEXT}
"""Arguments that are records."""

HOOKS = {
    "evict_object": Hook(
        "evict_object",
        ("object", "ctx", "params", "memory"),
        "float64",
        "the score of a cached object as it enters and at each hit; the smallest is evicted first",
    ),
}


def signature(hook: str) -> Any:
    """The Numba signature of a hook's function (numba is imported here).

    Raises KeyError for an unknown hook.
    """
    from numba import from_dtype, types

    numbers = types.Array(types.float64, 1, "C")
    kinds = {name: from_dtype(dtype) for name, dtype in RECORDS.items()}
    return hook_signature(HOOKS[hook], {**kinds, "params": numbers, "memory": numbers})


@functools.cache
def unscored() -> Any:
    """What stands in the hook of a cache whose policy does not ask it."""
    from mltwin.sim.jit import kernel

    return kernel(signature("evict_object"))(_no_score)


def _no_score(object: Any, ctx: Any, params: Any, memory: Any) -> float:
    return 0.0
