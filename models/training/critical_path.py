"""Why a run takes as long as it does: the chain of tasks that sets its end, slack, bubbles.

Each task starts at the tick at which the last thing that it waited for ended: a dependency, the
task before it on its stream, or one of these of another member of its group. Followed back from the
last task to tick 0 that is a chain without gaps, so its durations add up to the makespan.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.ticks import seconds

from .tables import CATEGORIES, COLLECTIVE, COMPUTE, KINDS, TRANSFER, Graph

if TYPE_CHECKING:
    from .executor import GraphRun

FIRST, BY_DEPENDENCY, BY_STREAM, BY_GROUP = range(4)
REASONS = ("first", "dependency", "stream", "group")
"""Why a task of the chain did not start earlier."""


class Bubble(NamedTuple):
    """A time in which a compute stream had nothing to run; ticks."""

    device: int
    stream: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class CriticalPath:
    """The chain that sets the makespan, first task first.

    Attributes:
        graph: whose tasks they are.
        tasks: int64[n].
        reasons: int8[n], place in `REASONS`: why each task did not start before.
        ticks: int64[n], how long each took; they sum to the makespan.
    """

    graph: Graph
    tasks: NDArray[np.int64]
    reasons: NDArray[np.int8]
    ticks: NDArray[np.int64]

    def by_category(self) -> dict[str, float]:
        """Seconds of the chain by category of task, those that have any."""
        return _split(self.graph.category[self.tasks], self.ticks, CATEGORIES)

    def by_kind(self) -> dict[str, float]:
        """Seconds of the chain by kind of task."""
        return _split(self.graph.kind[self.tasks], self.ticks, KINDS)

    def by_name(self) -> dict[str, float]:
        """Seconds of the chain by name of task, the longest first."""
        found = _split(self.graph.name[self.tasks], self.ticks, self.graph.names)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def rows(self) -> list[dict[str, Any]]:
        """One row a task: number, name, kind, category, device, stream, seconds, reason."""
        graph = self.graph
        return [
            {
                "task": task,
                "name": graph.names[graph.name[task]],
                "kind": KINDS[graph.kind[task]],
                "category": CATEGORIES[graph.category[task]],
                "device": int(graph.device[task]),
                "stream": int(graph.stream[task]),
                "seconds": float(seconds(ticks)),
                "reason": REASONS[reason],
            }
            for task, reason, ticks in zip(
                self.tasks.tolist(), self.reasons.tolist(), self.ticks.tolist(), strict=True
            )
        ]

    def describe(self) -> str:
        """One line: length and what it is spent on."""
        total = float(seconds(int(self.ticks.sum())))
        parts = sorted(self.by_category().items(), key=lambda item: -item[1])
        split = ", ".join(f"{100 * s / total:.1f} % {name}" for name, s in parts) if total else ""
        return f"critical path of {len(self.tasks):,} tasks, {total:.6g} s: {split}"


def _split(
    place: NDArray[Any], ticks: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, float]:
    total = np.zeros(len(names), np.int64)
    np.add.at(total, place, ticks)
    used = np.bincount(place, minlength=len(names)) > 0
    return {names[i]: float(seconds(int(total[i]))) for i in np.flatnonzero(used).tolist()}


def critical_path(run: "GraphRun") -> CriticalPath:
    """The chain of a run. Of several reasons the dependency named first is followed."""
    graph = run.graph
    if not len(graph):
        none = np.zeros(0, np.int64)
        return CriticalPath(graph, none, none.astype(np.int8), none)
    members = _members(graph)
    previous = previous_on_stream(run)
    task = int(np.argmax(run.end))
    chain, reasons = [task], []
    while run.start[task] > 0:
        task, reason = _cause(run, previous, members, task)
        chain.append(task)
        reasons.append(reason)
    tasks = np.array(chain[::-1], np.int64)
    why = np.array([FIRST, *reasons[::-1]], np.int8)
    return CriticalPath(graph, tasks, why, (run.end - run.start)[tasks])


def _cause(
    run: "GraphRun", previous: NDArray[np.int32], members: dict[int, list[int]], task: int
) -> tuple[int, int]:
    """What ended at the tick at which a task started, and how the task depends on it."""
    graph, now = run.graph, run.start[task]
    group = members.get(int(graph.group[task]), [])
    for one in (task, *group):
        for other in graph.after[graph.after_first[one] : graph.after_first[one + 1]].tolist():
            if run.end[other] == now:
                return other, BY_DEPENDENCY if one == task else BY_GROUP
        other = int(previous[one])
        if other >= 0 and run.end[other] == now:
            return other, BY_STREAM if one == task else BY_GROUP
    raise AssertionError(f"nothing ended when {graph.label(task)} started")


def _members(graph: Graph) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for task in np.flatnonzero(graph.group >= 0).tolist():
        found.setdefault(int(graph.group[task]), []).append(task)
    return found


def previous_on_stream(run: "GraphRun") -> NDArray[np.int32]:
    """int32[T], the task that ran before on the same stream, -1 for none."""
    previous = np.full(len(run.graph), -1, np.int32)
    ran = run.order[run.server[run.order] >= 0]
    by_stream = ran[np.argsort(run.server[ran], kind="stable")]
    same = run.server[by_stream[1:]] == run.server[by_stream[:-1]]
    previous[by_stream[1:][same]] = by_stream[:-1][same]
    return previous


def slack(run: "GraphRun") -> NDArray[np.int64]:
    """int64[T] ticks by which each task could end later and the makespan stay.

    Streams keep their order, durations stay as they were in the run (transfers and slowed compute
    too), and groups start together. The tasks of the critical path have none.
    """
    from .slack_kernel import latest_ends

    return latest_ends(run.graph, run.start, run.end, run.order, previous_on_stream(run)) - run.end


def bubbles(run: "GraphRun") -> list[Bubble]:
    """Idle times of streams that run compute, between their first and last task, by stream."""
    on = run.server >= 0
    on[on] = run.computes[run.server[on]]
    tasks = np.flatnonzero(on)
    tasks = tasks[np.lexsort((run.end[tasks], run.start[tasks], run.server[tasks]))]
    server, start, end = run.server[tasks], run.start[tasks], run.end[tasks]
    gap = np.flatnonzero((server[1:] == server[:-1]) & (start[1:] > end[:-1]))
    return [
        Bubble(
            int(run.device[server[i]]), int(run.stream[server[i]]), int(end[i]), int(start[i + 1])
        )
        for i in gap.tolist()
    ]


def exposed_communication(run: "GraphRun") -> NDArray[np.int64]:
    """int64[D] ticks in which a device communicates and computes nothing.

    Communication are the collectives and transfers on its streams, without the time that they wait
    for others of their group.
    """
    kind, device = run.graph.kind, run.graph.device
    computing = (kind == COMPUTE) & (device >= 0)
    talking = ((kind == COLLECTIVE) | (kind == TRANSFER)) & (device >= 0)
    return _covered(run, computing | talking) - _covered(run, computing)


def _covered(run: "GraphRun", chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64[D] ticks in which at least one chosen task of a device runs."""
    tasks = np.flatnonzero(chosen)
    tasks = tasks[np.lexsort((run.start[tasks], run.graph.device[tasks]))]
    total = np.zeros(run.graph.devices, np.int64)
    if not len(tasks):
        return total
    device, start = run.graph.device[tasks], run.start[tasks]
    first = np.flatnonzero(np.diff(device, prepend=-1))
    for low, high in zip(first, [*first[1:], len(tasks)], strict=True):
        until = np.maximum.accumulate(run.end[tasks[low:high]])
        begins = np.maximum(start[low + 1 : high], until[:-1])
        grown = int(until[0] - start[low]) + int(np.maximum(until[1:] - begins, 0).sum())
        total[device[low]] = grown
    return total
