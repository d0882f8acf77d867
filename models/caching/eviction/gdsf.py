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
from mltwin.models.caching.tables import FIRST, NONE
from mltwin.sim.jit import handler, kernel

NEEDS = (*HEAP_TABLES, "place", "count")
SCALE = 1e6
AGE, INCOMING_SCORE = 0, 1  # places in own_f
INCOMING = 0  # place in own: the row that `miss` has scored, 0 if none


@handler
def unit_merit(S: Any, x: Any) -> float:
    """SCALE * frequency * cost, for objects of size 1."""
    cost = S.cost[x] if len(S.cost) > 1 else 1.0
    return SCALE * S.count[x] * cost


@handler
def merit(S: Any, x: Any) -> float:
    """SCALE * frequency * cost / size."""
    cost = S.cost[x] if len(S.cost) > 1 else 1.0
    return SCALE * S.count[x] * cost / max(1, S.extent[x])


def _make(heap: Heap, merit_of: Any) -> Steps:
    push, settle, pop, update = heap.push, heap.settle, heap.pop, heap.update
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
        S.queue[x] = 1
        if S.own[INCOMING] != np.int64(x):  # it was held
            miss(S, x)
        S.own[INCOMING] = 0
        set_rank(S, x, S.own_f[INCOMING_SCORE])
        push(S, x)

    @handler
    def peek(S: Any, x: Any) -> Any:
        return settle(S)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = settle(S)
        coming = S.own[INCOMING] == np.int64(x)
        if victim == NONE:
            return victim
        if coming and S.own_f[INCOMING_SCORE] < S.rank[victim].score:
            S.own_f[AGE] = S.own_f[INCOMING_SCORE]
            return np.uint64(NONE)
        S.own_f[AGE] = S.rank[victim].score
        pop(S)
        return victim

    return make_steps(
        hit=hit,
        miss=miss,
        make_room=make_room,
        insert=insert,
        drop=heap.remove,
        peek=peek,
        refuses=True,
    )


STEPS = _make(PLACED, merit)
_request, _perform = STEPS.request, STEPS.perform
_access = _make(LAZY, unit_merit).access


@kernel()
def replay(S: Any, ids: Any) -> int:
    """Hits of unit objects."""
    hits = 0
    for i in range(len(ids)):
        hits += _access(S, np.uint64(ids[i]) + np.uint64(FIRST))
    return hits


@kernel()
def replay_full(S: Any, ids: Any, sizes: Any, times: Any, lives: Any, outcome: Any) -> None:
    """The outcome of each request, with sizes, expiry and admission."""
    for i in range(len(ids)):
        x = np.uint64(ids[i]) + np.uint64(FIRST)
        outcome[i] = _request(S, x, sizes[i], times[i], lives[i])


@kernel()
def access(S: Any, x: Any) -> int:
    """One request of the fast form: 1 for a hit."""
    return _access(S, x)


@kernel()
def step(S: Any, what: int, x: Any, size: int, now: int, ttl: int) -> int:
    """One operation, see `driver.make_steps`."""
    return _perform(S, what, x, size, now, ttl)
