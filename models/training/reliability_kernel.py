"""`advance(world)`: a long run in time. Rules and order of events: `reliability`."""

from typing import Any

import numpy as np
from numba import void

from mltwin.sim.eventlog import log_event, log_full
from mltwin.sim.heap import heap_pop, heap_rank, heap_remove, heap_set, heap_slot, heap_time
from mltwin.sim.jit import handler, kernel
from mltwin.sim.ticks import NEVER

from .reliability_moves import (
    adapt,
    copy_version,
    count_up,
    enter,
    grow,
    interrupt,
    is_soft,
    job_slot,
    life,
    list_slow,
    note_version,
    repair_time,
    resume,
    set_life,
    set_rack,
    settle,
    start_step,
    take,
    try_start,
    watch,
)
from .reliability_tables import (
    BLOCK,
    DONE,
    E_CHECKPOINT,
    E_COPIED,
    E_CRASHED,
    E_DETECTED,
    E_DONE,
    E_FAILED,
    E_REMOVED,
    E_REPLACED,
    E_RESHARDING,
    E_SLOW,
    E_STEP,
    E_STORED,
    E_UP,
    RANK_COPY,
    RANK_FLUSH,
    RANK_JOB,
    RANK_NODE,
    RANK_SLOW,
    RESHARD,
    STEP,
    SWAP,
    V_COPYING,
    V_FLUSHING,
    V_MEMORY,
    V_STORAGE,
    V_TAKEN,
    WAITING,
    WORLD,
)


@handler
def end_step(S: Any, now: int) -> None:
    """A step is done: count it; then finish, replace slow nodes, grow, save, or go on."""
    state = S.state[0]
    par = S.par[0]
    full = S.step_of[par.nodes]
    here = S.step_of[state.active]
    state.useful += full
    state.shrunk += here - full
    state.straggling += state.step_ticks - here
    state.stall += state.step_stall
    state.steps += 1
    state.since += state.step_ticks
    if par.log_steps:
        log_event(S, now, E_STEP, state.steps, state.step_ticks)
    if state.steps >= par.steps:
        state.phase = DONE
        state.end = now
        count_up(S, now, 0)
        log_event(S, now, E_DONE, state.active, state.steps)
    elif replace_slow(S, now) or grow(S, now):
        return
    elif state.since >= state.interval:
        begin_checkpoint(S, now)
    else:
        start_step(S, now)


@handler
def begin_checkpoint(S: Any, now: int) -> None:
    """Save what is done: wait for an earlier checkpoint that is in the way, then stop and write."""
    state = S.state[0]
    par = S.par[0]
    state.since = 0
    state.checkpoints += 1
    wanted = np.int64(0)
    if par.storage_every > 0 and state.checkpoints % par.storage_every == 0:
        wanted = np.int64(1)
    free = np.int64(now)
    if state.copying:
        free = state.copy_end
        if wanted and state.copy_flushes:
            free += par.flush
    if wanted and state.flushing:
        free = max(free, state.flush_end)
    note_version(S, V_TAKEN)
    log_event(S, now, E_CHECKPOINT, state.checkpoints, free - now + par.block)
    enter(S, now, BLOCK, free - now + par.block)


@handler
def end_block(S: Any, now: int) -> None:
    """The state is safe from the next update, or its copy is under way: training goes on."""
    state = S.state[0]
    par = S.par[0]
    settle(S, now)
    wanted = par.storage_every > 0 and state.checkpoints % par.storage_every == 0
    copy_version(S, V_TAKEN, V_COPYING)
    state.copy_flushes = int(wanted)
    if par.snapshot > 0:
        state.copying = 1
        state.copy_end = now + par.snapshot
        heap_set(S, job_slot(S) + 1, state.copy_end, RANK_COPY)
    else:
        copied(S, now)
    adapt(S, now)
    start_step(S, now)


@handler
def copied(S: Any, now: int) -> None:
    """The state is in host memory: it is a checkpoint if the group keeps it; flush it if wanted."""
    state = S.state[0]
    par = S.par[0]
    state.copying = 0
    log_event(S, now, E_COPIED, S.version[V_COPYING].steps, state.copy_flushes)
    if par.memory:
        copy_version(S, V_COPYING, V_MEMORY)
        state.in_memory = 1
    if not state.copy_flushes:
        return
    copy_version(S, V_COPYING, V_FLUSHING)
    if par.flush > 0:
        state.flushing = 1
        state.flush_end = now + par.flush
        heap_set(S, job_slot(S) + 2, state.flush_end, RANK_FLUSH)
    else:
        stored(S, now)


@handler
def stored(S: Any, now: int) -> None:
    """The state is in storage."""
    S.state[0].flushing = 0
    S.state[0].in_storage = 1
    copy_version(S, V_FLUSHING, V_STORAGE)
    log_event(S, now, E_STORED, S.version[V_STORAGE].steps, 0)


@handler
def lose(S: Any, now: int, node: int) -> bool:
    """A node goes: what it held is gone. True if the job had it."""
    S.is_up[node] = 0
    S.is_slow[node] = 0
    S.marked[node] = 0
    heap_remove(S, S.par[0].pool + node)
    count_up(S, now, -1)
    if S.held_slot[node] >= 0:
        S.held[S.held_slot[node]] = 0
        S.held_slot[node] = -1
    slot = S.node_slot[node]
    if slot < 0:
        return False
    S.slot_node[slot] = -1
    S.node_slot[node] = -1
    return True


@handler
def bring_up(S: Any, now: int, node: int) -> None:
    """A node is there, as good as new."""
    S.is_up[node] = 1
    count_up(S, now, 1)
    log_event(S, now, E_UP, node, S.state[0].up)
    set_life(S, now, node)
    if S.state[0].phase == WAITING:
        try_start(S, now)
    else:
        S.state[0].want_grow = int(S.state[0].active < S.par[0].nodes)
        S.state[0].want_swap = 1


