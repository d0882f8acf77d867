"""PyTorch execution traces (schemas 1.0.1 and 1.1): operators with their tensors, but no times.

The trace of a step (`ExecutionTraceObserver`, PARAM) says which operators ran in which thread on
which tensors. Times come from a Kineto timeline of the same step (`read_kineto` with
``execution_traces=``, which takes from here what collectives moved), or from a model of operators
(`read_pytorch` with ``op_seconds=``).

A tensor is written [id, storage, offset, elements, bytes an element, device].
"""

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltwin.models.training.tables import (
    COLLECTIVE,
    COMMUNICATION_STREAM,
    COMPUTE,
    COMPUTE_STREAM,
    HOST,
    HOST_STREAM,
    Graph,
)
from mltwin.sim.errors import InputError

from .rows import TaskRows, seconds_as_ticks, whole
from .wire import read_bytes


@dataclass(frozen=True)
class Operator:
    """One operator call that called no other.

    Attributes:
        name: e.g. "aten::addmm".
        shapes: of its inputs, as nested lists; types: e.g. "Tensor(float)", one an input.
        input_bytes, output_bytes: of its tensors.
        device: "cuda" or "cpu", where its tensors are.
    """

    name: str
    shapes: list[Any]
    types: list[str]
    input_bytes: float
    output_bytes: float
    device: str


OpSeconds = Callable[[Operator], float]
CollectiveSeconds = Callable[[str, float, int], float]


@dataclass(frozen=True)
class EtNode:
    """A node of either schema. `group`: process group of a collective, as text."""

    id: int
    name: str
    parent: int
    tid: int
    inputs: list[Any]
    shapes: list[Any]
    types: list[str]
    outputs: list[Any]


@dataclass(frozen=True)
class Collective:
    """A collective as NCCL was asked for it: kind, bytes of its input tensors, process group."""

    node: int
    kind: str
    nbytes: float
    group: str


def read_pytorch(
    paths: Sequence[str | Path],
    *,
    op_seconds: OpSeconds | None = None,
    collective_seconds: CollectiveSeconds | None = None,
) -> Graph:
    """The graph of a step from the execution traces of its ranks, rank 0 first.

    Operators run in the order in which they were called, on the GPU if their tensors are there,
    else in their thread. An operator waits for those of other streams that wrote its tensors.

    Args:
        paths: one file a rank.
        op_seconds: time of an operator.
        collective_seconds: (kind, bytes, ranks) -> time of a collective.

    Raises:
        InputError: a file that is none, no `op_seconds`, ranks whose collectives differ in number.
    """
    if op_seconds is None:
        raise InputError(
            "a PyTorch execution trace holds no times",
            where=str(paths[0]),
            mend="pass op_seconds=, or read the Kineto timeline of the same step",
        )
    traces = [read_nodes(Path(path)) for path in paths]
    counts = {len(list(_collectives(nodes))) for nodes in traces}
    if len(counts) > 1:
        raise InputError(
            f"ranks have {' and '.join(map(str, sorted(counts)))} collectives",
            where=str(paths[0]),
            mend="give traces of the same step",
        )
    rows = TaskRows(f"{len(paths)} PyTorch execution traces")
    for rank, nodes in enumerate(traces):
        _add_rank(rows, rank, nodes, str(paths[rank]), len(paths), op_seconds, collective_seconds)
    return rows.graph({"format": "pytorch", "ranks": len(paths)})


