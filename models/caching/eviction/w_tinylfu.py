"""W-TinyLFU: a small LRU window for new objects before a segmented LRU main cache; what leaves the
window enters the main cache only if it was asked for more often than what it would push out.

Einziger, Friedman, Manes, "TinyLFU: a highly efficient cache admission policy", ACM TOS 13 (4),
2017, sections 3 and 4.3: window 1 % of the capacity, main cache of a probationary and a protected
segment (80 %), requests counted in a count-min sketch that is halved from time to time (`sketch`,
without the doorkeeper).

What the paper leaves open: every request counts, before it is served. A hit in the probationary
segment lifts the object into the protected one, whose oldest go back to the front of the former; an
object too large for it stays.
On equal counts the newcomer loses. While the cache is not full what leaves the window enters the
main cache unasked. With sizes the shares count bytes and one eviction is one duel: the oldest of
the window, if the new object does not fit beside it, against the oldest of the probationary segment
(of the protected one if that is empty); a winner enters, and further room comes from the main
cache. The window holds at least one object.

Which objects share counters depends on the hash functions and the size of the sketch, so miss
ratios of two programs differ: by up to 0.014 from those of libCacheSim 0.3.5 (0.004 on Zipf
traces), which also counts no hits in the window, does not limit it before the cache is full and
evicts on hits.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.sketch import sketch_add, sketch_count
from mltwin.models.caching.tables import FIRST, NONE, TINY_LFU
from mltwin.sim.jit import handler

from .kernels import make_kernels
from .parts import check_share, counted_size

NEEDS = ("node",)
WINDOW, PROBATION, PROTECTED = 1, 2, 3  # lists, latest at the front; places in own of their sizes
WINDOW_LIMIT, PROTECTED_LIMIT = 4, 5  # further places in own


def prepare(world: Any) -> None:
    """Set the limits. InputError for shares outside 0 ... 1."""
    window, protected = map(float, world.knobs)
    capacity = int(world.par[0].capacity)
    world.own[WINDOW_LIMIT] = max(1, int(capacity * check_share("window", window)))
    main = capacity - world.own[WINDOW_LIMIT]
    world.own[PROTECTED_LIMIT] = int(main * check_share("protected", protected))


@handler
def _main_victim(S: Any) -> Any:
    y = back(S, PROBATION)
    if np.int64(y) == PROBATION:
        y = back(S, PROTECTED)
    return y if y >= np.uint64(FIRST) else np.uint64(NONE)


def _make(sized: bool) -> Steps:
    extent = counted_size(sized)

    @handler
    def count(S: Any, x: Any) -> None:
        if not sized or S.par[0].admission != TINY_LFU:  # else it is counted already
            sketch_add(S, x)

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
        count(S, x)
        place = np.int64(S.queue[x])
        if place == PROBATION and extent(S, x) <= S.own[PROTECTED_LIMIT]:
            drop(S, x)
            enter(S, PROTECTED, x)
        else:
            unlink(S, x)
            push_front(S, place, x)
            if not sized or place != PROTECTED:
                return
        while S.own[PROTECTED] > S.own[PROTECTED_LIMIT]:
            y = back(S, PROTECTED)
            drop(S, y)
            enter(S, PROBATION, y)

    @handler
    def candidate(S: Any, x: Any) -> Any:
        """The oldest of the window if it has to leave for x, else NONE."""
        incoming = extent(S, x) if S.queue[x] == 0 else 0
        y = back(S, WINDOW)
        if np.int64(y) == WINDOW or S.own[WINDOW] + incoming <= S.own[WINDOW_LIMIT]:
            return np.uint64(NONE)
        return y

    @handler
    def peek(S: Any, x: Any) -> Any:
        leaves = candidate(S, x)
        victim = _main_victim(S)
        if leaves == NONE and victim == NONE:
            leaves = back(S, WINDOW)
            return leaves if np.int64(leaves) != WINDOW else np.uint64(NONE)
        if leaves == NONE:
            return victim
        if victim == NONE or sketch_count(S, leaves) <= sketch_count(S, victim):
            return leaves
        return victim

    @handler
    def make_room(S: Any, x: Any) -> Any:
        leaves = candidate(S, x)
        victim = peek(S, x)
        if victim == NONE:
            return victim
        if leaves != NONE and victim != leaves:
            drop(S, leaves)
            enter(S, PROBATION, leaves)
        drop(S, victim)
        return victim

    @handler
    def insert(S: Any, x: Any) -> None:
        size = extent(S, x)
        while S.own[WINDOW] + size > S.own[WINDOW_LIMIT]:
            y = back(S, WINDOW)
            if np.int64(y) == WINDOW:
                break
            drop(S, y)
            enter(S, PROBATION, y)
        enter(S, WINDOW, x)

    return make_steps(
        hit=hit,
        miss=count,
        make_room=make_room,
        insert=insert,
        drop=drop,
        resize=resize,
        peek=peek,
    )


STEPS = _make(True)
replay, replay_full, access, step = make_kernels("w_tinylfu", STEPS, _make(False))
