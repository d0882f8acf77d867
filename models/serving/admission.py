"""Admission from the head of a replica's waiting queue.

The rules are those of the package's docstring: a waiting request starts its prefill, a swapped one
returns to the decode set, one prefilled elsewhere gets its blocks and its KV starts to move.
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.jit import handler

from .batch import join_decode, leave_queue, reserved_blocks
from .fetching import LEFT_QUEUE, NO_FETCH, fetch_first
from .memory import blocks_for, match_prefix, pin_prefix, take_blocks
from .network import flow_start
from .outcome import ADMIT, TRANSFER_START
from .queues import ID_MASK, queue_head, queue_pop
from .tables import CHUNK, PREFILL, REMOTE, SWAPPED, TRANSFER


@handler
def admit_waiting(S: Any, r: int, now: int, budget: int) -> int:
    """Admit waiting requests from the head while they fit; returns the work of their chunks."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    work = np.int64(0)
    while budget > 0:
        i = queue_head(S, r)
        if i < 0:
            break
        batch = x.decoding + x.n_new + x.inflight + (1 if x.partial >= 0 else 0)
        if batch + x.late_slots >= k.max_batch:
            break
        if S.req[i].offset > x.seen:
            x.held_back = 1
            break
        available = x.free + x.evictable - x.late_blocks
        available -= k.watermark if batch + x.held > 0 else 0
        state = S.req[i].state
        if state == SWAPPED:
            if not _admit_swapped(S, r, i, now, available):
                break
            budget -= k.mixed
        elif state == REMOTE:
            if not _admit_remote(S, r, i, now, available):
                break
        else:
            chunk = _admit_prefill(S, r, i, now, available, budget)
            if chunk == 0:
                break
            if chunk < 0:
                continue
            kv = S.req[i].kv - chunk
            work += chunk * kv + chunk * (chunk + 1) // 2
            budget -= chunk
    return work


@handler
def _leave_for_batch(S: Any, r: int, i: int, now: int) -> None:
    """Books of a request at the head of the queue that is admitted."""
    queue_pop(S, r)
    leave_queue(S, r, i)
    S.tenants[S.info[i].tenant].running += 1
    if S.req[i].scheduled < 0:
        S.req[i].scheduled = now
        S.tenants[S.info[i].tenant].prompt_served += S.info[i].prompt


@handler
def _admit_swapped(S: Any, r: int, i: int, now: int, available: int) -> bool:
    """A swapped request returns to the decode set, if its blocks fit."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    kv = np.int64(S.req[i].kv)
    if kv // S.par[0].block_tokens + 1 > available:
        return False
    _leave_for_batch(S, r, i, now)
    take_blocks(S, r, blocks_for(S, kv + 1) if k.mixed else blocks_for(S, kv))
    x.host_free += blocks_for(S, kv)
    x.copied += kv * k.swap_ticks
    log_event(S, now, ADMIT, i, r)
    join_decode(S, r, i, True)
    return True


@handler
def _admit_remote(S: Any, r: int, i: int, now: int, available: int) -> bool:
    """Blocks are reserved for a request prefilled elsewhere and its KV starts to move."""
    x = S.rep[r]
    q = S.req[i]
    need = np.int64(q.need)
    hit = np.int64(0)
    evictable = np.int64(0)
    if S.par[0].caching:
        hit, evictable = match_prefix(S, r, i)
    held = reserved_blocks(S, r, i, need)
    if max(held, blocks_for(S, need + 1)) - hit > available - evictable:
        return False
    pin_prefix(S, r, i, hit)
    _leave_for_batch(S, r, i, now)
    take_blocks(S, r, held - hit)
    S.info[i].cached = hit * S.par[0].block_tokens
    q.state = TRANSFER
    x.inflight += 1
    S.replicas[r].incoming += 1
    log_event(S, now, TRANSFER_START, i, r)
    flow_start(S, i, np.int64(q.source), r, need - hit * S.par[0].block_tokens, now)
    return True


@handler
def _admit_prefill(S: Any, r: int, i: int, now: int, available: int, budget: int) -> int:
    """Admit a request that has to be prefilled; returns its chunk.

    0 if it does not fit, -1 if it has left the queue to fetch blocks from the stores.
    """
    x = S.rep[r]
    k = S.kinds[x.kind]
    q = S.req[i]
    b = S.par[0].block_tokens
    need = np.int64(q.need)
    hit = np.int64(0)
    evictable = np.int64(0)
    if S.par[0].caching:
        if S.par[0].stores:
            answer = fetch_first(S, r, i, now, available)
            if answer != NO_FETCH:
                return np.int64(-1 if answer == LEFT_QUEUE else 0)
        hit, evictable = match_prefix(S, r, i)
    missing = need - hit * b
    chunk = missing
    if k.chunked:
        chunk = min(missing, budget)
    elif missing > budget and x.plan_prefill + k.mixed * x.decoding > 0:
        return np.int64(0)
    if k.reserve == CHUNK:
        blocks = blocks_for(S, hit * b + chunk) - hit
    else:
        blocks = reserved_blocks(S, r, i, need) - hit
    wanted = blocks
    if k.whole_prompt:
        wanted = max(wanted, blocks_for(S, need) - hit)
    if wanted > available - evictable:
        return np.int64(0)
    if k.peak and not _peak_fits(S, r, i):
        return np.int64(0)
    if k.batch_wait_iterations > 0 and _waits_for_more(S, r):
        return np.int64(0)
    if S.par[0].caching:
        pin_prefix(S, r, i, hit)
        S.info[i].cached = hit * b
        S.glob[0].hit_tokens += hit * b
        if S.par[0].stores:
            S.fetch[i].tried = 0
    _leave_for_batch(S, r, i, now)
    take_blocks(S, r, blocks)
    log_event(S, now, ADMIT, i, r)
    q.state = PREFILL
    compute_chunk(S, r, i, hit * b, chunk)
    return chunk


@handler
def _waits_for_more(S: Any, r: int) -> bool:
    """TensorRT-LLM's batch waiting: a prompt that fits is held back for others to come along."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    if x.plan_prefill > 0:
        return False  # decided with the first one of this plan
    tokens = x.decoding + S.replicas[r].queued_tokens
    if x.decoding > 0 and tokens < k.batch_wait_tokens and x.waited < k.batch_wait_iterations:
        x.waited += 1
        x.held_back = 1
        return True
    x.waited = 0
    return False


