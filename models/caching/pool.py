"""The resident rows in an array without order, to draw some of them at random.

Rows lie in ``S.heap[0 ... own[COUNT] - 1]``, each at ``S.place[x]``; one that leaves is replaced by
the last. Draws are keyed by the number of the eviction (`own[DRAWN]`) and of the draw within it, so
that to look at the next victim changes nothing.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.rng import EVICTION, keyed_below

from .heaps import COUNT

DRAWN = 11  # place in `own`: evictions that were drawn
POOL_TABLES = ("heap", "place")


@handler
def pool_add(S: Any, x: Any) -> None:
    """Row x enters."""
    count = S.own[COUNT]
    S.heap[np.uint64(count)] = x
    S.place[x] = count
    S.own[COUNT] = count + 1


@handler
def pool_remove(S: Any, x: Any) -> None:
    """Row x leaves."""
    S.own[COUNT] -= 1
    last = S.heap[np.uint64(S.own[COUNT])]
    S.heap[np.uint64(S.place[x])] = last
    S.place[last] = S.place[x]
    S.place[x] = -1


@handler
def pool_draw(S: Any, number: int) -> Any:
    """A row, all equally likely: draw `number` for the next eviction. The pool is not empty."""
    place = keyed_below(S.par[0].seed, EVICTION, S.own[DRAWN], number, S.own[COUNT])
    return np.uint64(S.heap[np.uint64(place)])
