"""When a client is there: handlers over the intervals of its trace.

Tick `now` is at `now + offset` of the trace, modulo its period if it has one. Intervals of a trace
do not touch, but its last may touch the first of the next period.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.ticks import NEVER


@handler
def next_row(S: Any, trace: int, place: int) -> int:
    """The first interval of a trace that ends after a place; the row behind its last if none."""
    low, high = S.first[trace], S.first[trace + 1]
    while low < high:
        middle = (low + high) >> 1
        if S.stops[middle] > place:
            high = middle
        else:
            low = middle + 1
    return low


@handler
def place_in(S: Any, client: int, now: int) -> int:
    """Where a client is in its trace."""
    x = S.client[client]
    place = now + x.offset
    period = S.period[x.pattern]
    return place % period if period > 0 else place


@handler
def is_here(S: Any, client: int, now: int) -> bool:
    """Whether a client is there."""
    trace = S.client[client].pattern
    if trace < 0:
        return True
    place = place_in(S, client, now)
    row = next_row(S, trace, place)
    return row < S.first[trace + 1] and S.starts[row] <= place


@handler
def leaves(S: Any, client: int, now: int) -> int:
    """When a client that is there leaves; NEVER."""
    trace = np.int64(S.client[client].pattern)
    if trace < 0:
        return np.int64(NEVER)
    place = place_in(S, client, now)
    stop = S.stops[next_row(S, trace, place)]
    if stop == S.period[trace]:
        first = S.first[trace]
        if S.starts[first] == 0:
            if S.stops[first] == stop:
                return np.int64(NEVER)
            stop += S.stops[first]
    return now + (stop - place)


@handler
def returns(S: Any, client: int, now: int) -> int:
    """When a client is there next, now if it is; NEVER."""
    trace = np.int64(S.client[client].pattern)
    if trace < 0:
        return now
    first, last = S.first[trace], S.first[trace + 1]
    place = place_in(S, client, now)
    row = next_row(S, trace, place)
    if row < last:
        return now + max(np.int64(0), S.starts[row] - place)
    period = S.period[trace]
    if period == 0 or first == last:
        return np.int64(NEVER)
    return now + (period - place) + S.starts[first]


@handler
def leaves_for_good(S: Any, client: int) -> int:
    """When a client that will be there again leaves for the last time; NEVER."""
    trace = np.int64(S.client[client].pattern)
    if trace < 0 or S.period[trace] > 0:
        return np.int64(NEVER)
    return S.stops[S.first[trace + 1] - 1] - S.client[client].offset


@handler
def duty(S: Any, trace: int, place: int) -> int:
    """Ticks of presence before a place of a trace, within its period."""
    total = np.int64(0)
    for row in range(S.first[trace], S.first[trace + 1]):
        if S.starts[row] >= place:
            break
        total += min(S.stops[row], place) - S.starts[row]
    return total


@handler
def worked_between(S: Any, client: int, begin: int, now: int) -> int:
    """Ticks between begin and now at which a client was there."""
    x = S.client[client]
    trace = np.int64(x.pattern)
    if now <= begin:
        return np.int64(0)
    if trace < 0:
        return now - begin
    period = S.period[trace]
    one, two = begin + x.offset, now + x.offset
    if period == 0:
        return duty(S, trace, two) - duty(S, trace, one)
    whole = duty(S, trace, period) * (two // period - one // period)
    return whole + duty(S, trace, two % period) - duty(S, trace, one % period)


@handler
def after_work(S: Any, client: int, begin: int, work: int) -> int:
    """When a client that works only while it is there has worked so long.

    -1 - t if it never does: it leaves for good at tick t.
    """
    trace = np.int64(S.client[client].pattern)
    if trace < 0:
        return begin + work
    first, last, period = S.first[trace], S.first[trace + 1], S.period[trace]
    place = place_in(S, client, begin)
    base = begin - place  # tick of the start of this period
    row = next_row(S, trace, place)
    gone = begin
    while True:
        while row < last:
            start = max(S.starts[row], place)
            stop = S.stops[row]
            if start + work <= stop:
                return base + start + work
            work -= stop - start
            gone = base + stop
            row += 1
        if period == 0 or first == last:
            return -1 - gone
        base += period
        place = np.int64(0)
        row = first
        whole = (work - 1) // duty(S, trace, period)
        base += whole * period
        work -= whole * duty(S, trace, period)
