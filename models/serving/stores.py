"""Where prefix blocks live beyond the HBM: a host tier per replica and a pool that all share.

One mechanism for both. Store r is the host tier of replica r, store n_replicas the pool. A store
holds blocks by their id; `store_map` says in which row of `entries`. Rows 0 to `used` of a store
are taken, so a block that comes takes the next one or its victim's. Blocks that nobody reads stand
in a binary heap by (score, stamp), first to go first; one that is being read is pinned, out of it.

Scores: LRU and FIFO 0 (the stamp is of the last touch, of the arrival), LFU the touches, COST
L + 1 + c depth with L the score of the last victim (GreedyDual: Young, "The k-server dual and loose
competitiveness for paging", Algorithmica 1994; c as in the theory page of KV prefix caches).
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .tables import STORE_COST, STORE_FIFO, STORE_LFU


@handler
def store_slot(S: Any, s: int, block: int) -> int:
    """Where a block stands in store s, -1 if it does not."""
    return np.int64(S.store_map[s * S.par[0].own_ids + block])


@handler
def in_host(S: Any, r: int, i: int, start: int, limit: int) -> int:
    """First of the blocks of request i from `start` that the host tier of r lacks, or limit."""
    first = S.block_start[i]
    j = np.int64(start)
    while j < limit and store_slot(S, r, np.int64(S.block_ids[first + j])) >= 0:
        j += 1
    return j


@handler
def in_pool(S: Any, i: int, start: int, limit: int) -> int:
    """First of the blocks of request i from `start` that the pool lacks, or limit."""
    return in_host(S, S.par[0].n_replicas, i, start, limit)


@handler
def store_write(S: Any, s: int, block: int) -> int:
    """A block is written to store s: it comes, or gains rank if it is there.

    Returns the block that has left for it, the block itself where the store cannot take it, -1 for
    none.
    """
    x = S.stores[s]
    if x.capacity == 0:
        return np.int64(block)
    slot = store_slot(S, s, block)
    if slot >= 0:
        row = x.offset + slot
        S.entries[row].touches += 1
        if S.entries[row].pins == 0:
            _leave_heap(S, s, row)
            _join_heap(S, s, row)
        return np.int64(-1)
    gone = np.int64(-1)
    if x.used < x.capacity:
        slot = np.int64(x.used)
        x.used += 1
    elif x.ready > 0:
        slot = np.int64(S.store_heap[x.offset])
        victim = S.entries[x.offset + slot]
        x.age = victim.score
        gone = np.int64(victim.block)
        _leave_heap(S, s, x.offset + slot)
        S.store_map[s * S.par[0].own_ids + gone] = -1
        x.evicted += 1
    else:
        x.refused += 1
        return np.int64(block)
    row = x.offset + slot
    y = S.entries[row]
    y.block = block
    y.pins = 0
    y.touches = 1
    S.store_map[s * S.par[0].own_ids + block] = slot
    y.stamp = _next_stamp(S)
    _join_heap(S, s, row)
    x.written += 1
    return gone


@handler
def store_pin(S: Any, s: int, block: int) -> None:
    """A block of store s, which must be there, is being read: it stays until it is unpinned."""
    row = S.stores[s].offset + store_slot(S, s, block)
    if S.entries[row].pins == 0:
        _leave_heap(S, s, row)
    S.entries[row].pins += 1
    S.entries[row].touches += 1


@handler
def store_unpin(S: Any, s: int, block: int) -> None:
    """One reader less; the last one gives the block its new rank."""
    row = S.stores[s].offset + store_slot(S, s, block)
    S.entries[row].pins -= 1
    if S.entries[row].pins == 0:
        _join_heap(S, s, row)


@handler
def store_clear(S: Any, s: int) -> None:
    """All that store s holds is lost; nothing of it is being read."""
    x = S.stores[s]
    x.lost += x.used
    for slot in range(x.used):
        S.store_map[s * S.par[0].own_ids + S.entries[x.offset + slot].block] = -1
    x.used = 0
    x.ready = 0
    x.age = 0.0


@handler
def write_back(S: Any, r: int, block: int) -> None:
    """A block has left the HBM of r: to the host tier, what leaves that for it to the pool."""
    gone = store_write(S, r, block)
    if gone >= 0:
        store_write(S, S.par[0].n_replicas, gone)


@handler
def write_through(S: Any, r: int, i: int, start: int, upto: int) -> None:
    """Blocks start to upto of request i are complete on r: each goes to all stores, tail first."""
    first = S.block_start[i]
    for j in range(upto - 1, start - 1, -1):
        block = np.int64(S.block_ids[first + j])
        store_write(S, r, block)
        store_write(S, S.par[0].n_replicas, block)


@handler
def _next_stamp(S: Any) -> int:
    x = S.stores[S.par[0].n_replicas]
    x.stamps += 1
    return x.stamps


@handler
def _join_heap(S: Any, s: int, row: int) -> None:
    """Rank a block anew and put it into the heap of its store."""
    x = S.stores[s]
    y = S.entries[row]
    policy = S.par[0].store_policy
    if policy != STORE_FIFO:
        y.stamp = _next_stamp(S)
    y.score = 0.0
    if policy == STORE_LFU:
        y.score = np.float64(y.touches)
    elif policy == STORE_COST:
        y.score = x.age + 1.0 + S.par[0].store_depth_cost * S.block_depth[y.block]
    x.ready += 1
    _rise(S, x.offset, row, x.ready - 1)


@handler
def _leave_heap(S: Any, s: int, row: int) -> None:
    x = S.stores[s]
    x.ready -= 1
    last = x.offset + np.int64(S.store_heap[x.offset + x.ready])
    if last != row:
        _settle(S, x.offset, x.ready, last, np.int64(S.entries[row].place))


@handler
def _goes_before(S: Any, a: int, b: int) -> bool:
    x = S.entries[a]
    y = S.entries[b]
    return x.score < y.score or (x.score == y.score and x.stamp < y.stamp)


@handler
def _rise(S: Any, offset: int, row: int, place: int) -> None:
    while place > 0:
        parent = (place - 1) >> 1
        above = offset + np.int64(S.store_heap[offset + parent])
        if not _goes_before(S, row, above):
            break
        S.store_heap[offset + place] = above - offset
        S.entries[above].place = place
        place = parent
    S.store_heap[offset + place] = row - offset
    S.entries[row].place = place


@handler
def _settle(S: Any, offset: int, n: int, row: int, place: int) -> None:
    """Put a row where it belongs, from a place of the heap of n that is free for it."""
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        below = offset + np.int64(S.store_heap[offset + child])
        if child + 1 < n:
            other = offset + np.int64(S.store_heap[offset + child + 1])
            if _goes_before(S, other, below):
                below = other
                child += 1
        if not _goes_before(S, below, row):
            break
        S.store_heap[offset + place] = below - offset
        S.entries[below].place = place
        place = child
    _rise(S, offset, row, place)
