"""The object with the smallest score goes, where a function of the user gives the score.

The function fills the hook ``evict_object`` (`mltwin.models.caching.hooks`); it is asked when an
object enters and at each hit, and what it answers holds until the next time. Among equal scores the
one given earliest goes.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import HEAP_TABLES, PLACED, set_rank
from mltwin.models.caching.tables import FIRST, NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = (*HEAP_TABLES, "place", "object")
NO_NUMBER = 0  # place in own: the number of the first request whose score was no number

_push, _settle, _pop, _update = PLACED.push, PLACED.settle, PLACED.pop, PLACED.update


def _make(full: bool) -> Steps:
    @handler
    def rank(S: Any, x: Any, entering: int) -> None:
        totals, c = S.tot[0], S.ctx[0]
        c.now = totals.now
        c.clock = totals.clock
        if full:
            S.object[x].bytes = S.extent[x]
            c.resident = totals.resident
            c.used = totals.used
        else:  # the fast form has counted the object already that enters
            S.object[x].bytes = 1
            c.resident = totals.resident - entering
            c.used = totals.resident - entering
        c.capacity = S.par[0].capacity
        c.seed = S.par[0].seed
        score = S.evict_object(S.object[x], c, S.knobs, S.memory)
        if score != score:
            if S.own[NO_NUMBER] == 0:
                S.own[NO_NUMBER] = totals.clock
            score = 0.0
        set_rank(S, x, score)
        S.object[x].last_use = totals.now
        S.object[x].asked = totals.clock

    @handler
    def hit(S: Any, x: Any) -> None:
        S.object[x].hits += 1
        old = S.rank[x].score
        rank(S, x, 0)
        if S.rank[x].score < old:  # the heap finds out by itself where ranks have risen
            _update(S, x)

    @handler
    def insert(S: Any, x: Any) -> None:
        S.queue[x] = 1
        o, totals = S.object[x], S.tot[0]
        o.id = np.int64(x) - FIRST
        o.cost = S.cost[x] if len(S.cost) > 1 else 1.0
        o.hits = 0
        o.inserted = totals.now
        o.last_use = totals.now
        o.entered = totals.clock
        o.asked = totals.clock
        rank(S, x, 1)
        _push(S, x)

    @handler
    def peek(S: Any, x: Any) -> Any:
        return _settle(S)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = _settle(S)
        if victim != NONE:
            _pop(S)
        return victim

    return make_steps(
        hit=hit,
        make_room=make_room,
        insert=insert,
        drop=PLACED.remove,
        peek=peek,
        counts=True,
    )


STEPS = _make(full=True)
replay, replay_full, access, step = make_kernels("scored", STEPS, _make(full=False))
