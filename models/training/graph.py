"""`GraphBuilder`: a task graph put together from arrays of tasks.

graph = GraphBuilder()
forward = graph.add(device=[0, 1], duration=ticks(np.array([1e-3, 1e-3])), name="forward")
graph.add(
    kind=COLLECTIVE, device=[0, 1], stream=COMMUNICATION_STREAM, group=graph.new_groups(1)[0],
    duration=ticks(2e-4), after=forward, name="all-reduce", category="dp",
)
run = execute(graph.build())
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError

from .tables import (
    CATEGORIES,
    COLLECTIVE,
    COLUMNS,
    COMMUNICATION_STREAM,
    COMPUTE,
    COMPUTE_STREAM,
    DEFAULTS,
    HOST,
    HOST_STREAM,
    KINDS,
    NOTHING,
    TRANSFER,
    Graph,
)

__all__ = [
    "CATEGORIES",
    "COLLECTIVE",
    "COMMUNICATION_STREAM",
    "COMPUTE",
    "COMPUTE_STREAM",
    "HOST",
    "HOST_STREAM",
    "KINDS",
    "NOTHING",
    "TRANSFER",
    "Graph",
    "GraphBuilder",
]

Ids = NDArray[np.int64]
After = ArrayLike | Sequence[ArrayLike] | None


class GraphBuilder:
    """Collects tasks and dependencies; `build` makes the graph.

    Tasks are numbered in the order in which they are added. That number is the order of issue: a
    stream runs its tasks in it (order "issue"), and between equal priorities it decides.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._groups = 0
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}
        self._waiting: list[Ids] = []
        self._awaited: list[Ids] = []
        self._names: dict[str, int] = {"": 0}

    def __len__(self) -> int:
        return self._rows

    def add(
        self,
        *,
        count: int | None = None,
        after: After = None,
        name: str | Sequence[str] | NDArray[np.integer[Any]] = "",
        category: int | str | ArrayLike = 0,
        **columns: ArrayLike,
    ) -> Ids:
        """Append tasks and return their numbers, int64[n].

        Args:
            count: how many; without it, the length of the longest column.
            after: what they wait for: int[n] (task i waits for ``after[i]``), int[n, d] (for each
                of its row), one number (all wait for it); -1 stands for none. For other
                shapes see `depend`.
            name: one label, one a task, or int[n] that `label` gave.
            category: a name or number of `CATEGORIES`, or one a task.
            columns: of `tables.COLUMNS`: kind, device, stream, priority, duration (ticks), group,
                source, target, bytes; each a value or n of them.

        Raises:
            InputError: columns of different lengths, an unknown column or category.
        """
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise InputError(
                f"a task has no column {sorted(unknown)[0]!r}", mend=f"use {', '.join(COLUMNS)}"
            )
        given: dict[str, NDArray[Any]] = {n: np.asarray(v) for n, v in columns.items()}
        given["category"] = _categories(category)
        given["name"] = np.asarray(self._labels(name))
        awaited = None if after is None else np.asarray(after, np.int64)
        n = _length(count, given, awaited)
        for column in COLUMNS:
            values = given.get(column, np.asarray(DEFAULTS[column]))
            self._parts[column].append(np.broadcast_to(values, (n,)))
        tasks = np.arange(self._rows, self._rows + n, dtype=np.int64)
        self._rows += n
        groups = given.get("group")
        if groups is not None and groups.size:
            self._groups = max(self._groups, int(groups.max()) + 1)
        if awaited is not None:
            wide = awaited.reshape(1, 1) if awaited.ndim == 0 else awaited
            wide = wide[:, None] if wide.ndim == 1 else wide
            self.depend(np.broadcast_to(tasks[:, None], (n, wide.shape[1])), wide)
        return tasks

    def depend(self, task: ArrayLike, before: ArrayLike) -> None:
        """Task ``task[i]`` waits for ``before[i]``, arrays of any shape that broadcast; -1: none.

        Tasks may be named before they are added.
        """
        both = np.broadcast_arrays(np.asarray(task, np.int64), np.asarray(before, np.int64))
        waiting, awaited = (side.reshape(-1) for side in both)
        kept = awaited >= 0
        if not kept.all():
            waiting, awaited = waiting[kept], awaited[kept]
        self._waiting.append(waiting.copy())
        self._awaited.append(awaited.copy())

    def depend_all(self, tasks: ArrayLike, before: ArrayLike) -> None:
        """Each of `tasks` waits for all of `before`.

        Above four of each a task of nothing stands between them, so that there are n + m
        dependencies instead of n * m.
        """
        waiting, awaited = (np.asarray(side, np.int64).reshape(-1) for side in (tasks, before))
        if min(len(waiting), len(awaited)) > 4:
            join = self.add(kind=NOTHING)
            self.depend(join, awaited)
            awaited = join
        self.depend(waiting[:, None], awaited[None, :])

    def label(self, text: str) -> int:
        """The number of a label, for arrays of names."""
        return self._names.setdefault(text, len(self._names))

    def new_groups(self, n: int) -> Ids:
        """Numbers of n groups that no task has yet, int64[n]."""
        first = self._groups
        self._groups += n
        return np.arange(first, first + n, dtype=np.int64)

    def build(self, *, facts: Mapping[str, Any] | None = None) -> Graph:
        """The graph of all that was added; see `tables.Graph.make` for what is refused."""
        columns = {name: _joined(parts, COLUMNS[name]) for name, parts in self._parts.items()}
        edges = (_joined(self._waiting, np.int64), _joined(self._awaited, np.int64))
        return Graph.make(self._rows, columns, edges, names=tuple(self._names), facts=facts)

    def _labels(self, name: Any) -> Any:
        if isinstance(name, str):
            return self.label(name)
        if isinstance(name, np.ndarray) and name.dtype.kind in "iu":
            return name
        return np.array([self.label(str(text)) for text in name], np.int64)


def _joined(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _categories(category: Any) -> NDArray[Any]:
    if isinstance(category, str):
        if category not in CATEGORIES:
            raise InputError(f"no category {category!r}", mend=f"use {', '.join(CATEGORIES)}")
        return np.asarray(CATEGORIES.index(category))
    values = np.asarray(category)
    if values.dtype.kind == "U":
        return np.array([int(_categories(text)) for text in values.tolist()])
    return values


def _length(
    count: int | None, given: Mapping[str, NDArray[Any]], after: NDArray[Any] | None
) -> int:
    lengths = {name: len(values) for name, values in given.items() if values.ndim}
    if after is not None and after.ndim:
        lengths["after"] = len(after)
    if count is not None:
        lengths["count"] = count
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise InputError(f"columns of different lengths: {text}")
    return next(iter(lengths.values()), 1)
