"""The batch of a replica: who decodes, kept as aggregates so that an iteration costs O(log batch).

A replica counts its decode iterations in G. A decoding request has kv = offset + G tokens in
memory and is done when G reaches its finish count, so one iteration updates one counter, not every
request. `residues` counts decoding requests by offset mod B: those that need a new block in the
next iteration are the ones with offset = -G mod B.
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import pairs_push
from mltwin.sim.jit import handler

from .gaps import count_gaps, count_run
from .memory import (
    add_duplicates,
    blocks_for,
    count_wanted,
    name_blocks,
    release_blocks,
    share_blocks,
    take_blocks,
)
from .outcome import CANCEL, FINISH, PREEMPT
from .queues import (
    ERROR_SCORE,
    ID_MASK,
    fail_request,
    finish_find,
    finish_pop,
    finish_push,
    finish_remove,
    queue_push,
)
from .tables import CANCELLED, CHUNK, DECODE, DONE, FULL, SWAP, SWAPPED, WAITING
from .timing import iterations_until, span


@handler
def _count_plan_gaps(S: Any, r: int, upto: int) -> None:
    """Count the token gaps of the plan's iterations that are not caught up yet, up to `upto`."""
    x = S.rep[r]
    done = x.caught_up
    if done >= upto:
        return
    if x.decoding > 0:
        if done == 0:
            end = x.start + x.ticks
            first = r * S.par[0].batch_stride
            for j in range(x.n_fresh):
                q = S.req[S.fresh[first + j]]
                count_gaps(S, end - q.last, 1)
                q.fresh = 0
            if x.decoding > x.n_fresh:
                count_gaps(S, end - x.last_decode, x.decoding - x.n_fresh)
            x.n_fresh = 0
            done = np.int64(1)
        if upto > done:
            count_run(S, x.ticks + x.growth * done, x.growth, np.int64(x.decoding), upto - done)
    x.last_decode = x.start + span(x, upto)


@handler
def join_decode(S: Any, r: int, i: int, fresh: bool) -> None:
    """Request i, with `need` tokens in memory and a token to go on from, decodes on r."""
    p = S.par[0]
    x = S.rep[r]
    q = S.req[i]
    q.state = DECODE
    kv = S.info[i].prompt + S.info[i].generated - 1
    q.offset = kv - x.G
    if S.kinds[x.kind].reserve != FULL:
        S.residues[r * p.block_tokens + q.offset % p.block_tokens] += 1
    x.context += kv
    remaining = np.int64(q.output) - S.info[i].generated
    finish_push(S, r, np.int64(x.decoding), ((x.G + remaining) << np.int64(32)) | np.int64(i))
    x.decoding += 1
    x.dirty = 1
    if fresh:
        q.fresh = 1
        S.fresh[r * p.batch_stride + x.n_fresh] = i
        x.n_fresh += 1


@handler
def generated_now(S: Any, r: int, place: int) -> int:
    """Output tokens made so far by the request at a place of the finish heap of r."""
    key = S.finish_heap[r * S.par[0].batch_stride + place]
    return np.int64(S.req[key & ID_MASK].output) - ((key >> np.int64(32)) - S.rep[r].G)


@handler
def reserved_blocks(S: Any, r: int, i: int, kv: int) -> int:
    """Blocks that request i holds on r with kv tokens in memory."""
    if S.kinds[S.rep[r].kind].reserve == FULL:
        return blocks_for(S, np.int64(S.info[i].prompt) + S.req[i].output)
    return blocks_for(S, kv)


@handler
def partial_blocks(S: Any, r: int, i: int) -> int:
    """Blocks that a request in prefill holds."""
    if S.kinds[S.rep[r].kind].reserve == CHUNK:
        return blocks_for(S, np.int64(S.req[i].kv))
    return reserved_blocks(S, r, i, np.int64(S.req[i].need))


