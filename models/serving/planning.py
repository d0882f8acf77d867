"""Planning: the next batch of a replica is formed, timed and started.

The order of the steps is that of the package's docstring; the helpers follow `plan` top down.
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_set
from mltwin.sim.jit import handler
from mltwin.sim.ticks import NEVER

from .admission import admit_waiting, compute_chunk
from .batch import (
    block_limit,
    join_decode,
    note_peak,
    pick_victim,
    preempt_request,
    reserved_blocks,
)
from .hooks import DRAINING, EVERY_ITERATION, ON_EVENT, STOPPED
from .memory import blocks_for, clear_memory, release_blocks, share_blocks, take_blocks
from .outcome import ITERATION
from .queues import fail_request, queue_rekey
from .tables import CANCELLED, CHUNK
from .timing import cell_of, next_knot, span
from .waking import ITERATION_END, set_state

ERROR_TIME = 7
ERROR_COUNT = 8
LONGEST = 2**58  # ticks (3.3 days) that one plan may take, so that the clock cannot overflow
MAX_COUNT = 2**31 - 2**25  # a request makes fewer than 2**25 tokens, a run of iterations too


@handler
def plan(S: Any, r: int, now: int) -> bool:
    """Form the next batch of r and start it; False if there is nothing to run."""
    g = S.glob[0]
    x = S.rep[r]
    g.plans += 1
    x.copied = 0
    x.n_new = 0
    if x.decoding == 0:
        x.G = 0  # nobody counts from it; a finish count has 31 bits
    elif x.G > MAX_COUNT:
        fail_request(S, ERROR_COUNT, r, x.G)
    _join_arrived(S, r, now)
    if x.waiting > 0 and (
        S.par[0].stability == EVERY_ITERATION or (S.par[0].stability == ON_EVENT and x.dirty)
    ):
        queue_rekey(S, r, now)
    x.dirty = 0
    x.plan_prefill = 0
    x.plan_sequences = 0
    x.held_back = x.late_blocks + x.late_slots
    work = np.int64(0)
    preempted = False
    k = S.kinds[x.kind]
    forming = True
    while forming:
        if k.mixed:
            x.decodes = 1
            some = _make_room(S, r, now)
            preempted = preempted or some
            work += _continue_partial(S, r)
            if not some or (x.decoding == 0 and x.plan_prefill == 0):
                budget = k.max_tokens - x.decoding - x.plan_prefill
                work += admit_waiting(S, r, now, budget)
        else:
            if _may_prefill(S, r):
                work += admit_waiting(S, r, now, k.max_tokens)
            while x.n_new == 0 and _make_room(S, r, now):
                preempted = True
                if x.decoding > 0:
                    break
                work += admit_waiting(S, r, now, k.max_tokens)
                if x.decoding == 0:
                    break
            x.decodes = 1 if x.n_new == 0 else 0
        # where nothing can run, nothing was planned ahead: look again, at all there is now
        forming = x.held_back > 0 and x.decoding == 0 and x.plan_prefill == 0
        if k.asynchronous:
            x.seen = NEVER
            x.late_blocks = 0
            x.late_slots = 0
        if forming:
            x.held_back = 0
    note_peak(S, r)
    return _start(S, r, now, work, preempted)


@handler
def _start(S: Any, r: int, now: int, work: int, preempted: bool) -> bool:
    """Time the iteration that has been formed, and as many identical ones as may follow."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    decoding = x.decoding if x.decodes else np.int64(0)
    tokens = decoding + x.plan_prefill
    if tokens == 0:
        x.busy = 0
        _stop_if_drained(S, r, now)
        return False
    context = x.context + decoding if x.decodes else np.int64(0)
    sequences = decoding + x.plan_sequences
    prefill = x.plan_prefill > 0
    cell = S.cells[cell_of(S, x.kind, tokens, context, prefill)]
    slope = cell.c + cell.d * tokens
    ticks = cell.a + cell.b * tokens + slope * context
    each = k.prefill_per_sequence if prefill else k.per_sequence
    ticks += each * sequences + k.per_work * work + x.copied
    if ticks < 1 or ticks > LONGEST or now > NEVER - LONGEST:
        fail_request(S, ERROR_TIME, r, ticks)
        ticks = np.int64(1)
    x.start = now
    x.ticks = ticks
    x.growth = slope * decoding
    x.planned = 1
    x.caught_up = 0
    x.busy = 1
    x.plan_tokens = tokens
    x.plan_sequences = sequences
    x.plan_context = context
    if not x.decodes:
        x.since = 0
    if S.par[0].skip:
        stale_keys = x.dirty and S.par[0].stability == ON_EVENT
        fixed = x.plan_prefill == 0 and x.copied == 0 and x.held_back == 0
        if fixed and not (preempted or stale_keys):
            x.planned = _identical(S, r, context)
    else:
        log_event(S, now, ITERATION, r, tokens)
    while x.planned > 1 and _span_estimate(x) > LONGEST:
        x.planned //= 2
    heap_set(S, r, now + span(x, x.planned), ITERATION_END)
    return True


