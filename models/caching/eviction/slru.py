"""Segmented LRU: LRU lists of equal shares one above the other; a hit lifts an object by one, and
what the upper list cannot hold goes down to the front of the one below.

Karedla, Love, Wherry, "Caching strategies to improve disk system performance", IEEE Computer 27
(3), 1994 (two segments, probationary and protected; here `segments`, 4 unless given).

What the paper leaves open: each segment may hold capacity / `segments`, rounded down (bytes with
sizes), only the lowest whatever is left; the hit object goes up first and then others down; an
object too large for a segment stays where it is. New objects enter the lowest segment that has room
for them, so that an empty cache fills from below, and the lowest one where none has. The victim is
the oldest of the lowest segment that is not empty.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import FIRST, NONE
from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler, kernel

from .parts import counted_size

NEEDS = ("node",)
LOWEST = 1  # list of the lowest segment, the next ones follow; places in own of their sizes
TOP, LIMIT = 8, 9  # further places in own: the highest list, what a segment may hold


def prepare(world: Any) -> None:
    """Set the limits. InputError unless there are 1 to 7 segments."""
    segments = float(world.knobs[0])
    if segments not in range(1, FIRST):
        raise InputError(
            f"segments = {segments:g} is no whole number from 1 to 7", where="eviction.segments"
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
    def hit(S: Any, x: Any) -> None:
        place = np.int64(S.queue[x])
        if place == S.own[TOP] and not sized:
            unlink(S, x)
            push_front(S, place, x)
            return
        drop(S, x)
        if place < S.own[TOP] and extent(S, x) <= S.own[LIMIT]:
            place += 1
        enter(S, place, x)
        while place > LOWEST:
            while S.own[place] > S.own[LIMIT]:
                y = back(S, place)
                drop(S, y)
                enter(S, place - 1, y)
            place -= 1

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
_request, _perform = STEPS.request, STEPS.perform
_access = _make(False).access


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
