"""`advance(world)`: asynchronous gossip in time. Rules: `gossip`; tables: `gossip_tables`."""

import math
from typing import Any

import numpy as np
from numba import void

from mltwin.models.federation.phases import LONGEST
from mltwin.models.federation.presence import is_here, leaves, returns
from mltwin.models.federation.tables import DROP, PAUSE, TICKS_PER_S
from mltwin.sim.eventlog import log_event, log_full
from mltwin.sim.heap import heap_pop, heap_rank, heap_slot, heap_time
from mltwin.sim.jit import handler, kernel
from mltwin.sim.rng import FAILURES, ROUTING, SERVICE, keyed_below, keyed_normal, keyed_uniform
from mltwin.sim.ticks import NEVER

from .gossip_flows import (
    attach,
    clear_timer,
    count_sent,
    end_flow,
    received,
    rerate,
    set_timer,
    touching,
)
from .gossip_tables import (
    E_DONE,
    E_DROPPED,
    E_FAILED,
    E_JOIN,
    E_LEAVE,
    E_MERGE,
    E_SEND,
    E_SKIPPED,
    E_START,
    E_UNDELIVERED,
    FLOW,
    IDLE,
    NO_FLOW,
    PAUSED,
    PRESENCE,
    REST,
    SENDING,
    STALENESS_MOST,
    TAIL,
    TRAIN,
    TRAINING,
    TRANSFER,
    WAITING,
    WORLD,
)

# -- training ------------------------------------------------------------------------------------


@handler
def begin(S: Any, i: int, now: int) -> None:
    """Peer i trains next: now, or when its period is over."""
    me = S.peer[i]
    earliest = me.began + S.par[0].period
    if me.dispatches > 0 and earliest > now:
        me.phase = REST
        set_timer(S, TRAIN, i, earliest)
    else:
        start(S, i, now)


@handler
def start(S: Any, i: int, now: int) -> None:
    """Draw a training and set its end."""
    me = S.peer[i]
    par = S.par[0]
    number = me.dispatches
    me.dispatches += 1
    factor = 1.0
    if me.jitter > 0.0:
        z = keyed_normal(par.seed, SERVICE, i, number)
        factor = math.exp(me.jitter * z - 0.5 * me.jitter * me.jitter)
    seconds = par.overhead_s + me.base_s * factor
    ticks = np.int64(min(max(np.rint(seconds * TICKS_PER_S), 1.0), float(LONGEST)))
    me.fails = 0
    if me.failure > 0.0 and keyed_uniform(par.seed, FAILURES, i, 2 * number) < me.failure:
        me.fails = 1
        part = keyed_uniform(par.seed, FAILURES, i, 2 * number + 1)
        ticks = 1 + np.int64(part * (ticks - 1))
    me.phase = TRAINING
    me.began = now
    me.length = ticks
    me.merges = 0
    S.state[0].training += 1
    set_timer(S, TRAIN, i, now + ticks)
    log_event(S, now, E_START, i, number)


@handler
def spend(S: Any, i: int, ticks: int, wasted: bool) -> None:
    """Count ticks of training."""
    S.count[i].compute += ticks
    S.state[0].joules += S.peer[i].compute_w * ticks / TICKS_PER_S
    if wasted:
        S.count[i].lost += 1
        S.count[i].wasted += ticks
        S.state[0].wasted += ticks


@handler
def trained(S: Any, i: int, now: int) -> None:
    """A training of peer i ends, or its rest is over."""
    me = S.peer[i]
    if me.phase == REST:
        start(S, i, now)
        return
    state = S.state[0]
    state.training -= 1
    if me.fails:
        spend(S, i, me.length, True)
        log_event(S, now, E_FAILED, i, me.dispatches - 1)
        after(S, i, now)
        return
    spend(S, i, me.length, False)
    S.count[i].arrived += 1
    S.count[i].used += 1
    S.hist[min(me.merges, STALENESS_MOST)] += 1
    state.arrived += 1
    state.window_sum += me.merges
    state.window_most = max(state.window_most, me.merges)
    log_event(S, now, E_DONE, i, me.dispatches - 1)
    if state.arrived % S.par[0].peers == 0:
        version(S, now)
    if state.arrived >= S.par[0].updates:
        state.over = 1
    elif me.there:
        share(S, i, now)
    else:
        me.phase = WAITING


