"""LRU-K: the object whose K-th most recent request lies farthest back goes; those with fewer than
K requests go before all others, the one that entered first before the rest.

O'Neil, O'Neil, Weikum, "The LRU-K page replacement algorithm for database disk buffering", SIGMOD
1993, definitions 2.1 and 2.2. What it leaves open: infinite distances are ordered by the first
request (a subsidiary policy, section 2); no period of correlated references, every request counts;
no history is retained after eviction (section 2.1.2 would keep it for a time).
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import HEAP_TABLES, LAZY, PLACED, Heap, next_stamp
from mltwin.models.caching.tables import NONE
from mltwin.models.caching.young import make_ranks
from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = (*HEAP_TABLES, "place", "node", "count")
MAX_K = 64
TOO_FEW = -(2.0**52)  # added to the first request where there are fewer than K
K = 0  # place in own


def prepare(world: Any) -> None:
    """Room for the stamps of the last K requests of each row, in `ghost`; keeps what is there.

    Raises InputError for a K that is no whole number within 1 ... MAX_K.
    """
    k = float(world.knobs[0])
    if not (1 <= k <= MAX_K and k == int(k)):
        raise InputError(f"k = {k:g}", where="eviction.k", mend=f"whole, from 1 to {MAX_K}")
    world.own[K] = int(k)
    wanted = int(k) * len(world.rank)
    if len(world.ghost) < wanted:
        stamps = np.zeros(wanted, np.int64)
        stamps[: len(world.ghost)] = world.ghost
        world.replace(ghost=stamps)


regrow = prepare


@handler
def hit(S: Any, x: Any) -> None:
    """Remember it, forget the one K before."""
    k = np.uint64(S.own[K])
    stamp = next_stamp(S)
    count = np.uint64(S.count[x])
    S.ghost[x * k + count % k] = stamp
    S.count[x] += 1
    if count + np.uint64(1) >= k:
        S.rank[x].score = S.ghost[x * k + (count + np.uint64(1)) % k]
    else:
        S.rank[x].score = TOO_FEW + S.ghost[x * k]
    S.rank[x].stamp = stamp


@handler
def fewer_than_k(S: Any, x: Any) -> bool:
    """Whether its distance is infinite, so that its first request ranks it."""
    return S.count[x] < S.own[K]


def _make(heap: Heap) -> Steps:
    ranks = make_ranks(heap, fewer_than_k, young_first=True)
    enter, lowest, take = ranks.enter, ranks.lowest, ranks.take

    @handler
    def insert(S: Any, x: Any) -> None:
        S.count[x] = 0
        hit(S, x)
        enter(S, x)

    @handler
    def peek(S: Any, x: Any) -> Any:
        return lowest(S)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = lowest(S)
        if victim != NONE:
            take(S, victim)
        return victim

    return make_steps(hit=hit, make_room=make_room, insert=insert, drop=ranks.drop, peek=peek)


STEPS = _make(PLACED)
replay, replay_full, access, step = make_kernels("lru_k", STEPS, _make(LAZY))
