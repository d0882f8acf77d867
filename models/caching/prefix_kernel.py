"""A cluster of KV caches, compiled: `replay` in trace order, `advance` in time. Rules and order:
`prefix_nodes`.
"""

from typing import Any

import numpy as np
from numba import void

from mltwin.sim.jit import handler, kernel

from .prefix_blocks import copy_if_hot, holder_of, note, refresh, touch
from .prefix_routing import route
from .prefix_tables import (
    ARRIVE,
    END,
    FROM_NODE,
    FROM_POOL,
    NEVER,
    SOURCES,
    START,
    WAIT,
    WORLD,
)


@handler
def find_prefix(S: Any, r: int, n: int) -> int:
    """Count the hit blocks by where they lie; how many there are."""
    settings = S.par[0]
    begin = S.start[r]
    i = begin
    while i < S.start[r + 1]:
        c = np.int64(S.home[n * settings.blocks + S.blocks[i]]) - 1
        if c >= 0:
            source = c - n * settings.tiers if holder_of(S, c) == n else FROM_NODE
        elif settings.pool and S.home[settings.nodes * settings.blocks + S.blocks[i]] != 0:
            source = FROM_POOL
        else:
            break
        S.sources[r * SOURCES + source] += 1
        i += 1
    S.served[r].hits = i - begin
    return i - begin


@handler
def use_blocks(S: Any, r: int, n: int, now: int) -> None:
    """The prefill of request r at node n is done: touch its blocks, once each."""
    settings = S.par[0]
    begin, end = S.start[r], S.start[r + 1]
    keeps = S.cache[n * settings.tiers].capacity > 0
    for k in range(end - begin):
        block = np.int64(S.blocks[end - 1 - k] if settings.tail_first else S.blocks[begin + k])
        if keeps:
            touch(S, n, block, now)
        if settings.pool:
            touch(S, settings.nodes, block, now)
    if settings.hot_hits:
        for i in range(begin, begin + S.served[r].hits):
            copy_if_hot(S, n, np.int64(S.blocks[i]), now)
    totals = S.tot[0]
    totals.done += 1
    totals.duplicates_sum += totals.duplicates
    totals.resident_sum += totals.resident


@handler
def pin(S: Any, r: int, n: int, change: int) -> None:
    """Hold the hit blocks of request r while it runs, or let them go; count those in flight."""
    settings = S.par[0]
    begin = S.start[r]
    for i in range(begin, begin + S.served[r].hits):
        x = np.int64(n * settings.blocks + S.blocks[i])
        S.pins[x] += change
        refresh(S, x)
        if settings.pool:
            x = np.int64(settings.nodes * settings.blocks + S.blocks[i])
            S.pins[x] += change
            refresh(S, x)
    for i in range(begin + S.served[r].hits, S.start[r + 1]):
        S.in_flight[S.blocks[i]] += change


@handler
def fetch_ticks(S: Any, r: int, n: int, now: int) -> int:
    """Ticks until the hit blocks of request r lie in the first tier, one source after another."""
    settings = S.par[0]
    ticks = np.int64(0)
    for t in range(1, settings.tiers):
        hits = S.sources[r * SOURCES + t]
        if hits > 0:
            cache = S.cache[n * settings.tiers + t]
            ticks += cache.latency + np.int64(hits * cache.block_ns + 0.5)
    hits = np.int64(S.sources[r * SOURCES + FROM_NODE] + S.sources[r * SOURCES + FROM_POOL])
    if hits == 0:
        return ticks
    link = np.int64(hits * settings.network_ns + 0.5)
    if settings.shared_ns > 0.0:
        taken = max(S.tot[0].link_until, now) + np.int64(hits * settings.shared_ns + 0.5)
        S.tot[0].link_until = taken
        link = max(link, taken - now)
    return ticks + settings.network_latency + link


