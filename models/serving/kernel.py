"""The event loop of the serving system: `advance(S, until)`.

Arrivals come from the sorted requests through a cursor, so the heap holds one timer per replica,
link and control, never one per request. Ranks: see the package's docstring.
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_full
from mltwin.sim.heap import heap_remove, heap_set, pairs_pop, pairs_push
from mltwin.sim.jit import handler, kernel, types
from mltwin.sim.ticks import NEVER

from .commitment import commit
from .control import (
    CONTROL_RANK,
    on_ready,
    on_scale,
    on_script,
    on_snapshot,
    scale_slot,
    snapshot_slot,
)
from .fetching import landing_slot, on_landing
from .layout import WORLD
from .lifecycle import on_arrival, on_cancel, on_handover, on_transfer_end
from .planning import plan
from .waking import ITERATION_END

RUNNING, FINISHED, DRAIN_LOGS, FAILED, STEPPED = range(5)
_LOG_MARGIN = 4096
IDLE_TURNS = 10_000  # then nothing will ever happen but snapshots and questions to `scale`


@handler
def _next_root(S: Any) -> int:
    """The next request that arrives by itself, n if there is none."""
    g = S.glob[0]
    p = S.par[0]
    if p.has_after:
        while g.cursor < p.n_open and S.after[p.n_requests + g.cursor] >= 0:
            g.cursor += 1
    return g.cursor


@handler
def _timer_event(S: Any, slot: int, now: int) -> None:
    """The earliest timer has come. Each branch moves or stops it."""
    p = S.par[0]
    n = p.n_replicas
    if slot < n:
        if S.timers[0].tie >> np.int64(32) == ITERATION_END:
            commit(S, slot, now)
        if not plan(S, slot, now):
            heap_remove(S, slot)
    elif slot < n + p.n_nics:
        on_transfer_end(S, p.n_nics + slot - n, now)
    elif slot < 2 * n + p.n_nics:
        on_handover(S, slot - n - p.n_nics, now)
    elif slot < 3 * n + p.n_nics:
        on_ready(S, slot - 2 * n - p.n_nics, now)
    elif slot == scale_slot(S):
        on_scale(S, now)
    elif slot == landing_slot(S):
        on_landing(S, now)
    else:
        on_snapshot(S, now)


@handler
def begin(S: Any) -> None:
    """Start the periodic timers."""
    p = S.par[0]
    if p.scale_every > 0:
        heap_set(S, scale_slot(S), p.scale_every, CONTROL_RANK)
    if p.snapshot_every > 0:
        heap_set(S, snapshot_slot(S), np.int64(0), CONTROL_RANK)


@handler
def _step(S: Any, until: int) -> bool:
    """Handle the next event, if it is not after `until`; False if there is none."""
    g = S.glob[0]
    p = S.par[0]
    root = _next_root(S)
    arrival = S.info[root].arrival if root < p.n_open else np.int64(NEVER)
    released = False
    if S.pending_count[0] > 0:
        due = S.pending[0].time
        if due < arrival or (due == arrival and S.pending[0].id < root):
            arrival = due
            released = True
    timer = S.timers[0].time if S.timer_count[0] > 0 else np.int64(NEVER)
    script = np.int64(NEVER)
    if g.control_cursor < len(S.control):
        script = S.control[g.control_cursor].time
    expiry = S.expiry[0].time if S.expiry_count[0] > 0 else np.int64(NEVER)
    now = min(min(arrival, timer), min(script, expiry))
    if now > until:
        return False
    periodic = (1 if p.scale_every > 0 else 0) + (1 if p.snapshot_every > 0 else 0)
    if periodic > 0 and S.timer_count[0] == periodic:
        if min(arrival, min(script, expiry)) == NEVER:
            if g.idle_turns == 0:
                g.idle_since = g.now
            g.idle_turns += 1
            if g.idle_turns > IDLE_TURNS:
                return False
        else:
            g.idle_turns = 0
    else:
        g.idle_turns = 0
    g.now = now
    g.events += 1
    if script == now:
        on_script(S, now)
    elif timer == now and S.timers[0].tie >> np.int64(32) == CONTROL_RANK:
        _timer_event(S, S.timers[0].tie & 0xFFFFFFFF, now)
    elif expiry == now:
        on_cancel(S, pairs_pop(S.expiry, S.expiry_count), now)
    elif arrival == now:
        if released:
            on_arrival(S, pairs_pop(S.pending, S.pending_count), now)
        else:
            g.cursor += 1
            if p.has_front:
                pairs_push(S.pending, S.pending_count, now + S.front[root], np.int64(root))
            else:
                on_arrival(S, root, now)
    else:
        _timer_event(S, S.timers[0].tie & 0xFFFFFFFF, now)
    return True


@kernel(types.int64(WORLD, types.int64))
def advance(S, until):
    """Run all events up to and including the tick `until`.

    Returns RUNNING (stopped at `until`), FINISHED (every request has ended, or nothing is left
    that could happen), DRAIN_LOGS (a log is nearly full: empty it and call again), STEPPED
    (after each event, if `par.check` is set) or FAILED (`glob.error` says why).
    """
    g = S.glob[0]
    p = S.par[0]
    if g.events == 0:
        begin(S)
    while g.ended < p.n_requests:
        if g.error != 0:
            return FAILED
        if log_full(S, _LOG_MARGIN) or (len(S.batches) > 0 and g.log_batches + 8 > len(S.batches)):
            return DRAIN_LOGS
        if not _step(S, until):
            return RUNNING if until < NEVER - 1 else FINISHED
        if p.check:
            return STEPPED
    if g.error != 0:
        return FAILED
    return FINISHED