@handler
def leave_decode(S: Any, r: int, i: int, now: int) -> None:
    """Request i, already out of the finish heap, leaves the aggregates and frees its blocks."""
    p = S.par[0]
    x = S.rep[r]
    q = S.req[i]
    kv = q.offset + x.G
    if S.kinds[x.kind].reserve != FULL:
        S.residues[r * p.block_tokens + q.offset % p.block_tokens] -= 1
    x.decoding -= 1
    x.context -= kv
    release_blocks(S, r, i, reserved_blocks(S, r, i, kv), now)


@handler
def take_from_batch(S: Any, r: int, i: int, now: int) -> None:
    """Remove a decoding request before its end; `generated`, `last` and `kv` become exact."""
    x = S.rep[r]
    q = S.req[i]
    place = finish_find(S, r, i)
    S.info[i].generated = generated_now(S, r, place)
    finish_remove(S, r, np.int64(x.decoding), place)
    if q.fresh:
        _drop_fresh(S, r, i)
    else:
        q.last = x.last_decode
    q.kv = q.offset + x.G
    leave_decode(S, r, i, now)


@handler
def _drop_fresh(S: Any, r: int, i: int) -> None:
    x = S.rep[r]
    start = r * S.par[0].batch_stride
    S.req[i].fresh = 0
    for j in range(x.n_fresh):
        if S.fresh[start + j] == i:
            x.n_fresh -= 1
            S.fresh[start + j] = S.fresh[start + x.n_fresh]
            return


@handler
def pick_victim(S: Any, r: int, now: int) -> int:
    """The running request with the largest (`preempt` score, id), -1 if nothing runs."""
    x = S.rep[r]
    start = r * S.par[0].batch_stride
    c = S.ctx[0]
    c.now = now
    c.replica = r
    victim = np.int64(-1)
    best = 0.0
    for j in range(-1, x.decoding):
        if j < 0:
            i = np.int64(x.partial)
            if i < 0:
                continue
        else:
            i = S.finish_heap[start + j] & ID_MASK
            S.info[i].generated = generated_now(S, r, np.int64(j))
        c.request = i
        score = S.preempt(S.info[i], S.tenants, c, S.preempt_params, S.preempt_memory)
        if score != score:
            fail_request(S, ERROR_SCORE, i, r)
        if victim < 0 or score > best or (score == best and i > victim):
            victim = i
            best = score
    return victim


@handler
def preempt_request(S: Any, r: int, i: int, now: int) -> None:
    """Take a running request out of the batch and put it back into the queue."""
    x = S.rep[r]
    q = S.req[i]
    k = S.kinds[x.kind]
    swapped = k.preemption == SWAP and i != x.partial and _room_on_host(S, r, i)
    if k.keep_preempted and S.par[0].caching and not swapped:
        name_blocks(S, i)
        share_blocks(S, r, i, np.int64(q.kv) if i == x.partial else q.offset + x.G)
    q.state = WAITING
    if i == x.partial:
        x.partial = -1
        release_blocks(S, r, i, partial_blocks(S, r, i), now)
        q.kv = 0
    else:
        take_from_batch(S, r, i, now)
        if swapped:
            x.host_free -= blocks_for(S, np.int64(q.kv))
            x.copied += q.kv * k.swap_ticks
            q.state = SWAPPED
        else:
            q.kv = 0
    if q.state == WAITING:
        q.need = S.info[i].prompt + S.info[i].generated
    q.preempted += 1
    S.info[i].attempts += 1
    x.preemptions += 1
    log_event(S, now, PREEMPT, i, r)
    leave_running(S, i)
    enter_queue(S, r, i, now)


@handler
def _room_on_host(S: Any, r: int, i: int) -> bool:
    """Whether the host has room for the blocks of decoding request i."""
    x = S.rep[r]
    return blocks_for(S, S.req[i].offset + x.G) <= x.host_free


@handler
def enter_queue(S: Any, r: int, i: int, now: int) -> None:
    """Queue request i, whose key and state are set, at r."""
    x = S.rep[r]
    S.req[i].offset = now
    queue_push(S, r, i)
    x.waiting += 1
    x.dirty = 1
    S.replicas[r].waiting += 1
    S.replicas[r].queued_tokens += S.req[i].need
    S.tenants[S.info[i].tenant].waiting += 1
    if S.par[0].wanted:
        _tell_blocks(S, r, i, 1)


