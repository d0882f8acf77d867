"""`advance(world)`: a federation in time, until something must be decided.

Rules and order of events: the package's docstring. The other entry points are what the server
does between two calls of `advance`.
"""

from typing import Any

import numpy as np
from numba import float64, int8, int32, int64, void

from mltwin.sim.eventlog import log_event, log_full
from mltwin.sim.heap import heap_pop, heap_rank, heap_remove, heap_set, heap_slot
from mltwin.sim.jit import entry, handler, kernel
from mltwin.sim.ticks import NEVER

from .events import (
    AWAITED,
    E_ARRIVED,
    E_LOST,
    E_NOTICED,
    E_RETURNED,
    E_TIMER,
    FORCED,
    LEARN,
    LIMIT,
    NOTHING,
    OVER,
    RANK_ARRIVAL,
    RANK_LOSS,
    RANK_NOTICE,
    RANK_REFILL,
    RANK_STAGE,
    RANK_TIMER,
    REFILL,
    STUCK,
    TABLE,
    TIMER,
)
from .hooks import DONE
from .idle import next_return, note_idle
from .moves import (
    cancel_one,
    choose,
    drawn_compute,
    is_idle,
    new_version,
    release,
    send_standard,
    spend,
    start_work,
    worked,
)
from .state import IDLE, LOST, REFILLED, SETTLED, WORLD
from .transfers import end_transfers, next_stage, next_tick, transfers_end


@handler
def hand_over(S: Any, client: int) -> None:
    """A row for the strategy: what came of a client's dispatch."""
    st = S.state[0]
    x = S.work[client]
    row = S.rows[st.came]
    row.client = client
    row.dispatch = x.number - 1
    row.held = x.held
    row.sent = x.begin
    row.arrived = st.now
    row.steps = x.steps
    row.tag = S.own[client].tag if x.own == 1 else np.int64(0)
    row.spent = (
        np.int64(x.total)
        if x.status == DONE and S.par[0].shared == 0
        else np.int64(S.own[client].spent)
    )
    row.slot = x.slot
    row.status = x.status
    st.came += 1


@handler
def arrive(S: Any, client: int) -> None:
    """An update has come."""
    st = S.state[0]
    x = S.work[client]
    spend(S, client, x.total, True)
    x.state = IDLE
    note_idle(S, client)
    st.arrived += 1
    st.in_flight -= 1
    st.flying -= 1
    st.losses = 0
    log_event(S, st.now, E_ARRIVED, client, x.held)
    hand_over(S, client)
    st.done += 1
    if S.par[0].buffer > 0:
        stale = st.version - x.held
        st.stale_sum += stale
        st.stale_most = max(st.stale_most, stale)
        if st.done == S.par[0].buffer:
            step_alone(S)


@handler
def step_alone(S: Any) -> None:
    """The step of a strategy that only counts."""
    st = S.state[0]
    par = S.par[0]
    for k in range(st.came):
        S.staleness[st.version - S.rows[k].held] += 1
    if par.evaluate > 0:
        note_lessons(S)
    new_version(S, st.done)
    for k in range(st.came):
        release(S, S.rows[k].slot)
    row = S.steps[st.steps]
    st.steps += 1
    row.version = st.version
    row.time = st.now
    row.used = st.done
    row.staleness_max = st.stale_most
    row.staleness_mean = st.stale_sum / st.done
    row.in_flight = st.in_flight
    row.updates = st.arrived
    row.down_bytes = st.down_bytes
    row.up_bytes = st.up_bytes
    row.joules = st.joules
    row.wasted = st.wasted
    row.slot = st.current
    st.came = 0
    st.done = 0
    st.stale_sum = 0
    st.stale_most = 0
    if par.aggregate > 0:
        st.ready = max(st.ready, st.now) + par.aggregate


@handler
def note_lessons(S: Any) -> None:
    """Keep what is to be trained for an automatic step."""
    st = S.state[0]
    for k in range(st.came):
        row = S.rows[k]
        lesson = S.lessons[st.lessons]
        st.lessons += 1
        lesson.client = row.client
        lesson.dispatch = row.dispatch
        lesson.held = row.held
        lesson.steps = row.steps
        lesson.slot = row.slot


