"""Segmented LRU: LRU lists of equal shares one above the other; a hit lifts an object by one, and
what the upper list cannot hold goes down to the front of the one below.

Karedla, Love, Wherry, "Caching strategies to improve disk system performance", IEEE Computer 27
(3), 1994 (two segments, probationary and protected; here `segments`, 4 unless given).

What the paper leaves open: each segment may hold capacity / `segments`, rounded down (bytes with
sizes). A hit object leaves its segment first; then the segment above makes room for it by sending
its oldest down, and so on to the lowest one, which evicts: a hit may evict where the segments are
tight (sizes, or a capacity that they do not divide). An object too large for a segment stays where
it is. New objects enter the lowest segment that has room for them, so that an empty cache fills
from below, and the lowest one, beyond its share, where none has. The victim is the oldest of the
lowest segment that is not empty.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, expel, make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import NONE
from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler

from .kernels import make_kernels
from .parts import counted_size

NEEDS = ("node",)
LOWEST = 1  # list of the lowest segment, the next ones follow; places in own of their sizes
MOST = 6  # segments
TOP, LIMIT = 7, 8  # further places in own: the highest list, what a segment may hold
SENT_DOWN = 8  # plus a list: place in own of the row that is on its way to the list below


def prepare(world: Any) -> None:
    """Set the limits. InputError unless there are 1 to 6 segments."""
    segments = float(world.knobs[0])
    if segments not in range(1, MOST + 1):
        raise InputError(
            f"segments = {segments:g} is no whole number from 1 to {MOST}",
            where="eviction.segments",
        )
    world.own[TOP] = LOWEST + int(segments) - 1
    world.own[LIMIT] = int(world.par[0].capacity) // int(segments)


@handler
def peek(S: Any, x: Any) -> Any:
    """The oldest of the lowest segment that is not empty."""
    for place in range(LOWEST, S.own[TOP] + 1):
        y = back(S, place)
        if np.int64(y) != place:
            return y
    return np.uint64(NONE)


def _make(sized: bool) -> Steps:
    extent = counted_size(sized)

    @handler
    def enter(S: Any, place: int, x: Any) -> None:
        S.queue[x] = place
        S.own[place] += extent(S, x)
        push_front(S, place, x)

    @handler
    def drop(S: Any, x: Any) -> None:
        unlink(S, x)
        S.own[S.queue[x]] -= extent(S, x)

    @handler
    def resize(S: Any, x: Any, change: int) -> None:
        S.own[S.queue[x]] += change

    @handler
    def lift(S: Any, x: Any, target: int) -> None:
        """x enters segment `target`; on the way down row by row makes room for the one above."""
        place = target
        coming = x
        while True:
            oldest = back(S, place)
            full = S.own[place] + extent(S, coming) > S.own[LIMIT]
            if full and np.int64(oldest) != place:
                drop(S, oldest)
                if place == LOWEST:
                    expel(S, oldest)
                else:
                    S.own[SENT_DOWN + place] = oldest
                    coming = oldest
                    place -= 1
            else:
                enter(S, place, coming)
                if place == target:
                    break
                place += 1
                coming = np.uint64(S.own[SENT_DOWN + place + 1]) if place < target else x

    @handler
    def hit(S: Any, x: Any) -> None:
        place = np.int64(S.queue[x])
        if place < S.own[TOP] and extent(S, x) <= S.own[LIMIT]:
            drop(S, x)
            lift(S, x, place + 1)
        else:
            unlink(S, x)
            push_front(S, place, x)

    @handler
    def insert(S: Any, x: Any) -> None:
        place = LOWEST
        while place <= S.own[TOP]:
            if S.own[place] + extent(S, x) <= S.own[LIMIT]:
                break
            place += 1
        enter(S, place if place <= S.own[TOP] else LOWEST, x)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = peek(S, x)
        if victim != NONE:
            drop(S, victim)
        return victim

    return make_steps(
        hit=hit, make_room=make_room, insert=insert, drop=drop, resize=resize, peek=peek
    )


STEPS = _make(True)
replay, replay_full, access, step = make_kernels("slru", STEPS, _make(False))
