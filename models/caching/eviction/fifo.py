"""FIFO: the object that entered first goes, however often it was asked for since."""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import make_steps, nothing
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import FIRST
from mltwin.sim.jit import handler, kernel

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
_access, _request, _perform = STEPS.access, STEPS.request, STEPS.perform


@kernel()
def replay(S: Any, ids: Any) -> int:
    """Hits of unit objects."""
    hits = 0
    for i in range(len(ids)):
        hits += _access(S, np.uint64(ids[i]) + np.uint64(FIRST))
    return hits


@kernel()
def replay_full(S: Any, ids: Any, sizes: Any, times: Any, lives: Any, outcome: Any) -> None:
    """The outcome of each request, with sizes, expiry and admission."""
    for i in range(len(ids)):
        x = np.uint64(ids[i]) + np.uint64(FIRST)
        outcome[i] = _request(S, x, sizes[i], times[i], lives[i])


@kernel()
def access(S: Any, x: Any) -> int:
    """One request of the fast form: 1 for a hit."""
    return _access(S, x)


@kernel()
def step(S: Any, what: int, x: Any, size: int, now: int, ttl: int) -> int:
    """One operation, see `driver.make_steps`."""
    return _perform(S, what, x, size, now, ttl)