@handler
def lose(S: Any, client: int) -> None:
    """A client leaves or fails while at work."""
    st = S.state[0]
    x = S.work[client]
    x.state = LOST
    if S.par[0].shared == 1:
        x.status = S.journey[client].why
    spend(S, client, worked(S, client), False)
    S.tally[client].lost += 1
    st.lost += 1
    st.flying -= 1
    st.losses += 1
    release(S, x.slot)
    log_event(S, st.now, E_LOST, client, x.status)
    if S.par[0].detect >= 0:
        heap_set(S, client, st.now + S.par[0].detect, RANK_NOTICE)


@handler
def notice(S: Any, client: int) -> None:
    """The server learns of a loss."""
    st = S.state[0]
    x = S.work[client]
    x.state = IDLE
    note_idle(S, client)
    st.in_flight -= 1
    log_event(S, st.now, E_NOTICED, client, x.status)
    if S.par[0].buffer == 0:
        hand_over(S, client)


@handler
def decision(S: Any) -> int:
    """Why the policies must be asked, before anything else happens; -1: they need not."""
    st = S.state[0]
    par = S.par[0]
    if par.evaluate > 0 and st.version >= st.due:
        st.due = st.version - st.version % par.evaluate + par.evaluate
        return np.int64(LEARN)
    if st.at_once == 1 or (st.done >= st.awaited and par.buffer == 0):
        st.at_once = 0
        return np.int64(AWAITED)
    if par.buffer > 0 and st.version >= par.versions:
        return np.int64(LIMIT)
    if st.arrived >= par.updates:
        return np.int64(LIMIT)
    if st.losses >= par.losses:
        return np.int64(STUCK)
    if st.rung == 1:
        st.rung = 0
        return np.int64(TIMER)
    return np.int64(-1)


@handler
def end_instant(S: Any) -> int:
    """Refill, then hand over what there is if nothing else can come; why to stop, or -1."""
    st = S.state[0]
    missing = st.concurrency - st.in_flight
    if st.instant == 0:
        st.instant = REFILLED
        if missing > 0 and st.selects == 1:
            return np.int64(REFILL)
        if missing > 0 and st.given == 1:
            got = choose(S, missing, S.chosen)
            for k in range(got):
                send_standard(S, np.int64(S.chosen[k]))
    if st.instant == REFILLED:
        st.instant = SETTLED
        slot = S.par[0].clients + 1
        tick = np.int64(NEVER)
        if st.in_flight < st.concurrency:
            tick = next_return(S)
        if tick < NEVER:
            heap_set(S, slot, tick, RANK_REFILL)
        else:
            heap_remove(S, slot)
            if st.in_flight == 0 and st.came > 0:
                return np.int64(FORCED)
    return np.int64(-1)


@handler
def tables_full(S: Any) -> bool:
    """Whether the next event may need a row more than a table has."""
    st = S.state[0]
    if st.came == len(S.rows) or log_full(S, S.par[0].clients + 8):
        return True
    if S.par[0].buffer == 0:
        return False
    slots = st.free == 0 and st.slots == len(S.holders)
    if S.par[0].evaluate > 0 and st.lessons + S.par[0].buffer > len(S.lessons):
        return True
    return slots or st.steps == len(S.steps) or st.version >= len(S.staleness)


@handler
def next_event(S: Any, tick: int) -> None:
    """Transfers end, or the earliest timer fires."""
    st = S.state[0]
    st.instant = 0
    if transfers_end(S, tick):
        st.now = tick
        end_transfers(S)
        return
    st.now = tick
    entity = np.int64(heap_slot(S))
    rank = heap_rank(S)
    heap_pop(S)
    if rank == RANK_ARRIVAL:
        arrive(S, entity)
    elif rank == RANK_LOSS:
        lose(S, entity)
    elif rank == RANK_NOTICE:
        notice(S, entity)
    elif rank == RANK_TIMER:
        log_event(S, st.now, E_TIMER, 0, 0)
        st.rung = 1
    elif rank == RANK_STAGE:
        next_stage(S, entity)
    else:
        log_event(S, st.now, E_RETURNED, 0, 0)


def advance_body(S: Any) -> Any:
    """Go on until something must be decided: why (`events.REASONS`)."""
    st = S.state[0]
    while True:
        if tables_full(S):
            return TABLE
        reason = decision(S)
        coming = np.int64(NEVER)
        if reason < 0 and st.instant != SETTLED and next_tick(S) > st.now:
            reason = end_instant(S)
        if reason < 0:
            coming = next_tick(S)
            if coming >= NEVER:
                reason = np.int64(NOTHING)
            elif coming > S.par[0].until:
                reason = np.int64(OVER)
        if reason >= 0:
            if reason != REFILL:
                st.instant = 0
            return reason
        next_event(S, coming)


