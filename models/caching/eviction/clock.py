"""CLOCK, also called FIFO-Reinsertion or second chance: FIFO in which an object that was asked for
since goes round once more instead of leaving.

Corbato, "A paging experiment with the Multics system", MIT Project MAC report MAC-M-384, 1968. With
`bits` > 1 an object counts its requests up to 2^bits - 1 and pays one for each round (generalised
CLOCK: Smith, "Sequentiality and prefetching in database systems", ACM TODS 3 (3), 1978). A new
object starts at 0. The queue stands for the circle: its back is where the hand points.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import NONE
from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = ("node",)
QUEUE = 0  # the list, latest at the front; S.queue is 1 + the count
MOST = 0  # place in own: the largest S.queue


def prepare(world: Any) -> None:
    """Set the largest count. InputError unless `bits` is a whole number from 1 to 7."""
    bits = float(world.knobs[0])
    if bits not in range(1, 8):
        raise InputError(f"bits = {bits:g} is no whole number from 1 to 7", where="eviction.bits")
    world.own[MOST] = 2 ** int(bits)


@handler
def hit(S: Any, x: Any) -> None:
    """Count it."""
    if S.queue[x] < S.own[MOST]:
        S.queue[x] += 1


@handler
def insert(S: Any, x: Any) -> None:
    """At the front."""
    S.queue[x] = 1
    push_front(S, QUEUE, x)


@handler
def peek(S: Any, x: Any) -> Any:
    """The one with the smallest count, of equal ones the nearest to the back."""
    best = y = back(S, QUEUE)
    while y != NONE and S.queue[best] > 1:
        if S.queue[y] < S.queue[best]:
            best = y
        y = np.uint64(S.node[y].previous)
    return best


@handler
def make_room(S: Any, x: Any) -> Any:
    """Take the first one from the back whose count is 0; the others pay one and go round."""
    victim = back(S, QUEUE)
    while S.queue[victim] > 1:
        S.queue[victim] -= 1
        unlink(S, victim)
        push_front(S, QUEUE, victim)
        victim = back(S, QUEUE)
    unlink(S, victim)
    return victim


STEPS = make_steps(hit=hit, make_room=make_room, insert=insert, drop=unlink, peek=peek)
replay, replay_full, access, step = make_kernels("clock", STEPS)