@handler
def compute_chunk(S: Any, r: int, i: int, kv: int, chunk: int) -> None:
    """This iteration prefills `chunk` tokens of request i, which has kv in memory."""
    x = S.rep[r]
    q = S.req[i]
    q.kv = kv + chunk
    x.plan_prefill += chunk
    x.plan_sequences += 1
    if q.kv == q.need:
        S.new[r * S.par[0].batch_stride + x.n_new] = i
        x.n_new += 1
        if x.partial == i:
            x.partial = -1
    else:
        x.partial = i


@handler
def _peak_fits(S: Any, r: int, i: int) -> bool:
    """LightLLM's test: the largest future token use with request i on board fits the memory.

    With n requests sorted by remaining output, longest first, the use peaks at the end of one of
    them: max over j of (remaining_j * j + tokens held by the first j). Each may waste part of a
    block. A request alone always fits.
    """
    x = S.rep[r]
    b = S.par[0].block_tokens
    start = r * S.par[0].batch_stride
    n = np.int64(0)
    for j in range(x.decoding):
        key = S.finish_heap[start + j]
        other = key & ID_MASK
        made = np.int64(S.req[other].output) - ((key >> np.int64(32)) - x.G)
        n = _insert_sorted(S, n, S.info[other].predicted - made, S.info[other].prompt + made - 1)
    for j in range(x.n_new):
        other = np.int64(S.new[start + j])
        left = S.info[other].predicted - S.info[other].generated
        n = _insert_sorted(S, n, left, np.int64(S.req[other].need))
    n = _insert_sorted(S, n, S.info[i].predicted - S.info[i].generated, np.int64(S.req[i].need))
    if n == 1:
        return True
    peak = np.int64(0)
    held = np.int64(0)
    for j in range(n):
        held += S.scratch[j] & ID_MASK
        peak = max(peak, (S.scratch[j] >> np.int64(32)) * (j + 1) + held)
    return peak + n * (b - 1) <= S.kinds[x.kind].blocks * b


@handler
def _insert_sorted(S: Any, n: int, remaining: int, held: int) -> int:
    """Insert into the scratch list, most remaining first; returns its new length."""
    key = (max(np.int64(1), np.int64(remaining)) << np.int64(32)) | np.int64(held)
    place = np.int64(n)
    while place > 0 and S.scratch[place - 1] < key:
        S.scratch[place] = S.scratch[place - 1]
        place -= 1
    S.scratch[place] = key
    return n + 1
