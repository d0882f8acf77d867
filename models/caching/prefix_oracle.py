"""A strong bound for prefix caches: an oracle that knows each block's next request."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.jit import kernel

from .prefix import _checked
from .prefix_heap import heap_add, heap_remove, heap_update
from .prefix_tables import make_plan, make_world


def replay_belady_blocks(
    start: NDArray[np.int64], blocks: NDArray[np.uint32], capacity: int
) -> NDArray[np.int32]:
    """Hit blocks of each request if the block whose next request is the farthest is given up.

    A missed block whose own next request is not nearer than the farthest is not taken in (bypass);
    among equals the block of the smaller id goes. It follows Belady (IBM Systems Journal 5 (2),
    1966) for single blocks, and is no optimum where only whole prefixes count.

    Args:
        start, blocks: as for `prefix.replay_prefixes`; blocks are dense ids.
        capacity: blocks, >= 1; as many as there are: an unbounded cache.

    Raises InputError for starts that are no runs of the blocks, or a capacity below 1.
    """
    start, blocks = _checked(start, blocks, int(np.max(blocks, initial=0)) + 1)
    plan = make_plan(
        start=start,
        blocks=blocks,
        prompt=np.zeros(len(start) - 1, np.int64),
        block_tokens=1,
        tiers=(capacity,),
    )
    hits = np.zeros(plan.requests, np.int32)
    _replay(make_world(plan), _next_requests(plan.start, plan.blocks, plan.distinct), hits)
    return hits


def _next_requests(start: np.ndarray, blocks: np.ndarray, distinct: int) -> np.ndarray:
    """int64 per reference: the request that has the block next; one past the last for none."""
    requests = len(start) - 1
    of = np.repeat(np.arange(requests), np.diff(start))
    order = np.lexsort((of, blocks))
    same = blocks[order][1:] == blocks[order][:-1]
    following = np.full(len(blocks), requests, np.int64)
    following[order[:-1][same]] = of[order[1:][same]]
    return following


@kernel()
def _replay(S: Any, following: Any, hits: Any) -> None:
    """The rank of a block is (-next request, id): the first to go is the farthest."""
    cache = S.cache[0]
    for r in range(len(hits)):
        found = S.start[r]
        while found < S.start[r + 1] and S.home[S.blocks[found]] != 0:
            found += 1
        hits[r] = found - S.start[r]
        for i in range(S.start[r], S.start[r + 1]):
            x = np.int64(S.blocks[i])
            score = -np.float64(following[i])
            S.rank[x].score = score
            S.rank[x].stamp = x
            if S.home[x] != 0:
                heap_update(S, 0, S.place[x])
                continue
            if cache.count >= cache.capacity:
                victim = np.int64(S.heap[0])
                if score <= S.rank[victim].score:
                    continue
                heap_remove(S, 0, victim)
                S.home[victim] = 0
            S.home[x] = 1
            heap_add(S, 0, x)
