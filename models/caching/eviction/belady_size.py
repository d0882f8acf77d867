"""Belady with sizes: of some residents drawn at random, the one that would hold the most space for
the longest goes.

With sizes, Belady's rule is not optimal and the optimum is NP-hard (Berger, Beckmann, Harchol-
Balter, "Practical bounds on optimal caching with variable object sizes", POMACS 2 (2), 2018). This
is the usual strong heuristic: the greatest product of size and time to the next request. The order
changes as time passes, so `samples` residents are looked at (with replacement) instead of a
queue. Time is counted in requests; objects that are never asked for again go before all others,
the largest first; among equals the one drawn first goes.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import COUNT
from mltwin.models.caching.pool import DRAWN, POOL_TABLES, pool_add, pool_draw, pool_remove
from mltwin.models.caching.tables import NEVER, NONE
from mltwin.sim.jit import handler

from .belady import next_of_now
from .kernels import make_kernels

NEEDS = (*POOL_TABLES, "mark")  # mark: number of its next request
FOREVER = 2.0**60  # requests to the next one, where there is none


@handler
def touch(S: Any, x: Any) -> None:
    """Note when it is asked for again."""
    S.mark[x] = next_of_now(S)


@handler
def insert(S: Any, x: Any) -> None:
    """Into the pool; one that was held has been asked for meanwhile."""
    S.queue[x] = 1
    while S.mark[x] < S.tot[0].clock:
        S.mark[x] = S.next_use[np.uint64(S.mark[x])]
    pool_add(S, x)


@handler
def unit_burden(S: Any, x: Any) -> float:
    """Requests until the next one for x."""
    return FOREVER if S.mark[x] == NEVER else float(S.mark[x] - S.tot[0].clock)


@handler
def burden(S: Any, x: Any) -> float:
    """The same times its size."""
    return unit_burden(S, x) * max(1, S.extent[x])


def _make(burden_of: Any) -> Steps:
    @handler
    def choose(S: Any) -> Any:
        best = pool_draw(S, 0)
        most = burden_of(S, best)
        for number in range(1, np.int64(S.knobs[0])):
            other = pool_draw(S, number)
            found = burden_of(S, other)
            if found > most:
                best, most = other, found
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
        hit=touch,
        miss=touch,
        make_room=make_room,
        insert=insert,
        drop=pool_remove,
        peek=peek,
        counts=True,
    )


STEPS = _make(burden)
replay, replay_full, access, step = make_kernels("belady_size", STEPS, _make(unit_burden))
