"""The event loop: `advance(S, until)`. Ranks and rules: see the package's docstring."""

from typing import Any

import numpy as np

from mltwin.sim.heap import pairs_pop, pairs_push
from mltwin.sim.jit import handler, kernel, types

from .entries import insert, is_expired, remove, use
from .state import ABSENT, PENDING, RESIDENT, WORLD
from .tables import EXPIRED, HIT, JOINED, MISS, NEVER, UNCACHED

ANSWERED, LOOK, CALL, ARRIVAL = range(4)
"""Ranks of the events."""
_RANK_BITS = 32
_ID = (1 << _RANK_BITS) - 1


@handler
def _arrive(S: Any, q: int, now: int) -> None:
    """The cache decides how q is answered."""
    g = S.glob[0]
    c = S.category[q]
    if not S.cached[c]:
        S.outcome[q] = UNCACHED
        S.ready[q] = now
        _send(S, q, now)
        return
    ready = now + g.embed + S.search[min(g.resident, len(S.search) - 1)]
    S.ready[q] = ready
    tau = S.tau[c]
    joined = np.int64(-1)
    for i in range(S.start[q], S.start[q + 1]):
        if S.near[i] < tau:
            break
        e = np.int64(S.row[i])
        if S.state[e] == RESIDENT:
            if is_expired(S, e, now):
                remove(S, e, EXPIRED, now)
                continue
            use(S, e)
            _serve(S, q, e, S.near[i], HIT)
            S.done[q] = ready + g.fetch
            return
        if joined < 0 and g.coalesce and S.state[e] == PENDING:
            joined = np.int64(i)
    if joined >= 0:
        _serve(S, q, S.row[joined], S.near[joined], JOINED)
        S.done[q] = ready
        return
    S.outcome[q] = MISS
    S.cut[q] = S.truncated[q]
    S.state[q] = PENDING
    _send(S, q, ready)


@handler
def _serve(S: Any, q: int, e: int, near: int, outcome: int) -> None:
    S.outcome[q] = outcome
    S.entry[q] = e
    S.served_near[q] = near


@handler
def _send(S: Any, q: int, when: int) -> None:
    """A call sets out to reach the LLM."""
    pairs_push(S.events, S.events_count, when, (np.int64(CALL) << _RANK_BITS) | np.int64(q))


@handler
def _call(S: Any, q: int, now: int) -> None:
    """A call reaches the LLM."""
    g = S.glob[0]
    if g.servers == 0 or g.busy < g.servers:
        _start(S, q, now)
        return
    S.waiting[g.tail] = q
    g.tail += 1
    g.most_waiting = max(g.most_waiting, g.tail - g.head)


@handler
def _start(S: Any, q: int, now: int) -> None:
    """A server begins to answer q."""
    g = S.glob[0]
    g.busy += 1
    g.calls += 1
    g.busy_ticks += S.service[q]
    S.called[q] = now
    pairs_push(S.events, S.events_count, now + S.service[q], np.int64(q))


@handler
def _answered(S: Any, q: int, now: int) -> None:
    """The LLM has answered q."""
    g = S.glob[0]
    g.busy -= 1
    g.answered += 1
    S.done[q] = now
    if S.outcome[q] == MISS:
        insert(S, q, now)
    else:
        S.state[q] = ABSENT
    if g.head < g.tail:
        g.head += 1
        _start(S, S.waiting[g.head - 1], now)


@handler
def _look(S: Any) -> None:
    """The controller moves thresholds and TTLs with the load."""
    g = S.glob[0]
    g.look += g.period
    load = (g.busy + g.tail - g.head) * 1000 // g.servers
    g.load += ((load - g.load) * g.gain) >> 10
    moved = min(max((g.load - g.low) * 1000 // (g.high - g.low), 0), 1000)
    g.looks += 1
    g.load_sum += g.load
    g.moved_sum += moved
    for c in range(len(S.tau)):
        S.tau[c] = S.threshold[c] - (S.threshold[c] - S.lowest[c]) * moved // 1000
        if moved == 1000:
            S.ttl_now[c] = S.longest[c]
        else:
            S.ttl_now[c] = S.ttl[c] + (S.longest[c] - S.ttl[c]) // 1000 * moved


@kernel(types.boolean(WORLD, types.int64))
def advance(S: Any, until: int) -> bool:
    """Handle all events up to `until` (ticks, itself included); whether none is left."""
    g = S.glob[0]
    while True:
        time = np.int64(NEVER)
        rank = np.int64(ARRIVAL)
        if g.cursor < g.n:
            time = S.arrival[g.cursor]
        if S.events_count[0] > 0:
            first = S.events[0]
            kind = first.id >> _RANK_BITS
            if first.time < time or (first.time == time and kind < rank):
                time = first.time
                rank = kind
        if time == NEVER:
            return True
        if g.adaptive and (g.look < time or (g.look == time and rank > LOOK)):
            time = g.look
            rank = np.int64(LOOK)
        if time > until:
            return False
        g.now = time
        if rank == ARRIVAL:
            g.cursor += 1
            _arrive(S, g.cursor - 1, time)
        elif rank == LOOK:
            _look(S)
        else:
            q = pairs_pop(S.events, S.events_count) & _ID
            if rank == CALL:
                _call(S, q, time)
            else:
                _answered(S, q, time)