@handler
def after(S: Any, i: int, now: int) -> None:
    """Peer i is free: it trains if it is there."""
    if S.peer[i].there:
        begin(S, i, now)
    else:
        S.peer[i].phase = IDLE


@handler
def version(S: Any, now: int) -> None:
    """As many updates as there are peers: a row."""
    state = S.state[0]
    row = S.rows[state.rows]
    row.version = state.arrived // S.par[0].peers
    row.time = now
    row.staleness_sum = state.window_sum
    row.staleness_most = state.window_most
    row.training = state.training
    row.updates = state.arrived
    row.down_bytes = state.down_bytes
    row.up_bytes = state.up_bytes
    row.joules = state.joules
    row.wasted = state.wasted
    state.rows += 1
    state.window_sum = 0
    state.window_most = 0


# -- sending -------------------------------------------------------------------------------------


@handler
def chosen(S: Any, i: int) -> Any:
    """A neighbour that is there: the first one from a drawn place on; -1 if there is none."""
    first = S.edge_first[i]
    degree = S.edge_first[i + 1] - first
    if degree == 0:
        return np.int64(-1)
    place = keyed_below(S.par[0].seed, ROUTING, i, S.peer[i].dispatches, degree)
    for _ in range(degree):
        other = np.int64(S.edge_to[first + place])
        if S.peer[other].there:
            return other
        place = (place + 1) % degree
    return np.int64(-1)


@handler
def share(S: Any, i: int, now: int) -> None:
    """Peer i has trained: it sends its model, and trains on if it need not wait."""
    me = S.peer[i]
    par = S.par[0]
    j = np.int64(-1)
    if me.stage == NO_FLOW:
        j = chosen(S, i)
    if j < 0:
        S.state[0].skipped += 1
        log_event(S, now, E_SKIPPED, i, -1)
        begin(S, i, now)
        return
    me.partner = j
    me.stage = FLOW
    me.remaining = par.model_bytes
    me.rate = 0.0
    me.since = now
    me.flow_began = now
    me.phase = SENDING
    attach(S, i, j)
    count_sent(S, i)
    if par.pair:
        count_sent(S, j)
        if touching(S, i) == 1:
            me.busy_since = now
        if touching(S, j) == 1:
            S.peer[j].busy_since = now
    elif S.peer[j].flows_in == 1:
        S.peer[j].busy_since = now
    log_event(S, now, E_SEND, i, j)
    rerate(S, j, now)
    if par.pair:
        rerate(S, i, now)
    if par.overlap:
        begin(S, i, now)


@handler
def moved(S: Any, i: int, now: int) -> None:
    """The flow of i ends, or its model arrives."""
    me = S.peer[i]
    if me.stage == FLOW:
        j = np.int64(me.partner)
        end_flow(S, i, now)
        other = S.peer[j]
        between = S.between[me.site * S.par[0].sites + other.site]
        latency = me.latency + other.latency + between
        if latency > 0:
            me.stage = TAIL
            set_timer(S, TRANSFER, i, now + latency)
            return
    me.stage = NO_FLOW
    deliver(S, i, now)


@handler
def deliver(S: Any, i: int, now: int) -> None:
    """The model of i is at its partner."""
    me = S.peer[i]
    par = S.par[0]
    j = np.int64(me.partner)
    other = S.peer[j]
    if other.there and (me.there or not par.pair):
        received(S, j)
        other.merges += 1
        if par.pair:
            received(S, i)
            me.merges += 1
        S.state[0].merges += 1
        log_event(S, now, E_MERGE, j, i)
    else:
        undelivered(S, i, now)
    if me.phase == SENDING:
        after(S, i, now)


