"""The entries of each category: a heap by eviction key and a list by age.

Every entry of a category stands in a binary heap whose root is the next victim, and in a doubly
linked list from the oldest to the newest. An entry is named by the query that it answers.

The heap's order is (key, tie): LRU (order of last use, 0), FIFO (order of insertion, 0), LFU
(hits, order of last use), GreedyDual (inflation + uses x cost, order of last use).
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .state import ABSENT, RESIDENT
from .tables import EVICTED, EXPIRED, FIFO, GDSF, LFU, REFUSED, TTL_FIRST

TICKS_PER_COST = 1000
"""GreedyDual counts the cost of a call in microseconds, so that its keys do not overflow."""


@handler
def insert(S: Any, q: int, now: int) -> None:
    """The answer to q becomes an entry, if its category has a quota; a full one evicts first."""
    g = S.glob[0]
    c = S.category[q]
    if S.quota[c] <= 0:
        S.state[q] = ABSENT
        S.left[q] = REFUSED
        g.refused += 1
        return
    if S.filled[c] >= S.quota[c]:
        _make_room(S, c, now)
    S.state[q] = RESIDENT
    S.left[q] = 0
    S.born[q] = now
    S.older[q] = S.newest[c]
    S.newer[q] = -1
    if S.newest[c] >= 0:
        S.newer[S.newest[c]] = q
    else:
        S.oldest[c] = q
    S.newest[c] = q
    _set_key(S, q, c, True)
    place = S.filled[c]
    S.filled[c] = place + 1
    _up(S, S.base[c], place, q)
    g.insertions += 1
    g.resident += 1
    g.most_entries = max(g.most_entries, g.resident)


@handler
def use(S: Any, e: int) -> None:
    """Entry e is served."""
    c = S.category[e]
    S.hits[e] += 1
    _set_key(S, e, c, False)
    _down(S, S.base[c], S.place[e], S.filled[c], e)


@handler
def is_expired(S: Any, e: int, now: int) -> bool:
    """Whether an entry is as old as the TTL of its category, or older."""
    return now - S.born[e] >= S.ttl_now[S.category[e]]


@handler
def remove(S: Any, e: int, why: int, now: int) -> None:
    """Entry e leaves: evicted or expired."""
    g = S.glob[0]
    c = S.category[e]
    S.state[e] = ABSENT
    S.left[e] = why
    S.left_at[e] = now
    if why == EXPIRED:
        g.expirations += 1
    else:
        g.evictions += 1
    g.resident -= 1
    if S.older[e] >= 0:
        S.newer[S.older[e]] = S.newer[e]
    else:
        S.oldest[c] = S.newer[e]
    if S.newer[e] >= 0:
        S.older[S.newer[e]] = S.older[e]
    else:
        S.newest[c] = S.older[e]
    last = S.filled[c] - 1
    S.filled[c] = last
    hole = np.int64(S.place[e])
    S.place[e] = -1
    if hole < last:
        moved = np.int64(S.slots[S.base[c] + last])
        if hole > 0 and _before(S, moved, S.slots[S.base[c] + (hole - 1) // 2]):
            _up(S, S.base[c], hole, moved)
        else:
            _down(S, S.base[c], hole, last, moved)


@handler
def _make_room(S: Any, c: int, now: int) -> None:
    """One entry of a full category leaves."""
    if S.glob[0].eviction == TTL_FIRST and is_expired(S, S.oldest[c], now):
        remove(S, S.oldest[c], EXPIRED, now)
        return
    victim = np.int64(S.slots[S.base[c]])
    if S.glob[0].eviction == GDSF:
        S.inflation[c] = S.key[victim]
    remove(S, victim, EVICTED, now)


@handler
def _set_key(S: Any, e: int, c: int, is_new: bool) -> None:
    """The eviction key of an entry that is new or has just been served."""
    g = S.glob[0]
    g.order += 1
    if g.eviction == FIFO:
        if is_new:
            S.key[e] = g.order
    elif g.eviction == LFU:
        S.key[e] = S.hits[e]
        S.tie[e] = g.order
    elif g.eviction == GDSF:
        S.key[e] = S.inflation[c] + (S.hits[e] + 1) * (S.service[e] // TICKS_PER_COST)
        S.tie[e] = g.order
    else:
        S.key[e] = g.order


@handler
def _before(S: Any, a: int, b: int) -> bool:
    """Whether entry a is evicted before entry b."""
    return S.key[a] < S.key[b] or (S.key[a] == S.key[b] and S.tie[a] < S.tie[b])


@handler
def _up(S: Any, base: int, place: int, e: int) -> None:
    """Put e at a place of the heap, or above it."""
    here = np.int64(place)
    while here > 0:
        parent = (here - 1) // 2
        above = S.slots[base + parent]
        if not _before(S, e, above):
            break
        S.slots[base + here] = above
        S.place[above] = here
        here = parent
    S.slots[base + here] = e
    S.place[e] = here


@handler
def _down(S: Any, base: int, place: int, count: int, e: int) -> None:
    """Put e at a place of the heap, or below it."""
    here = np.int64(place)
    while True:
        child = 2 * here + 1
        if child >= count:
            break
        if child + 1 < count and _before(S, S.slots[base + child + 1], S.slots[base + child]):
            child += 1
        below = S.slots[base + child]
        if not _before(S, below, e):
            break
        S.slots[base + here] = below
        S.place[below] = here
        here = child
    S.slots[base + here] = e
    S.place[e] = here
