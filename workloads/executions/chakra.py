"""Chakra execution traces (MLCommons): one file a rank, as protocol buffers or as JSON.

Times are whole microseconds, dependencies name node ids. `et_def.proto` of Chakra gives the fields;
the JSON form is that of its feeder (``workload_graph`` with ``Id``, ``Name``, ``NodeType``,
``runtime``, ``data_deps``). As in that feeder control dependencies are left aside unless they are
asked for: converters let them point to nodes that they have dropped.

Collectives and transfers are matched between ranks in the order in which each rank issues them, per
process group; members of a collective start together, and take as long as the shortest of them did:
the rank that came last waited for nobody.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mltwin.models.training.tables import (
    COLLECTIVE,
    COMMUNICATION_STREAM,
    COMPUTE,
    HOST,
    HOST_STREAM,
    NOTHING,
    TRANSFER,
    Graph,
)
from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source, read_text

from . import wire
from .rows import TaskRows, microseconds, number, seconds_as_ticks, whole

_METADATA, _LOAD, _STORE, _COMP, _SEND, _RECV, _COLL = range(1, 8)
COLLECTIVES = (
    *("all_reduce", "reduce", "all_gather", "gather", "scatter", "broadcast", "all_to_all"),
    *("reduce_scatter", "reduce_scatter_block", "barrier"),
)
"""Names of Chakra's CollectiveCommType, by number."""

CollectiveSeconds = Callable[[str, float, int], float]
"""(kind, bytes, ranks) -> seconds: the time of a collective that the trace does not tell."""
ComputeSeconds = Callable[[float, float], float]
"""(operations, bytes) -> seconds: the time of a kernel that the trace does not tell."""


@dataclass
class ChakraNode:
    """One node of a trace, as it stands in the file; `attrs` by name."""

    id: int
    name: str = ""
    type: int = 0
    ctrl: list[int] = field(default_factory=list)
    deps: list[int] = field(default_factory=list)
    duration_us: Any = 0
    attrs: dict[str, Any] = field(default_factory=dict)


def read_chakra(
    paths: Sequence[str | Path],
    *,
    control: bool = False,
    collective_seconds: CollectiveSeconds | None = None,
    compute_seconds: ComputeSeconds | None = None,
) -> Graph:
    """The graph of a run from the files of its ranks, rank 0 first.

    Args:
        paths: one file a rank, .et or .json, packed by gzip or not.
        control: keep control dependencies too.
        collective_seconds, compute_seconds: for nodes without a duration that say how much they
            move or compute (traces that a generator wrote).

    Raises:
        InputError: a file that is none, a dependency on a missing node, ranks whose collectives do
            not fit each other, a node whose time nothing tells.
    """
    ranks = [list(_nodes(Path(path))) for path in paths]
    rows = TaskRows(str(paths[0]) if len(paths) == 1 else f"{len(paths)} Chakra files")
    known = {(rank, node.id) for rank, nodes in enumerate(ranks) for node in nodes}
    matched = _Matching(ranks, [str(path) for path in paths])
    for rank, nodes in enumerate(ranks):
        streams = _streams(nodes)
        for node in nodes:
            place = f"{paths[rank]}, node {node.id}"
            after = [(rank, other) for other in node.deps]
            after += [(rank, other) for other in node.ctrl] if control else []
            missing = [other for other in after if other not in known]
            if missing:
                raise InputError(
                    f"waits for node {missing[0][1]}, which there is not",
                    where=place,
                    mend="read without control=True"
                    if missing[0][1] in node.ctrl
                    else "write that node into the trace, or take the dependency out",
                )
            ticks = _duration(node, place, collective_seconds, compute_seconds, len(paths))
            columns = {"device": rank, "stream": streams[node.id], "duration": ticks}
            more, columns = matched.placed(rank, node, columns)
            rows.add((rank, node.id), place=place, after=after + more, name=node.name, **columns)
    return rows.graph({"format": "chakra", "ranks": len(ranks)})


def _nodes(path: Path) -> Iterator[ChakraNode]:
    data = wire.read_bytes(path)
    if wire.looks_like_json(data):
        yield from _json_nodes(Source(path))
        return
    try:
        for turn, message in enumerate(wire.messages(data)):
            if turn > 0:  # the first is the file's metadata
                yield _wire_node(message)
    except wire.WireError as error:
        raise InputError(
            f"is no Chakra trace: {error}", where=str(path), mend="give a .et or .json file"
        ) from None


