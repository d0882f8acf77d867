"""What a long run is made of: phases and their time, versions, steps, and who has which node."""

import math
from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_remove, heap_set
from mltwin.sim.jit import handler
from mltwin.sim.rng import FAILURES, SERVICE, keyed_exponential, keyed_uniform
from mltwin.sim.ticks import NEVER

from .laws import look_up
from .reliability_tables import (
    ADAPTIVE,
    BLOCK,
    E_LOST,
    E_RESHARDING,
    E_RESTARTING,
    E_RUNNING,
    E_WAITING,
    FRESH,
    GROW,
    LIVE,
    MEMORY,
    RANK_JOB,
    RANK_NODE,
    RANK_RACK,
    RANK_SLOW,
    RESHARD,
    RESHARD_LIVE,
    RESTART,
    RIGID,
    RUNNING,
    START,
    STEP,
    STORAGE,
    SWAP,
    V_MEMORY,
    V_STORAGE,
    V_TAKEN,
    WAITING,
)

# Counters of a node's draws in the stream of failures, of each of its lives.
DRAW_LIFE, DRAW_KIND, DRAW_REPAIR, DRAW_SLOW, DRAWS = range(5)


@handler
def job_slot(S: Any) -> int:
    """The job's timer; those of the copy and of the flush come after it."""
    return 2 * S.par[0].pool + S.par[0].racks


@handler
def enter(S: Any, now: int, phase: int, duration: int) -> None:
    """Begin a phase that ends by itself."""
    state = S.state[0]
    state.phase = phase
    state.phase_start = now
    heap_set(S, job_slot(S), now + duration, RANK_JOB)


@handler
def settle(S: Any, now: int) -> None:
    """Count the time of the phase under way, of a step as lost."""
    state = S.state[0]
    spent = now - state.phase_start
    if state.phase == STEP:
        state.lost += spent
    elif state.phase == BLOCK:
        state.stall += spent
    elif state.phase == RESTART:
        state.restarting += spent
    elif state.phase == RESHARD:
        state.resharding += spent
    else:
        state.waiting += spent
    state.phase_start = now


@handler
def note_version(S: Any, row: int) -> None:
    """Keep what is done now as a version."""
    state = S.state[0]
    S.version[row].steps = state.steps
    S.version[row].useful = state.useful
    S.version[row].shrunk = state.shrunk
    S.version[row].straggling = state.straggling


@handler
def copy_version(S: Any, source: int, target: int) -> None:
    """One row of versions onto another."""
    S.version[target].steps = S.version[source].steps
    S.version[target].useful = S.version[source].useful
    S.version[target].shrunk = S.version[source].shrunk
    S.version[target].straggling = S.version[source].straggling


@handler
def roll_back(S: Any, now: int, row: int) -> None:
    """Go back to a version (-1: the start); what was done since is lost."""
    state = S.state[0]
    done = state.useful + state.shrunk + state.straggling
    if row < 0:
        state.steps = 0
        state.useful = 0
        state.shrunk = 0
        state.straggling = 0
    else:
        state.steps = S.version[row].steps
        state.useful = S.version[row].useful
        state.shrunk = S.version[row].shrunk
        state.straggling = S.version[row].straggling
    lost = done - state.useful - state.shrunk - state.straggling
    state.lost += lost
    log_event(S, now, E_LOST, state.steps, lost)


@handler
def slowest(S: Any) -> float:
    """Factor of the slowest node in the step that begins: one draw for all healthy nodes."""
    state = S.state[0]
    par = S.par[0]
    factor = 0.0
    healthy = state.active - state.slow_count
    if healthy > 0:
        factor = 1.0
        if par.noisy:
            x = keyed_exponential(par.seed, SERVICE, state.attempt, 0) / healthy
            factor = look_up(S.noise, x)
    for i in range(state.slow_count):
        own = 1.0
        if par.noisy:
            draw = keyed_exponential(par.seed, SERVICE, state.attempt, 1 + S.slow_nodes[i])
            own = look_up(S.noise, draw)
        factor = max(factor, own * par.slow_factor)
    return factor


@handler
def start_step(S: Any, now: int) -> None:
    """Begin a step: as long as its slowest node, and the update waits for a copy under way."""
    state = S.state[0]
    par = S.par[0]
    ticks = S.step_of[state.active]
    if par.noisy or state.slow_count > 0:
        ticks = max(np.int64(1), np.int64(np.rint(ticks * slowest(S))))
    state.attempt += 1
    before_update = now + ticks - np.int64(ticks * par.update_share)
    stall = np.int64(0)
    if state.copying and state.copy_end > before_update:
        stall = state.copy_end - before_update
    state.step_ticks = ticks
    state.step_stall = stall
    enter(S, now, STEP, ticks + stall)


