"""How late each task of a run could have ended: one pass backwards over the order of the run."""

from typing import Any

import numpy as np
from numba import int32, int64, types, void
from numpy.typing import NDArray

from mltwin.sim.jit import kernel

from .tables import Graph

_I64 = types.Array(int64, 1, "C", readonly=True)
_I32 = types.Array(int32, 1, "C", readonly=True)


def latest_ends(
    graph: Graph,
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    order: NDArray[np.int32],
    previous: NDArray[np.int32],
) -> NDArray[np.int64]:
    """int64[T] ticks: the latest end of each task that leaves the makespan as it is.

    Args:
        graph: dependencies and groups.
        start, end: of the run.
        order: tasks so that each stands after all that it waited for.
        previous: the task before on the same stream, -1 for none.
    """
    groups = int(graph.group.max(initial=-1)) + 1
    left = np.bincount(graph.group[graph.group >= 0], minlength=groups).astype(np.int64)
    makespan = int(end.max(initial=0))
    latest = np.full(len(graph), makespan, np.int64)
    group_start = np.full(groups, makespan, np.int64)
    after = (graph.after_first, graph.after)
    pending = np.full(groups, -1, np.int32)  # a list of each group's members seen so far
    chained = np.full(len(graph), -1, np.int32)
    _pull_back(
        *after,
        graph.group,
        start,
        end,
        order,
        previous,
        left,
        group_start,
        pending,
        chained,
        latest,
    )
    return latest


def _pull_back_body(
    after_first: Any,
    after: Any,
    group: Any,
    start: Any,
    end: Any,
    order: Any,
    previous: Any,
    left: Any,
    group_start: Any,
    pending: Any,
    chained: Any,
    latest: Any,
) -> None:
    """Each task bounds what it waited for; a group does when its last member has been seen.

    What a group waited for stands before all its members in `order`, so it is bounded in time.
    """
    for place in range(len(order) - 1, -1, -1):
        task = order[place]
        begins = latest[task] - (end[task] - start[task])
        own = group[task]
        if own >= 0:
            group_start[own] = min(group_start[own], begins)
            chained[task] = pending[own]
            pending[own] = task
            left[own] -= 1
            if left[own] > 0:
                continue
            begins = group_start[own]
        bounded = np.int64(task)
        while bounded >= 0:
            if own >= 0:
                latest[bounded] = min(latest[bounded], begins + end[bounded] - start[bounded])
            for row in range(after_first[bounded], after_first[bounded + 1]):
                latest[after[row]] = min(latest[after[row]], begins)
            if previous[bounded] >= 0:
                latest[previous[bounded]] = min(latest[previous[bounded]], begins)
            bounded = np.int64(chained[bounded]) if own >= 0 else np.int64(-1)


_pull_back = kernel(
    void(
        *(_I64, _I32, _I32, _I64, _I64, _I32, _I32),
        *(int64[::1], int64[::1], int32[::1], int32[::1], int64[::1]),
    )
)(_pull_back_body)
