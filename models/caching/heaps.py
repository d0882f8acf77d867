"""A heap of the resident rows, smallest rank first: what policies with a score are made of.

A rank is (score, stamp), in this order; stamps of one policy are all different, so that the order
is total. ``S.rank[x]`` is the rank of row x, ``S.key[slot]`` the one that the heap goes by, in the
order of its slots: 4 children lie side by side, so that a level costs one cache line.

Two ways to use it:

- *lazy*, where a hit can only raise a rank: the policy writes ``S.rank[x]`` and is done; `settle`
  corrects the smallest keys until one of them is true. A row that is asked for often is moved only
  when its old key comes up.
- *exact*, where ranks may fall: `update` after each change. Needs `placed`.

`placed` keeps the slot of each row in ``S.place``, for `remove` and `update`; without it a heap
is a little faster. `own[COUNT]` counts the rows, `own[STAMP]` the stamps given out.
"""

from typing import Any, NamedTuple

import numpy as np

from mltwin.sim.jit import handler

from .tables import NONE

COUNT, STAMP, HOLE = 14, 13, 12
"""Places in `own`. HOLE is 1 while the root stands empty: the next row to come fills it."""
HEAP_TABLES = ("rank", "key", "heap")

_ONE, _TWO, _FOUR = np.uint64(1), np.uint64(2), np.uint64(4)
_ROOT = np.uint64(0)


class Heap(NamedTuple):
    """The handlers of a heap.

    push(S, x): take in row x with ``S.rank[x]``.
    settle(S): the row of the smallest rank, after correcting keys; NONE if the heap is empty.
    pop(S): take out the row that `settle` gave.
    remove(S, x): take out any row (placed).
    update(S, x): ``S.rank[x]`` has changed, in any direction (placed).
    """

    push: Any
    settle: Any
    pop: Any
    remove: Any
    update: Any


@handler
def next_stamp(S: Any) -> int:
    """A number greater than all given before."""
    stamp = S.own[STAMP] + 1
    S.own[STAMP] = stamp
    return stamp


@handler
def set_rank(S: Any, x: Any, score: float) -> None:
    """Rank row x with a new stamp: among equal scores the one ranked earliest is the smallest."""
    S.rank[x].score = score
    S.rank[x].stamp = next_stamp(S)


@handler
def _precedes(score: float, stamp: int, other_score: float, other_stamp: int) -> bool:
    return score < other_score or (score == other_score and stamp < other_stamp)


def make_heap(placed: bool) -> Heap:
    """The handlers of a heap that keeps the slots of its rows, or does not."""

    @handler
    def put(S: Any, slot: Any, x: Any, score: float, stamp: int) -> None:
        S.heap[slot] = x
        S.key[slot].score = score
        S.key[slot].stamp = stamp
        if placed:
            S.place[x] = slot

    @handler
    def sink(S: Any, slot: Any, x: Any, score: float, stamp: int) -> None:
        count = np.uint64(S.own[COUNT])
        while True:
            child = _FOUR * slot + _ONE
            if child >= count:
                break
            best = child
            best_score, best_stamp = S.key[child].score, S.key[child].stamp
            end = min(child + _FOUR, count)
            child += _ONE
            while child < end:
                child_score, child_stamp = S.key[child].score, S.key[child].stamp
                if _precedes(child_score, child_stamp, best_score, best_stamp):
                    best, best_score, best_stamp = child, child_score, child_stamp
                child += _ONE
            if _precedes(score, stamp, best_score, best_stamp):
                break
            put(S, slot, np.uint64(S.heap[best]), best_score, best_stamp)
            slot = best
        put(S, slot, x, score, stamp)

    @handler
    def rise(S: Any, slot: Any, x: Any, score: float, stamp: int) -> None:
        while slot > _ROOT:
            parent = (slot - _ONE) >> _TWO
            parent_score, parent_stamp = S.key[parent].score, S.key[parent].stamp
            if not _precedes(score, stamp, parent_score, parent_stamp):
                break
            put(S, slot, np.uint64(S.heap[parent]), parent_score, parent_stamp)
            slot = parent
        put(S, slot, x, score, stamp)

    @handler
    def fill_from_end(S: Any, slot: Any) -> None:
        S.own[COUNT] -= 1
        last = np.uint64(S.own[COUNT])
        if slot == last:
            return
        x = np.uint64(S.heap[last])
        score, stamp = S.key[last].score, S.key[last].stamp
        if slot > _ROOT:
            parent = (slot - _ONE) >> _TWO
            if _precedes(score, stamp, S.key[parent].score, S.key[parent].stamp):
                rise(S, slot, x, score, stamp)
                return
        sink(S, slot, x, score, stamp)

    @handler
    def close(S: Any) -> None:
        if S.own[HOLE]:
            S.own[HOLE] = 0
            fill_from_end(S, _ROOT)

    @handler
    def push(S: Any, x: Any) -> None:
        score, stamp = S.rank[x].score, S.rank[x].stamp
        if S.own[HOLE]:
            S.own[HOLE] = 0
            sink(S, _ROOT, x, score, stamp)
        else:
            slot = np.uint64(S.own[COUNT])
            S.own[COUNT] += 1
            rise(S, slot, x, score, stamp)

    @handler
    def settle(S: Any) -> Any:
        close(S)
        if S.own[COUNT] == 0:
            return np.uint64(NONE)
        while True:
            x = np.uint64(S.heap[_ROOT])
            score, stamp = S.rank[x].score, S.rank[x].stamp
            if stamp == S.key[_ROOT].stamp and score == S.key[_ROOT].score:
                return x
            sink(S, _ROOT, x, score, stamp)

    @handler
    def pop(S: Any) -> None:
        if placed:
            S.place[S.heap[_ROOT]] = -1
        S.own[HOLE] = 1

    @handler
    def remove(S: Any, x: Any) -> None:
        close(S)
        slot = np.uint64(S.place[x])
        S.place[x] = -1
        fill_from_end(S, slot)

    @handler
    def update(S: Any, x: Any) -> None:
        close(S)
        slot = np.uint64(S.place[x])
        score, stamp = S.rank[x].score, S.rank[x].stamp
        if _precedes(score, stamp, S.key[slot].score, S.key[slot].stamp):
            rise(S, slot, x, score, stamp)
        else:
            sink(S, slot, x, score, stamp)

    return Heap(push, settle, pop, remove, update)


LAZY = make_heap(placed=False)
PLACED = make_heap(placed=True)
