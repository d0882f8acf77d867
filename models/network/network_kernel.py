"""The event loop of flows with releases, dependencies and links that change: `advance(S, until)`.

At one instant, in this order: links change (in the order of the table), flows end, flows start (by
number) until none does either, then rates are settled once. A flow without bytes ends where it
would start. Releases without dependencies come from a sorted list through a cursor.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.eventlog import LOG, EventLog, log_event
from mltwin.sim.heap import make_pairs, pairs_pop, pairs_push
from mltwin.sim.jit import handler, kernel, types
from mltwin.sim.records import record, table
from mltwin.sim.ticks import NEVER
from mltwin.sim.world import world_type

from .flows import Changes, FlowTable
from .shared import (
    NETWORK_DTYPES,
    next_end,
    pop_ended,
    set_capacity,
    settle,
    start_flow,
    waiting_flow,
)

RUNNING, FINISHED, STUCK = range(3)
CHANGE_LINK, END_FLOW, START_FLOW = range(3)
EVENTS = ("change", "end", "start")
"""Kinds of rows in the event log: a link changes; a flow's last byte, its first one."""

PLAN = record(
    "NET_PLAN",
    [
        ("roots", "i8", "flows that wait for none"),
        ("cursor", "i8", "next of them"),
        ("changes", "i8"),
        ("next_change", "i8"),
        ("ended", "i8"),
        ("now", "i8", "ticks of the last instant"),
        ("instants", "i8"),
        ("waiting_flow", "i8", "that cannot go on, where STUCK"),
        ("waiting_link", "i8", "that it waits for"),
    ],
)
TIMES = record(
    "NET_TIMES",
    [
        ("release", "i8", "ticks"),
        ("delay", "i8", "ticks"),
        ("start", "i8", "ticks, -1: not yet"),
        ("end", "i8", "ticks, -1: not yet"),
        ("waits", "i8", "flows that it still waits for"),
        ("next_first", "i8", "rows of `successor`: who waits for it"),
        ("next_last", "i8"),
    ],
)
CHANGE = record("NET_CHANGE", [("time", "i8", "ticks"), ("link", "i8"), ("bytes_per_s", "f8")])

_OWN: dict[str, Any] = {
    "plan": PLAN,
    "times": TIMES,
    "root": np.dtype(np.int32),
    "successor": np.dtype(np.int32),
    "change": CHANGE,
    "log": LOG,
    "log_count": np.dtype(np.int64),
    **{name: array.dtype for name, array in make_pairs(0).items()},
}
WORLD = world_type({**NETWORK_DTYPES, **_OWN})


def plan_tables(flows: FlowTable, changes: Changes, log: EventLog) -> dict[str, NDArray[Any]]:
    """The tables of `advance` beside those of the network."""
    n = len(flows)
    waits = flows.after_first[1:] - flows.after_first[:-1]
    waiting = np.repeat(np.arange(n), waits)
    order = np.argsort(flows.after, kind="stable")  # by whom they wait for, then by number
    next_first = np.concatenate([[0], np.cumsum(np.bincount(flows.after, minlength=n))])
    roots = np.flatnonzero(waits == 0)
    roots = roots[np.argsort(flows.release[roots] + flows.delay[roots], kind="stable")]
    return {
        "plan": table(1, PLAN, roots=len(roots), changes=len(changes)),
        "times": table(
            n,
            TIMES,
            release=flows.release,
            delay=flows.delay,
            start=-1,
            end=-1,
            waits=waits,
            next_first=next_first[:-1],
            next_last=next_first[1:],
        ),
        "root": roots.astype(np.int32),
        "successor": waiting[order].astype(np.int32),
        "change": table(
            len(changes),
            CHANGE,
            time=changes.time,
            link=changes.link,
            bytes_per_s=changes.bytes_per_s,
        ),
        **make_pairs(n - len(roots)),
        **log.tables(),
    }


@handler
def _next_instant(S: Any) -> int:
    """When something happens next, NEVER if nothing does."""
    plan = S.plan[0]
    now = next_end(S)
    if plan.cursor < plan.roots:
        x = S.times[S.root[plan.cursor]]
        now = min(now, x.release + x.delay)
    if S.pending_count[0] > 0:
        now = min(now, S.pending[0].time)
    if plan.next_change < plan.changes:
        now = min(now, S.change[plan.next_change].time)
    return now


@handler
def _begin(S: Any, f: int, now: int) -> None:
    """The delay of flow f is over."""
    log_event(S, now, START_FLOW, f, 0)
    if S.flow[f].bytes > 0.0:
        start_flow(S, f, now)
    else:
        _end(S, f, now)


@handler
def _end(S: Any, f: int, now: int) -> None:
    """Flow f has ended: note it, and release what waited for it."""
    log_event(S, now, END_FLOW, f, 0)
    x = S.times[f]
    x.end = now
    S.plan[0].ended += 1
    for k in range(x.next_first, x.next_last):
        g = np.int64(S.successor[k])
        y = S.times[g]
        y.waits -= 1
        if y.waits == 0:
            y.start = max(now, y.release)
            pairs_push(S.pending, S.pending_count, y.start + y.delay, g)


@handler
def _instant(S: Any, now: int) -> None:
    """All that happens at one tick."""
    plan = S.plan[0]
    plan.now = now
    plan.instants += 1
    while plan.next_change < plan.changes and S.change[plan.next_change].time <= now:
        change = S.change[plan.next_change]
        log_event(S, now, CHANGE_LINK, change.link, 0)
        set_capacity(S, change.link, change.bytes_per_s, now)
        plan.next_change += 1
    f = pop_ended(S, now)
    while f >= 0:
        _end(S, f, now)
        f = pop_ended(S, now)
    while True:
        f = np.int64(-1)
        if plan.cursor < plan.roots:
            g = np.int64(S.root[plan.cursor])
            if S.times[g].release + S.times[g].delay <= now:
                f = g
        due = S.pending_count[0] > 0 and S.pending[0].time <= now
        if due and (f < 0 or S.pending[0].id < f):
            f = pairs_pop(S.pending, S.pending_count)
        elif f >= 0:
            plan.cursor += 1
            S.times[f].start = S.times[f].release
        else:
            break
        _begin(S, f, now)
    settle(S, now)


@kernel(types.int64(WORLD, types.int64, types.int64))
def advance(S: Any, until: int, instants: int) -> int:
    """Run up to and with tick `until`, at most so many instants.

    Returns RUNNING if something happens later, FINISHED if all flows have ended, STUCK if those
    left wait for a link without bandwidth (named in ``plan``).
    """
    plan = S.plan[0]
    for _ in range(instants):
        if plan.ended == len(S.times):
            return FINISHED
        now = _next_instant(S)
        if now >= NEVER:
            plan.waiting_flow, plan.waiting_link = waiting_flow(S)
            return STUCK
        if now > until:
            return RUNNING
        _instant(S, now)
    return FINISHED if plan.ended == len(S.times) else RUNNING
