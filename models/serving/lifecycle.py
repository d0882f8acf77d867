"""Requests between replicas: arrival, routing, hand-over, transfer, cancellation."""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_remove, heap_set, pairs_push
from mltwin.sim.jit import handler

from .batch import (
    assign,
    cancel_request,
    end_request,
    leave_queue,
    leave_running,
    reserved_blocks,
    sync,
    unassign,
)
from .commitment import HANDOVER_RANK, handover_slot
from .fetching import on_part_end
from .hooks import ENQUEUE, PREFILL_ROLE, UP
from .memory import blocks_for, count_hits, release_blocks
from .network import flow_end
from .outcome import ARRIVE, BY_POLICY, PARK, QUEUE, REFUSE, TOO_LONG, TRANSFER_END
from .queues import ask_priority, fail_request, queue_head
from .tables import (
    ARRIVED,
    CANCELLED,
    DECODE,
    FETCHING,
    HANDOVER,
    PARKED,
    PREFILL,
    REFUSED,
    REMOTE,
    SWAPPED,
    TRANSFER,
    WAITING,
)
from .waking import enqueue, wake

ERROR_ROUTE = 4


@handler
def fill_live_view(S: Any, now: int) -> None:
    """Bring the live fields of the replica views up to date."""
    for r in range(S.par[0].n_replicas):
        sync(S, r, now)
        x = S.rep[r]
        S.replicas[r].free_blocks = x.free + x.evictable
        S.replicas[r].decode_context = x.context


@handler
def on_arrival(S: Any, i: int, now: int) -> None:
    """Request i arrives: it is refused, parked, or queued at a replica."""
    p = S.par[0]
    q = S.info[i]
    q.arrival = now
    S.tenants[q.tenant].arrived += 1
    log_event(S, now, ARRIVE, i, q.tenant)
    if p.has_timeout and S.timeout[i] > 0:
        pairs_push(S.expiry, S.expiry_count, now + S.timeout[i], np.int64(i))
    if p.live:
        fill_live_view(S, now)
    c = S.ctx[0]
    c.now = now
    c.request = i
    c.replica = -1
    seen = S.stale if p.snapshot_every > 0 else S.replicas
    if S.admit(q, seen, S.tenants, c, S.admit_params, S.admit_memory) == 0:
        _refuse(S, i, BY_POLICY, now)
    else:
        route_request(S, i, now)


@handler
def _refuse(S: Any, i: int, reason: int, now: int) -> None:
    S.glob[0].refused += 1
    log_event(S, now, REFUSE, i, reason)
    end_request(S, i, REFUSED, now)


@handler
def can_route(S: Any) -> bool:
    """Whether some replica is up and prefills."""
    for r in range(S.par[0].n_replicas):
        v = S.replicas[r]
        if v.state == UP and v.role & PREFILL_ROLE:
            return True
    return False


@handler
def route_request(S: Any, i: int, now: int) -> None:
    """Request i joins the queue of the replica that `route` names, or is parked or refused."""
    p = S.par[0]
    if not can_route(S):
        _park(S, i, now)
        return
    if p.live:
        fill_live_view(S, now)
    if p.caching:
        count_hits(S, i)
    c = S.ctx[0]
    c.now = now
    c.request = i
    c.replica = -1
    seen = S.stale if p.snapshot_every > 0 else S.replicas
    r = np.int64(S.route(S.info[i], seen, S.hits, c, S.route_params, S.route_memory))
    if r < 0 or r >= p.n_replicas:
        fail_request(S, ERROR_ROUTE, i, r)
        return
    v = S.replicas[r]
    if v.state != UP or not v.role & PREFILL_ROLE:
        fail_request(S, ERROR_ROUTE, i, r)
        return
    k = S.kinds[S.rep[r].kind]
    over = k.refuse_over_budget and S.info[i].prompt > k.max_tokens
    if over or blocks_for(S, np.int64(S.info[i].prompt) + S.req[i].output + 1) > v.blocks:
        _refuse(S, i, TOO_LONG, now)
        return
    assign(S, r, i)
    _queue(S, r, i, WAITING, now)


@handler
def _queue(S: Any, r: int, i: int, state: int, now: int) -> None:
    S.req[i].state = state
    S.req[i].replica = r
    S.info[i].key = ask_priority(S, r, i, now, ENQUEUE)
    log_event(S, now, QUEUE, i, r)
    enqueue(S, r, i, now)


@handler
def _park(S: Any, i: int, now: int) -> None:
    g = S.glob[0]
    S.req[i].state = PARKED
    S.req[i].child = -1
    if g.parked_tail >= 0:
        S.req[g.parked_tail].child = i
    else:
        g.parked_head = i
    g.parked_tail = i
    log_event(S, now, PARK, i, 0)


