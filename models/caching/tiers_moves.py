"""What enters and leaves the tiers: fills, victims that move down, dirty objects."""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.jit import handler

from .driver import FILL, FIND, REMOVE
from .tables import FIRST, MISS, NEVER
from .tiers_tables import ENTER, LEAVE, MAX_TIERS

IN_FLIGHT = 7
"""Bit of `dirty`, beside those of the tiers: what is being moved up."""


@handler
def do(T: Any, C: Any, k: int, what: int, x: int, size: int, now: int, life: int) -> int:
    """One step of tier k's cache, for object x."""
    row = np.uint64(x + FIRST)
    if k == 0:
        return T.step_0(C[0], what, row, size, now, life)
    if k == 1:
        return T.step_1(C[1], what, row, size, now, life)
    if k == 2:
        return T.step_2(C[2], what, row, size, now, life)
    return T.step_3(C[3], what, row, size, now, life)


@handler
def holds(C: Any, k: int, x: int) -> bool:
    """Whether tier k has object x, fresh or not."""
    return C[k].queue[x + FIRST] != 0


@handler
def remove(T: Any, C: Any, now: int, k: int, x: int) -> None:
    """Take x out of tier k, if it is there."""
    do(T, C, k, REMOVE, x, 0, now, 0)


@handler
def is_dirty(T: Any, k: int, x: int) -> int:
    """1 if tier k has of x what the levels below have not; k = IN_FLIGHT: what moves up has."""
    return (np.int64(T.dirty[x]) >> k) & 1


@handler
def take_dirty(T: Any, k: int, x: int) -> int:
    """The same, and clear it."""
    was = is_dirty(T, k, x)
    T.dirty[x] = np.int64(T.dirty[x]) & ~(1 << k)
    return was


@handler
def life_of(T: Any, now: int, k: int, until: int) -> int:
    """How long x lasts in tier k: its own end goes before the tier's; 0: for ever."""
    return T.level[k].life if until == NEVER else until - now


@handler
def enter(T: Any, C: Any, now: int, k: int, x: int, size: int, until: int) -> int:
    """Take x into tier k, in place of an older copy; its victims stand in the cache's list."""
    remove(T, C, now, k, x)
    C[k].tot[0].victims = 0
    done = do(T, C, k, FILL, x, size, now, life_of(T, now, k, until))
    if done == MISS:
        log_event(T, now, ENTER, x, k)
        if len(T.below) > 1:
            T.below[k * T.par[0].objects + x] = 0
    return done


@handler
def to_origin(T: Any, C: Any, now: int, k: int, x: int, size: int, until: int, dirty: int) -> int:
    """Below the last tier: nothing is kept."""
    return T.par[0].tiers


def make_settle(put: Any) -> Any:
    """`settle(T, C, now, k)`: what becomes of the victims of tier k; `put` is for tiers below."""

    @handler
    def settle(T: Any, C: Any, now: int, k: int) -> None:
        p = T.par[0]
        for i in range(C[k].tot[0].victims):
            row = np.int64(C[k].victims[i])
            x = row - FIRST
            size = C[k].extent[row]
            dirty = take_dirty(T, k, x)
            log_event(T, now, LEAVE, x, k)
            if p.strict:
                for nearer in range(k):
                    remove(T, C, now, nearer, x)
            if p.exclusive or dirty:
                level = put(T, C, now, k + 1, x, size, C[k].expires[row], dirty)
                if level < p.tiers:
                    T.level[level].moved_in += 1
                if level < p.tiers or dirty:
                    T.level[level].moving += size

    return settle


def make_put(settle: Any, deeper: Any) -> Any:
    """`put(T, C, now, k, x, size, until, dirty)`: x into tier k, or if it refuses, below.

    The level where it is now, the origin if nowhere; the caller counts the bytes.
    """

    @handler
    def put(T: Any, C: Any, now: int, k: int, x: int, size: int, until: int, dirty: int) -> int:
        p = T.par[0]
        if until <= now:
            for older in range(k, p.tiers):
                remove(T, C, now, older, x)
        if k >= p.tiers or until <= now:
            return p.tiers
        done = enter(T, C, now, k, x, size, until)
        settle(T, C, now, k)
        if done == MISS:
            T.dirty[x] = np.int64(T.dirty[x]) | (dirty << k)
            return k
        if not (p.exclusive or dirty):
            return p.tiers
        return deeper(T, C, now, k + 1, x, size, until, dirty)

    return put


# There is no mutual recursion in compiled code: one copy for each tier that may lie below.
_put = to_origin
for _ in range(MAX_TIERS):
    _put = make_put(make_settle(_put), _put)
put, settle = _put, make_settle(_put)


@handler
def look(T: Any, C: Any, now: int, k: int, x: int, size: int) -> int:
    """Find x in tier k and touch it; 1 if it is there."""
    was_there = holds(C, k, x)
    old = C[k].extent[x + FIRST]
    found = do(T, C, k, FIND, x, size, now, 0)
    if found == 0 and was_there and take_dirty(T, k, x):  # expired
        T.level[T.par[0].tiers].moving += old
        for older in range(k + 1, T.par[0].tiers):
            remove(T, C, now, older, x)
    settle(T, C, now, k)
    return found