@handler
def leave_queue(S: Any, r: int, i: int) -> None:
    """Books of a request that leaves the queue of r (the queue itself apart)."""
    S.rep[r].waiting -= 1
    S.replicas[r].waiting -= 1
    S.replicas[r].queued_tokens -= S.req[i].need
    S.tenants[S.info[i].tenant].waiting -= 1
    if S.par[0].wanted:
        _tell_blocks(S, r, i, -1)


@handler
def _tell_blocks(S: Any, r: int, i: int, change: int) -> None:
    """Scores change now, so what was evicted before must have gone by the old ones."""
    sync(S, r, S.glob[0].now)
    count_wanted(S, r, i, change)


@handler
def leave_running(S: Any, i: int) -> None:
    """Request i no longer runs, as far as its tenant's counters go."""
    S.tenants[S.info[i].tenant].running -= 1


@handler
def assign(S: Any, r: int, i: int) -> None:
    """Request i counts among those assigned to r."""
    S.replicas[r].outstanding += 1
    S.replicas[r].outstanding_tokens += S.info[i].prompt + S.info[i].predicted


@handler
def unassign(S: Any, r: int, i: int) -> None:
    """Request i no longer counts among those assigned to r."""
    S.replicas[r].outstanding -= 1
    S.replicas[r].outstanding_tokens -= S.info[i].prompt + S.info[i].predicted


@handler
def end_request(S: Any, i: int, state: int, now: int) -> None:
    """Request i is done, refused or cancelled: what waits for its end may arrive."""
    g = S.glob[0]
    p = S.par[0]
    q = S.req[i]
    q.state = state
    q.finish = now
    g.ended += 1
    if p.has_after:
        follower = np.int64(S.after[i])
        if follower >= 0:
            due = now + max(np.int64(1), np.int64(S.delay[follower]))
            if p.has_front:
                due += S.front[follower]
            pairs_push(S.pending, S.pending_count, due, follower)
    elif p.concurrency > 0 and g.next_closed < p.n_requests:
        due = now + max(np.int64(1), p.think)
        if p.has_front:
            due += S.front[g.next_closed]
        pairs_push(S.pending, S.pending_count, due, np.int64(g.next_closed))
        g.next_closed += 1


@handler
def finish_request(S: Any, r: int, i: int, now: int) -> None:
    """Request i has all its tokens and has left the batch."""
    S.info[i].generated = S.req[i].output
    S.rep[r].dirty = 1
    S.glob[0].done += 1
    log_event(S, now, FINISH, i, r)
    leave_running(S, i)
    unassign(S, r, i)
    end_request(S, i, DONE, now)


@handler
def finish_decodes(S: Any, r: int, now: int) -> None:
    """End the requests whose finish count is reached, in id order."""
    x = S.rep[r]
    start = r * S.par[0].batch_stride
    while x.decoding > 0 and (S.finish_heap[start] >> np.int64(32)) <= x.G:
        i = S.finish_heap[start] & ID_MASK
        finish_pop(S, r, np.int64(x.decoding))
        if S.par[0].caching:
            share_blocks(S, r, i, S.req[i].offset + x.G)
            add_duplicates(S)
        leave_decode(S, r, i, now)
        finish_request(S, r, i, now)


@handler
def cancel_request(S: Any, i: int, was: int, now: int) -> None:
    """Request i ends without all its tokens; it has left queue, batch and memory already."""
    S.glob[0].cancelled += 1
    log_event(S, now, CANCEL, i, was)
    end_request(S, i, CANCELLED, now)


@handler
def cancel_marked(S: Any, r: int, now: int) -> None:
    """Cancellations that came during the iteration take effect, in the order in which they came."""
    x = S.rep[r]
    i = np.int64(x.cancel_head)
    x.cancel_head = -1
    x.cancel_tail = -1
    while i >= 0:
        q = S.req[i]
        following = np.int64(q.sibling)
        if q.replica == r and (q.state == DECODE or i == x.partial):
            was = np.int64(q.state)
            if i == x.partial:
                x.partial = -1
                release_blocks(S, r, i, partial_blocks(S, r, i), now)
            else:
                take_from_batch(S, r, i, now)
            leave_running(S, i)
            unassign(S, r, i)
            cancel_request(S, i, was, now)
        i = following


