"""A 4-ary heap of (key, id) in which an id stands at most once and can be moved.

Keys are floats or integers, whatever the table holds; the order is total, ``(key, id)``. A heap is
three tables: `rows` (records with ``key`` and ``id``), `place` (int32, where an id stands, -1:
nowhere) and `count` (int64[1]). Four children a node halve the depth of a binary heap.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.records import record

SHARE = record("SHARE", [("key", "f8", "bytes a tick and weight"), ("id", "i8", "link or cap")])
END = record("END", [("key", "i8", "ticks"), ("id", "i8", "bundle")])


@handler
def heap_put(rows: Any, place: Any, count: Any, id: int, key: Any) -> None:
    """Insert an id, or move it to another key."""
    hole = np.int64(place[id])
    if hole < 0:
        hole = count[0]
        count[0] = hole + 1
    _settle_hole(rows, place, count[0], hole, id, key)


@handler
def heap_drop(rows: Any, place: Any, count: Any, id: int) -> None:
    """Remove an id if it is there."""
    hole = np.int64(place[id])
    if hole < 0:
        return
    place[id] = -1
    last = count[0] - 1
    count[0] = last
    if hole < last:
        _settle_hole(rows, place, last, hole, rows[last].id, rows[last].key)


@handler
def heap_clear(rows: Any, place: Any, count: Any) -> None:
    """Remove all."""
    for k in range(count[0]):
        place[rows[k].id] = -1
    count[0] = 0


@handler
def _settle_hole(rows: Any, place: Any, count: int, hole: Any, id: int, key: Any) -> None:
    """Fill the hole with (key, id): up as far as it goes, else down."""
    while hole > 0:
        parent = (hole - 1) >> 2
        above = rows[parent].key
        if above < key or (above == key and rows[parent].id < id):
            break
        rows[hole].key = above
        rows[hole].id = rows[parent].id
        place[rows[parent].id] = hole
        hole = parent
    while True:
        child = 4 * hole + 1
        if child >= count:
            break
        best = child
        best_key = rows[child].key
        for other in range(child + 1, min(child + 4, count)):
            other_key = rows[other].key
            if other_key < best_key or (other_key == best_key and rows[other].id < rows[best].id):
                best = other
                best_key = other_key
        if key < best_key or (key == best_key and id < rows[best].id):
            break
        rows[hole].key = best_key
        rows[hole].id = rows[best].id
        place[rows[best].id] = hole
        hole = best
    rows[hole].key = key
    rows[hole].id = id
    place[id] = hole
