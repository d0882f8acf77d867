"""Intrusive doubly linked lists of rows. A list is its sentinel, a row below FIRST: `next` of it is
the front, `previous` the back. Both links of a row lie side by side, in one cache line.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler


@handler
def push_front(S: Any, sentinel: int, x: Any) -> None:
    """Put row x, which is in no list, at the front."""
    first = S.node[sentinel].next
    S.node[x].previous = sentinel
    S.node[x].next = first
    S.node[first].previous = x
    S.node[sentinel].next = x


@handler
def push_back(S: Any, sentinel: int, x: Any) -> None:
    """Put row x, which is in no list, at the back."""
    last = S.node[sentinel].previous
    S.node[x].next = sentinel
    S.node[x].previous = last
    S.node[last].next = x
    S.node[sentinel].previous = x


@handler
def insert_after(S: Any, y: Any, x: Any) -> None:
    """Put row x, which is in no list, behind row y, nearer to the back."""
    after = S.node[y].next
    S.node[x].previous = y
    S.node[x].next = after
    S.node[after].previous = x
    S.node[y].next = x


@handler
def unlink(S: Any, x: Any) -> None:
    """Take row x out of its list."""
    before = S.node[x].previous
    after = S.node[x].next
    S.node[before].next = after
    S.node[after].previous = before


@handler
def back(S: Any, sentinel: int) -> Any:
    """The row at the back; the sentinel itself where the list is empty."""
    return np.uint64(S.node[sentinel].previous)


@handler
def front(S: Any, sentinel: int) -> Any:
    """The row at the front; the sentinel itself where the list is empty."""
    return np.uint64(S.node[sentinel].next)
