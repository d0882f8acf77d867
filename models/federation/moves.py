"""What events of a federation have in common: sending work, costs, versions, uniform selection."""

import math
from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_remove, heap_set
from mltwin.sim.jit import handler
from mltwin.sim.rng import (
    FAILURES,
    SELECTION,
    SERVICE,
    keyed_below,
    keyed_normal,
    keyed_uniform,
)
from mltwin.sim.ticks import NEVER

from .events import E_CANCELLED, E_SENT, E_STEP, MISSES, RANK_ARRIVAL, RANK_LOSS
from .hooks import DONE, FAILED, OFFLINE
from .idle import client_of_rank, count_client, look_up, note_busy, note_idle
from .phases import LONGEST
from .presence import after_work, is_here, leaves, worked_between
from .rates import bytes_moved, follow
from .state import IDLE, WORKING
from .tables import FINISH, PAUSE, TICKS_PER_S
from .transfers import begin_stages, parts_done


@handler
def drawn_compute(S: Any, client: int, compute_s: float, number: int) -> int:
    """Ticks of training: the seconds with their jitter."""
    sigma = S.client[client].jitter
    factor = 1.0
    if sigma > 0.0:
        z = keyed_normal(S.par[0].seed, SERVICE, client, number)
        factor = math.exp(sigma * z - 0.5 * sigma * sigma)
    ticks = np.rint((S.par[0].overhead_s + compute_s * factor) * TICKS_PER_S)
    return np.int64(LONGEST) if ticks >= LONGEST else np.int64(ticks)


@handler
def is_idle(S: Any, client: int) -> bool:
    """Whether a client is there and not at work."""
    return S.work[client].state == IDLE and is_here(S, client, S.state[0].now)


@handler
def start_work(S: Any, client: int, receive: int, send: int, ready: int) -> None:
    """Dispatch an idle client, in whose row stand its steps and the ticks of training."""
    st = S.state[0]
    x = S.work[client]
    number = np.int64(x.number)
    x.number += 1
    x.state = WORKING
    note_busy(S, client)
    x.status = DONE
    x.held = st.version
    x.slot = st.current
    S.holders[st.current] += 1
    x.begin = max(st.now, ready)
    if S.par[0].traced == 1:
        receive, send = follow(S, client, receive, send)
    x.total = receive + x.compute + send
    if x.total == 0:
        x.compute = 1
        x.total = 1
    plan_end(S, client, number, np.int64(x.total))
    st.dispatched += 1
    st.in_flight += 1
    st.flying += 1
    log_event(S, st.now, E_SENT, client, st.version)


@handler
def plan_end(S: Any, client: int, number: int, total: int) -> None:
    """Draw a dispatch's failure; set the timer at which it arrives or is lost."""
    st = S.state[0]
    par = S.par[0]
    x = S.work[client]
    need = total
    failed = False
    chance = S.client[client].failure
    if chance > 0.0 and keyed_uniform(par.seed, FAILURES, client, 2 * number) < chance:
        failed = True
        x.status = FAILED
        part = keyed_uniform(par.seed, FAILURES, client, 2 * number + 1)
        need = 1 + np.int64(part * (total - 1))
    if par.shared == 1:
        x.status = DONE
        begin_stages(S, client, need if failed else np.int64(NEVER))
        return
    if par.interruption == FINISH:
        ends = x.begin + need
    elif par.interruption == PAUSE:
        ends = after_work(S, client, x.begin, need)
        if ends < 0:
            x.status = OFFLINE
            ends = -1 - ends
        ends = max(ends, st.now + 1)
    else:
        ends = x.begin + need
        gone = leaves(S, client, st.now)
        if ends > gone:
            x.status = OFFLINE
            ends = gone
    heap_set(S, client, ends, RANK_ARRIVAL if x.status == DONE else RANK_LOSS)


@handler
def send_standard(S: Any, client: int) -> None:
    """Give an idle client the work that refills give."""
    c = S.client[client]
    x = S.work[client]
    x.steps = c.steps
    x.own = 0
    x.compute = drawn_compute(S, client, c.compute_s, x.number)
    start_work(S, client, c.receive, c.send, S.state[0].ready)