@handler
def prefill_ticks(S: Any, r: int) -> int:
    """Ticks of computing what was not found; the last token is always computed."""
    settings = S.par[0]
    before = min(S.served[r].hits * settings.block_tokens, S.prompt[r] - 1)
    missed = S.prompt[r] - before
    pairs = np.float64(missed) * np.float64(before) + 0.5 * np.float64(missed) * np.float64(missed)
    ns = settings.base_ns + settings.token_ns * np.float64(missed) + settings.pair_ns * pairs
    return np.int64(ns + 0.5)


@handler
def want(S: Any, r: int, n: int, change: int) -> None:
    """The blocks of a request that waits at node n are spared, or no longer."""
    for i in range(S.start[r], S.start[r + 1]):
        x = np.int64(n * S.par[0].blocks + S.blocks[i])
        S.want[x] += change
        refresh(S, x)


@handler
def arrive(S: Any, r: int, now: int) -> None:
    """A request joins the queue of a node."""
    n = route(S, r)
    node = S.node[n]
    note(S, now, ARRIVE, r, n)
    if node.head < 0:
        node.head = r
    else:
        S.next[node.tail] = r
    node.tail = r
    if S.par[0].queue_informed:
        want(S, r, n, 1)
    start_if_idle(S, n, now)


@handler
def start_if_idle(S: Any, n: int, now: int) -> None:
    """Begin the first waiting request of an idle node."""
    node = S.node[n]
    if node.request >= 0 or node.head < 0:
        return
    r = node.head
    for source in range(SOURCES):
        S.sources[r * SOURCES + source] = 0
    hits = find_prefix(S, r, n)
    missing = S.start[r] + hits
    waits = S.par[0].wait_in_flight and missing < S.start[r + 1]
    if waits and S.in_flight[S.blocks[missing]] > 0:
        if not node.blocked:
            node.blocked = 1
            S.tot[0].waited += 1
            note(S, now, WAIT, r, n)
        return
    node.blocked = 0
    node.head = S.next[r]
    node.request = r
    if S.par[0].queue_informed:
        want(S, r, n, -1)
    pin(S, r, n, 1)
    fetch = fetch_ticks(S, r, n, now)
    compute = prefill_ticks(S, r)
    S.served[r].start = now
    S.served[r].fetched = fetch
    node.until = now + (max(fetch, compute) if S.par[0].overlap else fetch + compute)
    note(S, now, START, r, hits)


@handler
def finish(S: Any, n: int, now: int) -> None:
    """The prefill of a node ends; nodes that can begin another, in their order, do."""
    node = S.node[n]
    r = node.request
    node.request = -1
    node.until = NEVER
    pin(S, r, n, -1)
    use_blocks(S, r, n, now)
    S.served[r].end = now
    if S.par[0].queued_load:
        node.load -= S.served[r].expected
    note(S, now, END, r, n)
    if not S.par[0].wait_in_flight:
        start_if_idle(S, n, now)
        return
    for other in range(S.par[0].nodes):
        start_if_idle(S, other, now)


def advance_body(S: Any) -> None:
    """Run until all requests have ended."""
    while True:
        first = np.int64(-1)
        until = np.int64(NEVER)
        for n in range(S.par[0].nodes):
            if S.node[n].until < until:
                first = np.int64(n)
                until = S.node[n].until
        r = S.tot[0].cursor
        if first >= 0 and (r == S.par[0].requests or until <= S.arrival[r]):
            finish(S, first, until)
        elif r < S.par[0].requests:
            S.tot[0].cursor = r + 1
            arrive(S, r, S.arrival[r])
        else:
            return


def replay_body(S: Any) -> None:
    """All requests in trace order, each done before the next; the clock counts requests."""
    for r in range(S.par[0].requests):
        n = route(S, r)
        find_prefix(S, r, n)
        use_blocks(S, r, n, r)
        S.tot[0].cursor = r + 1


advance = kernel(void(WORLD))(advance_body)
replay = kernel(void(WORLD))(replay_body)
