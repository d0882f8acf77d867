"""LFUDA: LFU with dynamic aging; the object with the smallest key goes.

Arlitt, Cherkasova, Dilley, Friedrich, Jin, "Evaluating content management techniques for web proxy
caches", ACM SIGMETRICS Performance Evaluation Review 27 (4), 2000, section 3: key = requests since
it entered + L, taken anew at each request; L, the age of the cache, is the key of what went last.

With ``compound = 1`` the keys grow faster, as in libCacheSim 0.3.5 (its miss ratios tell so; no
paper has this rule): a new object gets L + 1, a hit adds L to the key that the object has, and L is
0 until something goes and from then on the smallest key of a resident, as it is after an eviction
and after a hit of an object that had that key.

Among equal keys the object asked for longest ago goes.
"""

from typing import Any

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import HEAP_TABLES, LAZY, PLACED, Heap, set_rank
from mltwin.models.caching.tables import NONE
from mltwin.models.caching.young import make_ranks
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = (*HEAP_TABLES, "place", "node", "count")
AGE = 0  # place in own_f
COMPOUND = 0  # place in knobs


@handler
def counted_once(S: Any, x: Any) -> bool:
    """Whether it was not asked for since it entered."""
    return S.count[x] == 1


def _make(heap: Heap) -> Steps:
    ranks = make_ranks(heap, counted_once, young_first=False)
    enter, lowest, take = ranks.enter, ranks.lowest, ranks.take

    @handler
    def hit(S: Any, x: Any) -> None:
        age = S.own_f[AGE]
        S.count[x] += 1
        if S.knobs[COMPOUND] == 0.0:
            set_rank(S, x, S.count[x] + age)
            return
        key = S.rank[x].score
        set_rank(S, x, key + age)
        if key == age:
            S.own_f[AGE] = S.rank[lowest(S)].score

    @handler
    def insert(S: Any, x: Any) -> None:
        S.count[x] = 1
        set_rank(S, x, S.own_f[AGE] + 1.0)
        enter(S, x)

    @handler
    def peek(S: Any, x: Any) -> Any:
        return lowest(S)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = lowest(S)
        if victim == NONE:
            return victim
        S.own_f[AGE] = S.rank[victim].score
        take(S, victim)
        if S.knobs[COMPOUND] != 0.0:
            smallest = lowest(S)
            if smallest != NONE:
                S.own_f[AGE] = S.rank[smallest].score
        return victim

    return make_steps(hit=hit, make_room=make_room, insert=insert, drop=ranks.drop, peek=peek)


STEPS = _make(PLACED)
replay, replay_full, access, step = make_kernels("lfuda", STEPS, _make(LAZY))