@handler
def block_limit(S: Any, r: int, k: int) -> int:
    """How many of k iterations the free and evictable blocks can serve; the first is paid for."""
    x = S.rep[r]
    b = S.par[0].block_tokens
    if S.kinds[x.kind].reserve == FULL:
        return k
    n = x.decoding
    available = x.free + x.evictable
    if S.par[0].caching and (
        S.par[0].stores or (x.waiting > 0 and S.kinds[x.kind].reserve == CHUNK)
    ):
        # An eviction may shorten what the first in the queue finds resident; with chunks that can
        # let it in. With stores it is news to all. So such a run ends before the first eviction.
        available = x.free
    if available >= ((k + b - 1) // b) * n:
        return k
    full = available // n
    left = available - full * n
    limit = 1 + full * b
    for _ in range(b):
        if limit >= k:
            break
        wanted = np.int64(S.residues[r * b + (-(x.G + limit)) % b])
        if wanted > left:
            break
        left -= wanted
        limit += 1
    return min(k, limit)


@handler
def catch_up(S: Any, r: int, upto: int) -> None:
    """Bring the aggregates to the end of iteration `upto` of the plan.

    Blocks are brought to the start of the next one, which is what a plan there would have taken.
    """
    x = S.rep[r]
    n = upto - x.caught_up
    if n <= 0:
        return
    b = S.par[0].block_tokens
    if S.kinds[x.kind].reserve != FULL:
        blocks = (n // b) * x.decoding
        residue = (-(x.G + 1)) % b
        for _ in range(n % b):
            blocks += S.residues[r * b + residue]
            residue = residue - 1 if residue > 0 else b - 1
        take_blocks(S, r, blocks)
        note_peak(S, r)
    _count_plan_gaps(S, r, upto)
    x.G += n
    x.context += x.decoding * n
    x.decode_tokens += x.decoding * n
    x.caught_up = upto


@handler
def note_peak(S: Any, r: int) -> None:
    """Keep the most blocks that requests have held on r."""
    x = S.rep[r]
    used = S.kinds[x.kind].blocks - x.free - x.evictable
    if used > x.peak_blocks:
        x.peak_blocks = used


@handler
def sync(S: Any, r: int, now: int) -> None:
    """Bring the aggregates of r to the iteration that runs at `now` (one that ends now runs)."""
    x = S.rep[r]
    if x.busy and x.planned > 1 and now > x.start:
        catch_up(S, r, min(iterations_until(x, now - x.start), x.planned) - 1)


@handler
def close_iterations(S: Any, r: int, now: int) -> None:
    """The plan's last iteration ends: books of all its iterations."""
    x = S.rep[r]
    k = x.planned
    if x.decodes:
        catch_up(S, r, k - 1)
        _count_plan_gaps(S, r, k)
        x.last_decode = now
        x.G += 1
        x.context += x.decoding
        x.decode_tokens += x.decoding
    x.iterations += k
    x.prefill_tokens += x.plan_prefill
    x.sequences += x.plan_sequences * k
    x.contexts += x.plan_context * k
    if x.decodes:
        x.contexts += x.decoding * (k * (k - 1) // 2)
    if x.plan_prefill > 0:
        x.busy_prefill += now - x.start
    else:
        x.busy_decode += now - x.start
    if len(S.batches) > 0:
        _log_batch(S, r, now)


@handler
def _log_batch(S: Any, r: int, now: int) -> None:
    g = S.glob[0]
    x = S.rep[r]
    if g.log_batches < len(S.batches):
        row = S.batches[g.log_batches]
        row.start = x.start
        row.end = now
        row.replica = r
        row.iterations = x.planned
        row.decoding = x.decoding if x.decodes else 0
        row.prefill_tokens = x.plan_prefill
        row.context = x.plan_context
        row.blocks = S.kinds[x.kind].blocks - x.free - x.evictable
        row.waiting = x.waiting
    g.log_batches += 1
