"""2Q, full version: a FIFO queue of new objects (A1in), their ghosts (A1out), and an LRU list (Am)
of objects that were asked for while they were ghosts.

Johnson, Shasha, "2Q: a low overhead high performance buffer management replacement algorithm", VLDB
1994, section 3. `recent` is Kin (25 %) and `ghost` Kout (50 %), as shares of the capacity, rounded
down; with sizes they count bytes, and a ghost weighs what its object did. A1in gives the victim
while it is above its share, or if Am is empty. A hit in A1in changes nothing.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels
from .parts import check_share, counted_size

NEEDS = ("node", "ghost", "origin")
A1IN, AM, A1OUT = 1, 2, 3  # lists, latest at the front; places in own of their sizes
KIN, KOUT, WANTED = 4, 5, 6  # further places in own


def prepare(world: Any) -> None:
    """Set the limits. InputError for shares outside 0 ... 1 (ghosts: 16)."""
    recent, ghost = map(float, world.knobs)
    capacity = int(world.par[0].capacity)
    world.own[KIN] = int(capacity * check_share("recent", recent))
    world.own[KOUT] = int(capacity * check_share("ghost", ghost, most=16.0))


@handler
def peek(S: Any, x: Any) -> Any:
    """The one that leaves next."""
    newest, oldest = back(S, A1IN), back(S, AM)
    if np.int64(newest) != A1IN and (S.own[A1IN] > S.own[KIN] or np.int64(oldest) == AM):
        return newest
    return oldest if np.int64(oldest) != AM else np.uint64(NONE)


def _make(sized: bool) -> Steps:
    extent = counted_size(sized)

    @handler
    def hit(S: Any, x: Any) -> None:
        if S.queue[x] == AM:
            unlink(S, x)
            push_front(S, AM, x)

    @handler
    def forget(S: Any, y: Any) -> None:
        unlink(S, y)
        S.origin[y] = 0
        S.own[A1OUT] -= S.ghost[y] if sized else 1

    @handler
    def miss(S: Any, x: Any) -> None:
        S.own[WANTED] = NONE
        if S.origin[x] != 0:
            forget(S, x)
            S.own[WANTED] = x

    @handler
    def insert(S: Any, x: Any) -> None:
        place = AM if S.own[WANTED] == np.int64(x) else A1IN
        S.own[WANTED] = NONE
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
    def remember(S: Any, y: Any) -> None:
        room = S.own[KOUT] - extent(S, y)
        if room < 0:
            return
        while S.own[A1OUT] > room:
            forget(S, back(S, A1OUT))
        if sized:
            S.ghost[y] = S.extent[y]
        S.own[A1OUT] += extent(S, y)
        S.origin[y] = A1OUT
        push_front(S, A1OUT, y)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = peek(S, x)
        if victim != NONE:
            drop(S, victim)
            if S.queue[victim] == A1IN:
                remember(S, victim)
        return victim

    return make_steps(
        hit=hit, miss=miss, make_room=make_room, insert=insert, drop=drop, resize=resize, peek=peek
    )


STEPS = _make(True)
replay, replay_full, access, step = make_kernels("two_q", STEPS, _make(False))