@handler
def spend(S: Any, client: int, done: int, arrived: bool) -> None:
    """Costs of a dispatch that ends after `done` ticks of work."""
    st = S.state[0]
    par = S.par[0]
    x = S.work[client]
    if par.shared == 1:
        receive, compute, send, down, up = parts_done(S, client)
        done = receive + compute + send
        S.own[client].spent = done
    else:
        down, up = par.down_bytes, par.up_bytes
        whole, last = np.int64(S.client[client].receive), np.int64(S.client[client].send)
        if x.own == 1:
            y = S.own[client]
            down, up, whole, last = y.down_bytes, y.up_bytes, y.receive, y.send
        receive = min(done, whole)
        compute = min(done - receive, x.compute)
        send = done - receive - compute
        if not arrived:
            if par.traced == 1 and x.own == 1:
                down, up = bytes_moved(S, client, receive, send)
            else:
                begun = 1.0 if st.now >= x.begin else 0.0
                down *= receive / whole if whole > 0 else begun
                up *= send / last if last > 0 else 0.0
    if arrived and x.own == 0 and par.shared == 0:
        x.done += 1
        x.done_compute += compute
    else:
        t = S.tally[client]
        t.receive += receive
        t.compute += compute
        t.send += send
        t.down_bytes += down
        t.up_bytes += up
        t.arrived += 1 if arrived else 0
    if not arrived:
        S.own[client].spent = done
        S.tally[client].wasted += done
        st.wasted += done
    st.down_bytes += down
    st.up_bytes += up
    if par.powered == 1:
        w = S.power[client]
        st.joules += (
            w.compute_w * (compute / TICKS_PER_S)
            + w.send_w * (send / TICKS_PER_S)
            + w.receive_w * (receive / TICKS_PER_S)
        )


@handler
def worked(S: Any, client: int) -> int:
    """Ticks that a client has worked for its dispatch so far."""
    x = S.work[client]
    now = S.state[0].now
    if S.par[0].interruption == PAUSE:
        done = worked_between(S, client, x.begin, now)
    else:
        done = max(np.int64(0), now - x.begin)
    return min(done, x.total)


@handler
def release(S: Any, slot: int) -> None:
    """One holder less of the version in a slot."""
    S.holders[slot] -= 1
    free_version(S, slot)


@handler
def free_version(S: Any, slot: int) -> None:
    """A version that nobody holds any more, and is not current, goes."""
    st = S.state[0]
    if S.holders[slot] == 0 and slot != st.current:
        S.free[st.free] = slot
        st.free += 1
        st.freed += 1


@handler
def new_version(S: Any, used: int) -> None:
    """There is a new current version; there must be room for one more slot."""
    st = S.state[0]
    st.version += 1
    log_event(S, st.now, E_STEP, st.version, used)
    before = np.int64(st.current)
    st.current = -1
    free_version(S, before)
    if st.free > 0:
        st.free -= 1
        st.current = S.free[st.free]
    else:
        st.current = st.slots
        st.slots += 1
    S.holders[st.current] = 0
    st.made += 1
    st.most = max(st.most, st.made - st.freed)


@handler
def cancel_one(S: Any, client: int) -> None:
    """Take a client's work back, if it is at work as the server believes."""
    st = S.state[0]
    x = S.work[client]
    if x.state == IDLE:
        return
    heap_remove(S, client)
    if x.state == WORKING:
        spend(S, client, worked(S, client), False)
        S.tally[client].cancelled += 1
        st.cancelled += 1
        st.flying -= 1
        release(S, x.slot)
    x.state = IDLE
    note_idle(S, client)
    st.in_flight -= 1
    log_event(S, st.now, E_CANCELLED, client, x.held)


@handler
def draw_below(S: Any, below: int) -> int:
    """The next draw of the selection."""
    st = S.state[0]
    st.draws += 1
    return keyed_below(S.par[0].seed, SELECTION, 0, st.draws - 1, below)


@handler
def choose(S: Any, count: int, chosen: Any) -> int:
    """Distinct idle clients, drawn uniformly, into `chosen`; how many.

    Clients are drawn among all until `MISSES` draws in a row met none that is idle; then among
    those left, in the order of their numbers.
    """
    st = S.state[0]
    st.calls += 1
    clients = S.par[0].clients
    got = np.int64(0)
    misses = 0
    while got < count and misses < MISSES:
        client = draw_below(S, clients)
        if S.work[client].mark == st.calls or not is_idle(S, client):
            misses += 1
        else:
            S.work[client].mark = st.calls
            chosen[got] = client
            got += 1
            misses = 0
    if got < count:
        look_up(S)
        for k in range(got):
            count_client(S, chosen[k], -1)
        while got < count and st.inside > 0:
            client = client_of_rank(S, draw_below(S, st.inside))
            count_client(S, client, -1)
            chosen[got] = client
            got += 1
        for k in range(got):
            count_client(S, chosen[k], 1)
    return got
