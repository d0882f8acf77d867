"""The evictable rows of each cache, in the order in which they would go.

One binary heap for each cache, all in ``S.heap`` at the cache's offset; ``S.place[row]`` is the
row's slot, -1 if it is in none. The order is (kind, score, stamp); stamps differ, so it is total.
"""

from typing import Any

from mltwin.sim.jit import handler


@handler
def precedes(S: Any, x: int, y: int) -> bool:
    """Whether row x goes before row y."""
    a, b = S.rank[x], S.rank[y]
    if a.kind != b.kind:
        return a.kind < b.kind
    if a.score != b.score:
        return a.score < b.score
    return a.stamp < b.stamp


@handler
def _put(S: Any, offset: int, slot: int, x: int) -> None:
    S.heap[offset + slot] = x
    S.place[x] = slot


@handler
def rise(S: Any, c: int, slot: int) -> None:
    """Bring the row at a slot up to where it belongs."""
    offset = S.cache[c].offset
    x = S.heap[offset + slot]
    while slot > 0:
        parent = (slot - 1) >> 1
        y = S.heap[offset + parent]
        if not precedes(S, x, y):
            break
        _put(S, offset, slot, y)
        slot = parent
    _put(S, offset, slot, x)


@handler
def sink(S: Any, c: int, slot: int) -> None:
    """Bring the row at a slot down to where it belongs."""
    offset = S.cache[c].offset
    count = S.cache[c].count
    x = S.heap[offset + slot]
    while True:
        child = 2 * slot + 1
        if child >= count:
            break
        y = S.heap[offset + child]
        if child + 1 < count and precedes(S, S.heap[offset + child + 1], y):
            child += 1
            y = S.heap[offset + child]
        if not precedes(S, y, x):
            break
        _put(S, offset, slot, y)
        slot = child
    _put(S, offset, slot, x)


@handler
def heap_add(S: Any, c: int, x: int) -> None:
    """Row x may be evicted from cache c from now on."""
    slot = S.cache[c].count
    S.cache[c].count = slot + 1
    _put(S, S.cache[c].offset, slot, x)
    rise(S, c, slot)


@handler
def heap_remove(S: Any, c: int, x: int) -> None:
    """Row x may not be evicted from cache c any more."""
    slot = S.place[x]
    S.place[x] = -1
    S.cache[c].count -= 1
    last = S.cache[c].count
    if slot == last:
        return
    _put(S, S.cache[c].offset, slot, S.heap[S.cache[c].offset + last])
    heap_update(S, c, slot)


@handler
def heap_update(S: Any, c: int, slot: int) -> None:
    """The rank of the row at a slot has changed, in any direction."""
    sink(S, c, slot)
    rise(S, c, slot)