@handler
def undelivered(S: Any, i: int, now: int) -> None:
    """The transfer of i is in vain."""
    S.state[0].undelivered += 1
    S.state[0].lost_bytes += S.par[0].model_bytes * (2.0 if S.par[0].pair else 1.0)
    log_event(S, now, E_UNDELIVERED, i, S.peer[i].partner)


# -- coming and leaving --------------------------------------------------------------------------


@handler
def watch(S: Any, i: int, now: int) -> None:
    """Set the timer of the next time that peer i comes or leaves."""
    coming = leaves(S, i, now) if is_here(S, i, now) else returns(S, i, now)
    if coming < NEVER:
        set_timer(S, PRESENCE, i, coming)


@handler
def change(S: Any, i: int, now: int) -> None:
    """Peer i comes or leaves."""
    if S.peer[i].there:
        leave(S, i, now)
    else:
        join(S, i, now)
    watch(S, i, now)


@handler
def leave(S: Any, i: int, now: int) -> None:
    """Its flows break off, senders ascending; its training as the plan says."""
    me = S.peer[i]
    me.there = 0
    log_event(S, now, E_LEAVE, i, me.phase)
    if me.phase == TRAINING and S.par[0].interruption == DROP:
        clear_timer(S, TRAIN, i)
        S.state[0].training -= 1
        spend(S, i, now - me.began, True)
        log_event(S, now, E_DROPPED, i, me.dispatches - 1)
        me.phase = IDLE
    elif me.phase == TRAINING and S.par[0].interruption == PAUSE:
        place = S.timer_pos[TRAIN * S.par[0].peers + i]
        me.left = S.timers[place].time - now
        clear_timer(S, TRAIN, i)
        me.phase = PAUSED
    elif me.phase == REST:
        clear_timer(S, TRAIN, i)
        me.phase = IDLE
    elif me.phase == SENDING:
        me.phase = IDLE
    if me.stage == FLOW:
        end_flow(S, i, now)
        undelivered(S, i, now)
    while me.head >= 0:
        sender = least(S, i)
        end_flow(S, sender, now)
        undelivered(S, sender, now)
        if S.peer[sender].phase == SENDING:
            after(S, sender, now)


@handler
def least(S: Any, j: int) -> Any:
    """The least of the senders of flows to j."""
    found = np.int64(S.peer[j].head)
    i = found
    while i >= 0:
        found = min(found, i)
        i = np.int64(S.peer[i].next)
    return found


@handler
def join(S: Any, i: int, now: int) -> None:
    """It goes on where it was."""
    me = S.peer[i]
    me.there = 1
    log_event(S, now, E_JOIN, i, me.phase)
    if me.phase == PAUSED:
        me.phase = TRAINING
        set_timer(S, TRAIN, i, now + me.left)
    elif me.phase == WAITING:
        share(S, i, now)
    elif me.phase == IDLE:
        begin(S, i, now)


@handler
def open_run(S: Any) -> None:
    """Everybody who is there begins, by number."""
    for i in range(S.par[0].peers):
        if is_here(S, i, 0):
            S.peer[i].there = 1
        watch(S, i, 0)
    for i in range(S.par[0].peers):
        if S.peer[i].there:
            start(S, i, 0)


EVENTS = 2**20
"""Of a call: less than a second."""


@kernel(void(WORLD))
def advance(S: Any) -> None:
    """Events in order until a limit, until the log or the version rows must be drained, or for
    `EVENTS` of them: between two calls an interrupt is heard."""
    state = S.state[0]
    if state.events == 0:
        state.events = 1
        open_run(S)
    last = state.events + EVENTS
    while state.over == 0 and state.rows < len(S.rows) and state.events < last:
        if log_full(S, S.par[0].margin):
            return
        now = heap_time(S)
        if now > S.par[0].until or S.timer_count[0] == 0:
            state.over = 2 if S.timer_count[0] == 0 else 3
            return
        rank = heap_rank(S)
        i = heap_slot(S) % S.par[0].peers
        heap_pop(S)
        state.now = now
        state.events += 1
        if rank == TRANSFER:
            moved(S, i, now)
        elif rank == TRAIN:
            trained(S, i, now)
        else:
            change(S, i, now)
