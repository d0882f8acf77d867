"""`advance(world)`: a CDN in time. Rules and order: the package's docstring.

A fetch is known by the request that caused it: an edge has at most one fetch a request, and so has
the parent.
"""

from typing import Any

import numpy as np
from numba import void

from mltwin.sim.eventlog import log_event, log_full
from mltwin.sim.heap import pairs_pop, pairs_push
from mltwin.sim.jit import handler, kernel
from mltwin.sim.ticks import NEVER

from .cdn_tables import (
    ASK_ORIGIN,
    ASK_PARENT,
    AT_PARENT,
    EDGE_HIT,
    EDGE_JOINED,
    EVICT,
    FILL_EDGE,
    FILL_PARENT,
    FROM_ORIGIN,
    LRU,
    PARENT_HIT,
    PARENT_JOINED,
    RANK_AT_PARENT,
    RANK_EDGE_FILL,
    RANK_PARENT_FILL,
    RANK_SHIFT,
    REQUEST,
    SIEVE,
    WORLD,
)


@handler
def at_edge(S: Any, now: int) -> None:
    """A client's request reaches its edge."""
    state = S.state[0]
    request = state.next
    state.next = request + 1
    row = S.edge[request] * S.par[0].objects + S.item[request]
    log_event(S, now, REQUEST, request, row)
    if S.held[row]:
        use(S, S.edge[request], row)
        S.source[request] = EDGE_HIT
        S.done[request] = now
    elif S.par[0].collapse and S.fetching[row] >= 0:
        first = S.fetching[row]
        S.source[request] = EDGE_JOINED
        S.at_edge[request] = S.at_edge[first]
        S.at_edge[first] = request
    else:
        S.fetching[row] = request
        log_event(S, now, ASK_PARENT, request, row)
        plan_event(S, now + S.par[0].parent_latency, RANK_AT_PARENT, request)


@handler
def reach_parent(S: Any, now: int, request: int) -> None:
    """An edge's request reaches the parent (or goes through where there is none)."""
    item = S.item[request]
    node = S.par[0].edges
    row = node * S.par[0].objects + item
    log_event(S, now, AT_PARENT, request, row)
    if S.par[0].parent and S.held[row]:
        use(S, node, row)
        S.source[request] = PARENT_HIT
        to_edge(S, now, request)
    elif S.par[0].parent and S.par[0].collapse and S.fetching[row] >= 0:
        first = S.fetching[row]
        S.source[request] = PARENT_JOINED
        S.at_parent[request] = S.at_parent[first]
        S.at_parent[first] = request
    else:
        S.fetching[row] = request
        S.source[request] = FROM_ORIGIN
        S.state[0].origin_requests += 1
        S.state[0].origin_bytes += S.item_bytes[item]
        log_event(S, now, ASK_ORIGIN, request, row)
        back = now + 2 * S.par[0].origin_latency + S.origin_ticks[item]
        plan_event(S, back, RANK_PARENT_FILL, request)


@handler
def fill_parent(S: Any, now: int, request: int) -> None:
    """The origin's answer is at the parent: keep it, pass it on to every edge that waits."""
    node = S.par[0].edges
    row = node * S.par[0].objects + S.item[request]
    if S.fetching[row] == request:
        S.fetching[row] = -1
    log_event(S, now, FILL_PARENT, request, row)
    if S.par[0].parent:
        keep(S, now, node, S.item[request])
    each = np.int64(request)
    while each >= 0:
        to_edge(S, now, each)
        each = S.at_parent[each]


@handler
def to_edge(S: Any, now: int, request: int) -> None:
    """The parent begins to send."""
    item = S.item[request]
    S.state[0].parent_bytes += S.item_bytes[item]
    plan_event(S, now + S.par[0].parent_latency + S.parent_ticks[item], RANK_EDGE_FILL, request)


@handler
def fill_edge(S: Any, now: int, request: int) -> None:
    """The answer is at the edge: keep it, serve every client that waits."""
    edge = S.edge[request]
    row = edge * S.par[0].objects + S.item[request]
    if S.fetching[row] == request:
        S.fetching[row] = -1
    log_event(S, now, FILL_EDGE, request, row)
    keep(S, now, edge, S.item[request])
    each = np.int64(request)
    while each >= 0:
        S.done[each] = now
        each = S.at_edge[each]


@handler
def plan_event(S: Any, time: int, rank: int, request: int) -> None:
    """Queue an event; ranks order those of one tick."""
    pairs_push(S.pending, S.pending_count, time, (np.int64(rank) << RANK_SHIFT) | request)


@handler
def use(S: Any, node: int, row: int) -> None:
    """A hit: LRU makes it the newest, SIEVE marks it, FIFO forgets it."""
    if S.par[0].policy == LRU:
        unlink(S, node, row)
        link(S, node, row)
    S.seen[row] = 1


@handler
def keep(S: Any, now: int, node: int, item: int) -> None:
    """Put an object into a node's cache, if it fits at all and is not there yet."""
    row = node * S.par[0].objects + item
    size = S.item_bytes[item]
    if S.held[row] or size > S.capacity[node]:
        return
    while S.used[node] + size > S.capacity[node]:
        victim = S.oldest[node]
        if S.par[0].policy == SIEVE:
            victim = sift(S, node)
        unlink(S, node, victim)
        freed = S.item_bytes[victim - node * S.par[0].objects]
        S.held[victim] = 0
        S.used[node] -= freed
        S.state[0].evicted += freed
        log_event(S, now, EVICT, victim, freed)
    S.held[row] = 1
    S.seen[row] = 0
    S.used[node] += size
    S.state[0].kept += size
    link(S, node, row)


@handler
def sift(S: Any, node: int) -> Any:
    """SIEVE's hand moves from the oldest to the newest, clears marks, stops at none."""
    row = S.hand[node]
    if row < 0:
        row = S.oldest[node]
    while S.seen[row]:
        S.seen[row] = 0
        row = S.newer[row]
        if row < 0:
            row = S.oldest[node]
    S.hand[node] = S.newer[row]
    return row


@handler
def link(S: Any, node: int, row: int) -> None:
    """Make an entry the newest of its node."""
    last = S.newest[node]
    S.older[row] = last
    S.newer[row] = -1
    S.newest[node] = row
    if last >= 0:
        S.newer[last] = row
    else:
        S.oldest[node] = row


@handler
def unlink(S: Any, node: int, row: int) -> None:
    """Take an entry out of its node's list."""
    older = S.older[row]
    newer = S.newer[row]
    if older >= 0:
        S.newer[older] = newer
    else:
        S.oldest[node] = newer
    if newer >= 0:
        S.older[newer] = older
    else:
        S.newest[node] = older


def advance_body(S: Any) -> None:
    """Run until all requests are served, or until the log is full."""
    state = S.state[0]
    mask = (np.int64(1) << RANK_SHIFT) - 1
    while True:
        if log_full(S, len(S.log) // 2):
            return
        client = np.int64(NEVER)
        if state.next < len(S.time):
            client = S.time[state.next]
        if S.pending_count[0] > 0 and S.pending[0].time <= client:
            now = S.pending[0].time
            event = np.int64(pairs_pop(S.pending, S.pending_count))
            rank = event >> RANK_SHIFT
            request = event & mask
            if rank == RANK_PARENT_FILL:
                fill_parent(S, now, request)
            elif rank == RANK_EDGE_FILL:
                fill_edge(S, now, request)
            else:
                reach_parent(S, now, request)
        elif client < NEVER:
            at_edge(S, client)
        else:
            return


advance = kernel(void(WORLD))(advance_body)
