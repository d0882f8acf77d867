"""What the traces of availability say of clients, for selections that look ahead."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Clients

Array = npt.NDArray[Any]

NEVER = 2**62
"""Ticks; of clients that never leave."""


def leaves(clients: Clients, which: Array, now: int) -> Array:
    """int64[n] ticks, the end of the interval in which each client is at a tick.

    `NEVER` for those that are always there, `now` for those that are away. Intervals that meet
    where a period ends are not joined.
    """
    there = clients.availability
    found = np.full(len(which), NEVER, np.int64)
    traced = np.flatnonzero(there.trace[which] >= 0)
    if len(traced):
        trace, local, shift = _local(clients, which[traced], now)
        row, inside = _row(clients, trace, local)
        end = there.end[np.minimum(row, len(there.end) - 1)]
        found[traced] = np.where(inside, end + shift, now)
    return found


def presence(clients: Clients, which: Array, until: int) -> Array:
    """float64[n] ticks that each client is there from the beginning of its trace to a tick.

    Differences of two such times are those between the ticks.
    """
    there = clients.availability
    found = np.full(len(which), float(until))
    traced = np.flatnonzero(there.trace[which] >= 0)
    if len(traced):
        trace, local, _ = _local(clients, which[traced], until)
        row, inside = _row(clients, trace, local)
        before = np.r_[0, np.cumsum(there.end - there.begin)]
        first, last = there.first[trace], there.first[trace + 1]
        spent = before[row] - before[first]
        spent += np.where(inside, local - there.begin[np.minimum(row, len(there.end) - 1)], 0)
        period = there.period[trace]
        since = until + there.offset[which[traced]]
        cycles = np.where(period > 0, since // np.maximum(period, 1), 0)
        found[traced] = spent + cycles.astype(np.float64) * (before[last] - before[first])
    return found


def _local(clients: Clients, which: Array, now: int) -> tuple[Array, Array, Array]:
    """Trace of each client, the tick within its current period, and what to add to come back."""
    there = clients.availability
    trace = there.trace[which].astype(np.int64)
    period = there.period[trace]
    since = now + there.offset[which]
    local = np.where(period > 0, since % np.maximum(period, 1), since)
    return trace, local, now - local


def _row(clients: Clients, trace: Array, local: Array) -> tuple[Array, Array]:
    """The first interval of each trace that ends after a tick, and whether the tick is in it.

    Binary search in all traces at once; the row after the trace's last where none does.
    """
    there = clients.availability
    low, high = there.first[trace].copy(), there.first[trace + 1].copy()
    last = high.copy()
    while (low < high).any():
        middle = (low + high) // 2
        open_ = low < high
        over = open_ & (there.end[np.minimum(middle, len(there.end) - 1)] <= local)
        low = np.where(over, middle + 1, low)
        high = np.where(open_ & ~over, middle, high)
    inside = (low < last) & (there.begin[np.minimum(low, len(there.begin) - 1)] <= local)
    return low, inside
