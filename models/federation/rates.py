"""Transfers at rates that change: handlers over the pieces of a client's traces.

A transfer that begins to move at tick t, at place p = t + offset of its trace (modulo its period,
if it has one), ends at the first tick by which its bytes have moved:

    min { d : moved(p, p + d) >= bytes },    moved(a, b) = integral of the rate from a to b

found by a binary search over the bytes moved by each piece, whole periods at once; to the rounding
of float64. Each part of a dispatch, download and upload, is its latency and then this. Where a
client that leaves pauses, only ticks at which it is there count, each at the rate of its moment.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.records import record, table
from mltwin.sim.ticks import NEVER

from .phases import LONGEST, STAYS
from .presence import after_work, leaves, returns
from .tables import PAUSE, TICKS_PER_S, Array, Clients

FOLLOWS = record(
    "FEDERATION_FOLLOWS",
    [
        ("latency", "i8", "ticks"),
        ("offset", "i8", "ticks ahead in its traces"),
        ("down", "i4", "trace, -1: a constant rate"),
        ("up", "i4", "trace, -1: a constant rate"),
    ],
)
"""Of clients, where links follow traces."""

TABLES = ("piece_first", "piece_begin", "piece_rate", "piece_moved", "piece_period", "piece_whole")


def rate_tables(clients: Clients) -> dict[str, Array]:
    """The tables of link traces; without rows where there are none."""
    links = clients.links
    if links is None:
        ints, floats = np.zeros(0, np.int64), np.zeros(0)
        empty = (ints, ints, floats, floats, ints, floats)
        return {"follows": table(0, FOLLOWS), **dict(zip(TABLES, empty, strict=True))}
    latency = np.rint(clients.latency_s * TICKS_PER_S).astype(np.int64)
    columns = (
        (links.first, np.int64), (links.begin, np.int64), (links.bytes_per_s, np.float64),
        (links.moved, np.float64), (links.period, np.int64), (links.whole, np.float64),
    )  # fmt: skip
    return {
        "follows": table(
            len(clients), FOLLOWS,
            latency=latency, offset=links.offset, down=links.down, up=links.up,
        ),
        **{
            name: np.ascontiguousarray(column, kind)
            for name, (column, kind) in zip(TABLES, columns, strict=True)
        },
    }  # fmt: skip


@handler
def piece_at(S: Any, trace: int, place: int) -> int:
    """The row of the piece at a place within the first period of a trace."""
    low, high = S.piece_first[trace], S.piece_first[trace + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if S.piece_begin[middle] <= place:
            low = middle
        else:
            high = middle
    return low


@handler
def piece_of(S: Any, trace: int, low: int, amount: float) -> int:
    """From a row on, the last piece of a trace before which less than an amount has moved."""
    high = S.piece_first[trace + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if S.piece_moved[middle] < amount:
            low = middle
        else:
            high = middle
    return low


@handler
def ticks_at(amount: float, rate: float) -> int:
    """The first tick by which an amount has moved at a constant rate."""
    ticks = np.ceil(amount * TICKS_PER_S / rate)
    return np.int64(LONGEST) if ticks >= LONGEST else np.int64(ticks)


@handler
def moving_ticks(S: Any, trace: int, place: int, amount: float) -> int:
    """Ticks from a place of a trace until an amount has moved; at most `LONGEST`."""
    if amount <= 0.0:
        return np.int64(0)
    period, whole = np.int64(S.piece_period[trace]), S.piece_whole[trace]
    inside = place % period if period > 0 else place
    row = piece_at(S, trace, inside)
    rate = S.piece_rate[row]
    after = row + 1
    if after < S.piece_first[trace + 1]:
        stop, passed = np.int64(S.piece_begin[after]), S.piece_moved[after]
    elif period > 0:
        stop, passed = period, whole
    else:
        return ticks_at(amount, rate)
    room = rate * (stop - inside) / TICKS_PER_S
    if amount <= room:
        return ticks_at(amount, rate)
    left = amount - room
    ticks = stop - inside
    if left > whole - passed:
        left -= whole - passed
        over = left % whole
        turns = np.rint((left - over) / whole)
        if over == 0.0:
            over = whole
            turns -= 1.0
        if turns * period >= LONGEST:
            return np.int64(LONGEST)
        ticks += period - stop + np.int64(turns) * period
        after = np.int64(S.piece_first[trace])
        stop = np.int64(0)
        wanted = over
    else:
        wanted = min(passed + left, whole)
        if wanted <= passed:  # what is left is less than the rounding of the sum
            return ticks
    row = piece_of(S, trace, after, wanted)
    ticks += S.piece_begin[row] - stop
    ticks += ticks_at(wanted - S.piece_moved[row], S.piece_rate[row])
    return min(ticks, np.int64(LONGEST))


@handler
def moved_by(S: Any, trace: int, place: int) -> float:
    """Bytes that can pass from the start of a trace to a place within its first period."""
    row = piece_at(S, trace, place)
    return S.piece_moved[row] + S.piece_rate[row] * (place - S.piece_begin[row]) / TICKS_PER_S


@handler
def moved_between(S: Any, trace: int, begin: int, end: int) -> float:
    """Bytes that can pass between two places of a trace."""
    if end <= begin:
        return 0.0
    period = np.int64(S.piece_period[trace])
    one, two = begin, end
    turns = np.int64(0)
    if period > 0:
        turns = end // period - begin // period
        one, two = begin % period, end % period
    row = piece_at(S, trace, one)
    if turns == 0 and row == piece_at(S, trace, two):
        return S.piece_rate[row] * (end - begin) / TICKS_PER_S
    part = moved_by(S, trace, two) - moved_by(S, trace, one)
    return turns * S.piece_whole[trace] + part if turns > 0 else part


@handler
def moves_from(S: Any, client: int, work: int) -> int:
    """When bytes of a part begin to move: so many ticks of work into the dispatch."""
    begin = np.int64(S.work[client].begin)
    if S.par[0].interruption != PAUSE or work == 0:
        return begin + work
    tick = after_work(S, client, begin, work)
    return tick if tick >= 0 else -1 - tick


@handler
def transfer_ticks(S: Any, client: int, trace: int, tick: int, amount: float) -> int:
    """Ticks of work from a tick on until an amount has moved.

    A client that leaves for good counts as if it stayed: `plan_end` knows that it does not.
    """
    offset = S.follows[client].offset
    if S.par[0].interruption != PAUSE:
        return moving_ticks(S, trace, tick + offset, amount)
    work = np.int64(0)
    for _ in range(STAYS):
        come = returns(S, client, tick)
        if come >= NEVER:
            break
        tick = come
        stay = leaves(S, client, tick) - tick
        ticks = moving_ticks(S, trace, tick + offset, amount)
        if ticks <= stay:
            return work + ticks
        amount -= moved_between(S, trace, tick + offset, tick + stay + offset)
        work += stay
        tick += stay
    return min(work + moving_ticks(S, trace, tick + offset, amount), np.int64(LONGEST))


@handler
def moved_since(S: Any, client: int, trace: int, tick: int) -> float:
    """Bytes that have been able to pass since a tick, at which they began to move."""
    offset = S.follows[client].offset
    now = S.state[0].now
    if S.par[0].interruption != PAUSE:
        return moved_between(S, trace, tick + offset, now + offset)
    total = 0.0
    tick = returns(S, client, tick)
    while tick < now:
        gone = min(leaves(S, client, tick), now)
        total += moved_between(S, trace, tick + offset, gone + offset)
        tick = returns(S, client, gone)
    return total


@handler
def follow(S: Any, client: int, receive: int, send: int) -> tuple[int, int]:
    """Ticks of download and upload of a dispatch that begins; they and its bytes become its own."""
    f = S.follows[client]
    if f.down < 0 and f.up < 0:
        return receive, send
    x = S.work[client]
    y = S.own[client]
    if x.own == 0:
        x.own = 1
        y.tag = 0
        y.down_bytes = S.par[0].down_bytes
        y.up_bytes = S.par[0].up_bytes
    if f.down >= 0:
        tick = moves_from(S, client, f.latency)
        receive = f.latency + transfer_ticks(S, client, f.down, tick, y.down_bytes)
    if f.up >= 0:
        tick = moves_from(S, client, receive + x.compute + f.latency)
        send = f.latency + transfer_ticks(S, client, f.up, tick, y.up_bytes)
    y.receive = receive
    y.send = send
    return receive, send


@handler
def bytes_moved(S: Any, client: int, receive: int, send: int) -> tuple[float, float]:
    """Bytes down and up of a dispatch that ends now, after so many ticks of its two transfers.

    What a constant rate has moved is in proportion to the time.
    """
    f = S.follows[client]
    x = S.work[client]
    y = S.own[client]
    down, up = y.down_bytes, y.up_bytes
    if f.down >= 0 and receive < y.receive:
        tick = moves_from(S, client, f.latency)
        down = min(down, moved_since(S, client, f.down, tick))
    elif y.receive > 0:
        down *= receive / y.receive
    elif S.state[0].now < x.begin:
        down = 0.0
    if f.up >= 0 and send < y.send:
        tick = moves_from(S, client, y.receive + x.compute + f.latency)
        up = min(up, moved_since(S, client, f.up, tick))
    else:
        up *= send / y.send if y.send > 0 else 0.0
    return down, up