def _wire_node(message: bytes) -> ChakraNode:
    node = ChakraNode(0)
    lists: dict[int, list[Any]] = {4: [], 5: []}
    for key, value in wire.fields(message):
        if key == 1:
            node.id = wire.whole(value)
        elif key == 2:
            node.name = wire.text(value)
        elif key == 3:
            node.type = wire.whole(value)
        elif key in lists:
            lists[key].append(value)
        elif key == 7:
            node.duration_us = wire.whole(value)
        elif key == 10:
            if not isinstance(value, bytes):
                raise wire.WireError("an attribute is a number")
            name, found = wire.attribute(value)
            node.attrs[name] = found
    node.ctrl, node.deps = wire.whole_numbers(lists[4]), wire.whole_numbers(lists[5])
    return node


_JSON_NAMES = {
    "id": ("Id", "id"),
    "name": ("Name", "name"),
    "type": ("NodeType", "type"),
    "ctrl": ("ctrlDeps", "ctrl_deps"),
    "deps": ("data_deps", "dataDeps"),
    "duration_us": ("runtime", "duration_micros", "durationMicros"),
}


def _json_nodes(source: Source) -> Iterator[ChakraNode]:
    try:
        found = json.loads(read_text(source))
    except ValueError as error:
        raise source.error(f"is no JSON: {error}") from None
    nodes = found.get("workload_graph", found.get("nodes")) if isinstance(found, dict) else found
    if not isinstance(nodes, list):
        raise source.error("has no list 'workload_graph'", mend="give Chakra's JSON form")
    known = {name for names in _JSON_NAMES.values() for name in names}
    for turn, row in enumerate(nodes):
        place = f"{source.path}, node {turn} of the list"
        if not isinstance(row, dict):
            raise InputError("is no JSON object", where=place)
        given: dict[str, Any] = {}
        for name, keys in _JSON_NAMES.items():
            values = [row[key] for key in keys if key in row]
            if values:
                given[name] = values[0]
        for name in ("id", "type"):
            if not isinstance(given.get(name), int):
                raise InputError(f"has no whole number {_JSON_NAMES[name][0]!r}", where=place)
        for name in ("ctrl", "deps"):
            ids = given.setdefault(name, [])
            if not isinstance(ids, list) or not all(isinstance(id, int) for id in ids):
                raise InputError(
                    f"{_JSON_NAMES[name][0]} {ids!r}", where=place, mend="give a list of ids"
                )
        given["name"] = str(given.get("name", ""))
        given["attrs"] = {key: value for key, value in row.items() if key not in known}
        yield ChakraNode(**given)


def _streams(nodes: Iterable[ChakraNode]) -> dict[int, int]:
    """Stream of each node: kernels by their stream in the trace, collectives behind them."""
    host: dict[str, int] = {}
    gpu: dict[str, int] = {}
    found = {}
    for node in nodes:
        tid = str(node.attrs.get("tid", 0))
        if _on_host(node):
            found[node.id] = HOST_STREAM + host.setdefault(tid, len(host))
        elif node.type in (_SEND, _RECV, _COLL):
            found[node.id] = COMMUNICATION_STREAM
        else:
            place = gpu.setdefault(tid, len(gpu))
            found[node.id] = place + (place >= COMMUNICATION_STREAM)
    return found


def _on_host(node: ChakraNode) -> bool:
    return bool(node.attrs.get("is_cpu_op", False)) or node.type in (_LOAD, _STORE)


def _duration(
    node: ChakraNode,
    place: str,
    collective_seconds: CollectiveSeconds | None,
    compute_seconds: ComputeSeconds | None,
    ranks: int,
) -> int:
    ticks = microseconds(node.duration_us, place, "duration")
    if ticks or _on_host(node) or node.type in (_SEND, _RECV, _METADATA):
        return ticks
    size = number(node.attrs.get("comm_size", 0), place, "comm_size")
    if node.type == _COLL and size > 0:
        if collective_seconds is None:
            raise InputError(
                f"{node.name or 'a collective'} of {size:g} bytes has no duration",
                where=place,
                mend="pass collective_seconds=",
            )
        kind = _collective(node.attrs.get("comm_type", 0))
        return seconds_as_ticks(collective_seconds(kind, size, ranks), place, "collective_seconds")
    operations = number(node.attrs.get("num_ops", 0), place, "num_ops")
    if node.type == _COMP and operations > 0:
        if compute_seconds is None:
            raise InputError(
                f"{node.name or 'a kernel'} of {operations:g} operations has no duration",
                where=place,
                mend="pass compute_seconds=",
            )
        moved = number(node.attrs.get("tensor_size", 0), place, "tensor_size")
        return seconds_as_ticks(compute_seconds(operations, moved), place, "compute_seconds")
    return 0


