"""`TaskRows`: tasks as readers meet them, by the file's own ids, until they make a graph."""

import heapq
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mltwin.models.training.tables import CATEGORIES, DEFAULTS, KINDS, Graph
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

TICKS_PER_US = 10**6


class TaskRow(NamedTuple):
    """One task: its id, where it stands in its file, the ids that it waits for, its columns."""

    id: Hashable
    place: str
    after: tuple[Hashable, ...]
    name: str
    columns: dict[str, Any]


class TaskRows:
    """Collects tasks of one or several files.

    Args:
        where: file, for errors.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.rows: list[TaskRow] = []
        self._at: dict[Hashable, int] = {}
        self._groups: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, id: Hashable) -> bool:
        return id in self._at

    def add(
        self,
        id: Hashable,
        *,
        place: str = "",
        after: Iterable[Hashable] = (),
        name: str = "",
        group: Hashable = None,
        **columns: Any,
    ) -> None:
        """Append a task.

        Args:
            id: by which others name it.
            place: where it stands, for errors; the id by default.
            after: ids of what it waits for; they may come later.
            name: its label.
            group: of tasks that start together, by any key; None for none.
            columns: of a graph, by name; `category` may be a name.

        Raises InputError for an id that is there already.
        """
        place = place or f"task {id!r}"
        if id in self._at:
            raise InputError(f"{place}: the id {id!r} is there twice", where=self.where)
        if isinstance(columns.get("category"), str):
            columns["category"] = CATEGORIES.index(columns["category"])
        if group is not None:
            columns["group"] = self._groups.setdefault(group, len(self._groups))
        self._at[id] = len(self.rows)
        self.rows.append(TaskRow(id, place, tuple(after), name, columns))

    def graph(self, facts: Mapping[str, Any] | None = None) -> Graph:
        """The graph, tasks in the order in which they were added where dependencies allow it.

        A task that stands before what it waits for is moved back behind it, so that the order of
        issue can be kept; a cycle is left as it is, for `execute` to name.

        Raises InputError where a task waits for one that is not there.
        """
        edges = [(task, before) for task in range(len(self.rows)) for before in self._before(task)]
        task, before = (
            (np.array(side, np.int64) for side in zip(*edges, strict=True))
            if edges
            else (
                np.zeros(0, np.int64),
                np.zeros(0, np.int64),
            )
        )
        place = _topological(len(self.rows), task, before)
        order = np.argsort(place)
        names: dict[str, int] = {"": 0}
        columns: dict[str, Any] = {}
        rows = [self.rows[i] for i in order.tolist()]
        for column in {key for row in rows for key in row.columns}:
            given = [row.columns.get(column) for row in rows]
            default = DEFAULTS[column]
            columns[column] = np.array([default if v is None else v for v in given])
        columns["name"] = [names.setdefault(row.name, len(names)) for row in rows]
        return Graph.make(
            len(rows), columns, (place[task], place[before]), names=tuple(names), facts=facts
        )

    def _before(self, task: int) -> list[int]:
        row = self.rows[task]
        missing = [id for id in row.after if id not in self._at]
        if missing:
            raise InputError(
                f"{row.place} waits for {missing[0]!r}, which there is not",
                where=self.where,
                mend="add that node, or take the dependency out",
            )
        return [self._at[id] for id in dict.fromkeys(row.after)]


def _topological(tasks: int, task: np.ndarray, before: np.ndarray) -> np.ndarray:
    """New place of each task: behind all it waits for, else as given."""
    places = np.arange(tasks)
    if not len(task) or (before < task).all():
        return places
    waits = np.bincount(task, minlength=tasks).tolist()
    followers: list[list[int]] = [[] for _ in range(tasks)]
    for one, other in zip(task.tolist(), before.tolist(), strict=True):
        followers[other].append(one)
    ready = [i for i in range(tasks) if waits[i] == 0]
    done = 0
    while ready:
        one = heapq.heappop(ready)
        places[one] = done
        done += 1
        for follower in followers[one]:
            waits[follower] -= 1
            if waits[follower] == 0:
                heapq.heappush(ready, follower)
    return places if done == tasks else np.arange(tasks)


def microseconds(value: Any, where: str, what: str) -> int:
    """A duration in us as ticks. InputError if it is no number of 0 or more."""
    try:
        us = float(value)
        if isinstance(value, bool) or not 0 <= us < 9e12:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{what} {value!r}", where=where, mend="give microseconds, 0 or more"
        ) from None
    if isinstance(value, int):
        return value * TICKS_PER_US
    return round(us * TICKS_PER_US)


def seconds_as_ticks(value: Any, where: str, what: str) -> int:
    """A duration in seconds as ticks. InputError if it is no number from 0 to 9e6 (104 days)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 9e6:
        raise InputError(f"{what} {value!r}", where=where, mend="give seconds, 0 to 9e6")
    return int(ticks(value))


def kind_number(text: Any, where: str) -> int:
    """The number of a kind by name."""
    if text not in KINDS:
        raise InputError(f"kind {text!r}", where=where, mend=f"use {', '.join(KINDS)}")
    return KINDS.index(text)


def whole(value: Any, where: str, what: str, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number within bounds. InputError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(
            f"{what} {value!r}", where=where, mend=f"give a whole number, {least} to {most}"
        )
    return value


def number(value: Any, where: str, what: str) -> float:
    """A finite number of 0 or more. InputError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
        raise InputError(f"{what} {value!r}", where=where, mend="give a number, 0 or more")
    return float(value)