@handler
def adapt(S: Any, now: int) -> None:
    """Young's interval for the interruptions seen so far, one more taken as expected."""
    state = S.state[0]
    par = S.par[0]
    if par.interval_kind == ADAPTIVE:
        between = (now + par.prior) / (state.interruptions + 1)
        best = np.int64(np.rint(math.sqrt(2.0 * par.cost * between)))
        state.interval = max(best, par.interval_least)


@handler
def life(S: Any, node: int) -> Any:
    """Ticks until the node's next failure."""
    draw = keyed_exponential(S.par[0].seed, FAILURES, node, S.lives[node] * DRAWS + DRAW_LIFE)
    return 1 + np.int64(S.par[0].life_mean * look_up(S.life, draw))


@handler
def repair_time(S: Any, node: int) -> Any:
    """Ticks until a failed node is back."""
    if not S.par[0].repair_drawn:
        return np.int64(S.par[0].repair_mean)
    draw = keyed_exponential(S.par[0].seed, FAILURES, node, S.lives[node] * DRAWS + DRAW_REPAIR)
    return np.int64(S.par[0].repair_mean * draw)


@handler
def is_soft(S: Any, node: int) -> bool:
    """Whether this failure leaves the node and its memory as they are."""
    draw = keyed_uniform(S.par[0].seed, FAILURES, node, S.lives[node] * DRAWS + DRAW_KIND)
    return draw < S.par[0].soft_share


@handler
def set_life(S: Any, now: int, node: int) -> None:
    """The timers of a node that is up and well: its failure, its turning slow."""
    par = S.par[0]
    if par.failing:
        heap_set(S, node, now + life(S, node), RANK_NODE)
    if par.slow_mean > 0 and not S.is_slow[node]:
        draw = keyed_exponential(par.seed, FAILURES, node, S.lives[node] * DRAWS + DRAW_SLOW)
        heap_set(S, par.pool + node, now + 1 + np.int64(par.slow_mean * draw), RANK_SLOW)


@handler
def set_rack(S: Any, now: int, rack: int) -> None:
    """The timer of a rack's next failure."""
    par = S.par[0]
    draw = keyed_exponential(par.seed, FAILURES, par.pool + rack, S.lives[par.pool + rack])
    heap_set(S, 2 * par.pool + rack, now + 1 + np.int64(par.rack_mean * draw), RANK_RACK)


@handler
def count_up(S: Any, now: int, change: int) -> None:
    """Nodes that are up, and their time."""
    state = S.state[0]
    state.up_s += state.up * ((now - state.up_since) * 1e-9)
    state.up_since = now
    state.up += change


@handler
def list_slow(S: Any) -> None:
    """The slow nodes that the job has."""
    state = S.state[0]
    state.slow_count = 0
    if S.par[0].slow_mean <= 0:
        return
    for slot in range(state.active):
        node = S.slot_node[slot]
        if node >= 0 and S.is_slow[node]:
            S.slow_nodes[state.slow_count] = node
            state.slow_count += 1


@handler
def watch(S: Any, now: int, node: int) -> None:
    """A slow node that the job has will be known after a while."""
    par = S.par[0]
    known = S.marked[node] or S.timer_pos[par.pool + node] >= 0
    if S.is_slow[node] and par.slow_detect < NEVER and not known:
        heap_set(S, par.pool + node, now + par.slow_detect, RANK_SLOW)


@handler
def take(S: Any, now: int, slot: int, node: int) -> None:
    """Give a node to the job."""
    S.slot_node[slot] = node
    S.node_slot[node] = slot
    watch(S, now, node)


@handler
def nodes_to_run(S: Any) -> int:
    """On how many nodes the job can go on now; 0: on none."""
    par = S.par[0]
    up = min(S.state[0].up, par.nodes)
    if par.elastic == RIGID:
        return par.nodes if up == par.nodes else 0
    up -= up % par.unit
    return up if up >= par.least else 0


@handler
def assign(S: Any, now: int, count: int) -> None:
    """Fill slots 0 ... count - 1: who is there stays; then nodes not known as slow, by number."""
    par = S.par[0]
    for slot in range(count, par.nodes):
        node = S.slot_node[slot]
        if node >= 0:
            S.slot_node[slot] = -1
            S.node_slot[node] = -1
    slot = np.int64(0)
    for known in range(2):
        for node in range(par.pool):
            if not S.is_up[node] or S.node_slot[node] >= 0 or S.marked[node] != known:
                continue
            while slot < count and S.slot_node[slot] >= 0:
                slot += 1
            if slot >= count:
                break
            take(S, now, slot, node)
    if count != S.state[0].active:
        S.state[0].resized = now
        if S.state[0].source == FRESH:
            S.state[0].resized = now - par.regrow  # a first start does not wait to grow
        else:
            S.state[0].resizes += 1
    S.state[0].active = count
    S.state[0].want_grow = int(count < par.nodes)


