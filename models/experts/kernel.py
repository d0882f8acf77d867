"""`advance(world)`: the timed run of an expert cache. Rules and order: the package's docstring.

Handlers stand in the order of a visit's life: begin, gate, compute, loads, eviction.
"""

from typing import Any

import numpy as np
from numba import void

from mltwin.sim.eventlog import log_event, log_full
from mltwin.sim.jit import handler, kernel
from mltwin.sim.rng import POLICY, keyed_below

from .tables import (
    ABSENT,
    BELADY,
    COMPUTE,
    DENSE,
    DONE,
    END,
    EVICT,
    EXPERT,
    GATE,
    LAYER,
    LFU,
    LOAD,
    LOADED,
    LOADING,
    NEVER,
    PREDICT,
    RANDOM,
    RESIDENT,
    STALL,
    STATIC,
    VISIT,
    WAITING,
    WORLD,
)


@handler
def begin_visit(S: Any, now: int) -> None:
    """The next layer begins: first what comes before it, else its dense part."""
    state = S.state[0]
    S.visit_begin[state.visit] = now
    log_event(S, now, VISIT, state.visit, 0)
    if S.pre_ticks[state.visit] > 0:
        state.phase = PREDICT
        state.until = now + S.pre_ticks[state.visit]
    else:
        begin_dense(S, now)


