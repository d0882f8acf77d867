"""Flows that share links, as handlers over any World that has the tables of `network_tables`.

Call `start_flow`, `pop_ended`, `end_flow`, `set_cap` and `set_capacity` for all that happens at one
instant, then `settle` once; `next_end` says when to come back. Rows of the table ``flow`` are the
flows of the `FlowTable`; a flow's latency has passed when it is started.

    while pop_ended(S, now) >= 0: ...
    start_flow(S, f, now)
    settle(S, now)
    now = next_end(S)
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.ticks import NEVER, TICKS_PER_S

from .flows import FlowTable
from .keyed_heap import heap_drop
from .repair import solve_touched
from .solver import CANCELLED, pull, set_end
from .tables import HELD, IDLE, NETWORK_DTYPES, NO_LINK, network_tables

__all__ = [
    "NETWORK_DTYPES",
    "FlowTable",
    "end_flow",
    "network_tables",
    "next_end",
    "pop_ended",
    "set_cap",
    "set_capacity",
    "settle",
    "start_flow",
    "waiting_flow",
]

_FAR = 2.0**20


@handler
def start_flow(S: Any, f: int, now: int) -> None:
    """The bytes of flow f begin to move."""
    x = S.flow[f]
    c = x.bundle
    b = S.bundle[c]
    if b.members == 0:
        _attach(S, c, now)
    else:
        pull(S, c, now)
    ask = x.bytes / x.weight
    if b.work > _FAR * ask:
        _recount(S, c)
    _push(S, c, b.work + ask, f)
    b.weight += x.weight
    b.heaviest = max(b.heaviest, b.weight)
    x.moving = 1
    S.net[0].flows += 1
    for j in range(b.first, b.last):
        y = S.link[S.route[j]]
        y.flows += 1
        y.peak = max(y.peak, y.flows)
    _mark(S, c)


@handler
def next_end(S: Any) -> int:
    """When the next flow ends, NEVER if none does; right after `settle`."""
    return S.ends[0].key if S.end_count[0] > 0 else np.int64(NEVER)


@handler
def pop_ended(S: Any, now: int) -> int:
    """Take a flow that has ended out of the network and return it, -1 if there is none.

    Flows of one instant come in the order of their bundles, then of size, then of number.
    """
    if S.end_count[0] == 0 or S.ends[0].key > now:
        return np.int64(-1)
    c = S.ends[0].id
    b = S.bundle[c]
    pull(S, c, now)
    first = S.member[b.member_first]
    x = S.flow[first.flow]
    if abs(b.work - first.level) > b.share + 1e-9 * x.bytes / x.weight:
        S.net[0].unequal += 1
    b.work = max(b.work, first.level)
    f = _pop(S, c, np.int64(0))
    _leave(S, c, f, now)
    return f


@handler
def end_flow(S: Any, f: int, now: int) -> float:
    """Take a flow out before its end; the bytes that it had still to move."""
    c = S.flow[f].bundle
    b = S.bundle[c]
    pull(S, c, now)
    k = np.int64(0)
    while S.member[b.member_first + k].flow != f:
        k += 1
    left = max(0.0, S.member[b.member_first + k].level - b.work) * S.flow[f].weight
    _pop(S, c, k)
    _leave(S, c, f, now)
    return left


@handler
def set_capacity(S: Any, link: int, bytes_per_s: float, now: int) -> None:
    """A link's bandwidth changes; at 0 the flows on it wait."""
    y = S.link[link]
    capacity = bytes_per_s / TICKS_PER_S
    y.left = capacity if y.crossing == 0 else y.left + (capacity - y.capacity)
    y.capacity = capacity
    if y.touched == 0:
        S.touched[S.net[0].touched] = link
        S.net[0].touched += 1
    y.touched = 2
    for k in range(y.first, y.first + y.crossing):
        _mark(S, S.cross[k].bundle)


@handler
def set_cap(S: Any, f: int, bytes_per_s: float) -> None:
    """The cap of a flow changes, which is alone in its bundle and may move or not."""
    c = S.flow[f].bundle
    b = S.bundle[c]
    b.cap = bytes_per_s / TICKS_PER_S / S.flow[f].weight
    if b.members > 0:
        _mark(S, c)


@handler
def settle(S: Any, now: int) -> None:
    """New rates after all changes of this instant: one solve, none if nothing changed."""
    solve_touched(S, now)


@handler
def waiting_flow(S: Any) -> tuple[int, int]:
    """A flow that does not move and the broken link that holds it, (-1, -1) if there is none."""
    for k in range(S.net[0].active):
        c = S.active[k]
        b = S.bundle[c]
        if b.share <= 0.0:
            for j in range(b.first, b.last):
                if S.link[S.route[j]].capacity <= 0.0:
                    return S.member[b.member_first].flow, np.int64(S.route[j])
    return np.int64(-1), np.int64(-1)


@handler
def _mark(S: Any, c: int) -> None:
    """A bundle has to be rated anew."""
    b = S.bundle[c]
    if b.dirty == 0:
        b.dirty = 1
        S.dirty[S.net[0].dirty] = c
        S.net[0].dirty += 1


