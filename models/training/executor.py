"""`execute(graph)`: when each task of a graph starts and ends.

Streams run their tasks in the order of issue, or by priority among the ready; tasks of a group
start together; compute may slow down while its device communicates; transfers take the time of a
formula or share the links of a network. The rules of an instant: `executor_kernel`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import NEVER, seconds

from .tables import COMPUTE, TRANSFER, Graph

if TYPE_CHECKING:
    from mltwin.models.network.routing import Routes
    from mltwin.models.network.topology import Topology

    from .executor_tables import GraphPlan

ORDERS = ("issue", "ready")
FIDELITIES = ("alphabeta", "maxmin")


@dataclass(frozen=True, eq=False)
class GraphRun:
    """What an execution leaves.

    Attributes:
        graph: what was executed.
        start, end: int64[T] ticks. Tasks of a group start together, when the last one could.
        order: int32[T], tasks so that each stands after all that it waited for.
        server: int32[T], place of the task's stream in `device` and `stream`, -1 for none.
        device, stream: int32[K], the streams in use.
        overlap_slowdown: as it was counted.
        link_bytes: float64[L] that crossed each link, or None without a network.
    """

    graph: Graph
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    order: NDArray[np.int32]
    server: NDArray[np.int32]
    device: NDArray[np.int32]
    stream: NDArray[np.int32]
    overlap_slowdown: float = 1.0
    link_bytes: NDArray[np.float64] | None = None

    @cached_property
    def makespan(self) -> int:
        """Ticks until the last task has ended."""
        return int(self.end.max(initial=0))

    @property
    def makespan_s(self) -> float:
        """Seconds until the last task has ended."""
        return float(seconds(self.makespan))

    @cached_property
    def busy(self) -> NDArray[np.int64]:
        """int64[K] ticks that each stream of `device`, `stream` ran a task."""
        total = np.zeros(len(self.device), np.int64)
        on = self.server >= 0
        np.add.at(total, self.server[on], (self.end - self.start)[on])
        return total

    @cached_property
    def idle(self) -> NDArray[np.int64]:
        """int64[K] ticks without a task between the first start and the last end of a stream."""
        on = self.server >= 0
        first = np.full(len(self.device), NEVER, np.int64)
        last = np.zeros(len(self.device), np.int64)
        np.minimum.at(first, self.server[on], self.start[on])
        np.maximum.at(last, self.server[on], self.end[on])
        return last - first - self.busy

    @cached_property
    def computes(self) -> NDArray[np.bool_]:
        """bool[K], streams that run compute tasks."""
        found = np.zeros(len(self.device), bool)
        found[self.server[(self.graph.kind == COMPUTE) & (self.server >= 0)]] = True
        return found

    @property
    def bubble(self) -> float:
        """Idle share of the compute streams: 1 - busy / (streams * makespan), as in the pipeline
        papers (GPipe, section 2.3: (p - 1) / (m + p - 1)); 0 for a graph without compute."""
        span = int(self.computes.sum()) * self.makespan
        return 1 - float(self.busy[self.computes].sum()) / span if span else 0.0

    def critical_path(self) -> Any:
        """The chain of tasks that sets the makespan; see `critical_path.CriticalPath`."""
        from .critical_path import critical_path

        return critical_path(self)

    def slack(self) -> NDArray[np.int64]:
        """int64[T] ticks by which each task could end later; see `critical_path.slack`."""
        from .critical_path import slack

        return slack(self)

    def describe(self) -> str:
        """One line: makespan, bubble and streams."""
        return (
            f"{len(self.graph):,} tasks in {self.makespan_s:.6g} s on {len(self.device):,} "
            f"streams; {100 * self.bubble:.1f} % of the compute streams' time is idle"
        )


def execute(
    graph: Graph,
    *,
    topology: "Topology | None" = None,
    routing: str = "ecmp",
    fidelity: str = "alphabeta",
    order: str = "issue",
    overlap_slowdown: float = 1.0,
    parts: int = 1,
    seed: int = 0,
) -> GraphRun:
    """Run a graph.

    Args:
        graph: the tasks.
        topology: what the transfers of duration 0 cross; ranks are those of its endpoints.
        routing, parts, seed: how flows take their ways, see `models.network.routing.routes`.
        fidelity: "alphabeta", a transfer takes latency + bytes / bandwidth of its way as if it
            were alone; "maxmin", transfers share links fairly.
        order: "issue" or "ready".
        overlap_slowdown: 1.25: compute takes 1.25 times as long while a collective or transfer of
            its device runs.

    Raises:
        InputError: a cycle, or streams and groups that wait for each other (the tasks are named);
            a transfer without a duration and no topology; ranks that the topology does not have;
            a broken link in use.
    """
    from .executor_tables import GraphPlan

    wired, routes = ways_of(graph, topology, routing, fidelity, order, parts=parts, seed=seed)
    shared: dict[str, Any] = {"by_priority": order == "ready", "slowdown": overlap_slowdown}
    if routes is None or topology is None:
        return run_plan(GraphPlan(graph, **shared))
    if fidelity == "alphabeta":
        from .transfers import alphabeta_durations

        duration = graph.duration.copy()
        duration[wired] = alphabeta_durations(graph.bytes[wired], routes, topology)
        return run_plan(GraphPlan(graph, **shared, duration=duration))
    from .executor_network import run_with_network

    return run_with_network(GraphPlan(graph, **shared, wired=wired), routes, topology)


def ways_of(
    graph: Graph,
    topology: "Topology | None",
    routing: str,
    fidelity: str,
    order: str,
    **options: Any,
) -> "tuple[NDArray[np.bool_], Routes | None]":
    """(bool[T]: transfers whose time the network decides, their ways); see `execute` for what is
    refused."""
    for text, known, name in ((order, ORDERS, "order"), (fidelity, FIDELITIES, "fidelity")):
        if text not in known:
            raise InputError(f"no {name} {text!r}", mend=f"use {' or '.join(known)}")
    wired = (graph.kind == TRANSFER) & (graph.duration == 0)
    if not wired.any():
        return wired, None
    if topology is None:
        task = int(np.flatnonzero(wired)[0])
        raise InputError(
            f"{graph.label(task)} is a transfer without a duration",
            mend="give a topology (cluster.topology), or durations to the transfers",
        )
    from .transfers import transfer_routes

    return wired, transfer_routes(graph, wired, topology, routing, **options)


def run_plan(plan: "GraphPlan", *, events: bool = False) -> GraphRun:
    """Run a plan without a network; `events`: by the event kernel also where one pass suffices."""
    from .executor_tables import make_world

    world = make_world(plan)
    if events or plan.by_priority or plan.slowdown != 1:
        from .executor_kernel import advance

        advance(world, NEVER - 1)
    else:
        from .executor_sweep import sweep

        sweep(world)
    return finished(plan, world)


def finished(
    plan: "GraphPlan", world: Any, link_bytes: NDArray[np.float64] | None = None
) -> GraphRun:
    """The run that a world has come to.

    Raises:
        InputError: tasks are left, or the run is longer than the clock counts.
    """
    if world.state[0].ended < len(plan.graph):
        from .blocked import stuck_error

        raise stuck_error(plan, world.end, world.running)
    if len(world.end) and (world.end.min() < 0 or world.end.max() >= NEVER):
        raise InputError("the graph runs for longer than 100 days", mend="split it into parts")
    return GraphRun(
        graph=plan.graph,
        start=world.start,
        end=world.end,
        order=world.ended,
        server=plan.server,
        device=plan.device,
        stream=plan.stream,
        overlap_slowdown=float(plan.slowdown),
        link_bytes=link_bytes,
    )
