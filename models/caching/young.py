"""Residents ordered by rank where objects enter in the order of their ranks: a queue, and a heap.

Under LFU and its kin a new object ranks behind all others that nobody asked for since they entered,
so those are a queue (list YOUNG). Only an object that was asked for goes to the heap, and not
before its turn in the queue has come. Most objects are never asked for again: no heap operation.
"""

from typing import Any, NamedTuple

from mltwin.sim.jit import handler

from .heaps import Heap
from .lists import back, push_front, unlink
from .tables import NONE

YOUNG = NONE  # the list, latest at the front; its sentinel is "no row"
IN_QUEUE, IN_HEAP = 1, 2  # S.queue


class Ranks(NamedTuple):
    """The handlers.

    enter(S, x): take in row x with ``S.rank[x]``, which no young row's rank exceeds.
    lowest(S): the row of the smallest rank; NONE if there is none.
    take(S, x): take out the row that `lowest` gave.
    drop(S, x): take out any row (needs a placed heap).
    """

    enter: Any
    lowest: Any
    take: Any
    drop: Any


def make_ranks(heap: Heap, is_young: Any, young_first: bool) -> Ranks:
    """The handlers over a lazy heap.

    Args:
        heap: for the rows that were asked for.
        is_young: handler (S, x): whether nothing has changed x's rank since it entered, or it ranks
            among the young nonetheless.
        young_first: whether every young row ranks before all others.
    """
    push, settle, pop, remove = heap.push, heap.settle, heap.pop, heap.remove

    @handler
    def enter(S: Any, x: Any) -> None:
        S.queue[x] = IN_QUEUE
        push_front(S, YOUNG, x)

    @handler
    def oldest_young(S: Any) -> Any:
        x = back(S, YOUNG)
        while x != NONE and not is_young(S, x):
            unlink(S, x)
            S.queue[x] = IN_HEAP
            push(S, x)
            x = back(S, YOUNG)
        return x

    @handler
    def lowest(S: Any) -> Any:
        x = oldest_young(S)
        if young_first and x != NONE:
            return x
        y = settle(S)
        if x == NONE or y == NONE:
            return y if x == NONE else x
        a, b = S.rank[x], S.rank[y]
        if a.score < b.score or (a.score == b.score and a.stamp < b.stamp):
            return x
        return y

    @handler
    def take(S: Any, x: Any) -> None:
        if S.queue[x] == IN_QUEUE:
            unlink(S, x)
        else:
            pop(S)

    @handler
    def drop(S: Any, x: Any) -> None:
        if S.queue[x] == IN_QUEUE:
            unlink(S, x)
        else:
            remove(S, x)

    return Ranks(enter, lowest, take, drop)
