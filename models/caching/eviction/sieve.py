"""SIEVE: FIFO whose hand goes from the oldest to the newest and round, sparing visited objects
where they stand.

Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is simpler than LRU", NSDI 2024, algorithm 1. New
objects are not visited. After an eviction the hand stands on the next newer object, or again on the
oldest if there is none. An object that is removed or expires under the hand moves it likewise (the
paper has no removals).
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = ("node",)
QUEUE = 0  # the list, latest at the front
HAND = 0  # place in own: the row to look at next, NONE for the oldest
FRESH, VISITED = 1, 2  # S.queue


@handler
def hit(S: Any, x: Any) -> None:
    """Visited."""
    S.queue[x] = VISITED


@handler
def insert(S: Any, x: Any) -> None:
    """At the front, not visited."""
    S.queue[x] = FRESH
    push_front(S, QUEUE, x)


@handler
def _newer(S: Any, x: Any) -> Any:
    """The next newer row, the oldest after the newest."""
    y = np.uint64(S.node[x].previous)
    return y if y != NONE else back(S, QUEUE)


@handler
def _at_hand(S: Any) -> Any:
    hand = np.uint64(S.own[HAND])
    return hand if hand != NONE else back(S, QUEUE)


@handler
def peek(S: Any, x: Any) -> Any:
    """The first from the hand on that was not visited, or the one under it if all were."""
    start = _at_hand(S)
    if S.queue[start] != VISITED:
        return start
    y = _newer(S, start)
    while y != start and S.queue[y] == VISITED:
        y = _newer(S, y)
    return y


@handler
def make_room(S: Any, x: Any) -> Any:
    """Take the first from the hand on that was not visited; those passed no longer are."""
    victim = _at_hand(S)
    while S.queue[victim] == VISITED:
        S.queue[victim] = FRESH
        victim = _newer(S, victim)
    S.own[HAND] = S.node[victim].previous
    unlink(S, victim)
    return victim


@handler
def drop(S: Any, x: Any) -> None:
    """Take it out; a hand on it moves on."""
    if S.own[HAND] == np.int64(x):
        S.own[HAND] = S.node[x].previous
    unlink(S, x)


STEPS = make_steps(hit=hit, make_room=make_room, insert=insert, drop=drop, peek=peek)
replay, replay_full, access, step = make_kernels("sieve", STEPS)