def _add_rank(
    rows: TaskRows,
    rank: int,
    nodes: list[EtNode],
    where: str,
    ranks: int,
    op_seconds: OpSeconds,
    collective_seconds: CollectiveSeconds | None,
) -> None:
    called = {node.parent for node in nodes}
    talks = {found.node: (turn, found) for turn, found in enumerate(_collectives(nodes))}
    writer: dict[Hashable, tuple[int, int]] = {}
    threads: dict[int, int] = {}
    for node in nodes:
        place = f"{where}, node {node.id}"
        columns: dict[str, Any]
        group = None
        read, written = list(tensors(node.inputs)), list(tensors(node.outputs))
        if node.id in talks:
            turn, found = talks[node.id]
            if collective_seconds is None:
                raise InputError(
                    f"{node.name} of {found.nbytes:g} bytes has no time",
                    where=place,
                    mend="pass collective_seconds=",
                )
            took = collective_seconds(found.kind, found.nbytes, ranks)
            columns = {"kind": COLLECTIVE, "stream": COMMUNICATION_STREAM, "bytes": found.nbytes}
            group = (found.group, turn) if ranks > 1 else None
            written += read  # in place, as far as the trace tells
        elif node.id in called or not (read or written):
            continue
        else:
            on_gpu = any(str(tensor[5]).startswith("cuda") for tensor in read + written)
            operator = Operator(
                node.name,
                node.shapes,
                node.types,
                sum(map(_bytes, read)),
                sum(map(_bytes, written)),
                "cuda" if on_gpu else "cpu",
            )
            took = op_seconds(operator)
            thread = HOST_STREAM + threads.setdefault(node.tid, len(threads))
            columns = {"kind": HOST, "stream": thread, "category": "host"}
            if on_gpu:
                columns = {"kind": COMPUTE, "stream": COMPUTE_STREAM}
        ticks = seconds_as_ticks(took, place, f"time of {node.name}")
        after = [writer[tensor[1]] for tensor in read if tensor[1] in writer]
        columns |= {"device": rank, "duration": ticks}
        rows.add((rank, node.id), place=place, after=after, name=node.name, group=group, **columns)
        for tensor in written:
            writer[tensor[1]] = (rank, node.id)


def read_nodes(path: Path) -> list[EtNode]:
    """All nodes of a trace in the order of their ids. InputError if it is none."""
    try:
        found = json.loads(read_bytes(path))
        schema, nodes = str(found["schema"]), list(found["nodes"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            "is no PyTorch execution trace",
            where=str(path),
            mend="give JSON with 'schema' and 'nodes'",
        ) from None
    made = []
    for number, node in enumerate(nodes):
        try:
            made.append(_flat(node) if "inputs" in node and "parent" in node else _nested(node))
            whole(made[-1].id, f"{path}, node {number} of the list", "id", most=2**62)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise InputError(
                f"schema {schema}: a node that is none: {error}",
                where=f"{path}, node {number} of the list",
                mend="schemas 1.0.1 and 1.1.0 are read",
            ) from None
    return sorted(made, key=lambda node: node.id)


def _flat(node: dict[str, Any]) -> EtNode:
    """Schema 1.0.1."""
    return EtNode(
        node["id"],
        str(node["name"]),
        int(node["parent"]),
        int(node["tid"]),
        node["inputs"],
        node["input_shapes"],
        node["input_types"],
        node["outputs"],
    )


def _nested(node: dict[str, Any]) -> EtNode:
    """Schema 1.1.0-chakra."""
    inputs, attrs = node["inputs"], {str(a["name"]): a["value"] for a in node["attrs"]}
    return EtNode(
        node["id"],
        str(node["name"]),
        int(node["ctrl_deps"]),
        int(attrs.get("tid", 0)),
        inputs["values"],
        inputs["shapes"],
        inputs["types"],
        node["outputs"]["values"],
    )


def tensors(values: Any) -> Iterator[list[Any]]:
    """Tensors among values, in lists of any depth."""
    if not isinstance(values, list):
        return
    numbers = [isinstance(value, int) and 0 <= value < 2**62 for value in values[:5]]
    if len(values) == 6 and isinstance(values[5], str) and all(numbers):
        yield values
        return
    for value in values:
        yield from tensors(value)


def _bytes(tensor: list[Any]) -> float:
    return float(tensor[3]) * float(tensor[4])


def read_collectives(path: Path) -> list[Collective]:
    """The collectives of a trace in the order in which they were issued."""
    return list(_collectives(read_nodes(path)))


def _collectives(nodes: list[EtNode]) -> Iterator[Collective]:
    by_id = {node.id: node for node in nodes}
    for node in nodes:
        if not node.name.startswith("nccl:"):
            continue
        asked = by_id.get(node.parent)
        group = ""
        told = asked is not None and isinstance(asked.inputs, list) and len(asked.inputs) > 2
        if asked is not None and told and asked.name == "record_param_comms":
            group = str(asked.inputs[2])
            group = "" if group.isdigit() else group  # an address, which differs between ranks
        kind = node.name.removeprefix("nccl:").removeprefix("_")
        yield Collective(node.id, kind, sum(map(_bytes, tensors(node.inputs))), group)
