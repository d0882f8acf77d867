"""GDSF: greedy dual by size and frequency. Object f has the priority L + frequency * cost / size;
the smallest goes, and L, the age of the cache, becomes the priority of what went.

Cherkasova, "Improving WWW proxies performance with greedy-dual-size-frequency caching policy", HP
Laboratories report HPL-98-69R1, 1998, section 3; with cost 1 unless costs are given. The new object
takes part: if its own priority is the smallest it is not taken in, and L still becomes its priority
(the report leaves L then as it was and spares those chosen before it; here they stay out).
Frequencies start at 1 and are forgotten on eviction; the priority of a new object uses the L of
its arrival; among equal priorities the one ranked earliest goes.

Frequency * cost / size is multiplied by `SCALE`, which makes it a whole number for most sizes, so
that objects of equal merit tie as they should. Hits raise priorities, unless the object grows: the
heap is lazy but for that.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import HEAP_TABLES, LAZY, PLACED, Heap, set_rank
from mltwin.models.caching.tables import NONE
from mltwin.models.caching.young import Ranks, make_ranks
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = (*HEAP_TABLES, "place", "node", "count")
SCALE = 1e6
AGE, INCOMING_SCORE = 0, 1  # places in own_f
INCOMING = 0  # place in own: the row that `miss` has scored, 0 if none


@handler
def unit_merit(S: Any, x: Any) -> float:
    """SCALE * frequency, for objects of size and cost 1."""
    return SCALE * S.count[x]


@handler
def merit(S: Any, x: Any) -> float:
    """SCALE * frequency * cost / size."""
    cost = S.cost[x] if len(S.cost) > 1 else 1.0
    return SCALE * S.count[x] * cost / max(1, S.extent[x])


@handler
def counted_once(S: Any, x: Any) -> bool:
    """Whether it was not asked for since it entered."""
    return S.count[x] == 1


def _in_heap(heap: Heap) -> Ranks:
    """All residents in a heap: sizes and costs put new objects anywhere."""

    @handler
    def enter(S: Any, x: Any) -> None:
        S.queue[x] = 1
        heap.push(S, x)

    @handler
    def take(S: Any, x: Any) -> None:
        heap.pop(S)

    return Ranks(enter, heap.settle, take, heap.remove)


def _make(heap: Heap, ranks: Ranks, merit_of: Any) -> Steps:
    enter, lowest, take, update = ranks.enter, ranks.lowest, ranks.take, heap.update
    sized = heap is PLACED

    @handler
    def hit(S: Any, x: Any) -> None:
        S.count[x] += 1
        old = S.rank[x].score
        set_rank(S, x, S.own_f[AGE] + merit_of(S, x))
        if sized and S.rank[x].score < old:  # it has grown larger
            update(S, x)

    @handler
    def miss(S: Any, x: Any) -> None:
        S.count[x] = 1
        S.own[INCOMING] = x
        S.own_f[INCOMING_SCORE] = S.own_f[AGE] + merit_of(S, x)

    @handler
    def insert(S: Any, x: Any) -> None:
        if S.own[INCOMING] != np.int64(x):  # it was held
            miss(S, x)
        S.own[INCOMING] = 0
        set_rank(S, x, S.own_f[INCOMING_SCORE])
        enter(S, x)

    @handler
    def peek(S: Any, x: Any) -> Any:
        return lowest(S)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = lowest(S)
        if victim == NONE:
            return victim
        coming = S.own[INCOMING] == np.int64(x)
        if coming and S.own_f[INCOMING_SCORE] < S.rank[victim].score:
            S.own_f[AGE] = S.own_f[INCOMING_SCORE]
            return np.uint64(NONE)
        S.own_f[AGE] = S.rank[victim].score
        take(S, victim)
        return victim

    return make_steps(
        hit=hit,
        miss=miss,
        make_room=make_room,
        insert=insert,
        drop=ranks.drop,
        peek=peek,
        refuses=True,
    )


STEPS = _make(PLACED, _in_heap(PLACED), merit)
_UNIT = _make(LAZY, make_ranks(LAZY, counted_once, young_first=False), unit_merit)
replay, replay_full, access, step = make_kernels("gdsf", STEPS, _UNIT)
