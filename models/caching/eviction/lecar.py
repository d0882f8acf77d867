"""LeCaR: LRU or LFU decides, drawn by weights that each one's regretted evictions lower.

Vietri, Rodriguez, Martinez, Lyons, Liu, Rangaswami, Zhao, Narasimhan, "Driving cache replacement
with ML-based LeCaR", HotStorage 2018, algorithms 1 and 2: two histories keep what LRU and LFU
evicted; an object missed t requests after LRU evicted it multiplies the weight of LFU by
exp(rate * discount ** t) and the other way round; rate 0.45, discount 0.005 ** (1 / N).

Left open there, chosen here: each history holds as many objects as are resident, which is also N;
an object that both would evict goes into the history of the one that was drawn; an object that
comes back is counted from 1; among equal counts LFU takes the one asked for longest ago.
"""

import math
from typing import Any

from mltwin.models.caching.driver import make_steps
from mltwin.models.caching.heaps import HEAP_TABLES, PLACED, next_stamp, set_rank
from mltwin.models.caching.lists import back, push_front, unlink
from mltwin.models.caching.pool import DRAWN
from mltwin.models.caching.tables import NONE
from mltwin.sim.jit import handler
from mltwin.sim.rng import EVICTION, keyed_uniform

from .kernels import make_kernels

NEEDS = (*HEAP_TABLES, "place", "node", "ghost")
RECENCY = 0  # the list of residents, latest at the front
BY_LRU, BY_LFU = 1, 2  # the lists of what each evicted, and the places of their lengths in own
LRU_WEIGHT, LFU_WEIGHT = 0, 1  # places in own_f
RATE, DISCOUNT = 0, 1  # places in knobs

_push, _settle, _remove = PLACED.push, PLACED.settle, PLACED.remove


def prepare(world: Any) -> None:
    """Equal weights."""
    if world.own_f[LRU_WEIGHT] + world.own_f[LFU_WEIGHT] == 0.0:
        world.own_f[LRU_WEIGHT] = world.own_f[LFU_WEIGHT] = 0.5


@handler
def hit(S: Any, x: Any) -> None:
    """To the front, and count it."""
    unlink(S, x)
    push_front(S, RECENCY, x)
    S.rank[x].score += 1.0
    S.rank[x].stamp = next_stamp(S)


@handler
def miss(S: Any, x: Any) -> None:
    """Blame the one that evicted it; `ghost` holds 4 * request number + which."""
    if S.ghost[x] == 0:
        return
    who = S.ghost[x] & 3
    waited = S.tot[0].clock - (S.ghost[x] >> 2)
    forget(S, x)
    residents = max(1, S.tot[0].resident)
    regret = math.exp(math.log(S.knobs[DISCOUNT]) * waited / residents)
    factor = math.exp(S.knobs[RATE] * regret)
    if who == BY_LRU:
        S.own_f[LFU_WEIGHT] *= factor
    else:
        S.own_f[LRU_WEIGHT] *= factor
    total = S.own_f[LRU_WEIGHT] + S.own_f[LFU_WEIGHT]
    S.own_f[LRU_WEIGHT] /= total
    S.own_f[LFU_WEIGHT] /= total


@handler
def forget(S: Any, x: Any) -> None:
    """Out of its history."""
    S.own[S.ghost[x] & 3] -= 1
    S.ghost[x] = 0
    unlink(S, x)


@handler
def insert(S: Any, x: Any) -> None:
    """At the front, counted once."""
    S.queue[x] = 1
    push_front(S, RECENCY, x)
    set_rank(S, x, 1.0)
    _push(S, x)


@handler
def drop(S: Any, x: Any) -> None:
    """Out of both structures."""
    unlink(S, x)
    _remove(S, x)


@handler
def lru_decides(S: Any) -> bool:
    """Whom the next draw lets decide."""
    return keyed_uniform(S.par[0].seed, EVICTION, S.own[DRAWN], 0) < S.own_f[LRU_WEIGHT]


@handler
def peek(S: Any, x: Any) -> Any:
    """What the one that is drawn next would evict."""
    return back(S, RECENCY) if lru_decides(S) else _settle(S)


@handler
def make_room(S: Any, x: Any) -> Any:
    """Take it out and remember who did it."""
    oldest, rarest = back(S, RECENCY), _settle(S)
    if rarest == NONE:
        return rarest
    by_lru = lru_decides(S)
    S.own[DRAWN] += 1
    victim = oldest if by_lru else rarest
    drop(S, victim)
    who = BY_LRU if by_lru else BY_LFU
    while S.own[who] >= S.tot[0].resident:
        forget(S, back(S, who))
    S.own[who] += 1
    S.ghost[victim] = 4 * S.tot[0].clock + who
    push_front(S, who, victim)
    return victim


STEPS = make_steps(
    hit=hit, miss=miss, make_room=make_room, insert=insert, drop=drop, peek=peek, counts=True
)
replay, replay_full, access, step = make_kernels("lecar", STEPS)
