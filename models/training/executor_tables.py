"""What the executor's kernels work on: a World made from a graph.

A *server* is a (device, stream) that runs one task at a time; servers are numbered by device, then
stream. A task without a device has none (-1).
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numba import void
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.heap import make_pairs, make_timers
from mltwin.sim.jit import kernel
from mltwin.sim.records import record, table
from mltwin.sim.ticks import MAX_S, TICKS_PER_S
from mltwin.sim.world import World, world_type

from .tables import MAX_STREAM, Graph

WIRED = 5
"""Kind of a transfer whose time the network decides; the other kinds are those of a graph."""

PARAMETERS = record(
    "GRAPH_PARAMETERS",
    [
        ("by_priority", "i8", "1: a stream takes the highest priority of the ready tasks"),
        ("full", "i8", "units of work a tick of an undisturbed compute task"),
        ("slow", "i8", "units a tick while its device communicates; full = slow: no slowdown"),
    ],
)
STATE = record(
    "GRAPH_STATE",
    [
        ("now", "i8", "ticks: last instant that was handled"),
        ("begun", "i8", "1: the first tasks have been released"),
        ("ended", "i8", "tasks that have ended"),
        ("marked", "i8", "servers in `marks`"),
        ("instant_head", "i8", "first task in `instants` that has not ended"),
        ("instant_tail", "i8", "one past the last"),
        ("sends", "i8", "transfers in `sends` to give to the network"),
    ],
)
MOST_UNITS = 10_000
"""Greatest numerator of a slowdown as a fraction."""
MOST_CELLS = 1 << 22
"""Most pairs of device and stream that are looked up in a table of all."""


class GraphPlan:
    """A graph with what its execution needs, computed once and shared by runs.

    Attributes:
        graph: the graph.
        work: int8[T], kind in the kernel (`WIRED` for transfers by the network).
        duration: int64[T], ticks; of transfers by a formula, filled in.
        server: int32[T]; device, stream: int32[K] of each server.
        slowdown: how much longer compute takes while its device communicates.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        by_priority: bool = False,
        slowdown: float = 1.0,
        duration: NDArray[np.int64] | None = None,
        wired: NDArray[np.bool_] | None = None,
    ) -> None:
        self.graph = graph
        self.by_priority = by_priority
        self.slowdown = slowdown_fraction(slowdown)
        self.duration = graph.duration if duration is None else duration
        self.work = graph.kind
        if wired is not None and wired.any():
            self.work = np.where(wired, np.int8(WIRED), graph.kind)
        if self.slowdown != 1:
            _check_work(self)
        self.server, keys = _servers(graph)
        self.device = (keys // (MAX_STREAM + 1)).astype(np.int32)
        self.stream = (keys % (MAX_STREAM + 1)).astype(np.int32)


def slowdown_fraction(slowdown: float) -> Fraction:
    """A slowdown as the fraction that the kernels count with: exact to 1e-3 at least.

    Raises:
        InputError: below 1, or above 100.
    """
    if not 1 <= slowdown <= 100:
        raise InputError(
            f"overlap_slowdown {slowdown}", mend="1 (none) to 100: time of compute under overlap"
        )
    return Fraction(str(slowdown)).limit_denominator(MOST_UNITS // 100)


def _check_work(plan: GraphPlan) -> None:
    longest = int(plan.duration.max(initial=0))
    if longest * plan.slowdown.numerator > int(MAX_S) * TICKS_PER_S:
        raise InputError(
            f"a task of {longest / TICKS_PER_S:g} s is too long for an overlap_slowdown of "
            f"{plan.slowdown}",
            mend="round the slowdown to a simpler fraction, e.g. 1.25",
        )


def _servers(graph: Graph) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Server of each task, and device * (MAX_STREAM + 1) + stream of each server."""
    on = graph.device >= 0
    streams = int(graph.stream.max(initial=0)) + 1
    cell = graph.device[on].astype(np.int64) * streams + graph.stream[on]
    cells = graph.devices * streams
    if cells <= MOST_CELLS:  # faster than to sort
        used = np.zeros(cells, bool)
        used[cell] = True
        found, place = np.flatnonzero(used), (np.cumsum(used) - 1)[cell]
    else:
        found, place = np.unique(cell, return_inverse=True)
    server = np.full(len(graph), -1, np.int32)
    server[on] = place
    return server, found // streams * (MAX_STREAM + 1) + found % streams


def make_world(
    plan: GraphPlan,
    extra: dict[str, np.ndarray] | None = None,
    index: Callable[[Any], None] | None = None,
) -> Any:
    """The kernels' state before the first tick.

    Args:
        plan: what is run.
        extra: tables of a network.
        index: `index_body` compiled for a World with these.
    """
    graph, tasks, servers = plan.graph, len(plan.graph), len(plan.device)
    groups = int(graph.group.max(initial=-1)) + 1
    loose = int((plan.server < 0).sum())
    full, slow = plan.slowdown.numerator, plan.slowdown.denominator
    given: dict[str, np.ndarray] = {
        "work": plan.work,
        "duration": plan.duration,
        "group": graph.group,
        "priority": graph.priority,
        "server": plan.server,
        "device": plan.device,
        "after_first": graph.after_first,
        "after": graph.after,
    }
    world = World(
        read_only=tuple(given),
        **given,
        par=table(1, PARAMETERS, by_priority=int(plan.by_priority), full=full, slow=slow),
        state=table(1, STATE),
        pending=np.diff(graph.after_first).astype(np.int32),
        next_first=np.zeros(tasks + 2, np.int64),
        next_task=np.zeros(len(graph.after), np.int32),
        queue_first=np.zeros(servers + 2, np.int64),
        queue=np.zeros(tasks - loose, np.int32),
        head=np.zeros(servers, np.int64),
        running=np.full(servers, -1, np.int32),
        group_first=np.zeros(groups + 2, np.int64),
        group_task=np.zeros(int((graph.group >= 0).sum()), np.int32),
        absent=np.zeros(groups, np.int32),
        unready=np.zeros(groups, np.int32),
        server_first=np.searchsorted(plan.device, np.arange(graph.devices + 1)).astype(np.int64),
        talking=np.zeros(graph.devices, np.int32),
        left=np.zeros(servers, np.int64),
        since=np.zeros(servers, np.int64),
        marks=np.zeros(servers, np.int32),
        marked=np.zeros(servers, np.int8),
        instants=np.zeros(loose, np.int32),
        sends=np.zeros(int((plan.work == WIRED).sum()), np.int32),
        start=np.full(tasks, -1, np.int64),
        end=np.full(tasks, -1, np.int64),
        ended=np.zeros(tasks, np.int32),
        **make_timers(servers),
        **make_pairs(loose, "loose"),
        **(extra or {}),
    )
    (index or _index)(world)
    return world


def index_body(S: Any) -> None:
    """Fill the lists of successors, of a server's tasks and of a group's members.

    Each list stands in the order of task numbers. A list's first place is kept one further back
    while it is filled, so that the counts become the places without another array.
    """
    for task in range(len(S.work)):
        for place in range(S.after_first[task], S.after_first[task + 1]):
            S.next_first[S.after[place] + 2] += 1
        if S.server[task] >= 0:
            S.queue_first[S.server[task] + 2] += 1
        if S.group[task] >= 0:
            S.group_first[S.group[task] + 2] += 1
            S.absent[S.group[task]] += 1
            if S.pending[task] > 0:
                S.unready[S.group[task]] += 1
    for i in range(2, len(S.next_first)):
        S.next_first[i] += S.next_first[i - 1]
    for i in range(2, len(S.queue_first)):
        S.queue_first[i] += S.queue_first[i - 1]
    for i in range(2, len(S.group_first)):
        S.group_first[i] += S.group_first[i - 1]
    for task in range(len(S.work)):
        for place in range(S.after_first[task], S.after_first[task + 1]):
            before = S.after[place] + 1
            S.next_task[S.next_first[before]] = task
            S.next_first[before] += 1
        if S.server[task] >= 0:
            server = S.server[task] + 1
            S.queue[S.queue_first[server]] = task
            S.queue_first[server] += 1
        if S.group[task] >= 0:
            group = S.group[task] + 1
            S.group_task[S.group_first[group]] = task
            S.group_first[group] += 1


def world_dtypes(extra: dict[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Names and types of the tables of a World."""
    plan = GraphPlan(Graph.make(1, {}))
    tables = make_world(plan, extra, index=lambda world: None).tables()
    return {name: array.dtype for name, array in tables.items()}


WORLD = world_type(world_dtypes())
_index = kernel(void(WORLD))(index_body)
