"""RANDOM: any resident object goes, all equally likely.

Aho, Denning, Ullman, "Principles of optimal page replacement", Journal of the ACM 18 (1), 1971.
Under independent references it misses as often as FIFO (Gelenbe, "A unified approach to the
evaluation of a class of replacement algorithms", IEEE Transactions on Computers 22 (6), 1973).
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import make_steps, nothing
from mltwin.models.caching.heaps import COUNT
from mltwin.models.caching.pool import DRAWN, POOL_TABLES, pool_add, pool_draw, pool_remove
from mltwin.models.caching.tables import NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = POOL_TABLES


@handler
def insert(S: Any, x: Any) -> None:
    """Into the pool."""
    S.queue[x] = 1
    pool_add(S, x)


@handler
def peek(S: Any, x: Any) -> Any:
    """The one that the next draw gives."""
    return pool_draw(S, 0) if S.own[COUNT] > 0 else np.uint64(NONE)


@handler
def make_room(S: Any, x: Any) -> Any:
    """Take it out."""
    if S.own[COUNT] == 0:
        return np.uint64(NONE)
    victim = pool_draw(S, 0)
    S.own[DRAWN] += 1
    pool_remove(S, victim)
    return victim


STEPS = make_steps(hit=nothing, make_room=make_room, insert=insert, drop=pool_remove, peek=peek)
replay, replay_full, access, step = make_kernels("random", STEPS)
