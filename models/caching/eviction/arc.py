"""ARC: two LRU lists, of objects seen once (T1) and more often (T2) of late, whose shares follow
the hits in their ghost lists (B1, B2).

Megiddo, Modha, "ARC: a self-tuning, low overhead replacement cache", FAST 2003, figure 4. The
target p of T1 is a real number and moves by max(1, |B2| / |B1|) on a hit in B1, by the inverse on
one in B2.

With sizes all lists and p count bytes, and p still moves by that ratio, as one object asks for it
(not by its size). Room is made object by object, the rules of case IV looked at anew for each: if
T1 and B1 with the new object exceed the capacity, the oldest ghost of B1 goes (without ghosts: the
oldest of T1, leaving none); otherwise, if all four lists reach twice the capacity, the oldest
ghost of B2. Ghost lists may thus be somewhat above the paper's bounds for a while.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import FIRST, NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels
from .parts import counted_size

NEEDS = ("node", "ghost", "origin")
T1, T2, B1, B2 = 1, 2, 3, 4  # lists, latest at the front; places in own of their sizes
WANTED, WAS_IN = 5, 6  # places in own: the row whose ghost was found, and the list it was in
TARGET = 0  # place in own_f: p


@handler
def _target(S: Any, was_in: int) -> float:
    """p after a hit in ghost list `was_in`."""
    recent, frequent = max(S.own[B1], 1), max(S.own[B2], 1)
    if was_in == B1:
        larger = S.own_f[TARGET] + max(frequent / recent, 1.0)
        return min(larger, float(S.par[0].capacity))
    if was_in == B2:
        return max(S.own_f[TARGET] - max(recent / frequent, 1.0), 0.0)
    return S.own_f[TARGET]


@handler
def _takes_from_t1(S: Any, was_in: int, target: float) -> bool:
    """Whether `replace` takes from T1: it is above its target."""
    if np.int64(back(S, T1)) == T1:
        return False
    if np.int64(back(S, T2)) == T2:
        return True
    return S.own[T1] > target or (was_in == B2 and S.own[T1] == target)


@handler
def _overflows(S: Any, incoming: int) -> bool:
    """Case IV A: T1 and B1 would exceed the capacity."""
    return S.own[T1] + S.own[B1] + incoming > S.par[0].capacity


@handler
def peek(S: Any, x: Any) -> Any:
    """The one that leaves next."""
    was_in = np.int64(S.origin[x])
    from_t1 = _takes_from_t1(S, was_in, _target(S, was_in))
    if was_in == 0 and np.int64(back(S, B1)) == B1 and _overflows(S, S.extent[x]):
        from_t1 = np.int64(back(S, T1)) != T1 or from_t1
    victim = back(S, T1 if from_t1 else T2)
    return victim if victim >= np.uint64(FIRST) else np.uint64(NONE)


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
        unlink(S, x)
        push_front(S, T2, x)
        if S.queue[x] == T1:
            S.queue[x] = T2
            S.own[T1] -= extent(S, x)
            S.own[T2] += extent(S, x)

    @handler
    def forget(S: Any, place: int, y: Any) -> None:
        unlink(S, y)
        S.origin[y] = 0
        S.own[place] -= S.ghost[y] if sized else 1

    @handler
    def remember(S: Any, place: int, y: Any) -> None:
        S.origin[y] = place
        if sized:
            S.ghost[y] = S.extent[y]
        S.own[place] += extent(S, y)
        push_front(S, place, y)

    @handler
    def miss(S: Any, x: Any) -> None:
        S.own[WANTED] = NONE
        place = np.int64(S.origin[x])
        if place == 0:
            return
        S.own_f[TARGET] = _target(S, place)
        forget(S, place, x)
        S.own[WANTED] = x
        S.own[WAS_IN] = place

    @handler
    def insert(S: Any, x: Any) -> None:
        enter(S, T2 if S.own[WANTED] == np.int64(x) else T1, x)
        S.own[WANTED] = NONE

    @handler
    def make_room(S: Any, x: Any) -> Any:
        was_in = S.own[WAS_IN] if S.own[WANTED] == np.int64(x) else 0
        if was_in == 0:
            total = S.own[T1] + S.own[B1] + S.own[T2] + S.own[B2]
            if _overflows(S, extent(S, x) if S.queue[x] == 0 else 0):  # or it has grown
                oldest = back(S, B1)
                if np.int64(oldest) != B1:
                    forget(S, B1, oldest)
                else:
                    victim = back(S, T1)
                    if np.int64(victim) != T1:
                        drop(S, victim)
                        return victim
            elif total >= 2 * S.par[0].capacity:
                oldest = back(S, B2)
                if np.int64(oldest) != B2:
                    forget(S, B2, oldest)
        place = T1 if _takes_from_t1(S, was_in, S.own_f[TARGET]) else T2
        victim = back(S, place)
        if np.int64(victim) == place:
            return np.uint64(NONE)
        drop(S, victim)
        remember(S, B1 if place == T1 else B2, victim)
        return victim

    return make_steps(
        hit=hit, miss=miss, make_room=make_room, insert=insert, drop=drop, resize=resize, peek=peek
    )


STEPS = _make(True)
replay, replay_full, access, step = make_kernels("arc", STEPS, _make(False))
