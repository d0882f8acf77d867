"""Flows of gossip: handlers that share links, count bytes and ticks, and set the ends of flows."""

import math
from typing import Any

import numpy as np

from mltwin.models.federation.phases import LONGEST
from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.heap import heap_remove, heap_set
from mltwin.sim.jit import handler

from .gossip_tables import FLOW, NO_FLOW, TRANSFER


@handler
def set_timer(S: Any, rank: int, peer: int, time: int) -> None:
    """One timer a rank and peer."""
    heap_set(S, rank * S.par[0].peers + peer, time, rank)


@handler
def clear_timer(S: Any, rank: int, peer: int) -> None:
    """Take it back."""
    heap_remove(S, rank * S.par[0].peers + peer)


@handler
def count_sent(S: Any, i: int) -> None:
    """A peer sends a model."""
    size = S.par[0].model_bytes
    S.count[i].up_bytes += size
    S.state[0].up_bytes += size


@handler
def received(S: Any, i: int) -> None:
    """A peer has received a model."""
    size = S.par[0].model_bytes
    S.count[i].down_bytes += size
    S.state[0].down_bytes += size


@handler
def attach(S: Any, i: int, j: int) -> None:
    """The flow of i is one of those to j."""
    head = S.peer[j].head
    S.peer[i].next = head
    S.peer[i].previous = -1
    if head >= 0:
        S.peer[head].previous = i
    S.peer[j].head = i
    S.peer[j].flows_in += 1


@handler
def detach(S: Any, i: int) -> None:
    """The flow of i is over."""
    me = S.peer[i]
    before = np.int64(me.previous)
    behind = np.int64(me.next)
    if before >= 0:
        S.peer[before].next = behind
    else:
        S.peer[me.partner].head = behind
    if behind >= 0:
        S.peer[behind].previous = before
    S.peer[me.partner].flows_in -= 1


@handler
def touching(S: Any, i: int) -> Any:
    """Exchanges that peer i takes part in."""
    return S.peer[i].flows_in + (1 if S.peer[i].stage == FLOW else 0)


@handler
def rerate(S: Any, j: int, now: int) -> None:
    """The number of flows at peer j has changed: so have the rates of those that touch it."""
    i = np.int64(S.peer[j].head)
    while i >= 0:
        set_rate(S, i, now)
        i = np.int64(S.peer[i].next)
    if S.par[0].pair and S.peer[j].stage == FLOW:
        set_rate(S, j, now)


@handler
def set_rate(S: Any, i: int, now: int) -> None:
    """Equal shares of the links of both ends; the end of the flow moves."""
    me = S.peer[i]
    other = S.peer[me.partner]
    if S.par[0].pair:
        mine = min(me.up, me.down) / touching(S, i)
        rate = min(mine, min(other.up, other.down) / touching(S, me.partner))
    else:
        rate = min(me.up, other.down / other.flows_in)
    if rate == me.rate:
        return
    if now > me.since:
        me.remaining = max(0.0, me.remaining - me.rate * ((now - me.since) / TICKS_PER_S))
        me.since = now
    me.rate = rate
    ticks = math.ceil(min(me.remaining / rate * TICKS_PER_S, float(LONGEST)))
    set_timer(S, TRANSFER, i, now + np.int64(ticks))


@handler
def busy(S: Any, i: int, sending: int, receiving: int) -> None:
    """A peer has sent and received for so many ticks."""
    S.count[i].send += sending
    S.count[i].receive += receiving
    watts = S.peer[i].send_w * sending + S.peer[i].receive_w * receiving
    S.state[0].joules += watts / TICKS_PER_S


@handler
def end_flow(S: Any, i: int, now: int) -> None:
    """Take the flow of i off the links."""
    me = S.peer[i]
    j = np.int64(me.partner)
    detach(S, i)
    me.stage = NO_FLOW
    clear_timer(S, TRANSFER, i)
    if S.par[0].pair:
        if touching(S, i) == 0:
            busy(S, i, now - me.busy_since, now - me.busy_since)
        if touching(S, j) == 0:
            busy(S, j, now - S.peer[j].busy_since, now - S.peer[j].busy_since)
        rerate(S, i, now)
    else:
        busy(S, i, now - me.flow_began, 0)
        if S.peer[j].flows_in == 0:
            busy(S, j, 0, now - S.peer[j].busy_since)
    rerate(S, j, now)
