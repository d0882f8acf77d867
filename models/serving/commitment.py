"""Commit: a replica's iterations end; requests finish, move on to another replica, or decode."""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_set
from mltwin.sim.jit import handler

from .batch import (
    assign,
    cancel_marked,
    close_iterations,
    finish_decodes,
    finish_request,
    join_decode,
    reserved_blocks,
    unassign,
)
from .gaps import count_gaps
from .hooks import DECODE_ROLE, EVERY_ITERATION, UP
from .memory import add_duplicates, blocks_for, release_blocks, share_blocks
from .outcome import FIRST, HAND_OVER
from .queues import ID_MASK, fail_request
from .tables import HANDOVER
from .timing import span

HANDOVER_RANK = 3
ERROR_PLACE = 3


@handler
def commit(S: Any, r: int, now: int) -> None:
    """The last iteration of the plan ends: tokens are made, requests finish, move on or join."""
    x = S.rep[r]
    close_iterations(S, r, now)
    asynchronous = S.kinds[x.kind].asynchronous
    if asynchronous:
        x.seen = x.start + span(x, x.planned - 1)
        x.late_blocks = -(x.free + x.evictable)
        x.late_slots = x.decoding + x.n_new
    if S.par[0].stability == EVERY_ITERATION:
        _serve_tenants(S, r)
    if x.decodes:
        k = S.kinds[x.kind]
        x.since = min(x.since + x.planned, k.wait_iterations)
        finish_decodes(S, r, now)
    start = r * S.par[0].batch_stride
    for j in range(x.n_new):
        _end_prefill(S, r, np.int64(S.new[start + j]), now)
    x.n_new = 0
    x.busy = 0
    partial = x.partial
    if x.cancel_head >= 0:
        cancel_marked(S, r, now)
    if asynchronous:
        x.late_blocks += x.free + x.evictable
        x.late_slots -= x.decoding
        x.late_slots += 1 if partial >= 0 and x.partial < 0 else 0


@handler
def _serve_tenants(S: Any, r: int) -> None:
    """Count the tokens just made, tenant by tenant (only EVERY_ITERATION policies may see them)."""
    x = S.rep[r]
    start = r * S.par[0].batch_stride
    if x.decodes:
        for j in range(x.decoding):
            i = S.finish_heap[start + j] & ID_MASK
            S.tenants[S.info[i].tenant].output_served += 1
    for j in range(x.n_new):
        S.tenants[S.info[S.new[start + j]].tenant].output_served += 1


@handler
def _end_prefill(S: Any, r: int, i: int, now: int) -> None:
    """Request i has all of `need` in memory and makes its next token."""
    q = S.req[i]
    v = S.info[i]
    v.generated += 1
    if S.par[0].caching:
        share_blocks(S, r, i, np.int64(q.need))
    if q.first < 0:
        q.first = now
        log_event(S, now, FIRST, i, r)
    else:
        count_gaps(S, now - q.last, 1)
    q.last = now
    q.source = r
    if v.generated >= q.output:
        if S.par[0].caching:
            add_duplicates(S)
        release_blocks(S, r, i, reserved_blocks(S, r, i, np.int64(q.need)), now)
        finish_request(S, r, i, now)
        return
    destination = _place(S, r, i, now)
    if destination == r:
        join_decode(S, r, i, S.kinds[S.rep[r].kind].mixed == 0)
    else:
        _hand_over(S, r, i, destination, now)


@handler
def _place(S: Any, r: int, i: int, now: int) -> int:
    """Ask where request i, prefilled on r, decodes. Not asked if nobody else could."""
    p = S.par[0]
    others = False
    for other in range(p.n_replicas):
        v = S.replicas[other]
        if other != r and v.state == UP and v.role & DECODE_ROLE:
            others = True
            break
    if not others:
        return r
    c = S.ctx[0]
    c.now = now
    c.request = i
    c.replica = r
    seen = S.stale if p.snapshot_every > 0 else S.replicas
    answer = np.int64(
        S.place_decode(S.info[i], seen, c, S.place_decode_params, S.place_decode_memory)
    )
    if answer == r:
        return r
    if answer < 0 or answer >= p.n_replicas:
        fail_request(S, ERROR_PLACE, i, answer)
        return r
    v = S.replicas[answer]
    if v.state != UP or not v.role & DECODE_ROLE:
        fail_request(S, ERROR_PLACE, i, answer)
        return r
    total = np.int64(S.info[i].prompt) + S.req[i].output + 1
    if blocks_for(S, total) > v.blocks:
        return r
    return answer


@handler
def _hand_over(S: Any, r: int, i: int, destination: int, now: int) -> None:
    """Request i, whose KV stays at r for now, is announced to its destination."""
    q = S.req[i]
    y = S.rep[destination]
    S.rep[r].held += 1
    q.state = HANDOVER
    q.source_shared = q.shared
    q.shared = 0
    q.replica = destination
    unassign(S, r, i)
    assign(S, destination, i)
    S.replicas[destination].incoming += 1
    log_event(S, now, HAND_OVER, i, destination)
    q.child = -1
    if y.handover_tail >= 0:
        S.req[y.handover_tail].child = i
    else:
        y.handover_head = i
        heap_set(S, handover_slot(S, destination), now + S.par[0].latency, HANDOVER_RANK)
    y.handover_tail = i


@handler
def handover_slot(S: Any, r: int) -> int:
    """Timer slot of the hand-overs to r."""
    return S.par[0].n_replicas + S.par[0].n_nics + r
