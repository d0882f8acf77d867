"""Readers of execution traces on small files made here; published ones: test_executions_data."""

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.models.network.topology import Topology
from mltwin.models.training.executor import execute
from mltwin.models.training.tables import (
    CATEGORIES,
    COLLECTIVE,
    COLUMNS,
    COMPUTE,
    HOST,
    HOST_STREAM,
    KINDS,
    NOTHING,
    TRANSFER,
    Graph,
)
from mltwin.sim.errors import InputError
from mltwin.workloads.executions import read_execution
from mltwin.workloads.executions.plain import read_graph, save_graph
from mltwin.workloads.executions.wire import WireError, attribute, fields, messages, whole_numbers

US = 10**6


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def put(number: int, value: Any) -> bytes:
    """A field: an int as varint, a float as eight bytes, bytes and text with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(
    id: int, name: str, kind: int, us: int = 0, deps: tuple[int, ...] = (), **attrs: Any
) -> bytes:
    """A Chakra node as bytes; attributes: bool, int, float or text."""
    out = put(1, id) + put(2, name) + put(3, kind) + put(7, us)
    out += put(5, b"".join(map(varint, deps))) if deps else b""
    for key, value in attrs.items():
        number = {bool: 27, int: 9, float: 3, str: 29}[type(value)]
        value = int(value) if isinstance(value, bool) else value
        out += put(10, put(1, key) + put(number, value))
    return out


def write_et(path: Path, *nodes: bytes) -> Path:
    parts = (put(1, "0.0.4"), *nodes)
    path.write_bytes(b"".join(varint(len(part)) + part for part in parts))
    return path


COMP, SEND, RECV, COLL = 4, 5, 6, 7


def test_ranks_of_chakra_meet_in_collectives_and_messages(tmp_path: Path) -> None:
    files = [
        write_et(
            tmp_path / f"r.{rank}.et",
            node(1, "load", COMP, 5, is_cpu_op=True),
            node(2, "gemm", COMP, 10 + 20 * rank, (1,), is_cpu_op=False),
            node(3, "ar", COLL, 30 - 20 * rank, (2,), is_cpu_op=False, comm_type=0, comm_size=64),
            *(
                [node(4, "send", SEND, 0, (3,), comm_src=0, comm_dst=1, comm_size=1000)]
                if rank == 0
                else [
                    node(4, "recv", RECV, 0, (3,), comm_src=0, comm_dst=1),
                    node(5, "use", COMP, 7, (4,)),
                ]
            ),
        )
        for rank in (0, 1)
    ]
    graph = read_execution(files)
    labels = [graph.names[i] for i in graph.name]
    assert sorted(labels) == sorted(["load", "gemm", "ar"] * 2 + ["send", "recv", "use"])
    kind = dict(zip(labels, graph.kind.tolist(), strict=True))
    assert kind == {
        "load": HOST, "gemm": COMPUTE, "ar": COLLECTIVE, "send": TRANSFER, "recv": NOTHING,
        "use": COMPUTE,
    }  # fmt: skip
    wire = Topology.make(
        name="wire", nodes=("a", "b"), kinds=[1, 1], source=[0], target=[1],
        bytes_per_s=1e8, latency_s=0.0, endpoints=[0, 1],
    )  # fmt: skip
    run = execute(graph, topology=wire)
    ends = {(label, int(graph.device[i])): int(run.end[i]) // US for i, label in enumerate(labels)}
    # Both have the all-reduce from 35 us on, which takes the 10 us of the rank that came last.
    assert ends["gemm", 1] == 35 and ends["ar", 0] == ends["ar", 1] == 45
    assert ends["send", 0] == 55 and ends["recv", 1] == 55 and ends["use", 1] == 62


def test_chakra_files_that_do_not_fit(tmp_path: Path) -> None:
    def refused(text: str, *files: Path, **options: Any) -> None:
        with pytest.raises(InputError) as caught:
            read_execution(list(files), **options)
        assert text in str(caught.value), str(caught.value)

    gap = write_et(tmp_path / "gap.et", node(7, "x", COMP, 1, (9,)))
    refused(f"{gap}, node 7: waits for node 9, which there is not", gap)
    one = write_et(tmp_path / "one.et", node(1, "a", COLL, 5, comm_type=0))
    two = write_et(tmp_path / "two.et", node(1, "b", COLL, 5, comm_type=6))
    refused("node 1 (all_to_all) is where rank 0 has node 1 (all_reduce of", one, two)
    untimed = write_et(tmp_path / "u.et", node(1, "ar", COLL, comm_type=0, comm_size=4096))
    refused("ar of 4096 bytes has no duration; pass collective_seconds=", untimed)
    graph = read_execution(untimed, collective_seconds=lambda kind, size, ranks: size * 1e-9)
    assert graph.duration.tolist() == [4096 * 1000]
    work = write_et(tmp_path / "w.et", node(1, "mm", COMP, num_ops=1000, tensor_size=8))
    refused("mm of 1000 operations has no duration; pass compute_seconds=", work)
    assert read_execution(work, compute_seconds=lambda n, b: n * 1e-9).duration.tolist() == [US]
    alone = write_et(tmp_path / "r.et", node(1, "recv", RECV, comm_src=3, comm_dst=0))
    refused("receives from rank 3, whose trace does not send it", alone)
    twice = write_et(tmp_path / "t.et", node(1, "a", COMP, 1), node(1, "a", COMP, 1))
    refused("the id (0, 1) is there twice", twice)
    cut = tmp_path / "cut.et"
    cut.write_bytes(one.read_bytes()[:-3])
    refused("is no Chakra trace: the message at byte 8 is cut off", cut)
    refused("format chakra has no option 'clock'", one, clock=True)


def test_chakra_json_equals_the_wire(tmp_path: Path) -> None:
    wire = write_et(
        tmp_path / "a.et",
        node(1, "host", COMP, 5, is_cpu_op=True),
        node(2, "gemm", COMP, 10, (1,), is_cpu_op=False),
    )
    rows = [
        {"Id": 1, "Name": "host", "NodeType": 4, "runtime": 5, "data_deps": [], "is_cpu_op": True},
        {"Id": 2, "Name": "gemm", "NodeType": 4, "runtime": 10, "data_deps": [1]},
    ]
    text = tmp_path / "a.json"
    text.write_text(json.dumps({"workload_graph": rows}))
    assert read_execution(wire).digest == read_execution(text).digest


@given(
    st.lists(
        st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(max_size=40),
                  st.floats(allow_nan=False)),
        max_size=6,
    )
)  # fmt: skip
def test_attributes_come_back(values: list[Any]) -> None:
    for value in values:
        number = {bool: 27, int: 9, float: 3, str: 29}[type(value)]
        held = int(value) if isinstance(value, bool) else value
        assert attribute(put(1, "k") + put(number, held)) == ("k", value)


def test_lists_and_numbers_of_the_wire() -> None:
    assert attribute(put(1, "l") + put(10, put(1, varint(3) + varint(-4)))) == ("l", [3, -4])
    assert attribute(put(1, "s") + put(30, put(1, "a") + put(1, "b"))) == ("s", ["a", "b"])
    assert attribute(put(1, "d") + put(4, put(1, struct.pack("<2d", 0.5, 2.0)))) == (
        "d",
        [0.5, 2.0],
    )
    assert attribute(put(1, "z") + put(17, 3)) == ("z", -2)
    assert whole_numbers([5, varint(1) + varint(300)]) == [5, 1, 300]
    assert list(fields(put(4, 2**64 - 1))) == [(4, 2**64 - 1)]
    for wrong in (b"\xff" * 11, b"\x0a\x05ab", b"\x0b"):
        with pytest.raises(WireError):
            list(fields(wrong))
    with pytest.raises(WireError):
        list(messages(b"\x05ab"))


def random_graph(seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    columns = {
        "kind": rng.integers(0, len(KINDS), n),
        "device": rng.integers(-1, 5, n),
        "stream": rng.integers(0, 3, n),
        "priority": rng.integers(-3, 3, n),
        "duration": rng.integers(0, 10**18, n),
        "group": rng.integers(-1, 9, n),
        "source": rng.integers(0, 9, n),
        "target": rng.integers(0, 9, n),
        "bytes": rng.random(n) * 10.0 ** rng.integers(-3, 12, n),
        "name": rng.integers(0, 3, n),
        "category": rng.integers(0, len(CATEGORIES), n),
    }
    task = rng.integers(1, n + 1, 2 * n) - 1
    before = rng.integers(0, n, 2 * n)
    kept = task != before
    return Graph.make(n, columns, (task[kept], before[kept]), names=("", "é", 'a"b'))


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_a_saved_graph_comes_back_bit_for_bit(tmp_path: Path, ending: str) -> None:
    for seed in range(20):
        graph = random_graph(seed)
        again = read_graph(save_graph(graph, tmp_path / f"g{ending}"))
        assert again.digest == graph.digest
        for name in COLUMNS:
            assert getattr(again, name).dtype == getattr(graph, name).dtype
    empty = Graph.make(0, {})
    assert read_graph(save_graph(empty, tmp_path / f"e{ending}")).digest == empty.digest


HAND = [
    {"id": "f0", "name": "forward", "device": 0, "duration_s": 4e-3},
    {"id": "ar", "kind": "collective", "device": 0, "stream": 1, "duration_s": 1e-3,
     "after": ["f0"], "group": "gradients", "category": "dp"},
    {"id": 7, "device": 0, "duration": 5, "after": ["ar"], "priority": 2},
]  # fmt: skip


def plain(tmp_path: Path, tasks: list[Any], **top: Any) -> Path:
    path = tmp_path / "plain.json"
    path.write_text(json.dumps({"format": "mltwin graph", "version": 1, "tasks": tasks} | top))
    return path


def test_a_graph_written_by_hand(tmp_path: Path) -> None:
    graph = read_execution(plain(tmp_path, HAND))
    assert graph.duration.tolist() == [4 * 10**9, 10**9, 5]
    assert graph.group.tolist() == [-1, 0, -1]
    assert execute(graph).end.tolist() == [4 * 10**9, 5 * 10**9, 5 * 10**9 + 5]
    swapped = read_execution(plain(tmp_path, HAND[::-1]))
    assert [swapped.names[i] for i in swapped.name] == ["forward", "ar", "7"]
    assert swapped.duration.tolist() == [4 * 10**9, 10**9, 5]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"after": ["g0"]}, "task 'ar' waits for 'g0', which there is not"),
        ({"duration_s": -1}, "task 'ar': duration_s -1; give seconds"),
        ({"duration_s": float("nan")}, "task 'ar': duration_s nan"),
        ({"kind": "comm"}, "task 'ar': kind 'comm'; use compute, collective"),
        ({"colour": 1}, "task 'ar': unknown key 'colour'"),
        ({"stream": 1.5}, "task 'ar': stream 1.5; give a whole number"),
        ({"category": "gpu"}, "task 'ar': category 'gpu'"),
        ({"id": "f0"}, "the id 'f0' is there twice"),
        ({"id": None}, "task 1 of the list: has no 'id'"),
        ({"after": "f0"}, "task 'ar': after 'f0'; give a list"),
        ({"bytes": "1"}, "task 'ar': bytes '1'"),
        ({"kind": "transfer", "target": 0}, "source -1; a transfer needs its source rank"),
    ],
)
def test_what_a_plain_graph_refuses(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = plain(tmp_path, [HAND[0], HAND[1] | change])
    with pytest.raises(InputError) as caught:
        read_execution(path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    cases = [
        ("[1, 2]", "no execution trace"),
        ('{"format": "mltwin graph", "vers', "no JSON"),
        ('{"format": "mltwin graph", "version": 9}', "version 9"),
        ('{"format": "mltwin graph", "version": 1, "tasks": 3}', "no list 'tasks'"),
    ]
    path = tmp_path / "x.json"
    for content, text in cases:
        path.write_text(content)
        with pytest.raises(InputError, match=text):
            read_execution(path)
    with pytest.raises(InputError, match="no such file"):
        read_execution(tmp_path / "none.json")
    with pytest.raises(InputError, match="no execution traces"):
        read_execution([])
    (tmp_path / "bad.gz").write_bytes(gzip.compress(b"{}" * 100)[:20])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_execution(tmp_path / "bad.gz")
    with pytest.raises(InputError, match="no format 'xml'"):
        read_execution(path, format="xml")


def timeline(tmp_path: Path, rank: int, nccl_start: int, nccl_us: int) -> Path:
    """A thread that launches a kernel and an all-reduce on another stream, and waits for both."""

    def span(cat: str, name: str, tid: int, ts: int, dur: int, **args: Any) -> dict[str, Any]:
        return {"ph": "X", "cat": cat, "name": name, "tid": tid, "ts": ts, "dur": dur, "args": args}

    gpu = {"device": rank}
    end = nccl_start + nccl_us
    events = [
        span("cuda_runtime", "cudaLaunchKernel", 1, 1000, 6, correlation=1),
        span("kernel", "gemm", 7, 1004, 50, correlation=1, stream=7, **gpu),
        span("cuda_runtime", "cudaLaunchKernel", 1, 1010, 6, correlation=2),
        span("kernel", "ncclKernel_AllReduce_RING_LL_Sum_float(x)", 20, nccl_start, nccl_us,
             correlation=2, stream=20, **gpu),
        span("cuda_runtime", "cudaDeviceSynchronize", 1, 1020, end + 3 - 1020, correlation=3),
        span("cpu_op", "aten::mm", 1, 990, end + 20 - 990),
    ]  # fmt: skip
    path = tmp_path / f"rank{rank}.json"
    path.write_text(json.dumps({"traceEvents": events, "distributedInfo": {"rank": rank}}))
    return path


def test_a_timeline_replays_itself_and_follows_a_change(tmp_path: Path) -> None:
    graph = read_execution(timeline(tmp_path, 0, 1056, 40))
    run = execute(graph)
    gpu = np.flatnonzero(np.isin(graph.kind, [COMPUTE, COLLECTIVE]))
    assert (run.start[gpu] // US).tolist() == [4, 56]
    assert (run.end[gpu] // US).tolist() == [54, 96]
    assert run.makespan // US == 116
    assert graph.stream[graph.kind == HOST].tolist().count(HOST_STREAM) == len(
        graph.stream[graph.kind == HOST]
    )
    # The all-reduce began 2 us after the gemm, on another stream: it waited for it.
    columns = {name: getattr(graph, name).copy() for name in COLUMNS}
    columns["duration"][gpu[0]] += 100 * US
    waits = np.repeat(np.arange(len(graph)), np.diff(graph.after_first))
    slower = execute(Graph.make(len(graph), columns, (waits, graph.after), names=graph.names))
    assert (slower.start[gpu] // US).tolist() == [4, 156]
    assert slower.makespan // US == 216


def test_timelines_of_two_ranks_meet(tmp_path: Path) -> None:
    files = [timeline(tmp_path, 0, 1056, 40), timeline(tmp_path, 1, 1086, 10)]
    graph = read_execution(files)
    run = execute(graph)
    talks = graph.kind == COLLECTIVE
    assert (run.start[talks] // US).tolist() == [86, 86]
    assert (run.end[talks] // US).tolist() == [96, 96]
    with pytest.raises(InputError, match="is of rank 0, as is"):
        read_execution([files[0], files[0]])


def test_timelines_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    kernel = {"ph": "X", "cat": "kernel", "name": "k"}
    timeless = kernel | {"args": {"device": 0, "stream": 7, "correlation": 1}}
    cases = [
        ([], "has no GPU work"),
        ([kernel | {"args": {}}], "names no device"),
        ([timeless], "event 'k' has no times"),
    ]
    for content, text in cases:
        path.write_text(json.dumps({"traceEvents": content}))
        with pytest.raises(InputError, match=text):
            read_execution(path)


def pytorch(tmp_path: Path, rank: int) -> Path:
    """A matrix product, an all-reduce of its result, a use of that, and a host operator."""

    def tensor(number: int, device: str = "cuda:0") -> list[Any]:
        return [number, 100 + number, 0, 256, 4, device]

    def op(id: int, name: str, ins: list[Any], outs: list[Any], parent: int = 1) -> dict[str, Any]:
        return {"id": id, "name": name, "parent": parent, "tid": 1, "inputs": ins, "outputs": outs,
                "input_shapes": [], "input_types": []}  # fmt: skip

    nodes = [
        op(1, "[pytorch|profiler|execution_graph|thread]", [], [], 0),
        op(2, "aten::mm", [tensor(1), tensor(2)], [tensor(3)]),
        op(3, "record_param_comms", [[tensor(3)], 7, ["0", "default_pg"], 0, "allreduce"], []),
        op(4, "nccl:all_reduce", [tensor(3)], [], 3),
        op(5, "aten::relu", [tensor(4)], [tensor(5)]),
        op(6, "aten::add", [tensor(3)], [tensor(6)]),
        op(7, "aten::item", [tensor(9, "cpu")], []),
    ]
    path = tmp_path / f"et{rank}.json"
    path.write_text(json.dumps({"schema": "1.0.1", "nodes": nodes}))
    return path


def test_operators_with_a_model_of_times(tmp_path: Path) -> None:
    files = [pytorch(tmp_path, 0), pytorch(tmp_path, 1)]
    options: dict[str, Any] = {
        "op_seconds": lambda op: (op.input_bytes + op.output_bytes) * 1e-9,
        "collective_seconds": lambda kind, size, ranks: size * ranks * 1e-9,
    }
    graph = read_execution(files, **options)
    run = execute(graph)
    labels = [graph.names[i] for i in graph.name]
    one = {label: int(run.end[i]) // 1000 for i, label in enumerate(labels) if graph.device[i] == 1}
    # relu hides behind the all-reduce, add waits for it.
    assert one == {
        "aten::mm": 3072, "nccl:all_reduce": 5120, "aten::relu": 5120, "aten::add": 7168,
        "aten::item": 1024,
    }  # fmt: skip
    assert graph.group.max() == 0
    with pytest.raises(InputError, match="holds no times; pass op_seconds="):
        read_execution(files)
    with pytest.raises(InputError, match=r"all_reduce of 1024 bytes has no time"):
        read_execution(files, op_seconds=options["op_seconds"])