@handler
def _leave(S: Any, c: int, f: int, now: int) -> None:
    """Flow f is out of its bundle's heap; the rest follows."""
    b = S.bundle[c]
    S.flow[f].moving = 0
    S.net[0].flows -= 1
    b.weight -= S.flow[f].weight
    if b.weight < CANCELLED * b.heaviest:
        b.weight = _weight_of_members(S, c)
        b.heaviest = b.weight
    b.ended += 1
    for j in range(b.first, b.last):
        S.link[S.route[j]].flows -= 1
    if b.members == 0:
        _detach(S, c, now)
        return
    if b.ended >= b.members:
        _recount(S, c)
    set_end(S, c)
    _mark(S, c)


@handler
def _attach(S: Any, c: int, now: int) -> None:
    """An idle bundle gets its first flow: it enters the lists of its links, as yet without rate."""
    net = S.net[0]
    b = S.bundle[c]
    b.state = HELD
    b.bottleneck = NO_LINK
    b.share = 0.0
    b.rate = 0.0
    b.weight = 0.0
    b.heaviest = 0.0
    b.work = 0.0
    b.ended = 0
    b.since = now
    b.place = net.active
    S.active[net.active] = c
    net.active += 1
    for j in range(b.first, b.last):
        y = S.link[S.route[j]]
        if y.crossing == 0:
            y.busy_since = now
        place = y.first + y.crossing
        S.cross[place].bundle = c
        S.cross[place].hop = j
        S.spot[j] = y.crossing
        y.crossing += 1


@handler
def _detach(S: Any, c: int, now: int) -> None:
    """A bundle without flows leaves the lists of its links, which are touched."""
    net = S.net[0]
    b = S.bundle[c]
    heap_drop(S.ends, S.end_place, S.end_count, c)
    if b.bottleneck >= 0:
        S.link[b.bottleneck].bound -= 1
    b.state = IDLE
    b.bottleneck = NO_LINK
    net.active -= 1
    other = S.active[net.active]
    S.active[b.place] = other
    S.bundle[other].place = b.place
    for j in range(b.first, b.last):
        link = S.route[j]
        y = S.link[link]
        y.crossing -= 1
        y.left += b.rate
        last = S.cross[y.first + y.crossing]
        place = y.first + S.spot[j]
        S.spot[last.hop] = S.spot[j]
        S.cross[place].bundle = last.bundle
        S.cross[place].hop = last.hop
        if y.crossing == 0:
            y.left = y.capacity
            y.busy += now - y.busy_since
        elif y.touched == 0:
            y.touched = 1
            S.touched[net.touched] = link
            net.touched += 1
    b.rate = 0.0


@handler
def _weight_of_members(S: Any, c: int) -> float:
    """Weight of a bundle's flows in motion, summed anew by number."""
    b = S.bundle[c]
    total = 0.0
    if b.members > 0:
        for k in range(b.member_first, b.member_last):
            x = S.flow[S.fellow[k]]
            if x.moving == 1:
                total += x.weight
    return total


@handler
def _recount(S: Any, c: int) -> None:
    """Count a bundle's work from here, so that it stays small beside what its flows move."""
    b = S.bundle[c]
    for k in range(b.member_first, b.member_first + b.members):
        S.member[k].level -= b.work
    b.work = 0.0
    b.ended = 0


@handler
def _push(S: Any, c: int, level: float, f: int) -> None:
    """Add a flow to its bundle's binary heap of (level, flow)."""
    b = S.bundle[c]
    first = b.member_first
    hole = np.int64(b.members)
    b.members += 1
    while hole > 0:
        above = S.member[first + ((hole - 1) >> 1)]
        if above.level < level or (above.level == level and above.flow < f):
            break
        S.member[first + hole].level = above.level
        S.member[first + hole].flow = above.flow
        hole = (hole - 1) >> 1
    S.member[first + hole].level = level
    S.member[first + hole].flow = f


@handler
def _pop(S: Any, c: int, k: int) -> int:
    """Take the k-th row out of a bundle's heap; its flow."""
    b = S.bundle[c]
    first = b.member_first
    taken = S.member[first + k].flow
    b.members -= 1
    last = np.int64(b.members)
    level = S.member[first + last].level
    f = S.member[first + last].flow
    if k == last:
        return taken
    while k > 0:
        above = S.member[first + ((k - 1) >> 1)]
        if above.level < level or (above.level == level and above.flow < f):
            break
        S.member[first + k].level = above.level
        S.member[first + k].flow = above.flow
        k = (k - 1) >> 1
    while 2 * k + 1 < last:
        child = 2 * k + 1
        if child + 1 < last:
            one, two = S.member[first + child], S.member[first + child + 1]
            if two.level < one.level or (two.level == one.level and two.flow < one.flow):
                child += 1
        below = S.member[first + child]
        if level < below.level or (level == below.level and f < below.flow):
            break
        S.member[first + k].level = below.level
        S.member[first + k].flow = below.flow
        k = child
    S.member[first + k].level = level
    S.member[first + k].flow = f
    return taken