@handler
def _span_estimate(x: Any) -> float:
    """About how many ticks the plan takes; a float, which does not overflow."""
    k = np.float64(x.planned)
    return k * np.float64(x.ticks) + 0.5 * k * (k - 1.0) * np.float64(x.growth)


@handler
def _identical(S: Any, r: int, context: int) -> int:
    """How many iterations run with this batch before anything can change."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    heap_top = S.finish_heap[r * S.par[0].batch_stride]
    n = (heap_top >> np.int64(32)) - x.G
    if k.columns > 1:
        n = min(n, (next_knot(S, x.kind, context) - 1 - context) // x.decoding + 1)
    if k.wait_iterations > 0 and x.waiting > 0:
        n = min(n, max(1, k.wait_iterations - x.since))
    if n > 1:
        n = block_limit(S, r, n)
    if x.waiting > 0 and S.par[0].stores and x.decoding + x.inflight < k.max_batch:
        n = np.int64(1)  # what others write to the stores may let the first in the queue in
    return n


@handler
def _stop_if_drained(S: Any, r: int, now: int) -> None:
    v = S.replicas[r]
    x = S.rep[r]
    if v.state == DRAINING and v.outstanding == 0 and x.held == 0:
        x.up_ticks += now - x.up_since
        x.up_since = -1
        set_state(S, r, STOPPED, now)
        clear_memory(S, r)


@handler
def _join_arrived(S: Any, r: int, now: int) -> None:
    """Requests whose KV has arrived join the decode set; cancelled ones give their blocks back."""
    x = S.rep[r]
    i = np.int64(x.arrived_head)
    x.arrived_head = -1
    x.arrived_tail = -1
    while i >= 0:
        q = S.req[i]
        following = np.int64(q.child)
        x.inflight -= 1
        if q.state == CANCELLED:
            release_blocks(S, r, i, reserved_blocks(S, r, i, np.int64(q.need)), now)
        else:
            if S.par[0].caching:
                share_blocks(S, r, i, np.int64(q.need))
            join_decode(S, r, i, True)
        i = following


@handler
def _make_room(S: Any, r: int, now: int) -> bool:
    """Take the blocks that decode and partial prefill need; pre-empt while they do not suffice."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    b = S.par[0].block_tokens
    preempted = False
    while True:
        wanted = np.int64(S.residues[r * b + (-x.G) % b])
        if x.partial >= 0 and k.reserve == CHUNK:
            q = S.req[x.partial]
            chunk = min(np.int64(q.need) - q.kv, k.max_tokens - x.decoding)
            wanted += blocks_for(S, q.kv + chunk) - blocks_for(S, np.int64(q.kv))
        if wanted <= x.free + x.evictable - x.late_blocks:
            break
        preempt_request(S, r, pick_victim(S, r, now), now)
        preempted = True
    take_blocks(S, r, wanted)
    return preempted


@handler
def _continue_partial(S: Any, r: int) -> int:
    """The partial prefill gets its next chunk, paid for already; returns its work."""
    x = S.rep[r]
    i = x.partial
    if i < 0:
        return np.int64(0)
    q = S.req[i]
    kv = np.int64(q.kv)
    chunk = min(np.int64(q.need) - kv, S.kinds[x.kind].max_tokens - x.decoding)
    compute_chunk(S, r, i, kv, chunk)
    return chunk * kv + chunk * (chunk + 1) // 2


@handler
def _may_prefill(S: Any, r: int) -> bool:
    """Whether a split engine looks at its queue before this iteration."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    if x.decoding == 0:
        return True
    if k.static:
        return False
    if k.wait_iterations == 0:
        return True
    if x.waiting > 0 and x.since >= k.wait_iterations:
        x.since = 0
        return True
    return False
