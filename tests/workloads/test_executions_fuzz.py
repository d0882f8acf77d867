"""Whatever stands in an execution trace: a graph, or one clear error; never a traceback."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mltwin.models.training.tables import Graph
from mltwin.sim.errors import InputError
from mltwin.workloads.executions import read_execution

ODD = [None, True, -1, 2**70, 1e400, float("nan"), "", "x", "\x00", [], [[]], {}, {"a": 1}, 0.5]
MODELS: dict[str, Any] = {
    "op_seconds": lambda op: 1e-6,
    "collective_seconds": lambda kind, size, ranks: 1e-6,
}


def span(cat: str, name: str, ts: int, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "tid": 1, "ts": ts, "dur": 5, "args": args}


KINETO = {
    "distributedInfo": {"rank": 0},
    "traceEvents": [
        span("cuda_runtime", "cudaLaunchKernel", 1, correlation=1),
        span("kernel", "gemm", 4, correlation=1, stream=7, device=0),
        span("cuda_runtime", "cudaLaunchKernel", 8, correlation=2),
        span("kernel", "ncclDevKernel_AllReduce_Sum(x)", 14, correlation=2, stream=9, device=0,
             **{"Process Group Name": "0", "In msg nelems": 10, "dtype": "Float"}),
        span("cuda_runtime", "cudaStreamSynchronize", 15, correlation=3),
    ],
}  # fmt: skip
TENSOR = [3, 30, 0, 256, 4, "cuda:0"]
FLAT = {"parent": 1, "tid": 1, "input_shapes": [], "input_types": []}
PYTORCH = {
    "schema": "1.0.1",
    "nodes": [
        {"id": 2, "name": "aten::mm", "inputs": [TENSOR], "outputs": [TENSOR], **FLAT},
        {"id": 3, "name": "nccl:all_reduce", "inputs": [TENSOR], "outputs": [], **FLAT},
    ],
}
NESTED = {
    "schema": "1.1.0-chakra.0.0.4",
    "nodes": [
        {
            "id": 2,
            "name": "aten::mm",
            "ctrl_deps": 1,
            "inputs": {"values": [TENSOR], "shapes": [], "types": []},
            "outputs": {"values": [TENSOR], "shapes": [], "types": []},
            "attrs": [{"name": "tid", "type": "uint64", "value": 1}],
        }
    ],
}
CHAKRA = {
    "workload_graph": [
        {"Id": 1, "Name": "a", "NodeType": 4, "runtime": 5, "data_deps": [], "num_ops": 3},
        {"Id": 2, "Name": "b", "NodeType": 7, "data_deps": [1], "comm_size": 5, "comm_type": 2},
        {"Id": 3, "Name": "c", "NodeType": 5, "data_deps": [2], "comm_dst": 0, "comm_tag": 1},
    ]
}
PLAIN = {
    "format": "mltwin graph",
    "version": 1,
    "tasks": [
        {"id": "a", "device": 0, "duration_s": 1e-3, "name": "f", "group": 1, "bytes": 5},
        {"id": "b", "kind": "collective", "after": ["a"], "duration": 5, "category": "dp"},
    ],
}
COLUMNS = {
    "format": "mltwin graph",
    "version": 1,
    "count": 2,
    "names": ["", "a"],
    "columns": {"device": 0, "name": [0, 1], "duration": [4, 5]},
    "waits": [0, 1],
    "after": [0],
    "facts": {},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside a JSON value."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    found = [path] if path else []
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def changed(value: Any, rng: random.Random) -> Any:
    """A copy with one value odd, gone, or doubled."""
    made = copy.deepcopy(value)
    *way, last = rng.choice(places(made))
    inner = made
    for key in way:
        inner = inner[key]
    what = rng.random()
    if what < 0.7:
        inner[last] = rng.choice(ODD)
    elif what < 0.85 or isinstance(inner, dict):
        del inner[last]
    else:
        inner.append(copy.deepcopy(inner[last]))
    return made


def try_to_read(path: Path, **options: Any) -> None:
    try:
        assert isinstance(read_execution(path, **options), Graph)
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("format", "base"),
    [("kineto", KINETO), ("pytorch", PYTORCH), ("pytorch", NESTED), ("chakra", CHAKRA),
     ("plain", PLAIN), ("plain", COLUMNS)],
)  # fmt: skip
def test_odd_values(tmp_path: Path, format: str, base: Any) -> None:
    path = tmp_path / "odd.json"
    options = {"kineto": {}, "plain": {}, "chakra": dict(list(MODELS.items())[1:])}.get(
        format, MODELS
    )
    path.write_text(json.dumps(base))
    assert len(read_execution(path, format=format, **options)) > 0 or format == "chakra"
    rng = random.Random(4)
    for _ in range(200):
        path.write_text(json.dumps(changed(base, rng)))
        try_to_read(path, format=format, **options)


def test_odd_bytes(tmp_path: Path) -> None:
    text = b"\x07\x0a\x050.0.4"
    node = bytes([8, 1, 18, 1, 97, 24, 4, 42, 1, 2, 56, 5, 82, 8, 10, 3, 116, 105, 100, 72, 1, 0])
    whole = text + bytes([len(node)]) + node + bytes([4, 8, 2, 24, 4])
    rng = random.Random(5)
    path = tmp_path / "odd.et"
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data[: rng.randint(1, len(data))]))
        try_to_read(path, format="chakra")
