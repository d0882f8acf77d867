"""Published execution traces, read and replayed."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from mltwin.models.training.executor import execute
from mltwin.models.training.tables import COLLECTIVE, COMPUTE, HOST
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks
from mltwin.workloads.executions import read_execution
from mltwin.workloads.executions.kineto_events import read_rank
from mltwin.workloads.executions.plain import read_graph, save_graph

pytestmark = pytest.mark.data
US = 10**6


def unpacked(data_dir: Path, tmp_path: Path, name: str) -> list[Path]:
    archive = data_dir / "traces/execution_traces" / name
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    return sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_chakra_on_the_wire(data_dir: Path, tmp_path: Path) -> None:
    (path,) = unpacked(data_dir, tmp_path, "chakra/feeder_tests_trace.tar.gz")
    graph = read_execution(path)
    count = np.bincount(graph.kind, minlength=5).tolist()
    # 21 nodes are collectives, 14 of them operators of the host; 1,209 kernels.
    assert count == [1209, 7, 0, 2448, 0]
    assert graph.duration.sum() == 381_795 * US
    talks = graph.kind == COLLECTIVE
    assert graph.bytes[talks].min() > 0
    run = execute(graph)
    assert run.makespan < graph.duration.sum()
    assert (
        execute(read_graph(save_graph(graph, tmp_path / "g.json"))).end.tolist() == run.end.tolist()
    )
    with pytest.raises(InputError, match="waits for node 3, which there is not; read without"):
        read_execution(path, control=True)


def test_chakra_json_is_the_same_graph(data_dir: Path, tmp_path: Path) -> None:
    (wire,) = unpacked(data_dir, tmp_path / "wire", "chakra/feeder_tests_trace.tar.gz")
    texts = unpacked(data_dir, tmp_path / "text", "chakra/json_trace.tar.gz")
    text = next(path for path in texts if not path.name.startswith("small"))
    one, other = read_execution(wire), read_execution(text)
    # The text has "Id" for "id" inside names too.
    assert [n.lower() for n in one.names] == [n.lower() for n in other.names]
    for column in ("kind", "duration", "device", "after_first", "after"):
        assert (getattr(one, column) == getattr(other, column)).all(), column


def test_a_resnet_timeline_replays_to_the_tick(data_dir: Path) -> None:
    path = data_dir / "traces/execution_traces/param/resnet_kineto.json.gz"
    trace, graph = read_rank(path, 0), read_execution(path)
    run = execute(graph)
    gpu = (graph.kind == COMPUTE) | (graph.kind == COLLECTIVE)
    assert gpu.sum() == 9628 + 123 + 362
    recorded = sorted((op.start - trace.begin, op.end - trace.begin) for op in trace.ops)
    assert sorted(zip(run.start[gpu].tolist(), run.end[gpu].tolist(), strict=True)) == recorded
    assert run.makespan == max(trace.host_end) - trace.begin


def test_eight_ranks_of_dlrm_end_when_they_did(data_dir: Path, tmp_path: Path) -> None:
    """Clocks of one machine: with collectives as long as their last rank needed, every kernel ends
    within 10 us of its recorded time, half of them at it, though ranks waited up to 7.6 ms."""
    timelines = unpacked(data_dir, tmp_path / "k", "param/dlrm_kineto.tar.gz")
    asked = unpacked(data_dir, tmp_path / "e", "param/dlrm_pytorch_et.tar.gz")
    graph = read_execution(timelines, execution_traces=asked)
    run = execute(graph)
    traces = [read_rank(path, 0) for path in timelines]
    begin = min(trace.begin for trace in traces)
    for trace in traces:
        gpu = np.isin(graph.kind, [COMPUTE, COLLECTIVE]) & (graph.device == trace.rank)
        apart = np.sort(run.end[gpu]) - np.sort([op.end - begin for op in trace.ops])
        assert np.abs(apart).max() <= 10 * US
        assert np.median(np.abs(apart)) == 0
    talks = graph.kind == COLLECTIVE
    assert talks.sum() == 64 and len(set(graph.group[talks].tolist())) == 8
    assert sorted(set(graph.bytes[talks].tolist()))[-1] == 394_241 * 4


def test_timelines_and_traces_of_different_steps(data_dir: Path, tmp_path: Path) -> None:
    timelines = unpacked(data_dir, tmp_path / "k", "param/dlrm_kineto.tar.gz")
    other = data_dir / "traces/execution_traces/param/linear_et.json.gz"
    with pytest.raises(InputError, match="has 0 collectives"):
        read_execution(timelines[0], execution_traces=[other])


def test_pytorch_traces_of_both_schemas(data_dir: Path) -> None:
    folder = data_dir / "traces/execution_traces/param"
    options = {
        "op_seconds": lambda op: 1e-6,
        "collective_seconds": lambda kind, size, ranks: 1e-5 + size / 1e11,
    }
    linear = read_execution(folder / "linear_et.json.gz", **options)
    assert (linear.kind == COMPUTE).all() and len(linear) == 385
    resnet = read_execution(folder / "1.1.0-chakra.0.0.4/resnet_2gpu_et.json.gz", **options)
    talks = resnet.kind == COLLECTIVE
    assert talks.sum() == 21
    assert (resnet.duration[talks] > ticks(1e-5)).all()
    assert execute(resnet).makespan > 0 and not (resnet.kind == HOST).all()
