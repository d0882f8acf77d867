"""Task graphs as plain JSON: written by hand, by another tool, or by `save_graph`.

    {"format": "mltwin graph", "version": 1,
     "tasks": [
       {"id": "f0", "name": "forward", "device": 0, "duration_s": 0.004},
       {"id": "ar", "kind": "collective", "device": 0, "stream": 1, "duration_s": 0.001,
        "after": ["f0"], "group": "gradients", "category": "dp"},
       {"id": "send", "kind": "transfer", "device": 0, "stream": 2, "source": 0, "target": 1,
        "bytes": 1e6, "after": ["f0"]}]}

A task needs nothing but an ``id``, which is its name unless it has one; all else has the defaults
of a graph (kind "compute" with no device and no duration). Durations are seconds (``duration_s``)
or whole ticks of 1 ps (``duration``). Instead of ``tasks`` a file may hold ``columns``, which is
how `save_graph` writes: one list a column of a graph, exact and compact.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.training.tables import COLUMNS, Graph
from mltwin.sim.errors import InputError
from mltwin.sim.store import write_atomically
from mltwin.workloads.source import Source, read_text

from .rows import TaskRows, kind_number, seconds_as_ticks, whole

FORMAT, VERSION = "mltwin graph", 1
_KEYS = {*COLUMNS, "id", "after", "duration_s"}
_WHOLE = ("device", "stream", "priority", "duration", "source", "target")


def save_graph(graph: Graph, path: str | Path) -> Path:
    """Write a graph to a .json or .json.gz file, from which `read_graph` makes an equal one.

    Columns that hold one value throughout are written as that value. Returns the path.
    """
    target = Path(path).expanduser()
    if not target.name.endswith((".json", ".json.gz")):
        raise InputError("the name must end in .json or .json.gz", where=str(target))
    columns = {name: _packed(getattr(graph, name)) for name in COLUMNS}
    text = json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "count": len(graph),
            "names": list(graph.names),
            "columns": columns,
            "waits": np.diff(graph.after_first).tolist(),
            "after": graph.after.tolist(),
            "facts": dict(graph.facts),
        },
        separators=(",", ":"),
    ).encode()
    content = gzip.compress(text, 6, mtime=0) if target.suffix == ".gz" else text
    try:
        write_atomically(target, lambda file: file.write(content))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return target


def _packed(column: np.ndarray) -> Any:
    same = len(column) > 0 and (column == column[0]).all()
    return column[0].item() if same else column.tolist()


def read_graph(path: str | Path) -> Graph:
    """The graph of a plain JSON file, packed by gzip or not.

    Raises:
        InputError: no such file, another format, a task with an unknown key or a wrong value, a
            task that waits for one that is not there; the file and the task are named.
    """
    source = Source(path)
    try:
        found = json.loads(read_text(source))
    except ValueError as error:
        raise source.error(f"is no JSON: {error}") from None
    return graph_of_json(found, str(path))


def graph_of_json(found: Any, where: str) -> Graph:
    """The graph of a parsed file; see `read_graph`."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(
            "is no task graph", where=where, mend=f'a graph has "format": "{FORMAT}" at its top'
        )
    if found.get("version") != VERSION:
        raise InputError(
            f"version {found.get('version')!r} of the format", where=where, mend=f"use {VERSION}"
        )
    facts = found.get("facts", {})
    if not isinstance(facts, dict):
        raise InputError("'facts' is no JSON object", where=where)
    if "columns" in found:
        return _from_columns(found, facts, where)
    if not isinstance(found.get("tasks"), list):
        raise InputError("has no list 'tasks'", where=where)
    rows = TaskRows(where)
    for number, task in enumerate(found["tasks"]):
        _add(rows, task, number, where)
    try:
        return rows.graph(facts)
    except InputError as error:
        if where in str(error):
            raise
        place = f"{where}, {error.where}" if error.where else where
        raise InputError(error.message, where=place, mend=error.mend) from None


def _add(rows: TaskRows, task: Any, number: int, where: str) -> None:
    place = f"{where}, task {number} of the list"
    if not isinstance(task, dict) or not isinstance(task.get("id"), str | int):
        raise InputError("has no 'id' of text or a whole number", where=place)
    place = f"{where}, task {task['id']!r}"
    unknown = sorted(set(task) - _KEYS)
    if unknown:
        raise InputError(
            f"unknown key {unknown[0]!r}", where=place, mend=f"use {', '.join(sorted(_KEYS))}"
        )
    columns: dict[str, Any] = {}
    for name in _WHOLE:
        if name in task:
            if isinstance(task[name], bool) or not isinstance(task[name], int):
                raise InputError(f"{name} {task[name]!r}", where=place, mend="give a whole number")
            columns[name] = task[name]
    if "kind" in task:
        columns["kind"] = kind_number(task["kind"], place)
    if "bytes" in task:
        if isinstance(task["bytes"], bool) or not isinstance(task["bytes"], int | float):
            raise InputError(f"bytes {task['bytes']!r}", where=place, mend="give a number")
        columns["bytes"] = float(task["bytes"])
    if "category" in task:
        columns["category"] = _category(task["category"], place)
    if "duration_s" in task:
        columns["duration"] = seconds_as_ticks(task["duration_s"], place, "duration_s")
    after = task.get("after", [])
    if not isinstance(after, list) or not all(isinstance(one, str | int) for one in after):
        raise InputError(f"after {after!r}", where=place, mend="give a list of ids")
    group, name = task.get("group"), task.get("name", str(task["id"]))
    if not isinstance(name, str) or not isinstance(group, str | int | None):
        raise InputError("'name' must be text, 'group' text or a whole number", where=place)
    rows.add(
        task["id"], place=f"task {task['id']!r}", after=after, name=name, group=group, **columns
    )


def _category(text: Any, place: str) -> int:
    from mltwin.models.training.tables import CATEGORIES

    if text not in CATEGORIES:
        raise InputError(f"category {text!r}", where=place, mend=f"use {', '.join(CATEGORIES)}")
    return CATEGORIES.index(text)


def _from_columns(found: dict[str, Any], facts: dict[str, Any], where: str) -> Graph:
    try:
        names, columns = found["names"], found["columns"]
        if not isinstance(names, list) or not isinstance(columns, dict):
            raise InputError("'names' must be a list, 'columns' an object")
        waits = np.asarray(found["waits"], np.int64)
        count = whole(found["count"], where, "count")
        if waits.shape != (count,) or waits.min(initial=0) < 0 or waits.sum() > len(found["after"]):
            raise InputError(f"'waits' does not fit {count} tasks and 'after'")
        task = np.repeat(np.arange(count, dtype=np.int64), waits)
        edges = (task, np.asarray(found["after"], np.int64))
        return Graph.make(count, columns, edges, names=[str(name) for name in names], facts=facts)
    except KeyError as error:
        raise InputError(f"has no {error}", where=where) from None
    except InputError as error:
        place = f"{where}, {error.where}" if error.where else where
        raise InputError(error.message, where=place, mend=error.mend) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"columns that are none: {error}", where=where) from None
