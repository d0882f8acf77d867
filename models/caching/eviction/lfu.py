"""LFU: the object asked for least often since it entered goes, among equals the one that has waited
longest since its last request.

The "in-cache" or "perfect while resident" kind (Arlitt, Cherkasova, Dilley, Friedrich, Jin,
"Evaluating content management techniques for web proxy caches", ACM SIGMETRICS Performance
Evaluation Review 27 (4), 2000, section 3): counts start at 1 and are forgotten on eviction. What
that leaves open: the order among equal counts is that in which they reached the count, which is
the order of their last requests. Counts only grow: a hit writes one rank and is done.
"""

from typing import Any

from mltwin.models.caching.driver import Steps, make_steps
from mltwin.models.caching.heaps import HEAP_TABLES, LAZY, PLACED, Heap, next_stamp, set_rank
from mltwin.models.caching.tables import NONE
from mltwin.models.caching.young import make_ranks
from mltwin.sim.jit import handler

from .kernels import make_kernels

NEEDS = (*HEAP_TABLES, "place", "node")


@handler
def hit(S: Any, x: Any) -> None:
    """Count it."""
    S.rank[x].score += 1.0
    S.rank[x].stamp = next_stamp(S)


@handler
def counted_once(S: Any, x: Any) -> bool:
    """Whether it was not asked for since it entered."""
    return S.rank[x].score == 1.0


def _make(heap: Heap) -> Steps:
    ranks = make_ranks(heap, counted_once, young_first=True)
    enter, lowest, take = ranks.enter, ranks.lowest, ranks.take

    @handler
    def insert(S: Any, x: Any) -> None:
        set_rank(S, x, 1.0)
        enter(S, x)

    @handler
    def peek(S: Any, x: Any) -> Any:
        return lowest(S)

    @handler
    def make_room(S: Any, x: Any) -> Any:
        victim = lowest(S)
        if victim != NONE:
            take(S, victim)
        return victim

    return make_steps(hit=hit, make_room=make_room, insert=insert, drop=ranks.drop, peek=peek)


STEPS = _make(PLACED)
replay, replay_full, access, step = make_kernels("lfu", STEPS, _make(LAZY))
