"""`Graph`: tasks of a training job and what each waits for, as flat columns.

A task is a kernel on a GPU stream, a collective, a transfer between two ranks, a step of a host
thread, or nothing at all (a join). Graphs are made by `graph.GraphBuilder` or read from a file by
`mltwin.workloads.executions`, and executed by `executor.execute`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import MAX_S, TICKS_PER_S

COMPUTE, COLLECTIVE, TRANSFER, HOST, NOTHING = range(5)
KINDS = ("compute", "collective", "transfer", "host", "nothing")
"""Kinds of tasks by their number."""

CATEGORIES = (
    *("other", "forward", "backward", "recompute", "optimizer", "loss", "load", "checkpoint"),
    *("dp", "tp", "pp", "cp", "ep", "host"),
)
"""What a task is for, by number: the parts into which a critical path is split."""

COMPUTE_STREAM, COMMUNICATION_STREAM = range(2)
HOST_STREAM = 100
"""The first two streams of a device, and the first of its host threads; a graph may use more."""

MAX_STREAM = 2**15 - 1
MAX_DEVICE = 2**24
"""The greatest device; tables with a row a device are made."""

COLUMNS: dict[str, Any] = {
    "kind": np.int8,
    "device": np.int32,
    "stream": np.int16,
    "priority": np.int32,
    "duration": np.int64,
    "group": np.int32,
    "source": np.int32,
    "target": np.int32,
    "bytes": np.float64,
    "name": np.int32,
    "category": np.int8,
}
"""Columns with one row a task, and their types."""

DEFAULTS: dict[str, Any] = {
    "kind": COMPUTE,
    "device": -1,
    "stream": 0,
    "priority": 0,
    "duration": 0,
    "group": -1,
    "source": -1,
    "target": -1,
    "bytes": 0.0,
    "name": 0,
    "category": 0,
}


@dataclass(frozen=True, eq=False)
class Graph:
    """Tasks and dependencies; immutable. `make` checks what it is given.

    Attributes:
        kind: int8[T], number in `KINDS`.
        device: int32[T], rank (or host thread) whose stream runs the task; -1: no stream does,
            the task starts as soon as what it waits for has ended.
        stream: int16[T]; a (device, stream) runs one task at a time.
        priority: int32[T], the higher first among the ready tasks of a stream (order "ready").
        duration: int64[T] ticks; 0 for a transfer whose time the network decides.
        group: int32[T], tasks of one group start together; -1: in no group.
        source, target: int32[T], ranks of a transfer, -1 otherwise.
        bytes: float64[T], of a transfer or (for information) a collective.
        name: int32[T], place in `names`.
        category: int8[T], place in `CATEGORIES`.
        after_first: int64[T + 1]; after: int32[...]: task t waits for
            ``after[after_first[t] : after_first[t + 1]]``.
        names: labels of tasks.
        facts: where the graph comes from, for reports; not part of the digest.
    """

    kind: NDArray[np.int8]
    device: NDArray[np.int32]
    stream: NDArray[np.int16]
    priority: NDArray[np.int32]
    duration: NDArray[np.int64]
    group: NDArray[np.int32]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    bytes: NDArray[np.float64]
    name: NDArray[np.int32]
    category: NDArray[np.int8]
    after_first: NDArray[np.int64]
    after: NDArray[np.int32]
    names: tuple[str, ...] = ("",)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        tasks: int,
        columns: Mapping[str, ArrayLike],
        edges: tuple[ArrayLike, ArrayLike] = ((), ()),
        *,
        names: Sequence[str] = ("",),
        facts: Mapping[str, Any] | None = None,
    ) -> "Graph":
        """A checked graph.

        Args:
            tasks: how many.
            columns: those of `COLUMNS` that differ from `DEFAULTS`, each one value or T of them.
            edges: two int arrays of equal length: task ``edges[0][i]`` waits for ``edges[1][i]``;
                the order in which a task names what it waits for is kept.
            names: labels that the column `name` points to.
            facts: about the source.

        Raises:
            InputError: a column of another length or unknown, a value out of its range, a
                dependency that is no task. Cycles are found by `execute`.
        """
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise InputError(f"a graph has no column {sorted(unknown)[0]!r}")
        given = {name: _column(name, columns.get(name), tasks) for name in COLUMNS}
        first, after = edges_by_task(tasks, *edges)
        graph = cls(**given, after_first=first, after=after, names=tuple(names), facts=facts or {})
        _check(graph)
        for name in (*COLUMNS, "after_first", "after"):
            getattr(graph, name).setflags(write=False)
        return graph

    def __len__(self) -> int:
        return len(self.kind)

    def label(self, task: int) -> str:
        """A task in words, for errors and pictures: its name and number."""
        name = self.names[self.name[task]] or KINDS[self.kind[task]]
        return f"{name} (task {task})"

    @cached_property
    def devices(self) -> int:
        """One more than the greatest device, 0 if no task has one."""
        return int(self.device.max(initial=-1)) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all columns, dependencies and names."""
        total = hashlib.sha256("\0".join(self.names).encode())
        for name in (*COLUMNS, "after_first", "after"):
            total.update(getattr(self, name).tobytes())
        return total.hexdigest()

    def describe(self) -> str:
        """One line: how many tasks of which kind on how many devices."""
        count = np.bincount(self.kind, minlength=len(KINDS))
        parts = ", ".join(f"{n:,} {k}" for n, k in zip(count, KINDS, strict=True) if n)
        return f"{len(self):,} tasks ({parts}) on {self.devices:,} devices"