@handler
def route_parked(S: Any, now: int) -> None:
    """Route the parked requests, in the order in which they were parked, if that is possible."""
    g = S.glob[0]
    if g.parked_head < 0 or not can_route(S):
        return
    i = np.int64(g.parked_head)
    g.parked_head = -1
    g.parked_tail = -1
    while i >= 0:
        following = np.int64(S.req[i].child)
        if S.req[i].state != CANCELLED:
            route_request(S, i, now)
        i = following


@handler
def release_source(S: Any, i: int, now: int) -> None:
    """The KV of request i at its source is no longer needed there."""
    q = S.req[i]
    s = np.int64(q.source)
    sync(S, s, now)
    shared = q.shared
    q.shared = q.source_shared
    release_blocks(S, s, i, reserved_blocks(S, s, i, np.int64(q.need)), now)
    q.shared = shared
    q.source_shared = 0
    S.rep[s].held -= 1
    wake(S, s, now, S.rep[s].waiting > 0)


@handler
def next_handover(S: Any, r: int) -> None:
    """Set the timer of the hand-overs to r by the first of them, or stop it."""
    head = S.rep[r].handover_head
    if head >= 0:
        heap_set(S, handover_slot(S, r), S.req[head].last + S.par[0].latency, HANDOVER_RANK)
    else:
        S.rep[r].handover_tail = -1
        heap_remove(S, handover_slot(S, r))


@handler
def on_handover(S: Any, r: int, now: int) -> None:
    """The first request on its way to r is announced there."""
    i = np.int64(S.rep[r].handover_head)
    q = S.req[i]
    S.rep[r].handover_head = q.child
    next_handover(S, r)
    S.replicas[r].incoming -= 1
    leave_running(S, i)
    if q.cancel:
        unassign(S, r, i)
        cancel_request(S, i, HANDOVER, now)
        release_source(S, i, now)
        wake(S, r, now, False)
    else:
        _queue(S, r, i, REMOTE, now)


@handler
def on_transfer_end(S: Any, ingress: int, now: int) -> None:
    """The first flow to end on an ingress link has ended."""
    f = S.links[ingress].next_end
    i = S.flows[f].request
    q = S.req[i]
    if q.state == FETCHING:
        on_part_end(S, f, i, now)
        return
    r = np.int64(q.replica)
    flow_end(S, f, now)
    release_source(S, i, now)
    q.transfer += now - q.last
    S.replicas[r].incoming -= 1
    log_event(S, now, TRANSFER_END, i, r)
    if q.cancel:
        _cancel_arriving(S, r, i, TRANSFER, now)
    else:
        q.state = ARRIVED
    x = S.rep[r]
    q.child = -1
    if x.arrived_tail >= 0:
        S.req[x.arrived_tail].child = i
    else:
        x.arrived_head = i
    x.arrived_tail = i
    wake(S, r, now, True)


@handler
def on_cancel(S: Any, i: int, now: int) -> None:
    """The client of request i gives up."""
    q = S.req[i]
    state = np.int64(q.state)
    r = np.int64(q.replica)
    if state == PARKED:
        cancel_request(S, i, state, now)
    elif state == WAITING or state == SWAPPED or state == REMOTE:
        _cancel_waiting(S, r, i, state, now)
    elif state == PREFILL or state == DECODE:
        q.cancel = 1
        x = S.rep[r]
        q.sibling = -1
        if x.cancel_tail >= 0:
            S.req[x.cancel_tail].sibling = i
        else:
            x.cancel_head = i
        x.cancel_tail = i
        wake(S, r, now, True)
    elif state == HANDOVER or state == TRANSFER or state == FETCHING:
        q.cancel = 1
    elif state == ARRIVED:
        _cancel_arriving(S, r, i, state, now)


@handler
def _cancel_arriving(S: Any, r: int, i: int, state: int, now: int) -> None:
    """Request i, whose KV is at r, leaves; its blocks are given back at the next plan."""
    leave_running(S, i)
    unassign(S, r, i)
    cancel_request(S, i, state, now)


@handler
def _cancel_waiting(S: Any, r: int, i: int, state: int, now: int) -> None:
    """Request i leaves the queue of r; its node stays there until it comes to the head."""
    was_head = queue_head(S, r) == i
    leave_queue(S, r, i)
    unassign(S, r, i)
    if state == SWAPPED:
        S.rep[r].host_free += blocks_for(S, np.int64(S.req[i].kv))
    cancel_request(S, i, state, now)
    if state == REMOTE:
        release_source(S, i, now)
    wake(S, r, now, was_head)
