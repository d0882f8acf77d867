"""LRU: the object asked for longest ago goes.

Mattson, Gecsei, Slutz, Traiger, "Evaluation techniques for storage hierarchies", IBM Systems
Journal 9 (2), 1970.
"""

from typing import Any

from mltwin.models.caching.driver import make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = ("node",)
RECENCY = 0  # the list, latest at the front


@handler
def hit(S: Any, x: Any) -> None:
    """To the front."""
    unlink(S, x)
    push_front(S, RECENCY, x)


@handler
def insert(S: Any, x: Any) -> None:
    """At the front."""
    S.queue[x] = 1
    push_front(S, RECENCY, x)


@handler
def peek(S: Any, x: Any) -> Any:
    """The one at the back; the empty list's sentinel is NONE."""
    return back(S, RECENCY)


@handler
def make_room(S: Any, x: Any) -> Any:
    """Take the one at the back."""
    victim = back(S, RECENCY)
    unlink(S, victim)
    return victim


STEPS = make_steps(hit=hit, make_room=make_room, insert=insert, drop=unlink, peek=peek)
replay, replay_full, access, step = make_kernels("lru", STEPS)
