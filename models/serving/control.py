"""The control plane: replicas that fail, return, start, drain and change roles."""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_remove, heap_set
from mltwin.sim.jit import handler

from .batch import (
    cancel_request,
    generated_now,
    leave_queue,
    leave_running,
    reserved_blocks,
    sync,
    unassign,
)
from .commitment import handover_slot
from .fetching import drop_fetch, keep_landings
from .hooks import (
    ACTION,
    ARGUMENT,
    DRAIN,
    DRAINING,
    FAILED,
    MIXED_ROLE,
    SET_ROLE,
    START,
    STARTING,
    STOPPED,
    UP,
)
from .lifecycle import fill_live_view, next_handover, release_source, route_parked, route_request
from .memory import clear_memory, release_blocks
from .network import flow_end
from .outcome import LOST as LOG_LOST
from .outcome import REPLICA_ROLE
from .queues import ID_MASK, fail_request, queue_filter
from .tables import (
    ARRIVED,
    CHANGE_ROLE,
    DECODE,
    DRAIN_REPLICA,
    FAIL,
    FETCHING,
    HANDOVER,
    LOST,
    PREFILL,
    RECOVER,
    REMOTE,
    START_REPLICA,
    SWAPPED,
    TRANSFER,
    WAITING,
)
from .timing import span
from .waking import set_state, wake

CONTROL_RANK = 0
ERROR_SCALE = 5


@handler
def startup_slot(S: Any, r: int) -> int:
    """Timer slot of replica r becoming ready."""
    return 2 * S.par[0].n_replicas + S.par[0].n_nics + r


@handler
def scale_slot(S: Any) -> int:
    """Timer slot of the questions to the scale policy."""
    return 3 * S.par[0].n_replicas + S.par[0].n_nics


@handler
def snapshot_slot(S: Any) -> int:
    """Timer slot of the snapshots for stale views."""
    return 3 * S.par[0].n_replicas + S.par[0].n_nics + 1


@handler
def on_script(S: Any, now: int) -> None:
    """The next scripted control event. One that does not apply is ignored."""
    g = S.glob[0]
    event = S.control[g.control_cursor]
    g.control_cursor += 1
    r = event.replica
    state = S.replicas[r].state
    if event.kind == FAIL and (state == UP or state == DRAINING or state == STARTING):
        _fail(S, r, now)
    elif event.kind == RECOVER and state == FAILED:
        _become_up(S, r, now)
    elif event.kind == START_REPLICA and state == STOPPED:
        _start_replica(S, r, now)
    elif event.kind == DRAIN_REPLICA and state == UP:
        _drain(S, r, now)
    elif event.kind == CHANGE_ROLE and 1 <= event.argument <= MIXED_ROLE:
        _set_role(S, r, event.argument, now)


@handler
def _start_replica(S: Any, r: int, now: int) -> None:
    x = S.rep[r]
    x.up_since = now
    set_state(S, r, STARTING, now)
    heap_set(S, startup_slot(S, r), now + S.kinds[x.kind].startup, CONTROL_RANK)


@handler
def on_ready(S: Any, r: int, now: int) -> None:
    """A replica that was starting is up."""
    heap_remove(S, startup_slot(S, r))
    _become_up(S, r, now)


@handler
def _become_up(S: Any, r: int, now: int) -> None:
    if S.rep[r].up_since < 0:
        S.rep[r].up_since = now
    set_state(S, r, UP, now)
    route_parked(S, now)


@handler
def _drain(S: Any, r: int, now: int) -> None:
    set_state(S, r, DRAINING, now)
    wake(S, r, now, False)


@handler
def _set_role(S: Any, r: int, role: int, now: int) -> None:
    if S.replicas[r].role == role:
        return
    S.replicas[r].role = role
    S.stale[r].role = role
    log_event(S, now, REPLICA_ROLE, r, role)
    route_parked(S, now)


@handler
def on_scale(S: Any, now: int) -> None:
    """Ask the scale policy until it has no more to say; one action per replica and instant."""
    p = S.par[0]
    g = S.glob[0]
    if p.live:
        fill_live_view(S, now)
    heap_set(S, scale_slot(S), now + p.scale_every, CONTROL_RANK)
    c = S.ctx[0]
    turn = np.int64(0)
    while g.error == 0:
        c.now = now
        c.request = -1
        c.replica = -1
        c.event = turn
        answer = np.int64(S.scale(S.replicas, c, S.scale_params, S.scale_memory))
        if answer == 0:
            break
        _scale_action(S, answer, now)
        turn += 1


@handler
def _scale_action(S: Any, answer: int, now: int) -> None:
    """Do what a scale policy answered, if it applies."""
    action = answer // ACTION
    argument = answer % ACTION // ARGUMENT
    r = answer % ARGUMENT
    if answer < 0 or r >= S.par[0].n_replicas or S.rep[r].scaled_at == now:
        fail_request(S, ERROR_SCALE, -1, answer)
        return
    S.rep[r].scaled_at = now
    if action == START and S.replicas[r].state == STOPPED:
        _start_replica(S, r, now)
    elif action == DRAIN and S.replicas[r].state == UP:
        _drain(S, r, now)
    elif action == SET_ROLE and 1 <= argument <= MIXED_ROLE:
        _set_role(S, r, argument, now)
    else:
        fail_request(S, ERROR_SCALE, -1, answer)


@handler
def on_snapshot(S: Any, now: int) -> None:
    """Policies with a stale view see the replicas as they are now until the next snapshot."""
    p = S.par[0]
    if p.live:
        fill_live_view(S, now)
    for r in range(p.n_replicas):
        S.stale[r] = S.replicas[r]
    heap_set(S, snapshot_slot(S), now + p.snapshot_every, CONTROL_RANK)


