"""The phases of serving requests, from the event log: queue, prefill, transfer, decode.

The log holds what happened to a request in order; a phase lasts from one event to the next, and
equal phases in a row are one. So the phases of a request follow one another without a gap, and
their lengths add up to its latencies exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltwin.models.serving.outcome import (
    ADMIT,
    ARRIVE,
    CANCEL,
    FETCH_END,
    FETCH_START,
    FINISH,
    FIRST,
    HAND_OVER,
    ITERATION,
    LOST,
    PARK,
    PREEMPT,
    QUEUE,
    REFUSE,
    REPLICA_ROLE,
    REPLICA_STATE,
    TRANSFER_END,
    TRANSFER_START,
)

from .thin import Ints

PHASES = (
    *("queue", "prefill", "decode", "pre-empted", "resumed", "hand-over", "KV transfer"),
    "KV fetch",
)
_QUEUE, _PREFILL, _DECODE, _PREEMPTED, _RESUMED, _HAND_OVER, _TRANSFER, _FETCH = range(len(PHASES))
_NOT_OF_REQUESTS = (REPLICA_STATE, REPLICA_ROLE, ITERATION)
_AFTER = {
    **dict.fromkeys((ARRIVE, PARK, QUEUE, LOST), _QUEUE),
    ADMIT: _PREFILL,
    FIRST: _DECODE,
    PREEMPT: _PREEMPTED,
    HAND_OVER: _HAND_OVER,
    TRANSFER_START: _TRANSFER,
    TRANSFER_END: _DECODE,
    FETCH_START: _FETCH,
    FETCH_END: _QUEUE,
    **dict.fromkeys((FINISH, CANCEL, REFUSE), -1),
}


@dataclass(frozen=True)
class RequestLog:
    """Rows of the log that are of requests, sorted by request, then in their order.

    time: ticks; kind: event codes; request; value: as the log has them.
    """

    time: Ints
    kind: Ints
    request: Ints
    value: Ints

    @property
    def last(self) -> NDArray[np.bool_]:
        """Whether each row is the last of its request."""
        return np.r_[np.diff(self.request) != 0, True] if len(self.time) else np.zeros(0, bool)

    @classmethod
    def of(cls, log: dict[str, NDArray[np.int64]]) -> "RequestLog":
        """From the columns of a log."""
        mine = ~np.isin(log["kind"], _NOT_OF_REQUESTS)
        order = np.flatnonzero(mine)[np.argsort(log["entity"][mine], kind="stable")]
        return cls(*(log[name][order] for name in ("time", "kind", "entity", "value")))

    def of_requests(self, chosen: Ints, n: int) -> "RequestLog":
        """Only rows of these of n requests."""
        wanted = np.zeros(n, bool)
        wanted[chosen] = True
        rows = wanted[self.request]
        return RequestLog(self.time[rows], self.kind[rows], self.request[rows], self.value[rows])


@dataclass(frozen=True)
class Phases:
    """Phases of requests: request, start and end (ticks), kind (number in `PHASES`)."""

    request: Ints
    start: Ints
    end: Ints
    kind: Ints


def request_phases(log: RequestLog, run_end: int) -> Phases:
    """All phases; those of unfinished requests last until the end of the run.

    A request that is admitted again after its first token is `resumed` (it computes anew what it
    had lost, then decodes); the log does not part the two.
    """
    if not len(log.time):
        none = np.zeros(0, np.int64)
        return Phases(none, none, none, none)
    code = np.full(max(_AFTER) + 1, -1, np.int64)
    code[list(_AFTER)] = list(_AFTER.values())
    kind = code[log.kind]
    began = np.r_[True, np.diff(log.request) != 0]
    before = np.r_[-1, log.kind[:-1]]
    # Queued at its destination it still is on its way; queued after a pre-emption still that.
    queued = (log.kind == QUEUE) & ~began
    kind[queued & (before == HAND_OVER)] = _HAND_OVER
    kind[queued & (before == PREEMPT)] = _PREEMPTED
    firsts = np.cumsum(log.kind == FIRST)
    starts = np.maximum.accumulate(np.where(began, np.arange(len(began)), 0))
    had_first = firsts - firsts[starts] > 0
    kind[(log.kind == ADMIT) & had_first] = _RESUMED
    end = np.where(log.last, run_end, np.r_[log.time[1:], 0])
    return _joined(log.request.astype(np.int64), log.time, end, kind)


def _joined(request: Ints, start: Ints, end: Ints, kind: Ints) -> Phases:
    """Phases that last, equal neighbours of a request as one."""
    lasting = (kind >= 0) & (end > start)
    request, start, end, kind = (column[lasting] for column in (request, start, end, kind))
    if not len(start):
        return Phases(request, start, end, kind)
    new = np.r_[True, (np.diff(request) != 0) | (np.diff(kind) != 0) | (start[1:] != end[:-1])]
    heads = np.flatnonzero(new)
    tails = np.r_[heads[1:], len(start)] - 1
    return Phases(request[heads], start[heads], end[tails], kind[heads])


@dataclass(frozen=True)
class Transfers:
    """KV transfers: request, source and destination replica, prefill's end, start, end (ticks)."""

    request: Ints
    source: Ints
    destination: Ints
    ready: Ints
    start: Ints
    end: Ints


def kv_transfers(log: RequestLog, run_end: int) -> Transfers:
    """All transfers, sorted by start; one that a failure cut off ends there."""
    at = np.flatnonzero(log.kind == TRANSFER_START)
    rows = np.arange(len(log.time))

    def latest(kind: int) -> Ints:
        """The row of the latest event of a kind by each transfer's start (of its request: each
        has one before it)."""
        return np.maximum.accumulate(np.where(log.kind == kind, rows, 0))[at]

    ended = np.where(log.last[at], run_end, log.time[np.minimum(at + 1, len(rows) - 1)])
    found = Transfers(
        log.request[at].astype(np.int64),
        log.value[latest(ADMIT)],
        log.value[at],
        log.time[latest(HAND_OVER)],
        log.time[at],
        ended,
    )
    order = np.lexsort((found.request, found.start))
    return Transfers(*(getattr(found, name)[order] for name in found.__dataclass_fields__))
