"""A cluster of nodes, each with a KV prefix cache of its own, and perhaps a pool that all can read.

What is modelled. A request is routed to a node, finds there the longest prefix of its blocks that
the node can read, computes the rest, and leaves all of its blocks behind. Untimed (`replay`),
requests do so one after another. In time (`advance`) each node is a server of prefills, first come
first served, one at a time.

A node holds blocks in up to three exclusive tiers (HBM, DRAM, SSD): blocks come to the first;
what falls out of one goes on to the next; a hit brings a block back to the first. The *pool*
(Mooncake's, CloudMatrix384's) is one more holder that every node reads over the network at one
bandwidth; each request leaves its blocks in its node and in the pool. With `borrow`
(Infinite-LLM's creditors and debtors) a full node puts a new block into the free room of the node
with the most of it and reads it over the network; where none has any, the first of its own and its
lent blocks goes. A creditor that wants the room back takes that of lent blocks first.

The life of a request:

1. ``arrive``: routing looks at all caches as they are, and at each node's *load*: the blocks that
   the requests sent there had to miss, decayed by a half-life in requests, or (`queued_load`) those
   not yet ended. ``random``, ``round_robin``, ``session_hash`` (by chance without a session),
   ``least_loaded``, ``affinity`` (longest prefix), ``cost`` (least missed blocks + weight * load).
   Ties: the least load, then the lowest node.
2. ``start``: the longest prefix is found and pinned until the end; blocks of lower tiers, of other
   nodes and of the pool are fetched, then the rest is computed (or both at once, `overlap`):

       fetch = sum over tiers (latency + blocks * block_ns) + network
       network = latency + max(blocks * network_ns, wait for the shared link + blocks * shared_ns)
       compute = base_ns + token_ns * m + pair_ns * (m * h + m * m / 2)

   for m missed tokens after h found ones; at least the last token is computed. The shared link is
   given out in the order of starts. With `wait_in_flight`, a request whose first missing block is
   being computed by another node waits for it, and its node with it (``wait``).
3. ``end``: the blocks are touched, once each, from the first to the last (or `tail_first`): a
   missing one comes and others go (``evict``), a resident one gains rank. Then blocks that were hit
   for the `hot_hits`-th time within a window of requests are copied to the next nodes without them
   (``copy``).

Who goes first: lent blocks, then others, then (`queue_informed`, as vLLM's RFC #48485 proposes)
those that a request waiting at the node wants; among these by policy: ``lru``, ``fifo``, ``lfu``
(counts while resident), ``cost`` (GreedyDual, Young 1994, with the cost of computing a block anew,
which grows with its depth, as each token attends to all before it). Ties: the oldest stamp. With
`leaf_only` a block with resident successors stays (SGLang's radix tree).

Events at one tick: ends in the order of nodes, then arrivals in the order of the trace. Time is
int64 ticks of 1 ns.

What is not modelled: decoding and the blocks of outputs (as in a cluster whose prefill nodes hand
over to others), chunked prefills and several at a time on a node, writes to lower tiers and to the
pool as traffic that slows reads (they are counted), stale views of routers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .prefix_tables import SERVED, SOURCES, TOTALS, Plan, make_world

LOG_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run leaves.

    Attributes:
        served: by request: node, expected, hits, start, fetched, end (`SERVED`).
        sources: int64[R, 5], hit blocks by where they lay (`prefix_tables.SOURCES`).
        totals: the counters (`TOTALS`).
        used: int64 per cache, blocks at the end.
        log: rows (time, kind, entity, value); None where none was kept.
    """

    served: dict[str, np.ndarray]
    sources: np.ndarray
    totals: dict[str, int]
    used: np.ndarray
    log: list[tuple[int, ...]] | None


def run_nodes(plan: Plan, *, reference: bool = False, log: bool = False) -> Outcome:
    """Run a plan to its end.

    Args:
        reference: by plain Python, which keeps a log in any case.
        log: keep the first million events.
    """
    if reference:
        from .prefix_reference import Reference

        return Reference(plan).run().outcome()
    from .prefix_kernel import advance, replay

    world = make_world(plan, LOG_ROWS if log else 0)
    if plan.timed:
        advance(world)
    else:
        replay(world)
    return _outcome(world, plan, log)


def _outcome(world: Any, plan: Plan, log: bool) -> Outcome:
    n = plan.requests
    totals = {name: int(world.tot[0][name]) for name in TOTALS.names or ()}
    rows = world.log[: 4 * totals["log"]].reshape(-1, 4)
    return Outcome(
        served={name: world.served[name][:n].copy() for name in SERVED.names or ()},
        sources=world.sources[: n * SOURCES].reshape(-1, SOURCES).astype(np.int64),
        totals=totals,
        used=world.cache.used.copy(),
        log=[tuple(row) for row in rows.tolist()] if log else None,
    )