@handler
def _fail(S: Any, r: int, now: int) -> None:
    """Replica r is lost with everything in it."""
    x = S.rep[r]
    sync(S, r, now)
    _close_lost_plan(S, r)
    x.up_ticks += now - x.up_since
    x.up_since = -1
    set_state(S, r, FAILED, now)
    remote_lost = False
    for i in range(S.par[0].n_requests):
        q = S.req[i]
        state = q.state
        away = (state == HANDOVER or state == REMOTE or state == TRANSFER) and q.source == r
        if q.replica != r and not away:
            continue
        if state == WAITING or state == SWAPPED or state == PREFILL or state == DECODE:
            _forget(S, r, i, now)
        elif state == ARRIVED:
            x.inflight -= 1
            _forget(S, r, i, now)
        elif state == HANDOVER or state == REMOTE or state == TRANSFER:
            _forget_remote(S, r, i, now)
            remote_lost = True
        elif state == FETCHING:
            drop_fetch(S, r, i, now)
            _forget(S, r, i, now)
    x.root = -1
    _reset(S, r)
    if remote_lost:
        _repair_chains(S)
    if S.par[0].stores:
        keep_landings(S)
    heap_remove(S, r)
    heap_remove(S, startup_slot(S, r))
    _route_lost(S, now)


@handler
def _close_lost_plan(S: Any, r: int) -> None:
    """Books of the iterations that were complete, and exact counts of the decoding requests."""
    x = S.rep[r]
    start = r * S.par[0].batch_stride
    done = x.caught_up if x.busy else np.int64(0)
    if done > 0:
        x.iterations += done
        x.sequences += x.plan_sequences * done
        x.contexts += x.plan_context * done + x.decoding * (done * (done - 1) // 2)
        x.busy_decode += span(x, done)
    for place in range(x.decoding):
        i = S.finish_heap[start + place] & ID_MASK
        S.info[i].generated = generated_now(S, r, np.int64(place))
        if not S.req[i].fresh:
            S.req[i].last = x.last_decode
        S.req[i].fresh = 0


@handler
def _forget(S: Any, r: int, i: int, now: int) -> None:
    """Books of a request that is lost with r, wherever it is. It is LOST, or cancelled."""
    q = S.req[i]
    state = np.int64(q.state)
    if state == WAITING or state == SWAPPED or state == REMOTE:
        leave_queue(S, np.int64(q.replica), i)
    else:
        leave_running(S, i)
    unassign(S, np.int64(q.replica), i)
    q.shared = 0
    if q.cancel:
        cancel_request(S, i, state, now)
        return
    q.state = LOST
    q.kv = 0
    if S.par[0].stores:
        S.fetch[i].tried = 0
    q.need = S.info[i].prompt + S.info[i].generated
    S.info[i].attempts += 1
    log_event(S, now, LOG_LOST, i, r)


@handler
def _forget_remote(S: Any, r: int, i: int, now: int) -> None:
    """A lost request between two replicas: frees what it holds at the one that did not fail."""
    q = S.req[i]
    d = np.int64(q.replica)
    if q.state != REMOTE:
        S.replicas[d].incoming -= 1
    if q.state == TRANSFER:
        _abort_flow(S, i, now)
        S.rep[d].inflight -= 1
        if d != r:
            sync(S, d, now)
            release_blocks(S, d, i, reserved_blocks(S, d, i, np.int64(q.need)), now)
    if d != r:
        wake(S, d, now, True)
    if q.source != r:
        release_source(S, i, now)
    q.source_shared = 0
    _forget(S, r, i, now)


@handler
def _abort_flow(S: Any, i: int, now: int) -> None:
    f = S.links[S.nic_of[S.req[i].source]].head
    while S.flows[f].request != i:
        f = S.flows[f].next_out
    flow_end(S, f, now)


@handler
def _repair_chains(S: Any) -> None:
    """Take lost requests out of the queues and hand-over chains of all replicas."""
    for d in range(S.par[0].n_replicas):
        queue_filter(S, d)
        x = S.rep[d]
        i = np.int64(x.handover_head)
        x.handover_head = -1
        x.handover_tail = -1
        while i >= 0:
            q = S.req[i]
            following = np.int64(q.child)
            if q.state == HANDOVER and q.replica == d:
                q.child = -1
                if x.handover_tail >= 0:
                    S.req[x.handover_tail].child = i
                else:
                    x.handover_head = i
                x.handover_tail = i
            i = following
        next_handover(S, d)


@handler
def _reset(S: Any, r: int) -> None:
    """Replica r holds nothing."""
    x = S.rep[r]
    b = S.par[0].block_tokens
    for j in range(r * b, (r + 1) * b):
        S.residues[j] = 0
    x.context = 0
    x.decoding = 0
    x.partial = -1
    x.n_new = 0
    x.n_fresh = 0
    x.busy = 0
    x.inflight = 0
    x.held = 0
    x.since = 0
    x.waited = 0
    x.dirty = 0
    x.arrived_head = -1
    x.arrived_tail = -1
    x.handover_head = -1
    x.handover_tail = -1
    x.cancel_head = -1
    x.cancel_tail = -1
    if S.par[0].stores:
        S.stores[r].fetch_head = -1
        S.stores[r].fetch_tail = -1
    heap_remove(S, handover_slot(S, r))
    clear_memory(S, r)


@handler
def _route_lost(S: Any, now: int) -> None:
    """Route what was lost anew, in id order."""
    for i in range(S.par[0].n_requests):
        if S.req[i].state == LOST:
            route_request(S, i, now)
