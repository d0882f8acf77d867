"""A run of a task graph in Perfetto's format: every slice where the run says."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from mltwin.models.training.executor import GraphRun, execute
from mltwin.models.training.graph import (
    COLLECTIVE,
    COMMUNICATION_STREAM,
    HOST,
    HOST_STREAM,
    NOTHING,
    TRANSFER,
    GraphBuilder,
)
from mltwin.models.training.tables import CATEGORIES
from mltwin.sim.errors import InputError
from mltwin.training_trace import save_trace, stream_name

US = 10**6


def small_run() -> GraphRun:
    graph = GraphBuilder()
    host = graph.add(kind=HOST, device=[0, 1], stream=HOST_STREAM, duration=3 * US, name="launch")
    forward = graph.add(
        device=[0, 1], duration=np.array([10, 20]) * US, after=host, name="f", category="forward"
    )
    join = graph.add(kind=NOTHING)
    graph.depend(join, forward)
    reduced = graph.add(
        kind=COLLECTIVE, device=[0, 1], stream=COMMUNICATION_STREAM, group=0, duration=5 * US,
        after=join[[0, 0]], name="ar", category="dp", bytes=1e6,
    )  # fmt: skip
    graph.add(
        kind=TRANSFER, source=0, target=1, duration=7 * US, bytes=5, after=reduced[:1], name="send"
    )
    return execute(graph.build())


def test_slices_stand_where_the_run_says(tmp_path: Path) -> None:
    run = small_run()
    assert save_trace(run, tmp_path / "t.json") == []
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    process = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    thread = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    found = defaultdict(list)
    for e in events:
        if e["ph"] == "X":
            lane = (process[e["pid"]], thread[e["pid"], e["tid"]])
            found[lane].append((e["name"], e["cat"], e["ts"], e["dur"]))
    assert found["critical path", "critical path"] == [
        ("launch", "other", 0, 3), ("f", "forward", 3, 20), ("ar", "dp", 23, 5),
        ("send", "other", 28, 7),
    ]  # fmt: skip
    assert found["device 0", "compute"] == [("f", "forward", 3, 10)]
    assert found["device 1", "communication"] == [("ar", "dp", 23, 5)]
    assert found["device 1", "host thread 0"] == [("launch", "other", 0, 3)]
    assert found["no device", "tasks"] == [("send", "other", 28, 7)]
    arrows = [e for e in events if e["ph"] == "s"]
    assert len(arrows) == 3  # two launches, one send; joins are not drawn


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write \.txt"):
        save_trace(small_run(), tmp_path / "t.txt")


def test_streams_bear_the_name_of_what_they_carry() -> None:
    dp, pp = CATEGORIES.index("dp"), CATEGORIES.index("pp")
    assert stream_name(1, [dp]) == "communication"
    assert stream_name(3, [pp, pp]) == "pp (stream 3)"
    assert stream_name(3, [dp, pp]) == stream_name(3) == stream_name(3, [0]) == "stream 3"
