"""Dispatches whose transfers share links: a dispatch goes through stages, one timer at a time.

    WAITING -> (latency) -> DOWN -> (flow ends) -> WORK -> (compute, latency) -> UP -> (flow ends)

A timer is that of the next stage, or of the loss of the client if that comes first.
"""

from typing import Any

import numpy as np

from mltwin.models.network.shared import end_flow, next_end, pop_ended, settle, start_flow
from mltwin.sim.heap import heap_remove, heap_set, heap_time
from mltwin.sim.jit import handler
from mltwin.sim.ticks import NEVER

from .events import RANK_ARRIVAL, RANK_LOSS, RANK_STAGE
from .hooks import FAILED, OFFLINE
from .presence import leaves
from .tables import FINISH

WAITING, DOWN, WORK, UP, THERE = range(5)


@handler
def begin_stages(S: Any, client: int, fails: int) -> None:
    """A dispatch begins; it fails at a tick, NEVER: not."""
    x = S.work[client]
    j = S.journey[client]
    j.stage = WAITING
    j.loss = fails
    j.why = FAILED
    if S.par[0].interruption != FINISH:
        gone = leaves(S, client, S.state[0].now)
        if gone < j.loss:
            j.loss = gone
            j.why = OFFLINE
    set_stage(S, client, x.begin + j.latency)


@handler
def set_stage(S: Any, client: int, tick: int) -> None:
    """The next stage begins at a tick; NEVER: when a flow ends. Unless the client is lost first."""
    j = S.journey[client]
    if j.loss < tick:
        heap_set(S, client, j.loss, RANK_LOSS)
    elif tick < NEVER:
        heap_set(S, client, tick, RANK_STAGE)
    else:
        heap_remove(S, client)


@handler
def next_stage(S: Any, client: int) -> None:
    """Bytes begin to move."""
    st = S.state[0]
    j = S.journey[client]
    up = 1 if j.stage == WORK else 0
    j.stage = UP if up == 1 else DOWN
    amount = S.par[0].up_bytes if up == 1 else S.par[0].down_bytes
    if S.work[client].own == 1:
        amount = S.own[client].up_bytes if up == 1 else S.own[client].down_bytes
    f = 2 * client + up
    S.flow[f].bytes = amount
    b = S.bundle[S.flow[f].bundle]
    if amount <= 0.0 or (b.first == b.last and b.cap == np.inf):
        end_stage(S, client)
        return
    start_flow(S, f, st.now)
    st.unsettled = 1
    set_stage(S, client, np.int64(NEVER))


@handler
def end_stage(S: Any, client: int) -> None:
    """A transfer has ended."""
    now = S.state[0].now
    j = S.journey[client]
    if j.stage == DOWN:
        j.stage = WORK
        j.received = now
        set_stage(S, client, now + S.work[client].compute + j.latency)
    else:
        j.stage = THERE
        heap_set(S, client, now, RANK_ARRIVAL)


@handler
def end_transfers(S: Any) -> None:
    """All transfers that end now."""
    st = S.state[0]
    st.unsettled = 1
    f = pop_ended(S, st.now)
    while f >= 0:
        end_stage(S, f >> 1)
        f = pop_ended(S, st.now)


@handler
def next_tick(S: Any) -> int:
    """When something happens next; rates are worked out once all of this instant is done."""
    st = S.state[0]
    tick = heap_time(S)
    if S.par[0].shared == 0 or tick <= st.now:
        return tick
    if st.unsettled == 1:
        settle(S, st.now)
        st.unsettled = 0
    return min(tick, next_end(S))


@handler
def transfers_end(S: Any, tick: int) -> bool:
    """Whether transfers end at the next tick; they do before all else."""
    return S.par[0].shared == 1 and S.state[0].unsettled == 0 and next_end(S) <= tick


@handler
def parts_done(S: Any, client: int) -> tuple[int, int, int, float, float]:
    """Ticks of download, training and upload so far, and bytes moved; a flow is taken out."""
    st = S.state[0]
    x = S.work[client]
    j = S.journey[client]
    down, up = S.par[0].down_bytes, S.par[0].up_bytes
    if x.own == 1:
        down, up = S.own[client].down_bytes, S.own[client].up_bytes
    if j.stage == DOWN or j.stage == UP:
        f = 2 * client + (1 if j.stage == UP else 0)
        left = end_flow(S, f, st.now)
        st.unsettled = 1
        if j.stage == UP:
            up -= left
        else:
            down -= left
    if j.stage < UP:
        up = 0.0
    if j.stage < DOWN:
        down = 0.0
    if j.stage < WORK:
        return max(np.int64(0), st.now - x.begin), np.int64(0), np.int64(0), down, up
    after = st.now - j.received
    return (
        j.received - x.begin,
        min(after, x.compute),
        max(after - x.compute, np.int64(0)),
        down,
        up,
    )