def edges_by_task(
    tasks: int, task: ArrayLike, before: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Pairs (task, what it waits for) as one list per task: (first int64[T + 1], after int32).

    Raises:
        InputError: a pair names no task, or a task waits for itself.
    """
    waiting, awaited = np.asarray(task, np.int64), np.asarray(before, np.int64)
    for here, there in ((waiting, awaited), (awaited, waiting)):
        wrong = np.flatnonzero((here < 0) | (here >= tasks))
        if len(wrong):
            missing, other = int(here[wrong[0]]), int(there[wrong[0]])
            raise InputError(
                f"a dependency between task {other} and task {missing}: there is no task {missing}",
                mend=f"the graph has tasks 0 to {tasks - 1}",
            )
    alone = np.flatnonzero(waiting == awaited)
    if len(alone):
        raise InputError(f"task {int(waiting[alone[0]])} waits for itself")
    first = np.zeros(tasks + 1, np.int64)
    np.cumsum(np.bincount(waiting, minlength=tasks), out=first[1:])
    if np.any(waiting[1:] < waiting[:-1]):
        awaited = awaited[np.argsort(waiting, kind="stable")]
    return first, awaited.astype(np.int32)


def _column(name: str, given: ArrayLike | None, tasks: int) -> NDArray[Any]:
    dtype = np.dtype(COLUMNS[name])
    values = np.asarray(DEFAULTS[name] if given is None else given)
    if values.ndim and values.shape != (tasks,):
        raise InputError(f"column {name!r} has {values.size} rows for {tasks} tasks")
    if values.size and values.dtype.kind not in ("biuf" if dtype.kind == "f" else "biu"):
        raise InputError(f"column {name!r} must hold {dtype} numbers, not {values.dtype}")
    if dtype.kind == "i" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise InputError(f"column {name!r} has values beyond {limits.min} ... {limits.max}")
    column = np.empty(tasks, dtype)
    column[:] = values
    return column


def _check(graph: Graph) -> None:
    longest = int(MAX_S) * TICKS_PER_S
    moves = graph.kind == TRANSFER
    rules = (
        ("kind", (graph.kind < 0) | (graph.kind >= len(KINDS)), "use a number of KINDS"),
        ("category", (graph.category < 0) | (graph.category >= len(CATEGORIES)), "see CATEGORIES"),
        ("duration", (graph.duration < 0) | (graph.duration > longest), "0 ... 9.2e6 s, in ticks"),
        ("device", (graph.device < -1) | (graph.device > MAX_DEVICE), "a rank, or -1 for none"),
        ("stream", graph.stream < 0, "0 or more"),
        ("group", graph.group < -1, "a number, or -1 for none"),
        ("group", graph.group > 2 * len(graph) + 1024, "number groups from 0 on"),
        ("bytes", ~(graph.bytes >= 0) | np.isinf(graph.bytes), "0 or more"),
        ("name", (graph.name < 0) | (graph.name >= len(graph.names)), "a place in names"),
        ("source", moves & (graph.source < 0), "a transfer needs its source rank"),
        ("target", moves & (graph.target < 0), "a transfer needs its target rank"),
    )
    for name, wrong, mend in rules:
        if wrong.any():
            task = int(np.flatnonzero(wrong)[0])
            value = getattr(graph, name)[task]
            raise InputError(f"{name} {value}", where=f"task {task}", mend=mend)
