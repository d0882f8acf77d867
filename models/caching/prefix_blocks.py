"""Blocks come, move between tiers and go: what happens to a row. Rules: `prefix_nodes`."""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .prefix_heap import heap_add, heap_remove, heap_update
from .prefix_tables import COPY, COST, EVICT, FIFO, LENT, LFU, PLAIN, WANTED


@handler
def note(S: Any, time: int, kind: int, entity: int, value: int) -> None:
    """Log an event while there is room."""
    row = 4 * S.tot[0].log
    if row + 4 <= len(S.log):
        S.log[row] = time
        S.log[row + 1] = kind
        S.log[row + 2] = entity
        S.log[row + 3] = value
        S.tot[0].log += 1


@handler
def holder_of(S: Any, c: int) -> int:
    """The node that a cache belongs to; the pool counts as the one after the last."""
    return min(c // S.par[0].tiers, S.par[0].nodes)


@handler
def refresh(S: Any, x: int) -> None:
    """Whether row x may go, or its rank, has changed."""
    c = np.int64(S.home[x]) - 1
    if c < 0:
        return
    kind = PLAIN
    if holder_of(S, c) != x // S.par[0].blocks:
        kind = LENT
    elif S.par[0].queue_informed and S.want[x] > 0:
        kind = WANTED
    S.rank[x].kind = kind
    free = S.pins[x] == 0 and not (S.par[0].leaf_only and S.kids[x] > 0)
    if S.place[x] >= 0:
        if free:
            heap_update(S, c, np.int64(S.place[x]))
        else:
            heap_remove(S, c, x)
    elif free:
        heap_add(S, c, x)


@handler
def seat(S: Any, x: int, c: int) -> None:
    """Row x lies in cache c from now on."""
    S.home[x] = c + 1
    S.cache[c].used += 1
    refresh(S, x)


@handler
def unseat(S: Any, x: int) -> None:
    """Row x leaves its cache."""
    c = np.int64(S.home[x]) - 1
    if S.place[x] >= 0:
        heap_remove(S, c, x)
    S.cache[c].used -= 1
    S.home[x] = 0


@handler
def next_stamp(S: Any) -> int:
    """A number greater than all before."""
    S.tot[0].stamp += 1
    return S.tot[0].stamp


@handler
def count_in(S: Any, x: int) -> None:
    """Row x has come to its node (or the pool)."""
    totals = S.tot[0]
    block = x % S.par[0].blocks
    holder = x // S.par[0].blocks
    if S.par[0].leaf_only and S.parent[block] >= 0:
        above = x - block + S.parent[block]
        S.kids[above] += 1
        refresh(S, above)
    if holder == S.par[0].nodes:
        totals.pool_inserted += 1
        return
    totals.inserted += 1
    totals.resident += 1
    S.copies[block] += 1
    if S.copies[block] > 1:
        totals.duplicates += 1


@handler
def count_out(S: Any, x: int, c: int, now: int) -> None:
    """Row x has been evicted from cache c, the last that it could be in."""
    totals = S.tot[0]
    block = x % S.par[0].blocks
    holder = x // S.par[0].blocks
    S.cache[c].age = S.rank[x].score
    note(S, now, EVICT, x, c)
    if S.par[0].leaf_only and S.parent[block] >= 0:
        above = x - block + S.parent[block]
        S.kids[above] -= 1
        refresh(S, above)
    if holder == S.par[0].nodes:
        totals.pool_evicted += 1
        return
    totals.evicted += 1
    totals.resident -= 1
    S.copies[block] -= 1
    if S.copies[block] > 0:
        totals.duplicates -= 1


@handler
def creditor(S: Any, holder: int) -> int:
    """The other node with the most free room, the lowest of equals; -1 if none has any."""
    best = np.int64(-1)
    most = np.int64(0)
    for n in range(S.par[0].nodes):
        free = S.cache[n].capacity - S.cache[n].used
        if n != holder and free > most:
            best = np.int64(n)
            most = free
    return best


@handler
def staler_debt(S: Any, holder: int) -> int:
    """The node that lends `holder` the block that goes before all its own; -1 if its own does.

    A block that it lends itself goes before both.
    """
    best = np.int64(-1)
    if S.cache[holder].count > 0:
        best = np.int64(S.heap[S.cache[holder].offset])
        if S.rank[best].kind == LENT:
            return np.int64(-1)
    found = np.int64(-1)
    for n in range(S.par[0].nodes):
        if n == holder or S.cache[n].count == 0:
            continue
        x = np.int64(S.heap[S.cache[n].offset])
        if S.rank[x].kind != LENT or x // S.par[0].blocks != holder:
            continue
        a, b = S.rank[x], S.rank[max(best, 0)]
        if best < 0 or a.score < b.score or (a.score == b.score and a.stamp < b.stamp):
            best = x
            found = np.int64(n)
    return found


@handler
def place(S: Any, x: int, now: int) -> bool:
    """Put row x, which is in no cache, into the first tier; victims go on to the next one.

    False if it found everything pinned and is lost.
    """
    holder = x // S.par[0].blocks
    c = holder * S.par[0].tiers
    last = c + S.par[0].tiers - 1 if holder < S.par[0].nodes else c
    moving = np.int64(x)
    came_from = np.int64(-1)
    while True:
        cache = S.cache[c]
        if cache.used < cache.capacity:
            seat(S, moving, c)
            return True
        if S.par[0].borrow and holder < S.par[0].nodes:
            other = creditor(S, holder)
            if other >= 0:
                S.tot[0].lent += 1
                seat(S, moving, other)
                return True
            other = staler_debt(S, holder)
            if other >= 0:
                stale = np.int64(S.heap[S.cache[other].offset])
                unseat(S, stale)
                S.tot[0].lent += 1
                seat(S, moving, other)
                count_out(S, stale, other, now)
                return True
        if cache.count == 0:
            if came_from < 0:
                return False
            count_out(S, moving, came_from, now)
            return True
        victim = np.int64(S.heap[cache.offset])
        unseat(S, victim)
        seat(S, moving, c)
        if c == last:
            count_out(S, victim, c, now)
            return True
        S.tot[0].demoted += 1
        moving = victim
        came_from = c
        c += 1


@handler
def rank_new(S: Any, x: int, c: int) -> None:
    """The rank of a row that comes."""
    policy = S.par[0].policy
    S.rank[x].stamp = next_stamp(S)
    S.rank[x].score = 0.0
    if policy == LFU:
        S.rank[x].score = 1.0
    elif policy == COST:
        S.rank[x].score = S.cache[c].age + S.cost[x % S.par[0].blocks]


@handler
def rank_hit(S: Any, x: int, c: int) -> None:
    """The rank of a row that is asked for again."""
    policy = S.par[0].policy
    if policy == FIFO:
        return
    S.rank[x].stamp = next_stamp(S)
    if policy == LFU:
        S.rank[x].score += 1.0
    elif policy == COST:
        S.rank[x].score = S.cache[c].age + S.cost[x % S.par[0].blocks]


@handler
def touch(S: Any, holder: int, block: int, now: int) -> bool:
    """Node `holder` (or the pool) uses a block: it comes, or its rank changes. Whether it came."""
    x = np.int64(holder * S.par[0].blocks + block)
    totals = S.tot[0]
    first = holder * S.par[0].tiers
    c = np.int64(S.home[x]) - 1
    if c < 0:
        rank_new(S, x, first)
        came = place(S, x, now)
        if came:
            count_in(S, x)
        elif holder == S.par[0].nodes:
            totals.pool_refused += 1
        else:
            totals.refused += 1
        return came
    if c > first and holder_of(S, c) == holder:  # in a lower tier: back to the first
        unseat(S, x)
        rank_hit(S, x, first)
        totals.promoted += 1
        if not place(S, x, now):
            totals.refused += 1
            count_out(S, x, c, now)
        return False
    rank_hit(S, x, first)
    refresh(S, x)
    return False


@handler
def copy_if_hot(S: Any, holder: int, block: int, now: int) -> None:
    """Count a hit; the one that makes a block hot copies it to the next nodes without it."""
    settings = S.par[0]
    window = S.tot[0].done // settings.hot_window
    if S.hot_since[block] != window:
        S.hot_since[block] = window
        S.hot_count[block] = 0
    S.hot_count[block] += 1
    if S.hot_count[block] != settings.hot_hits:
        return
    made = 0
    for step in range(1, settings.nodes):
        if made >= settings.hot_copies:
            return
        other = (holder + step) % settings.nodes
        if S.home[other * settings.blocks + block] == 0 and touch(S, other, block, now):
            made += 1
            S.tot[0].copied += 1
            note(S, now, COPY, other, block)
