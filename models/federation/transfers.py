"""Dispatches whose transfers share links: a dispatch goes through stages, one timer at a time.

    WAITING -> (latency) -> DOWN -> (flow ends) -> WORK -> (compute, latency) -> UP -> (flow ends)

A timer is that of the next stage, or of the loss of the client if that comes first. Where a client
that leaves pauses, latency and training pass only while it is there, and a flow is taken out when
it leaves and started again, with the bytes that are left, when it returns. Where its own link
follows a trace, the flow's cap does, and at rate 0 the flow waits too. Then the timer is that of
leaving or returning, or of the next change of the rate.
"""

from typing import Any

import numpy as np

from mltwin.models.network.shared import (
    end_flow,
    next_end,
    pop_ended,
    set_cap,
    settle,
    start_flow,
)
from mltwin.sim.heap import heap_remove, heap_set, heap_time
from mltwin.sim.jit import handler
from mltwin.sim.ticks import NEVER

from .events import RANK_ARRIVAL, RANK_LOSS, RANK_STAGE
from .hooks import FAILED, OFFLINE
from .links import COARSER
from .phases import STAYS
from .presence import after_work, is_here, leaves, leaves_for_good, returns, worked_between
from .rates import piece_at
from .tables import FINISH, PAUSE

WAITING, DOWN, WORK, UP, THERE = range(5)


@handler
def begin_stages(S: Any, client: int, fails: int) -> None:
    """A dispatch begins; it fails after so many ticks of work, NEVER: it does not."""
    j = S.journey[client]
    begin = np.int64(S.work[client].begin)
    j.stage = WAITING
    j.loss = after(S, client, begin, fails) if fails < NEVER else np.int64(NEVER)
    j.why = FAILED
    if S.par[0].interruption != FINISH:
        now = S.state[0].now
        pauses = S.par[0].interruption == PAUSE
        gone = leaves_for_good(S, client) if pauses else leaves(S, client, now)
        if gone < j.loss:
            j.loss = gone
            j.why = OFFLINE
    set_stage(S, client, after(S, client, begin, j.latency))


@handler
def after(S: Any, client: int, begin: int, work: int) -> int:
    """When so many ticks of latency or training have passed; NEVER: it leaves for good before."""
    if S.par[0].interruption != PAUSE or work == 0:
        return begin + work
    tick = after_work(S, client, begin, work)
    return tick if tick >= 0 else np.int64(NEVER)


@handler
def between(S: Any, client: int, begin: int, now: int) -> int:
    """Ticks of a dispatch that have passed from one tick to another; paused ones do not count."""
    if S.par[0].interruption == PAUSE:
        return worked_between(S, client, begin, now)
    return max(np.int64(0), now - begin)


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
    """Bytes begin to move; or, while they do, the client leaves or returns or its rate changes."""
    j = S.journey[client]
    if j.stage == DOWN or j.stage == UP:
        move(S, client)
        return
    up = 1 if j.stage == WORK else 0
    j.stage = UP if up == 1 else DOWN
    amount = S.par[0].up_bytes if up == 1 else S.par[0].down_bytes
    if S.work[client].own == 1:
        amount = S.own[client].up_bytes if up == 1 else S.own[client].down_bytes
    f = 2 * client + up
    S.flow[f].bytes = amount
    j.waits = 0
    b = S.bundle[S.flow[f].bundle]
    free = b.first == b.last and b.cap == np.inf and trace_of(S, client) < 0
    if amount <= 0.0 or free:
        end_stage(S, client)
        return
    move(S, client)


@handler
def flow_of(S: Any, client: int) -> int:
    """The flow of a client whose bytes move or wait."""
    return 2 * client + (1 if S.journey[client].stage == UP else 0)


@handler
def trace_of(S: Any, client: int) -> int:
    """The trace of a client's own link over which its bytes move or wait; -1: a constant rate."""
    if S.par[0].traced == 0:
        return np.int64(-1)
    x = S.follows[client]
    return np.int64(x.up) if S.journey[client].stage == UP else np.int64(x.down)


@handler
def rate_now(S: Any, client: int, trace: int) -> tuple[float, int]:
    """The rate of a client's trace, bytes/s, and when its next piece begins; NEVER."""
    now = np.int64(S.state[0].now)
    place = now + S.follows[client].offset
    period = np.int64(S.piece_period[trace])
    if period > 0:
        place %= period
    first, last = S.piece_first[trace], S.piece_first[trace + 1]
    row = piece_at(S, trace, place)
    stop = np.int64(NEVER)
    if row + 1 < last:
        stop = now + (S.piece_begin[row + 1] - place)
    elif period > 0 and last - first > 1:
        stop = now + (period - place)
    return S.piece_rate[row], stop


@handler
def move(S: Any, client: int) -> None:
    """Bytes move or wait from now on: for their client, or for its link."""
    st = S.state[0]
    j = S.journey[client]
    f = flow_of(S, client)
    trace = trace_of(S, client)
    rate, tick = np.inf, np.int64(NEVER)
    if trace >= 0:
        rate, tick = rate_now(S, client, trace)
    pauses = S.par[0].interruption == PAUSE and j.waits < STAYS
    away = pauses and not is_here(S, client, st.now)
    if away or rate <= 0.0:
        if S.flow[f].moving == 1:
            S.flow[f].bytes = end_flow(S, f, st.now)
            st.unsettled = 1
        if away:
            tick = returns(S, client, st.now)
            j.waits += 1 if trace >= 0 else 0
    else:
        if S.flow[f].bytes <= 0.0:
            end_stage(S, client)
            return
        if trace >= 0:
            set_cap(S, f, rate * COARSER)
            st.unsettled = 1
        if S.flow[f].moving == 0:
            start_flow(S, f, st.now)
            st.unsettled = 1
        if pauses:
            tick = min(tick, leaves(S, client, st.now))
    set_stage(S, client, tick if tick < j.loss else np.int64(NEVER))


@handler
def end_stage(S: Any, client: int) -> None:
    """A transfer has ended."""
    now = S.state[0].now
    j = S.journey[client]
    if j.stage == DOWN:
        j.stage = WORK
        j.received = now
        set_stage(S, client, after(S, client, now, S.work[client].compute + j.latency))
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
        f = flow_of(S, client)
        left = S.flow[f].bytes
        if S.flow[f].moving == 1:
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
        return between(S, client, x.begin, st.now), np.int64(0), np.int64(0), down, up
    received = between(S, client, x.begin, j.received)
    rest = between(S, client, j.received, st.now)
    compute = min(rest, x.compute)
    return received, compute, rest - compute, down, up
