"""When a replica plans anew: idle ones at once, busy ones only if the news may matter."""

from typing import Any

from mltwin.sim.eventlog import log_event
from mltwin.sim.heap import heap_set
from mltwin.sim.jit import handler

from .batch import enter_queue
from .hooks import DRAINING, ON_EVENT, UP
from .outcome import REPLICA_STATE
from .timing import iterations_until, span

ITERATION_END, ITERATION_START = 5, 6


@handler
def wake(S: Any, r: int, now: int, news: bool) -> None:
    """Something changed at r. An idle replica plans now; a skip is cut if the news may matter."""
    x = S.rep[r]
    if not x.busy:
        if S.replicas[r].state == UP or S.replicas[r].state == DRAINING:
            heap_set(S, r, now, ITERATION_START)
    elif news and x.planned > 1:
        k = iterations_until(x, now - x.start)
        if k < x.planned:
            x.planned = k
            heap_set(S, r, x.start + span(x, k), ITERATION_END)


@handler
def enqueue(S: Any, r: int, i: int, now: int) -> None:
    """Request i, whose key and state are set, joins the queue of r, which is woken."""
    enter_queue(S, r, i, now)
    x = S.rep[r]
    room = x.decoding + x.inflight < S.kinds[x.kind].max_batch
    head = x.root == i or S.par[0].stability == ON_EVENT
    counts = S.kinds[x.kind].wait_iterations > 0  # a queue makes the count of iterations matter
    wake(S, r, now, (room and head) or counts)


@handler
def set_state(S: Any, r: int, state: int, now: int) -> None:
    """Replica r is up, draining, ... from now on; a stale view knows at once."""
    S.replicas[r].state = state
    S.stale[r].state = state
    log_event(S, now, REPLICA_STATE, r, state)
