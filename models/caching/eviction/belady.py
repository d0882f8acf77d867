"""Belady's MIN: the object whose next request lies farthest ahead goes.

Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5
(2), 1966. The demand variant: each missed object enters, even one that is not asked for again
(without bypass). For objects of one size no policy that takes in every miss has fewer misses; for
sizes it is a heuristic. Objects that are never asked for again go first, the one touched longest
ago before the others.

No heap is needed: next requests are numbers of requests, all different, so the resident objects
are a set of numbers (`bits`) of which the greatest is wanted. Numbers that have passed are left in
it, below all that matter. Of a trace with N requests it keeps 4 N bytes and N bits.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.bits import LEVELS, bit_add, bit_greatest, bit_levels, bit_remove
from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import NEVER, NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = ("node", "mark")
LAST = 0  # the list of residents that are not asked for again, latest at the front
AHEAD, UNWANTED = 1, 2  # S.queue: in the set, in the list


def prepare(world: Any) -> None:
    """An empty set in `ghost` (its levels start at own[0 ...]), its rows in `ring`."""
    words, starts = bit_levels(len(world.next_use))
    if len(world.ghost) < words:
        world.replace(
            ghost=np.zeros(words, np.int64), ring=np.zeros(len(world.next_use), np.uint32)
        )
        world.own[:LEVELS] = starts


@handler
def next_of_now(S: Any) -> int:
    """Number of the next request of the object that is asked for now."""
    now = S.tot[0].clock - 1
    return S.next_use[np.uint64(now)] if now < len(S.next_use) else NEVER


@handler
def file_under(S: Any, x: Any, following: int) -> None:
    """Put row x where its next request says."""
    if following == NEVER:
        S.queue[x] = UNWANTED
        push_front(S, LAST, x)
    else:
        S.queue[x] = AHEAD
        S.ring[np.uint64(following)] = x
        bit_add(S.ghost, S.own, following)


@handler
def peek(S: Any, x: Any) -> Any:
    """One that is not asked for again, else the farthest; NONE where nothing is there."""
    victim = back(S, LAST)
    if victim != LAST:
        return victim
    farthest = bit_greatest(S.ghost, S.own)
    if farthest < S.tot[0].clock:
        return np.uint64(NONE)
    return np.uint64(S.ring[np.uint64(farthest)])


@handler
def make_room(S: Any, x: Any) -> Any:
    """Take out what `peek` names."""
    victim = back(S, LAST)
    if victim != LAST:
        unlink(S, victim)
        return victim
    farthest = bit_greatest(S.ghost, S.own)
    if farthest < S.tot[0].clock:
        return np.uint64(NONE)
    bit_remove(S.ghost, S.own, farthest)
    return np.uint64(S.ring[np.uint64(farthest)])


@handler
def touch_unit(S: Any, x: Any) -> None:
    """It is asked for now; nothing will ask where it is, as there are no removals."""
    file_under(S, x, next_of_now(S))


@handler
def hit(S: Any, x: Any) -> None:
    """Its old number has come; file it under the next."""
    if S.queue[x] == UNWANTED:  # the trace went on after the last request that was foreseen
        unlink(S, x)
    S.mark[x] = next_of_now(S)
    file_under(S, x, S.mark[x])


@handler
def miss(S: Any, x: Any) -> None:
    """Note when it is asked for again."""
    S.mark[x] = next_of_now(S)


@handler
def insert(S: Any, x: Any) -> None:
    """One that was held has been asked for meanwhile: follow it to its next request."""
    while S.mark[x] < S.tot[0].clock:
        S.mark[x] = S.next_use[np.uint64(S.mark[x])]
    file_under(S, x, S.mark[x])


@handler
def drop(S: Any, x: Any) -> None:
    """Out of the list or the set."""
    if S.queue[x] == UNWANTED:
        unlink(S, x)
    elif S.mark[x] >= S.tot[0].clock:
        bit_remove(S.ghost, S.own, S.mark[x])


STEPS = make_steps(hit=hit, miss=miss, make_room=make_room, insert=insert, drop=drop, peek=peek)


def _make_unit() -> Steps:
    return make_steps(
        hit=touch_unit, make_room=make_room, insert=touch_unit, drop=drop, counts=True
    )


replay, replay_full, access, step = make_kernels("belady", STEPS, _make_unit())