@handler
def repair(S: Any, now: int, node: int) -> None:
    """A node that is gone comes back after its repair."""
    heap_set(S, node, now + repair_time(S, node), RANK_NODE)
    S.lives[node] += 1


@handler
def node_event(S: Any, now: int, node: int) -> None:
    """A node fails, or is back."""
    state = S.state[0]
    if not S.is_up[node]:
        bring_up(S, now, node)
        return
    if is_soft(S, node):
        state.crashes += 1
        log_event(S, now, E_CRASHED, node, S.node_slot[node])
        S.lives[node] += 1
        heap_set(S, node, now + life(S, node), RANK_NODE)
        if S.node_slot[node] >= 0:
            interrupt(S, now)
        return
    state.failures += 1
    log_event(S, now, E_FAILED, node, S.node_slot[node])
    had = lose(S, now, node)
    repair(S, now, node)
    if had:
        interrupt(S, now)


@handler
def rack_event(S: Any, now: int, rack: int) -> None:
    """All nodes of a rack fail."""
    par = S.par[0]
    had = False
    for node in range(rack * par.rack_nodes, min((rack + 1) * par.rack_nodes, par.pool)):
        if S.is_up[node]:
            S.state[0].failures += 1
            log_event(S, now, E_FAILED, node, S.node_slot[node])
            if lose(S, now, node):
                had = True
            repair(S, now, node)
    S.lives[par.pool + rack] += 1
    set_rack(S, now, rack)
    if had:
        interrupt(S, now)


@handler
def slow_event(S: Any, now: int, node: int) -> None:
    """A node turns slow, or is known to be."""
    if not S.is_slow[node]:
        S.is_slow[node] = 1
        log_event(S, now, E_SLOW, node, S.node_slot[node])
        if S.node_slot[node] >= 0:
            watch(S, now, node)
            list_slow(S)
        return
    S.marked[node] = 1
    S.state[0].want_swap = 1
    log_event(S, now, E_DETECTED, node, S.node_slot[node])


@handler
def replace_slow(S: Any, now: int) -> bool:
    """At the end of a step: put well nodes in the place of slow ones that are known."""
    state = S.state[0]
    par = S.par[0]
    if not state.want_swap or par.slow_mean <= 0:
        return False
    state.want_swap = 0
    replaced = 0
    fresh = np.int64(0)
    for slot in range(state.active):
        node = np.int64(S.slot_node[slot])
        if not S.marked[node]:
            continue
        while fresh < par.pool and (
            not S.is_up[fresh] or S.node_slot[fresh] >= 0 or S.marked[fresh]
        ):
            fresh += 1
        if fresh >= par.pool:
            break
        log_event(S, now, E_REPLACED, node, fresh)
        lose(S, now, node)
        repair(S, now, node)
        take(S, now, slot, fresh)
        replaced += 1
    if replaced == 0:
        return False
    state.replaced += replaced
    state.source = SWAP
    log_event(S, now, E_RESHARDING, state.active, SWAP)
    enter(S, now, RESHARD, par.swap)
    return True


@handler
def trace_event(S: Any, now: int) -> None:
    """The trace says that a node comes or goes."""
    row = S.state[0].trace_next
    S.state[0].trace_next = row + 1
    node = S.trace_node[row]
    if S.trace_up[row]:
        if not S.is_up[node]:
            bring_up(S, now, node)
    elif S.is_up[node]:
        log_event(S, now, E_REMOVED, node, S.node_slot[node])
        if lose(S, now, node):
            interrupt(S, now)


@handler
def job_event(S: Any, now: int) -> None:
    """The job's phase ends by itself."""
    phase = S.state[0].phase
    if phase == STEP:
        end_step(S, now)
    elif phase == BLOCK:
        end_block(S, now)
    else:
        settle(S, now)
        resume(S, now)


@handler
def timer_event(S: Any, now: int) -> None:
    """The earliest timer fires."""
    slot = np.int64(heap_slot(S))
    rank = heap_rank(S)
    heap_pop(S)
    if rank == RANK_JOB:
        job_event(S, now)
    elif rank == RANK_COPY:
        copied(S, now)
    elif rank == RANK_FLUSH:
        stored(S, now)
    elif rank == RANK_NODE:
        node_event(S, now, slot)
    elif rank == RANK_SLOW:
        slow_event(S, now, slot - S.par[0].pool)
    else:
        rack_event(S, now, slot - 2 * S.par[0].pool)


@handler
def begin(S: Any) -> None:
    """Timers of all nodes and racks; the job starts if the nodes are there."""
    for node in range(S.par[0].pool):
        if S.is_up[node]:
            set_life(S, 0, node)
    for rack in range(S.par[0].racks):
        set_rack(S, 0, rack)
    try_start(S, 0)


def advance_body(S: Any) -> None:
    """Run until the steps are done, the time is over, or the log is full."""
    state = S.state[0]
    if state.begun == 0:
        state.begun = 1
        begin(S)
    while state.phase != DONE:
        if log_full(S, 2 * S.par[0].pool + 16):
            return
        coming = np.int64(NEVER)
        if state.trace_next < len(S.trace_time):
            coming = S.trace_time[state.trace_next]
        now = min(np.int64(heap_time(S)), coming)
        if now > S.par[0].until or now >= NEVER:
            state.end = min(S.par[0].until, np.int64(NEVER))
            settle(S, state.end)
            count_up(S, state.end, 0)
            state.phase = DONE
        elif coming < heap_time(S):
            trace_event(S, now)
        else:
            timer_event(S, now)


advance = kernel(void(WORLD))(advance_body)
