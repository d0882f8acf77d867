"""FIFO: the object that entered first goes, however often it was asked for since."""

from typing import Any

from mltwin.models.caching.driver import make_steps, nothing
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = ("node",)
QUEUE = 0  # the list, latest at the front


@handler
def insert(S: Any, x: Any) -> None:
    """At the front."""
    S.queue[x] = 1
    push_front(S, QUEUE, x)


@handler
def peek(S: Any, x: Any) -> Any:
    """The one at the back; the empty list's sentinel is NONE."""
    return back(S, QUEUE)


@handler
def make_room(S: Any, x: Any) -> Any:
    """Take the one at the back."""
    victim = back(S, QUEUE)
    unlink(S, victim)
    return victim


STEPS = make_steps(hit=nothing, make_room=make_room, insert=insert, drop=unlink, peek=peek)
replay, replay_full, access, step = make_kernels("fifo", STEPS)
