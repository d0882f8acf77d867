"""LHD: of some residents drawn at random, the one with the least hit density goes.

Beckmann, Chen, Cidon, "LHD: improving cache hit rate by maximizing hit density", NSDI 2018. The
hit density of an object of age a is its probability of being hit, over its size and the time it is
still expected to stay. Both follow from how many objects were hit and how many evicted at each age,
counted for each class of objects: going down from the greatest age (section 4),

    hits(a) += h[a];  events(a) += h[a] + e[a];  time(a) += events(a);  density(a) = hits / time

Classes tell objects apart by their age at their last hit, halving by halving (section 5: "last hit
age"), those never hit apart; there are no application ids. Counts fade by `decay` at each of the
recomputations, which come every `interval` requests; `samples` residents are looked at.

Left open there, chosen here: time is counted in requests; ages are `BUCKETS` steps of 2 ** k
requests, k such that they first cover 20 times the objects that fit, and one more whenever over
1 % of events lie beyond; an `interval` of 0 stands for that span of ages, at most 2 ** 20; where
nothing has been seen yet of a class its density is 1 / (age + 1); no space is set apart for
exploring; draws are with replacement, and the first of equals goes.
"""

from typing import Any

import numpy as np

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import COUNT
from mltwin.models.caching.pool import DRAWN, POOL_TABLES, pool_add, pool_draw, pool_remove
from mltwin.models.caching.tables import NONE
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = (*POOL_TABLES, "mark", "count")  # request number of the last use; class
CLASSES, BUCKETS = 16, 2048
HITS, ENDS, DENSITY = 0, CLASSES * BUCKETS, 2 * CLASSES * BUCKETS  # places in `score`
SHIFT, NEXT, EVENTS, BEYOND, INTERVAL_OF = 0, 1, 2, 3, 4  # places in own
SAMPLES, INTERVAL, DECAY = 0, 1, 2  # places in knobs
COVERED, TOO_MANY = 20, 0.01  # times the objects that fit; share of events beyond
LONGEST = 2**20  # requests between recomputations, unless told otherwise


def prepare(world: Any) -> None:
    """No events, densities of the start."""
    if world.own[INTERVAL_OF]:
        return
    score = np.zeros(3 * CLASSES * BUCKETS)
    score[DENSITY:] = np.tile(1.0 / np.arange(1.0, BUCKETS + 1), CLASSES)
    world.replace(score=score)
    fits = int(world.par[0].max_objects)
    world.own[SHIFT] = max(0, (COVERED * fits // BUCKETS).bit_length())
    interval = int(world.knobs[INTERVAL]) or min(COVERED * fits, LONGEST)
    world.own[INTERVAL_OF] = world.own[NEXT] = interval


@handler
def bucket_of(S: Any, x: Any) -> int:
    """The age of x in steps."""
    age = (S.tot[0].clock - S.mark[x]) >> S.own[SHIFT]
    return min(np.int64(age), BUCKETS - 1)


@handler
def class_of(age: int) -> int:
    """1 for objects last hit at the greatest ages ... CLASSES - 1 for the smallest."""
    found, limit = 1, BUCKETS // 2
    while found < CLASSES - 1 and age < limit:
        found += 1
        limit //= 2
    return found


@handler
def note(S: Any, x: Any, what: int) -> int:
    """Count an event of x; its age."""
    age = bucket_of(S, x)
    S.score[np.uint64(what + S.count[x] * BUCKETS + age)] += 1.0
    S.own[EVENTS] += 1
    if age == BUCKETS - 1:
        S.own[BEYOND] += 1
    return age


@handler
def widen(S: Any) -> None:
    """Ages in steps twice as wide."""
    S.own[SHIFT] += 1
    for start in range(0, DENSITY, BUCKETS):
        for age in range(BUCKETS // 2):
            S.score[start + age] = S.score[start + 2 * age] + S.score[start + 2 * age + 1]
        S.score[start + BUCKETS // 2 : start + BUCKETS] = 0.0


@handler
def recompute(S: Any) -> None:
    """Densities from what was counted."""
    if S.own[BEYOND] > TOO_MANY * S.own[EVENTS]:
        widen(S)
    S.own[EVENTS] = S.own[BEYOND] = 0
    for kind in range(CLASSES):
        hits, events, time = 0.0, 0.0, 0.0
        for age in range(BUCKETS - 1, -1, -1):
            place = kind * BUCKETS + age
            hits += S.score[HITS + place]
            events += S.score[HITS + place] + S.score[ENDS + place]
            time += events
            S.score[DENSITY + place] = hits / time if time > 0.0 else 0.0
            S.score[HITS + place] *= S.knobs[DECAY]
            S.score[ENDS + place] *= S.knobs[DECAY]
        if events == 0.0:
            for age in range(BUCKETS):
                S.score[DENSITY + kind * BUCKETS + age] = 1.0 / (age + 1.0)


@handler
def recompute_if_due(S: Any) -> None:
    """Every `interval` requests."""
    if S.tot[0].clock >= S.own[NEXT]:
        S.own[NEXT] = S.tot[0].clock + S.own[INTERVAL_OF]
        recompute(S)


@handler
def hit(S: Any, x: Any) -> None:
    """Count it; its age decides the class from now on."""
    S.count[x] = class_of(note(S, x, HITS))
    S.mark[x] = S.tot[0].clock
    recompute_if_due(S)


@handler
def miss(S: Any, x: Any) -> None:
    """Nothing but the time."""
    recompute_if_due(S)


@handler
def insert(S: Any, x: Any) -> None:
    """Never hit so far."""
    S.queue[x] = 1
    S.count[x] = 0
    S.mark[x] = S.tot[0].clock
    pool_add(S, x)


@handler
def unit_density(S: Any, x: Any) -> float:
    """Hit density of an object of size 1."""
    return S.score[np.uint64(DENSITY + S.count[x] * BUCKETS + bucket_of(S, x))]


@handler
def density(S: Any, x: Any) -> float:
    """Hit density."""
    return unit_density(S, x) / max(1, S.extent[x])


def _make(density_of: Any) -> Steps:
    @handler
    def choose(S: Any) -> Any:
        best = pool_draw(S, 0)
        least = density_of(S, best)
        for number in range(1, np.int64(S.knobs[SAMPLES])):
            other = pool_draw(S, number)
            found = density_of(S, other)
            if found < least:
                best, least = other, found
        return best

    @handler
    def peek(S: Any, x: Any) -> Any:
        return choose(S) if S.own[COUNT] > 0 else np.uint64(NONE)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        if S.own[COUNT] == 0:
            return np.uint64(NONE)
        victim = choose(S)
        S.own[DRAWN] += 1
        note(S, victim, ENDS)
        pool_remove(S, victim)
        return victim

    return make_steps(
        hit=hit,
        miss=miss,
        make_room=make_room,
        insert=insert,
        drop=pool_remove,
        peek=peek,
        counts=True,
    )


STEPS = _make(density)
replay, replay_full, access, step = make_kernels("lhd", STEPS, _make(unit_density))
