"""Flows that do not meet: latency, then bytes over the narrowest link of the path.

The first of the two fidelities, as ASTRA-sim's "congestion unaware" network: for questions in which
links are never shared, or as the lower bound of the other (`solver`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.jit import kernel, types
from mltwin.sim.ticks import NEVER, TICKS_PER_S

from .flows import FlowTable

_SLACK = 1e-3


def narrowest(bytes_per_s: NDArray[np.float64], flows: FlowTable) -> NDArray[np.float64]:
    """Bytes per second of each flow by itself: its cap or the least link of its path.

    A link that stands k times in a path gives it a k-th of its bandwidth.
    """
    length = flows.first[1:] - flows.first[:-1]
    owner = np.repeat(np.arange(len(flows)), length)
    pair = owner * (len(bytes_per_s) + 1) + flows.links
    _, inverse, count = np.unique(pair, return_inverse=True, return_counts=True)
    result = flows.cap.copy()
    np.minimum.at(result, owner, bytes_per_s[flows.links] / count[inverse])
    return result


def durations(bytes_per_s: NDArray[np.float64], flows: FlowTable) -> NDArray[np.int64]:
    """Ticks from the end of each flow's delay to its end; NEVER over a broken link."""
    with np.errstate(divide="ignore", invalid="ignore"):
        length = flows.bytes / (narrowest(bytes_per_s, flows) / TICKS_PER_S)
    length = np.where(flows.bytes > 0, length, 0.0)
    finite = np.minimum(length, float(NEVER))
    whole = np.maximum(np.ceil(finite - _SLACK - finite * 1e-15), 0.0)
    return np.where(length < NEVER, whole, NEVER).astype(np.int64)


@kernel(types.void(*[types.int64[::1]] * 5, types.int32[::1]))
def _longest(start: Any, end: Any, waits: Any, busy: Any, row: Any, successor: Any) -> None:
    """Fill `end` and raise `start` in an order of the dependencies; `waits` is left in cycles."""
    n = len(start)
    queue = np.zeros(n, np.int64)
    tail = np.int64(0)
    for f in range(n):
        if waits[f] == 0:
            queue[tail] = f
            tail += 1
    head = np.int64(0)
    while head < tail:
        f = queue[head]
        head += 1
        end[f] = min(start[f] + busy[f], NEVER)
        for k in range(row[f], row[f + 1]):
            g = successor[k]
            start[g] = max(start[g], end[f])
            waits[g] -= 1
            if waits[g] == 0:
                queue[tail] = g
                tail += 1


def in_order(
    flows: FlowTable, busy: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of each flow that takes `busy` ticks, and what still waits in a cycle.

    A flow starts when it is released and all it waits for have ended.
    """
    n = len(flows)
    waits = flows.after_first[1:] - flows.after_first[:-1]
    order = np.argsort(flows.after, kind="stable")
    successor = np.repeat(np.arange(n), waits)[order].astype(np.int32)
    row = np.concatenate([[0], np.cumsum(np.bincount(flows.after, minlength=n))]).astype(np.int64)
    start, end = flows.release.copy(), np.zeros(n, np.int64)
    _longest(start, end, waits, busy, row, successor)
    return start, end, waits