@handler
def group_lives(S: Any) -> bool:
    """Whether each group has a node left that holds its state; the last takes the remainder."""
    held = S.state[0].held_slots
    size = S.par[0].copies
    groups = max(np.int64(1), held // size)
    for group in range(groups):
        end = held if group == groups - 1 else (group + 1) * size
        alive = False
        for slot in range(group * size, end):
            if S.held[slot]:
                alive = True
        if not alive:
            return False
    return held > 0


@handler
def try_start(S: Any, now: int) -> None:
    """Go on from `source` if there are nodes, else wait for them."""
    state = S.state[0]
    par = S.par[0]
    settle(S, now)
    count = nodes_to_run(S)
    if count == 0:
        if state.phase != WAITING:
            log_event(S, now, E_WAITING, state.up, state.source)
        state.phase = WAITING
        heap_remove(S, job_slot(S))
        return
    assign(S, now, count)
    if state.source == FRESH:
        resume(S, now)
        return
    if state.source == LIVE:
        log_event(S, now, E_RESHARDING, count, state.source)
        enter(S, now, RESHARD, par.detect + par.reshard)
        return
    load = np.int64(0)
    if state.source == MEMORY:
        load = par.load_memory
    elif state.source == STORAGE:
        load = par.load_storage
    log_event(S, now, E_RESTARTING, count, state.source)
    enter(S, now, RESTART, par.detect + par.restart + load)


@handler
def resume(S: Any, now: int) -> None:
    """Training goes on: who has the job's state now holds it in memory too."""
    state = S.state[0]
    for node in range(S.par[0].pool):
        S.held_slot[node] = -1
    for slot in range(S.par[0].nodes):
        S.held[slot] = 1 if slot < state.active else 0
        if slot < state.active:
            S.held_slot[S.slot_node[slot]] = slot
    state.held_slots = state.active
    if state.source == START:
        state.from_start += 1
    elif state.source == STORAGE:
        state.from_storage += 1
    elif state.source == MEMORY:
        state.from_memory += 1
    elif state.source == LIVE:
        state.from_live += 1
    log_event(S, now, E_RUNNING, state.active, state.source)
    state.source = RUNNING
    list_slow(S)
    adapt(S, now)
    start_step(S, now)


@handler
def interrupt(S: Any, now: int) -> None:
    """The job lost a node or a process: choose what to go on from, and go on if it can."""
    state = S.state[0]
    par = S.par[0]
    trained = state.phase == STEP or state.phase == BLOCK
    state.interruptions += int(trained)
    settle(S, now)
    state.phase = RESTART  # what was begun is off, whatever it was
    heap_remove(S, job_slot(S) + 1)
    heap_remove(S, job_slot(S) + 2)
    state.copying = 0
    state.flushing = 0
    alive = group_lives(S)
    in_place = trained or state.source == LIVE or state.source >= SWAP
    if par.elastic == RESHARD_LIVE and in_place and alive:
        state.source = LIVE
    elif par.memory and state.in_memory and alive:
        state.source = MEMORY
        state.since = 0
        roll_back(S, now, V_MEMORY)
    else:
        state.in_memory = 0
        state.source = STORAGE if state.in_storage else START
        state.since = 0
        roll_back(S, now, V_STORAGE if state.in_storage else -1)
    try_start(S, now)


@handler
def grow(S: Any, now: int) -> bool:
    """At the end of a step: take more nodes, if there are any and the last change is long ago."""
    state = S.state[0]
    par = S.par[0]
    if not state.want_grow or par.elastic == RIGID or now - state.resized < par.regrow:
        return False
    state.want_grow = 0
    count = nodes_to_run(S)
    if count <= state.active:
        return False
    assign(S, now, count)
    state.source = GROW
    if par.elastic == RESHARD_LIVE:
        log_event(S, now, E_RESHARDING, count, GROW)
        enter(S, now, RESHARD, par.reshard)
        return True
    heap_remove(S, job_slot(S) + 1)
    heap_remove(S, job_slot(S) + 2)
    state.copying = 0
    state.flushing = 0
    state.in_memory = 0
    state.in_storage = 1
    state.since = 0
    note_version(S, V_TAKEN)
    copy_version(S, V_TAKEN, V_STORAGE)
    log_event(S, now, E_RESTARTING, count, GROW)
    enter(S, now, RESTART, par.write + par.restart + par.load_storage)
    return True
