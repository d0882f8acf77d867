"""Why a graph cannot run to its end: a cycle of dependencies, or streams that wait for each other.

Looked at only when an execution stops with tasks left.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from mltwin.sim.errors import InputError

from .executor_tables import GraphPlan

SHOWN = 8
"""Most steps of a circle that the error names."""


class Wait(NamedTuple):
    """`task` waits for `other`; why: "dependency", "stream" or "group"."""

    task: int
    other: int
    why: str


def stuck_error(plan: GraphPlan, end: np.ndarray, running: np.ndarray) -> InputError:
    """The error for a run that left tasks.

    Args:
        plan: what was run.
        end: int64[T], ticks; negative for tasks that have not ended.
        running: int32[K], task that each server holds, -1 for none.
    """
    circle = _circle(plan, end, running)
    tasks = [wait.task for wait in circle]
    turn = tasks.index(min(tasks))
    circle = circle[turn:] + circle[:turn]
    shown = [_text(plan, wait) for wait in circle[:SHOWN]]
    if len(circle) > SHOWN:
        shown.append(f"... {len(circle) - SHOWN} more")
    if all(wait.why == "dependency" for wait in circle):
        return InputError(
            f"the graph has a cycle of {len(circle)} tasks: {'; '.join(shown)}",
            mend="remove one of these dependencies",
        )
    return InputError(
        f"{int((end < 0).sum()):,} tasks never run, as these wait for each other: "
        f"{'; '.join(shown)}",
        mend="issue the tasks of groups in one order on all streams, or use further streams",
    )


def _text(plan: GraphPlan, wait: Wait) -> str:
    label = plan.graph.label
    if wait.why == "stream":
        server = int(plan.server[wait.task])
        place = f"device {plan.device[server]}, stream {plan.stream[server]}"
        return f"{label(wait.task)} stands behind {label(wait.other)} on {place}"
    of_group = f" of its group {plan.graph.group[wait.task]}" if wait.why == "group" else ""
    return f"{label(wait.task)} waits for {label(wait.other)}{of_group}"


def _circle(plan: GraphPlan, end: np.ndarray, running: np.ndarray) -> list[Wait]:
    """What waits for itself: a cycle of dependencies if there is one, else one through streams.

    For the latter a group counts as one task, which waits for all that its members wait for.
    """
    tasks = np.flatnonzero(end < 0).tolist()
    graph, ahead = plan.graph, _ahead(plan, end, running)

    def dependencies(task: int) -> list[Wait]:
        all_of = graph.after[graph.after_first[task] : graph.after_first[task + 1]].tolist()
        return [Wait(task, other, "dependency") for other in all_of if end[other] < 0]

    found = _search({task: [task] for task in tasks}, {task: task for task in tasks}, dependencies)
    if found:
        return found

    def all_waits(task: int) -> list[Wait]:
        behind = [Wait(task, ahead[task], "stream")] if task in ahead else []
        return dependencies(task) + behind

    units: dict[int, list[int]] = {}
    for task in tasks:
        group = int(graph.group[task])
        units.setdefault(task if group < 0 else -1 - group, []).append(task)
    unit_of = {task: unit for unit, members in units.items() for task in members}
    return _with_groups(_search(units, unit_of, all_waits))


def _search(
    units: dict[int, list[int]],
    unit_of: dict[int, int],
    waits: Callable[[int], list[Wait]],
) -> list[Wait]:
    """Depth first over units of tasks: the first circle, or nothing."""
    on_path, done = 1, 2
    mark: dict[int, int] = {}

    def of_unit(unit: int) -> Iterator[Wait]:
        mark[unit] = on_path
        return (wait for task in units[unit] for wait in waits(task))

    for first in units:
        if first in mark:
            continue
        path: list[Wait] = []
        left = [of_unit(first)]
        while left:
            wait = next(left[-1], None)
            if wait is None:
                left.pop()
                mark[unit_of[path.pop().other] if path else first] = done
                continue
            unit = unit_of[wait.other]
            if mark.get(unit) == on_path:
                path.append(wait)
                begins = next(i for i, step in enumerate(path) if unit_of[step.task] == unit)
                return path[begins:]
            if unit not in mark:
                path.append(wait)
                left.append(of_unit(unit))
    return []


def _with_groups(circle: list[Wait]) -> list[Wait]:
    """The circle with the steps between members of a group, which the search left out."""
    full: list[Wait] = []
    for wait, following in zip(circle, circle[1:] + circle[:1], strict=True):
        full.append(wait)
        if wait.other != following.task:
            full.append(Wait(wait.other, following.task, "group"))
    return full


def _ahead(plan: GraphPlan, end: np.ndarray, running: np.ndarray) -> dict[int, int]:
    """What each task stands behind on its stream: the task before (order "issue"), or the one
    that holds the stream (order "ready")."""
    if plan.by_priority:
        stuck = np.flatnonzero((end < 0) & (plan.server >= 0)).tolist()
        holder = {task: int(running[plan.server[task]]) for task in stuck}
        return {task: other for task, other in holder.items() if other >= 0 and other != task}
    left = np.flatnonzero((end < 0) & (plan.server >= 0))
    order = left[np.argsort(plan.server[left], kind="stable")]
    same = plan.server[order[1:]] == plan.server[order[:-1]]
    return dict(zip(order[1:][same].tolist(), order[:-1][same].tolist(), strict=True))
