"""Prefix blocks on their way from a store to the HBM of the replica that wants them.

A waiting request at the head of its queue leaves it for the fetch and holds the blocks meanwhile.
When all has landed the blocks are resident and evictable, and the request is back in the queue with
its key, to be admitted as one that hits them. So only fetches hold blocks for it, and these end.
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_remove, heap_set, pairs_pop, pairs_push
from mltwin.sim.jit import handler

from .batch import (
    cancel_request,
    enter_queue,
    leave_queue,
    leave_running,
    reserved_blocks,
    sync,
    unassign,
)
from .memory import match_prefix, pin_prefix, release_blocks, share_fetched, take_blocks
from .network import TRANSFER_END, flow_begin, flow_end
from .outcome import FETCH_END, FETCH_START
from .queues import queue_pop
from .stores import in_host, in_pool, store_pin, store_unpin
from .tables import FETCH_CHEAPER, FETCH_NEVER, FETCHING, WAITING
from .timing import cell_of
from .waking import wake

NO_FETCH, LEFT_QUEUE, NO_ROOM = range(3)


@handler
def landing_slot(S: Any) -> int:
    """Timer slot of the next fetch to land."""
    return 3 * S.par[0].n_replicas + S.par[0].n_nics + 2


@handler
def fetch_first(S: Any, r: int, i: int, now: int, available: int) -> int:
    """Whether the waiting request i, the head at r, leaves the queue for a fetch.

    NO_FETCH: it is to be prefilled as things stand. LEFT_QUEUE: a fetch has started, or one that
    brings its first missing block is waited for. NO_ROOM: it waits for blocks to fetch into.
    """
    p = S.par[0]
    if p.fetching == FETCH_NEVER or S.fetch[i].tried:
        return NO_FETCH
    hit, evictable = match_prefix(S, r, i)
    need = np.int64(S.req[i].need)
    limit = min(np.int64(S.req[i].n_ids), (need - 1) // p.block_tokens)
    if hit >= limit:
        return NO_FETCH
    owner = _brought_by(S, r, i, hit)
    if owner >= 0:
        _leave_for(S, r, i, now, owner)
        S.stores[p.n_replicas].followed += 1
        return LEFT_QUEUE
    hosted = in_host(S, r, i, hit, limit)
    reach = in_pool(S, i, hosted, limit)
    if reach == hit:
        return NO_FETCH
    if p.fetching == FETCH_CHEAPER and not _pays(S, r, i, hit, hosted, reach):
        return NO_FETCH
    if reserved_blocks(S, r, i, need) - hit > available - evictable:
        return NO_ROOM
    _start(S, r, i, now, hit, hosted, reach)
    return LEFT_QUEUE


@handler
def _brought_by(S: Any, r: int, i: int, depth: int) -> int:
    """The request whose fetch to r brings block `depth` of request i, -1 if none does."""
    block = S.block_ids[S.block_start[i] + depth]
    other = np.int64(S.stores[r].fetch_head)
    while other >= 0:
        f = S.fetch[other]
        brings = f.owner < 0 and f.hit <= depth < f.reach
        if brings and S.block_ids[S.block_start[other] + depth] == block:
            return other
        other = np.int64(f.following)
    return np.int64(-1)


@handler
def _prefill_ticks(S: Any, r: int, tokens: int, kv: int) -> int:
    """Ticks of an iteration that prefills so many tokens behind kv and does nothing else."""
    x = S.rep[r]
    k = S.kinds[x.kind]
    cell = S.cells[cell_of(S, x.kind, tokens, np.int64(0), True)]
    work = tokens * kv + tokens * (tokens + 1) // 2
    return cell.a + cell.b * tokens + k.prefill_per_sequence + k.per_work * work


@handler
def _part_ticks(S: Any, egress: int, ingress: int, blocks: int) -> int:
    """Ticks of a part at the share that one flow more would leave each on the links it crosses."""
    p = S.par[0]
    out = S.links[egress]
    into = S.links[p.n_nics + ingress]
    rate = min(out.capacity // (out.flows + 1), into.capacity // (into.flows + 1))
    if egress < p.ends and ingress < p.ends:
        pair = egress * p.ends + ingress
        for j in range(S.path_first[pair], S.path_first[pair + 1]):
            hop = S.links[2 * p.n_nics + S.path_links[j]]
            rate = min(rate, hop.capacity // (hop.flows + 1))
    units = blocks * p.block_tokens * p.kv_unit
    rate = max(rate, 1)
    return (units + rate - 1) // rate


@handler
def _pays(S: Any, r: int, i: int, hit: int, hosted: int, reach: int) -> bool:
    """Whether fetching takes less time than the prefill is shorter for it."""
    p = S.par[0]
    b = p.block_tokens
    need = np.int64(S.req[i].need)
    saved = _prefill_ticks(S, r, need - hit * b, hit * b)
    saved -= _prefill_ticks(S, r, need - reach * b, reach * b)
    host = p.store_nic + 1 + r
    ticks = np.int64(0)
    latency = np.int64(0)
    if hosted > hit:
        ticks = _part_ticks(S, host, host, hosted - hit)
        latency = np.int64(p.host_latency)
    if reach > hosted:
        into = np.int64(S.nic_of[r])
        ticks = max(ticks, _part_ticks(S, np.int64(p.store_nic), into, reach - hosted))
        latency = max(latency, np.int64(p.pool_latency))
    return ticks + latency < saved


@handler
def _leave_for(S: Any, r: int, i: int, now: int, owner: int) -> None:
    """Request i, the head at r, leaves the queue for its own fetch or that of `owner`."""
    y = S.stores[r]
    f = S.fetch[i]
    queue_pop(S, r)
    leave_queue(S, r, i)
    S.tenants[S.info[i].tenant].running += 1
    S.req[i].state = FETCHING
    S.rep[r].inflight += 1
    f.owner = owner
    f.since = now
    f.following = -1
    if y.fetch_tail >= 0:
        S.fetch[y.fetch_tail].following = i
    else:
        y.fetch_head = i
    y.fetch_tail = i
    log_event(S, now, FETCH_START, i, r)


@handler
def _start(S: Any, r: int, i: int, now: int, hit: int, hosted: int, reach: int) -> None:
    p = S.par[0]
    f = S.fetch[i]
    first = S.block_start[i]
    pin_prefix(S, r, i, hit)
    f.hit = hit
    f.hosted = hosted
    f.reach = reach
    for j in range(hit, reach):
        store = r if j < hosted else p.n_replicas
        store_pin(S, store, np.int64(S.block_ids[first + j]))
    _leave_for(S, r, i, now, np.int64(-1))
    take_blocks(S, r, reach - hit)
    host = p.store_nic + 1 + r
    f.parts = (1 if hosted > hit else 0) + (1 if reach > hosted else 0)
    S.stores[p.n_replicas].fetches += 1
    if hosted > hit:
        flow_begin(S, i, host, host, (hosted - hit) * p.block_tokens, now)
    if reach > hosted:
        pool = np.int64(p.store_nic)
        flow_begin(S, i, pool, np.int64(S.nic_of[r]), (reach - hosted) * p.block_tokens, now)


@handler
def on_part_end(S: Any, flow: int, i: int, now: int) -> None:
    """A flow of the fetch of request i has ended; the last one lands after the latency."""
    p = S.par[0]
    f = S.fetch[i]
    flow_end(S, flow, now)
    f.parts -= 1
    if f.parts > 0:
        return
    latency = np.int64(p.host_latency) if f.hosted > f.hit else np.int64(0)
    if f.reach > f.hosted:
        latency = max(latency, np.int64(p.pool_latency))
    pairs_push(S.landing, S.landing_count, now + latency, np.int64(i))
    _next_landing(S)


@handler
def _next_landing(S: Any) -> None:
    if S.landing_count[0] > 0:
        heap_set(S, landing_slot(S), S.landing[0].time, TRANSFER_END)
    else:
        heap_remove(S, landing_slot(S))


@handler
def _unpin(S: Any, r: int, i: int) -> None:
    """The stores may give up what request i has read, tail first."""
    f = S.fetch[i]
    first = S.block_start[i]
    for j in range(f.reach - 1, f.hit - 1, -1):
        store = r if j < f.hosted else S.par[0].n_replicas
        store_unpin(S, store, np.int64(S.block_ids[first + j]))


@handler
def on_landing(S: Any, now: int) -> None:
    """The first fetch to land has: its blocks are resident, and who waited queues again."""
    p = S.par[0]
    i = pairs_pop(S.landing, S.landing_count)
    _next_landing(S)
    r = np.int64(S.req[i].replica)
    x = S.stores[r]
    f = S.fetch[i]
    sync(S, r, now)
    _unpin(S, r, i)
    x.read += f.hosted - f.hit
    S.stores[p.n_replicas].read += f.reach - f.hosted
    f.tokens += (f.reach - f.hit) * p.block_tokens
    share_fetched(S, r, i, np.int64(f.reach))
    release_blocks(S, r, i, np.int64(f.reach), now)
    f.tried = 1
    # the owner first, then who follows it, in the order in which they came
    _return(S, r, i, now)
    other = np.int64(x.fetch_head)
    x.fetch_head = -1
    x.fetch_tail = -1
    while other >= 0:
        following = np.int64(S.fetch[other].following)
        if S.fetch[other].owner == i:
            _return(S, r, other, now)
        elif other != i:
            S.fetch[other].following = -1
            if x.fetch_tail >= 0:
                S.fetch[x.fetch_tail].following = other
            else:
                x.fetch_head = other
            x.fetch_tail = other
        other = following
    wake(S, r, now, True)


@handler
def _return(S: Any, r: int, i: int, now: int) -> None:
    """Request i, for which a fetch has landed, queues again at r, or is cancelled."""
    q = S.req[i]
    f = S.fetch[i]
    S.rep[r].inflight -= 1
    f.waited += now - f.since
    log_event(S, now, FETCH_END, i, r)
    leave_running(S, i)
    if q.cancel:
        unassign(S, r, i)
        cancel_request(S, i, FETCHING, now)
    else:
        q.state = WAITING
        enter_queue(S, r, i, now)


@handler
def drop_fetch(S: Any, r: int, i: int, now: int) -> None:
    """The fetch of request i ends because r has failed; the landings are put right later."""
    p = S.par[0]
    f = S.fetch[i]
    f.waited += now - f.since
    f.tried = 0
    if f.owner >= 0:
        return
    if f.parts > 0:
        _drop_flow(S, i, p.store_nic + 1 + r, now)
        _drop_flow(S, i, np.int64(p.store_nic), now)
    _unpin(S, r, i)


@handler
def _drop_flow(S: Any, i: int, egress: int, now: int) -> None:
    flow = S.links[egress].head
    while flow >= 0:
        if S.flows[flow].request == i:
            flow_end(S, flow, now)
            return
        flow = S.flows[flow].next_out


@handler
def keep_landings(S: Any) -> None:
    """Only requests that still fetch may land."""
    n = S.landing_count[0]
    S.landing_count[0] = 0
    for k in range(n):
        time = S.landing[k].time
        i = S.landing[k].id
        if S.req[i].state == FETCHING:
            pairs_push(S.landing, S.landing_count, time, i)
    _next_landing(S)