def _collective(number: Any) -> str:
    known = isinstance(number, int) and 0 <= number < len(COLLECTIVES)
    return COLLECTIVES[number] if known else f"collective of type {number}"


def _whole(attrs: Mapping[str, Any], name: str, default: int, place: str) -> int:
    return whole(attrs.get(name, default), place, name)


class _Matching:
    """Which nodes of different ranks belong together, and what kind of task each node is."""

    def __init__(self, ranks: list[list[ChakraNode]], files: list[str]) -> None:
        self.files = files
        self.members: dict[Hashable, dict[int, ChakraNode]] = {}
        self.key: dict[tuple[int, int], Hashable] = {}
        self.sends: dict[Hashable, tuple[int, int]] = {}
        for rank, nodes in enumerate(ranks):
            count: dict[Hashable, int] = {}
            for node in nodes:
                group = self._group(rank, node)
                if group is None:
                    continue
                turn = count[group] = count.get(group, -1) + 1
                key = (group, turn)
                self.key[rank, node.id] = key
                if node.type == _SEND:
                    self.sends[key] = (rank, node.id)
                elif node.type == _COLL:
                    self._join(key, rank, node)

    def _place(self, rank: int, node: ChakraNode) -> str:
        return f"{self.files[rank]}, node {node.id}"

    def _group(self, rank: int, node: ChakraNode) -> Hashable | None:
        """What nodes are counted over: a process group, or the way and tag of a message."""
        if _on_host(node) or node.type not in (_SEND, _RECV, _COLL):
            return None
        attrs, place = node.attrs, self._place(rank, node)
        if node.type == _COLL:
            return ("collective", str(attrs.get("pg_name", attrs.get("comm_group", ""))))
        ends = (_whole(attrs, "comm_src", rank, place), _whole(attrs, "comm_dst", rank, place))
        return ("message", *ends, _whole(attrs, "comm_tag", 0, place))

    def _join(self, key: Hashable, rank: int, node: ChakraNode) -> None:
        members = self.members.setdefault(key, {})
        for other, twin in members.items():
            kinds = (node.attrs.get("comm_type"), twin.attrs.get("comm_type"))
            if None not in kinds and kinds[0] != kinds[1]:
                raise InputError(
                    f"node {node.id} ({_collective(kinds[0])}) is where rank {other} has node "
                    f"{twin.id} ({_collective(kinds[1])} of {self.files[other]})",
                    where=self.files[rank],
                    mend="ranks must issue the collectives of a group in one order",
                )
        members[rank] = node

    def placed(
        self, rank: int, node: ChakraNode, columns: dict[str, Any]
    ) -> tuple[list[Hashable], dict[str, Any]]:
        """(what the node waits for beside its own dependencies, its columns)."""
        if _on_host(node):
            return [], columns | {"kind": HOST, "category": "host"}
        if node.type == _METADATA:
            return [], columns | {"kind": NOTHING, "device": -1, "stream": 0, "duration": 0}
        key, place = self.key.get((rank, node.id)), self._place(rank, node)
        if node.type == _COLL and key is not None:
            members = self.members[key]
            told = [
                microseconds(m.duration_us, self._place(r, m), "duration")
                for r, m in members.items()
            ]
            shortest = min(told) if all(told) else columns["duration"]
            size = number(node.attrs.get("comm_size", 0), place, "comm_size")
            more: dict[str, Any] = {"kind": COLLECTIVE, "bytes": size, "duration": shortest}
            return [], columns | more | ({"group": key} if len(members) > 1 else {})
        if node.type in (_SEND, _RECV):
            return self._message(rank, node, key, columns)
        return [], columns | {"kind": COMPUTE}

    def _message(
        self, rank: int, node: ChakraNode, key: Hashable, columns: dict[str, Any]
    ) -> tuple[list[Hashable], dict[str, Any]]:
        attrs, place = node.attrs, self._place(rank, node)
        if node.type == _SEND:
            ends = {"source": rank, "target": _whole(attrs, "comm_dst", rank, place)}
            size = number(attrs.get("comm_size", 0), place, "comm_size")
            return [], columns | {"kind": TRANSFER, "bytes": size, "category": "pp", **ends}
        if key in self.sends:  # it ends when the message is there
            return [self.sends[key]], columns | {"kind": NOTHING, "duration": 0}
        if not columns["duration"]:
            raise InputError(
                f"receives from rank {attrs.get('comm_src')}, whose trace does not send it",
                where=place,
                mend="give the files of all ranks",
            )
        return [], columns | {"kind": COLLECTIVE, "category": "pp"}
