"""LIRS: objects whose last two requests lie close together (LIR) stay; of the others (HIR) a small
queue is held.

Jiang, Zhang, "LIRS: an efficient low inter-reference recency set replacement policy to improve
buffer cache performance", SIGMETRICS 2002, section 3. Stack S holds LIR objects, and HIR ones,
resident or not, above the oldest LIR one; queue Q holds the resident HIR ones, whose share is `hir`
(1 %, at least 1) of the capacity. New objects are LIR while these have room.

What the paper leaves open: S is bounded by `stack` (2) times the capacity, beyond which the absent
object that left first is forgotten. With sizes all shares count bytes; an object larger than the
share of LIR objects is never one of them; one larger than that of Q is held in Q alone.

With `strict` (policy `lirs`, which then equals the reference data; `lirs_original` is the paper's):

- Q is held to its share: objects that enter it push out the oldest, also when the cache is not
  full (in the paper the total alone decides; without sizes both shares are then full);
- a hit on a resident HIR object that is no longer in S makes room for it among the LIR ones
  although it stays HIR: the oldest of them move to Q until it would fit. The cache is then one
  object short until the next miss, which enters as LIR.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, expel, make_steps
from mltwin.models.caching.tables import FIRST, NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels
from .parts import (
    check_share,
    counted_size,
    first_back,
    first_push_front,
    first_unlink,
    second_back,
    second_push_front,
    second_unlink,
)

NEEDS = ("twin", "ghost", "origin")
STACK = 1  # first list of `twin`, top at the front
Q, GONE = 1, 2  # second lists of `twin`, latest at the front: resident HIR objects, absent ones
LIR, IN_STACK, OUTSIDE = 1, 2, 3  # S.queue; the latter two are HIR
LIR_SIZE, Q_SIZE, STACK_SIZE = 1, 2, 3  # places in own
LIR_LIMIT, Q_LIMIT, STACK_LIMIT, STRICT, WANTED = 4, 5, 6, 7, 8  # further places


def prepare(world: Any) -> None:
    """Set the limits. InputError for a share outside 0 ... 1 or a stack outside 1 ... 64."""
    hir, stack, strict = map(float, world.knobs)
    capacity = int(world.par[0].capacity)
    world.own[Q_LIMIT] = max(1, int(capacity * check_share("hir", hir)))
    world.own[LIR_LIMIT] = capacity - world.own[Q_LIMIT]
    world.own[STACK_LIMIT] = int(capacity * check_share("stack", stack, least=1.0, most=64.0))
    world.own[STRICT] = strict != 0


@handler
def oldest_lir(S: Any) -> Any:
    """The oldest LIR object, the list's sentinel if there is none.

    At the bottom of S, unless what lies there came when no object was LIR.
    """
    y = first_back(S, STACK)
    while np.int64(y) != STACK and S.queue[y] != LIR:
        y = np.uint64(S.twin[y].previous)
    return y


@handler
def peek(S: Any, x: Any) -> Any:
    """The oldest of Q, or the oldest LIR object if it is empty."""
    y = second_back(S, Q)
    if np.int64(y) == Q:
        y = oldest_lir(S)
    return y if y >= np.uint64(FIRST) else np.uint64(NONE)


def _make(sized: bool) -> Steps:
    extent = counted_size(sized)

    @handler
    def stack_push(S: Any, x: Any) -> None:
        first_push_front(S, STACK, x)
        S.own[STACK_SIZE] += extent(S, x)

    @handler
    def stack_remove(S: Any, x: Any) -> None:
        first_unlink(S, x)
        S.own[STACK_SIZE] -= extent(S, x)

    @handler
    def queue_push(S: Any, x: Any) -> None:
        second_push_front(S, Q, x)
        S.own[Q_SIZE] += extent(S, x)

    @handler
    def queue_remove(S: Any, x: Any) -> None:
        second_unlink(S, x)
        S.own[Q_SIZE] -= extent(S, x)

    @handler
    def forget(S: Any, y: Any) -> None:
        """Absent y leaves S."""
        first_unlink(S, y)
        S.origin[y] = 0
        S.own[STACK_SIZE] -= S.ghost[y] if sized else 1
        second_unlink(S, y)

    @handler
    def prune(S: Any) -> None:
        """Until the oldest in S is LIR."""
        y = first_back(S, STACK)
        while np.int64(y) != STACK and S.queue[y] != LIR:
            if S.queue[y] == IN_STACK:
                S.queue[y] = OUTSIDE
                stack_remove(S, y)
            else:
                forget(S, y)
            y = first_back(S, STACK)

    @handler
    def retire(S: Any, y: Any) -> None:
        """Resident y leaves Q and the cache; S remembers it if it is there."""
        queue_remove(S, y)
        if S.queue[y] == IN_STACK:
            if sized:
                S.ghost[y] = S.extent[y]
            S.origin[y] = GONE
            second_push_front(S, GONE, y)

    @handler
    def make_room_in_queue(S: Any, size: int, spared: Any) -> None:
        if S.own[STRICT] == 0:
            return
        while S.own[Q_SIZE] + size > S.own[Q_LIMIT]:
            y = second_back(S, Q)
            if np.int64(y) == Q or y == spared:
                break
            retire(S, y)
            expel(S, y)

    @handler
    def demote(S: Any, spared: Any) -> None:
        """The oldest LIR object moves to Q."""
        y = oldest_lir(S)
        stack_remove(S, y)
        S.own[LIR_SIZE] -= extent(S, y)
        S.queue[y] = OUTSIDE
        make_room_in_queue(S, extent(S, y), spared)
        queue_push(S, y)
        prune(S)

    @handler
    def bound(S: Any) -> None:
        while S.own[STACK_SIZE] > S.own[STACK_LIMIT]:
            y = second_back(S, GONE)
            if np.int64(y) == GONE:
                break
            forget(S, y)

    @handler
    def hit_lir(S: Any, x: Any) -> None:
        oldest = first_back(S, STACK) == x
        first_unlink(S, x)
        first_push_front(S, STACK, x)
        if oldest:
            prune(S)
        if sized:  # it may have grown
            while S.own[LIR_SIZE] > S.own[LIR_LIMIT]:
                demote(S, x)
            bound(S)

    @handler
    def hit_hir(S: Any, x: Any) -> None:
        fits = extent(S, x) <= S.own[LIR_LIMIT]
        queue_remove(S, x)
        if S.queue[x] == IN_STACK and fits:
            first_unlink(S, x)
            first_push_front(S, STACK, x)
            S.queue[x] = LIR
            S.own[LIR_SIZE] += extent(S, x)
            while S.own[LIR_SIZE] > S.own[LIR_LIMIT]:
                demote(S, x)
            return
        queue_push(S, x)
        if S.queue[x] == IN_STACK:
            stack_remove(S, x)
        elif S.own[STRICT] != 0 and fits:
            while S.own[LIR_SIZE] + extent(S, x) > S.own[LIR_LIMIT]:
                demote(S, x)
        S.queue[x] = IN_STACK
        stack_push(S, x)
        bound(S)

    @handler
    def hit(S: Any, x: Any) -> None:
        if S.queue[x] == LIR:
            hit_lir(S, x)
        else:
            hit_hir(S, x)

    @handler
    def miss(S: Any, x: Any) -> None:
        S.own[WANTED] = NONE
        if S.origin[x] != 0:
            forget(S, x)
            S.own[WANTED] = x

    @handler
    def make_room(S: Any, x: Any) -> Any:
        y = second_back(S, Q)
        if np.int64(y) != Q:
            retire(S, y)
            return y
        y = peek(S, x)
        if y != NONE:
            stack_remove(S, y)
            S.own[LIR_SIZE] -= extent(S, y)
            prune(S)
        return y

    @handler
    def insert(S: Any, x: Any) -> None:
        size = extent(S, x)
        wanted = S.own[WANTED] == np.int64(x) and size <= S.own[LIR_LIMIT]
        S.own[WANTED] = NONE
        if wanted or S.own[LIR_SIZE] + size <= S.own[LIR_LIMIT]:
            S.queue[x] = LIR
            stack_push(S, x)
            S.own[LIR_SIZE] += size
            while S.own[LIR_SIZE] > S.own[LIR_LIMIT]:
                demote(S, x)
        else:
            make_room_in_queue(S, size, x)
            S.queue[x] = IN_STACK
            stack_push(S, x)
            queue_push(S, x)
        bound(S)

    @handler
    def drop(S: Any, x: Any) -> None:
        if S.queue[x] != LIR:
            queue_remove(S, x)
        if S.queue[x] != OUTSIDE:
            stack_remove(S, x)
        if S.queue[x] == LIR:
            S.own[LIR_SIZE] -= extent(S, x)
            prune(S)

    @handler
    def resize(S: Any, x: Any, change: int) -> None:
        S.own[LIR_SIZE if S.queue[x] == LIR else Q_SIZE] += change
        if S.queue[x] != OUTSIDE:
            S.own[STACK_SIZE] += change

    return make_steps(
        hit=hit, miss=miss, make_room=make_room, insert=insert, drop=drop, resize=resize, peek=peek
    )


STEPS = _make(True)
replay, replay_full, access, step = make_kernels("lirs", STEPS, _make(False))
