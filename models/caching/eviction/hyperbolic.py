"""Hyperbolic caching: of some residents drawn, the one asked for least often per time goes.

Blankstein, Sen, Freedman, "Hyperbolic caching: flexible caching for web applications", USENIX ATC
2017, sections 2 and 3: priority = requests since it entered / time since it entered, weighted by
cost / size (section 3.1; both 1 unless given); `samples` residents are looked at (64 in section 4).
Left open there, chosen here: time is counted in requests, draws are with replacement, and among
equal priorities the one drawn first goes.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import COUNT
from mltwin.models.caching.pool import DRAWN, POOL_TABLES, pool_add, pool_draw, pool_remove
from mltwin.models.caching.tables import NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = (*POOL_TABLES, "rank")  # rank: requests as score, request number of its entry as stamp


@handler
def hit(S: Any, x: Any) -> None:
    """Count it."""
    S.rank[x].score += 1.0


@handler
def insert(S: Any, x: Any) -> None:
    """Count from 1, now."""
    S.queue[x] = 1
    S.rank[x].score = 1.0
    S.rank[x].stamp = S.tot[0].clock
    pool_add(S, x)


@handler
def unit_priority(S: Any, x: Any) -> float:
    """Requests per time, for objects of size and cost 1."""
    return S.rank[x].score / max(1, S.tot[0].clock - S.rank[x].stamp)


@handler
def priority(S: Any, x: Any) -> float:
    """Requests per time, times cost / size."""
    cost = S.cost[x] if len(S.cost) > 1 else 1.0
    return unit_priority(S, x) * cost / max(1, S.extent[x])


def _make(priority_of: Any) -> Steps:
    @handler
    def choose(S: Any) -> Any:
        best = pool_draw(S, 0)
        least = priority_of(S, best)
        for number in range(1, np.int64(S.knobs[0])):
            other = pool_draw(S, number)
            found = priority_of(S, other)
            if found < least:
                best, least = other, found
        return best

    @handler
    def peek(S: Any, x: Any) -> Any:
        return choose(S) if S.own[COUNT] > 0 else np.uint64(NONE)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        if S.own[COUNT] == 0:
            return np.uint64(NONE)
        victim = choose(S)
        S.own[DRAWN] += 1
        pool_remove(S, victim)
        return victim

    return make_steps(
        hit=hit,
        make_room=make_room,
        insert=insert,
        drop=pool_remove,
        peek=peek,
        counts=True,
    )


STEPS = _make(priority)
replay, replay_full, access, step = make_kernels("hyperbolic", STEPS, _make(unit_priority))