def send_body(
    S: Any,
    clients: Any,
    steps: Any,
    receive: Any,
    compute_s: Any,
    send: Any,
    down_bytes: Any,
    up_bytes: Any,
    tags: Any,
    ready: int,
) -> Any:
    """Dispatch idle clients in order; the place of the first that is not idle, -1: all went."""
    for k in range(len(clients)):
        client = np.int64(clients[k])
        if not is_idle(S, client):
            return np.int64(k)
        x = S.work[client]
        x.steps = steps[k]
        x.own = 1
        S.own[client].receive = receive[k]
        S.own[client].send = send[k]
        S.own[client].down_bytes = down_bytes[k]
        S.own[client].up_bytes = up_bytes[k]
        S.own[client].tag = tags[k]
        x.compute = drawn_compute(S, client, compute_s[k], x.number)
        start_work(S, client, receive[k], send[k], ready)
    return np.int64(-1)


def cancel_body(S: Any, clients: Any) -> None:
    """Take back the work of clients that are at work."""
    for k in range(len(clients)):
        cancel_one(S, np.int64(clients[k]))


def release_body(S: Any, slots: Any) -> None:
    """The versions in these slots have each one holder less."""
    for k in range(len(slots)):
        release(S, slots[k])


def take_body(S: Any, numbers: Any, clients: Any, statuses: Any) -> Any:
    """Hand over the rows of what came; how many of them are updates.

    Args:
        numbers: int64[8, n], filled with a row for each of `TAKEN`; slots are those of updates.
        clients, statuses: int32[n] and int8[n], filled.
    """
    st = S.state[0]
    done = np.int64(0)
    for k in range(st.came):
        row = S.rows[k]
        clients[k] = row.client
        statuses[k] = row.status
        numbers[0, k] = row.dispatch
        numbers[1, k] = row.held
        numbers[2, k] = row.sent
        numbers[3, k] = row.arrived
        numbers[4, k] = row.steps
        numbers[5, k] = row.tag
        numbers[6, k] = row.spent
        if row.status == DONE:
            numbers[7, done] = row.slot
            done += 1
    st.came = 0
    st.done = 0
    st.stale_sum = 0
    st.stale_most = 0
    return done


def idle_body(S: Any) -> Any:
    """All idle clients into the table `chosen`, ascending; how many."""
    got = np.int64(0)
    for client in range(S.par[0].clients):
        if is_idle(S, client):
            S.chosen[got] = client
            got += 1
    return got


def uniform_body(S: Any, count: int) -> Any:
    """Distinct idle clients into the table `chosen`; how many."""
    return choose(S, count, S.chosen)


def step_body(S: Any, used: int) -> None:
    """There is a new version."""
    new_version(S, used)


def timer_body(S: Any, at: int) -> None:
    """The strategy's next timer rings at a tick; NEVER: none."""
    slot = S.par[0].clients
    if at < NEVER:
        heap_set(S, slot, max(at, S.state[0].now), RANK_TIMER)
    else:
        heap_remove(S, slot)


def return_body(S: Any) -> Any:
    """The next return of an idle client; NEVER."""
    return next_return(S)


_INTS, _FLOATS = int64[::1], float64[::1]
TAKEN = ("dispatch", "held", "sent", "arrived", "steps", "tag", "spent", "slots")
# Most hooks ask for little: called as they are, these took longer to find types than to run.
advance = entry(kernel(int64(WORLD))(advance_body))
send = entry(
    kernel(int64(WORLD, int32[::1], _INTS, _INTS, _FLOATS, _INTS, _FLOATS, _FLOATS, _INTS, int64))(
        send_body
    )
)
take = entry(kernel(int64(WORLD, int64[:, ::1], int32[::1], int8[::1]))(take_body))
cancel = entry(kernel(void(WORLD, int32[::1]))(cancel_body))
release_slots = entry(kernel(void(WORLD, _INTS))(release_body))
list_idle = entry(kernel(int64(WORLD))(idle_body))
draw_uniform = entry(kernel(int64(WORLD, int64))(uniform_body))
step = entry(kernel(void(WORLD, int64))(step_body))
set_timer = entry(kernel(void(WORLD, int64))(timer_body))
find_return = entry(kernel(int64(WORLD))(return_body))