@handler
def begin_dense(S: Any, now: int) -> None:
    """Queue the predictions that are due, and run the dense part."""
    state = S.state[0]
    while state.issued < S.par[0].visits and S.issue_at[state.issued] <= state.visit:
        for i in range(S.pred_start[state.issued], S.pred_start[state.issued + 1]):
            S.wanted[S.pred_key[i]] += 1
            S.stale[S.pred_key[i] // S.par[0].experts] = 1
        state.issued += 1
    state.phase = DENSE
    state.until = now + S.dense_ticks[state.visit]
    start_loads(S, now)


@handler
def pass_gate(S: Any, now: int) -> None:
    """The activations are known: count, pin, load what is missing, compute what is there."""
    state = S.state[0]
    visit = state.visit
    first = S.visit_start[visit]
    last = S.visit_start[visit + 1]
    hits = 0
    late = 0
    for i in range(first, last):
        key = S.entry_key[i]
        S.pinned[key] = 1
        S.computed[i - first] = 0
        S.count[key] += 1
        state.touch += 1
        S.touched[key] = state.touch
        S.next_use[key] = S.entry_next[i]
        if S.where[key] == RESIDENT:
            hits += 1
            state.in_time += S.unused[key]
        elif S.where[key] == LOADING or S.wanted[key] > 0:
            late += 1
        state.useful += S.unused[key]
        S.unused[key] = 0
    state.hits += hits
    state.late += late
    state.misses += last - first - hits - late
    S.visit_hits[visit] = hits
    S.visit_late[visit] = late
    for i in range(S.pred_start[visit], S.pred_start[visit + 1]):
        S.wanted[S.pred_key[i]] -= 1
        S.stale[S.pred_key[i] // S.par[0].experts] = 1
    state.head = max(state.head, S.pred_start[visit + 1])
    state.left = last - first
    state.lacking = first
    S.stale[visit % S.par[0].layers] = 1
    log_event(S, now, GATE, visit, hits)
    state.phase = WAITING  # for `start_loads`: the gate is passed
    start_loads(S, now)
    compute_next(S, now)


@handler
def compute_next(S: Any, now: int) -> None:
    """The first resident activation not yet computed; none: stall, or go on to the next visit."""
    state = S.state[0]
    visit = state.visit
    if state.left == 0:
        S.visit_end[visit] = now
        state.visit = visit + 1
        if state.visit == S.par[0].visits:
            state.phase = DONE
            state.until = NEVER
            state.end = now
            log_event(S, now, END, visit, 0)
        else:
            begin_visit(S, now)
        return
    first = S.visit_start[visit]
    for i in range(first, S.visit_start[visit + 1]):
        if S.computed[i - first] == 0 and S.where[S.entry_key[i]] == RESIDENT:
            state.phase = EXPERT
            state.entry = i
            state.until = now + S.entry_ticks[i]
            log_event(S, now, COMPUTE, S.entry_key[i], S.entry_ticks[i])
            return
    state.phase = WAITING
    state.since = now
    state.until = NEVER
    log_event(S, now, STALL, visit, state.left)


@handler
def end_compute(S: Any, now: int) -> None:
    """An expert is computed: it may be evicted from now on."""
    state = S.state[0]
    S.computed[state.entry - S.visit_start[state.visit]] = 1
    S.pinned[S.entry_key[state.entry]] = 0
    S.stale[state.visit % S.par[0].layers] = 1
    state.left -= 1
    start_loads(S, now)
    compute_next(S, now)


@handler
def end_load(S: Any, now: int, stream: int) -> None:
    """An expert is there; if the GPU stalled, it looks again."""
    state = S.state[0]
    key = S.stream_key[stream]
    S.where[key] = RESIDENT
    S.stale[key // S.par[0].experts] = 1
    S.stream_key[stream] = -1
    S.stream_until[stream] = NEVER
    state.loaded += 1
    log_event(S, now, LOADED, key, stream)
    start_loads(S, now)
    if state.phase == WAITING:
        state.stalled += now - state.since
        S.visit_stall[state.visit] += now - state.since
        compute_next(S, now)


@handler
def start_loads(S: Any, now: int) -> None:
    """Give each idle stream its next load: demand of the current visit, then predictions."""
    state = S.state[0]
    for stream in range(S.par[0].streams):
        if S.stream_key[stream] >= 0:
            continue
        key = next_demand(S)
        prefetch = 0
        if key < 0:
            key = next_prediction(S)
            prefetch = 1
        if key < 0:
            return
        place = take_place(S, now, prefetch)
        if place < 0:
            return
        if prefetch:
            state.head += 1
            state.prefetch += 1
            state.touch += 1
            S.touched[key] = state.touch
        else:
            state.demand += 1
        S.loads[key] += 1
        S.unused[key] = prefetch
        S.place_key[place] = key
        S.place_of[key] = place
        S.where[key] = LOADING
        S.stream_key[stream] = key
        S.stream_prefetch[stream] = prefetch
        S.stream_until[stream] = now + S.load_ticks[key]
        log_event(S, now, LOAD, key, 2 * stream + prefetch)


@handler
def next_demand(S: Any) -> Any:
    """The first activation of the current visit that is absent, once the gate is passed.

    What is there stays until it is computed, so that the search goes on where it ended.
    """
    state = S.state[0]
    if state.phase != EXPERT and state.phase != WAITING:
        return np.int64(-1)
    first = S.visit_start[state.visit]
    last = S.visit_start[state.visit + 1]
    while state.lacking < last:
        key = S.entry_key[state.lacking]
        if S.where[key] == ABSENT and S.computed[state.lacking - first] == 0:
            return key
        state.lacking += 1
    return np.int64(-1)


@handler
def next_prediction(S: Any) -> Any:
    """The first queued prediction that is absent; those before it are done with."""
    state = S.state[0]
    end = S.pred_start[state.issued]
    while state.head < end:
        key = S.pred_key[state.head]
        if S.where[key] == ABSENT:
            return key
        state.head += 1
    return np.int64(-1)


@handler
def take_place(S: Any, now: int, prefetch: int) -> Any:
    """A free place, or that of a victim; -1 if nothing may go."""
    state = S.state[0]
    if state.used < S.par[0].capacity:
        state.used += 1
        return state.used - 1
    best = random_place(S, prefetch) if S.par[0].policy == RANDOM else best_place(S, prefetch)
    if best < 0:
        return best
    victim = S.place_key[best]
    S.where[victim] = ABSENT
    S.stale[victim // S.par[0].experts] = 1
    state.wasted += S.unused[victim]
    S.unused[victim] = 0
    state.evicted += 1
    log_event(S, now, EVICT, victim, best)
    return best


@handler
def best_place(S: Any, prefetch: int) -> Any:
    """Where the expert stands that the policy gives up first.

    Each layer remembers its own candidates, one wanted and one not, until something in it changes.
    """
    layers = S.par[0].layers
    for layer in range(layers):
        if S.stale[layer]:
            refresh(S, layer)
    for wanted in range(1 if prefetch else 2):
        best = np.int64(-1)
        best_score = np.int64(0)
        for layer in range(layers):
            key = S.candidate[2 * layer + wanted]
            if key < 0:
                continue
            score = score_of(S, key)
            if best < 0 or score < best_score or (score == best_score and precedes(S, key, best)):
                best = np.int64(key)
                best_score = score
        if best >= 0:
            return np.int64(S.place_of[best])
    return np.int64(-1)


@handler
def refresh(S: Any, layer: int) -> None:
    """Find a layer's candidates anew."""
    experts = S.par[0].experts
    S.stale[layer] = 0
    S.candidate[2 * layer] = -1
    S.candidate[2 * layer + 1] = -1
    for key in range(layer * experts, (layer + 1) * experts):
        if S.where[key] != RESIDENT or S.pinned[key]:
            continue
        slot = 2 * layer + (1 if S.wanted[key] > 0 else 0)
        other = S.candidate[slot]
        if other < 0:
            S.candidate[slot] = key
            continue
        score = score_of(S, key)
        least = score_of(S, other)
        if score < least or (score == least and precedes(S, key, other)):
            S.candidate[slot] = key


@handler
def precedes(S: Any, key: int, other: int) -> bool:
    """Of equal scores: the least recently used, then the lowest place."""
    if S.touched[key] != S.touched[other]:
        return S.touched[key] < S.touched[other]
    return S.place_of[key] < S.place_of[other]


@handler
def score_of(S: Any, key: int) -> Any:
    """What the policy thinks of keeping an expert: the lowest score goes first."""
    policy = S.par[0].policy
    if policy == LFU:
        return S.count[key]
    if policy == STATIC:
        return S.uses[key]
    if policy == BELADY:
        return -S.next_use[key]
    if policy == LAYER:
        return -distance(S, key // S.par[0].experts)
    return np.int64(0)  # ties go to the least recently used


@handler
def distance(S: Any, layer: int) -> Any:
    """Layers until `layer` is visited; the current one counts 0 before its gate, else a round."""
    state = S.state[0]
    layers = S.par[0].layers
    gated = 1 if state.phase == EXPERT or state.phase == WAITING else 0
    ahead = layer - state.visit % layers - gated
    return ahead if ahead >= 0 else ahead + layers


@handler
def random_place(S: Any, prefetch: int) -> Any:
    """The first place from a drawn one on whose expert may go."""
    state = S.state[0]
    capacity = S.par[0].capacity
    start = keyed_below(S.par[0].seed, POLICY, state.demand + state.prefetch, 0, capacity)
    for wanted in range(1 if prefetch else 2):
        for step in range(capacity):
            place = (start + step) % capacity
            key = S.place_key[place]
            free = S.where[key] == RESIDENT and not S.pinned[key]
            if free and (S.wanted[key] > 0) == (wanted == 1):
                return np.int64(place)
    return np.int64(-1)


def advance_body(S: Any) -> None:
    """Run until the last visit ends, or until the log is full."""
    state = S.state[0]
    if state.phase == DONE and state.visit == 0:
        begin_visit(S, 0)
    # One event may pass a gate (loads and evictions on every stream) and begin a visit (again).
    margin = 8 + 6 * S.par[0].streams
    while state.phase != DONE:
        if log_full(S, margin):
            return
        stream = np.int64(-1)
        now = np.int64(NEVER)
        for i in range(S.par[0].streams):
            if S.stream_until[i] < now:
                now = S.stream_until[i]
                stream = np.int64(i)
        if stream >= 0 and now <= state.until:
            end_load(S, now, stream)
        elif state.phase == PREDICT:
            begin_dense(S, state.until)
        elif state.phase == DENSE:
            pass_gate(S, state.until)
        else:
            end_compute(S, state.until)


advance = kernel(void(WORLD))(advance_body)
