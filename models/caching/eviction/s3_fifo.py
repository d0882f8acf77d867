"""S3-FIFO: a small FIFO queue for new objects, a main one for those that were asked for in it, and
a ghost queue of those that were not.

Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023,
algorithm 1. Counts stop at 3; an object whose count has reached `threshold` (2) moves from the
small queue to the main one, where its count starts again at 0; other ones leave into the ghost
queue. The main queue is CLOCK with these counts. A missed object whose ghost is known enters the
main queue, any other the small one.

What the paper leaves open, or puts differently in text and code:

- the small queue gives the victim unless it is empty or the main queue is above its share (capacity
  less `small`), which is looked at once an eviction: objects that move to the main queue on the way
  may overfill it, and the search goes on in the small queue until it is empty;
- a ghost leaves its queue when its object is asked for, and its room is free at once;
- `warm_up_to_main` (policy `s3_fifo`, on; `s3_fifo_original`, off): until the first eviction new
  objects enter the main queue once the small one is full, as in the reference data;
- with sizes all shares are shares of the capacity in bytes, rounded down, and a ghost weighs what
  its object did; an object larger than the ghost queue leaves no ghost. An object larger than the
  small queue is taken in all the same.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.tables import NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels
from .parts import check_share, counted_size

NEEDS = ("node", "ghost", "origin")
SMALL, MAIN, GHOST = 1, 2, 3  # lists, latest at the front; places in own of their sizes
SMALL_LIMIT, GHOST_LIMIT, THRESHOLD, WARM, WANTED = 4, 5, 6, 7, 8  # further places in own
PLACE, ONE, MOST = 3, 4, 12  # S.queue is SMALL or MAIN plus ONE for each request counted


def prepare(world: Any) -> None:
    """Set the limits. InputError for shares outside 0 ... 1 or a threshold outside 0 ... 3."""
    small, ghost, threshold, warm_up_to_main = map(float, world.knobs)
    capacity = int(world.par[0].capacity)
    world.own[SMALL_LIMIT] = max(1, int(capacity * check_share("small", small)))
    world.own[GHOST_LIMIT] = int(capacity * check_share("ghost", ghost, most=16.0))
    world.own[THRESHOLD] = ONE * int(check_share("threshold", threshold, most=3.0))
    world.own[WARM] = warm_up_to_main != 0


@handler
def _least(S: Any, place: int) -> Any:
    """Of a list the row with the smallest count, of equal ones the nearest to the back."""
    best = y = back(S, place)
    while np.int64(y) != place:
        if S.queue[y] < S.queue[best]:
            best = y
        y = np.uint64(S.node[y].previous)
    return best


@handler
def peek(S: Any, x: Any) -> Any:
    """The next victim, as `make_room` would find it."""
    y = oldest = back(S, SMALL)
    if S.own[MAIN] <= S.par[0].capacity - S.own[SMALL_LIMIT]:
        while np.int64(y) != SMALL:
            if S.queue[y] < S.own[THRESHOLD]:
                return y
            y = np.uint64(S.node[y].previous)
    else:
        oldest = np.uint64(SMALL)  # it stays where it is
    y = _least(S, MAIN)
    if np.int64(oldest) != SMALL and (np.int64(y) == MAIN or S.queue[y] >= ONE):
        return oldest  # it would move to the main queue, with a count of 0
    return y if np.int64(y) != MAIN else np.uint64(NONE)


def _make(sized: bool) -> Steps:
    extent = counted_size(sized)

    @handler
    def hit(S: Any, x: Any) -> None:
        mark = S.queue[x]
        if mark < MOST:
            S.queue[x] = mark + ONE

    @handler
    def forget(S: Any, y: Any) -> None:
        unlink(S, y)
        S.origin[y] = 0
        S.own[GHOST] -= S.ghost[y] if sized else 1

    @handler
    def miss(S: Any, x: Any) -> None:
        S.own[WANTED] = NONE
        if S.origin[x] != 0:
            forget(S, x)
            S.own[WANTED] = x

    @handler
    def enter(S: Any, place: int, x: Any) -> None:
        S.queue[x] = place
        S.own[place] += extent(S, x)
        push_front(S, place, x)

    @handler
    def insert(S: Any, x: Any) -> None:
        full = S.own[WARM] != 0 and S.own[SMALL] >= S.own[SMALL_LIMIT]
        enter(S, MAIN if full or S.own[WANTED] == np.int64(x) else SMALL, x)
        S.own[WANTED] = NONE

    @handler
    def drop(S: Any, x: Any) -> None:
        unlink(S, x)
        S.own[S.queue[x] & PLACE] -= extent(S, x)

    @handler
    def resize(S: Any, x: Any, change: int) -> None:
        S.own[S.queue[x] & PLACE] += change

    @handler
    def remember(S: Any, y: Any) -> None:
        room = S.own[GHOST_LIMIT] - extent(S, y)
        if room < 0:
            return
        while S.own[GHOST] > room:
            forget(S, back(S, GHOST))
        if sized:
            S.ghost[y] = S.extent[y]
        S.own[GHOST] += extent(S, y)
        S.origin[y] = GHOST
        push_front(S, GHOST, y)

    @handler
    def from_main(S: Any) -> Any:
        y = back(S, MAIN)
        while S.queue[y] >= ONE:
            S.queue[y] -= ONE
            unlink(S, y)
            push_front(S, MAIN, y)
            y = back(S, MAIN)
        if y == MAIN:
            return np.uint64(NONE)
        drop(S, y)
        return y

    @handler
    def make_room(S: Any, x: Any) -> Any:
        S.own[WARM] = 0
        if S.own[MAIN] <= S.par[0].capacity - S.own[SMALL_LIMIT]:
            y = back(S, SMALL)
            while y != SMALL:
                drop(S, y)
                if S.queue[y] < S.own[THRESHOLD]:
                    remember(S, y)
                    return y
                enter(S, MAIN, y)
                y = back(S, SMALL)
        return from_main(S)

    return make_steps(
        hit=hit, miss=miss, make_room=make_room, insert=insert, drop=drop, resize=resize, peek=peek
    )


STEPS = _make(True)
replay, replay_full, access, step = make_kernels("s3_fifo", STEPS, _make(False))
