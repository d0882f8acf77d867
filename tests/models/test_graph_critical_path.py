"""The chain that sets the makespan, slack, bubbles and exposed communication."""

import numpy as np
import pytest

from mltwin.models.training.critical_path import Bubble, bubbles, exposed_communication
from mltwin.models.training.executor import execute
from mltwin.models.training.graph import COLLECTIVE, COMMUNICATION_STREAM, Graph, GraphBuilder
from mltwin.sim.ticks import TICKS_PER_S


def two_devices() -> Graph:
    """Device 0 computes 4 s, device 1 6 s; a collective of 3 s; 1 s of optimizer on both."""
    graph = GraphBuilder()
    forward = graph.add(
        device=[0, 1], duration=np.array([4, 6]) * TICKS_PER_S, name="f", category="forward"
    )
    extra = graph.add(device=0, duration=2 * TICKS_PER_S, name="e", category="other")
    reduce = graph.add(
        kind=COLLECTIVE, device=[0, 1], stream=COMMUNICATION_STREAM, duration=3 * TICKS_PER_S,
        group=7, after=forward, name="ar", category="dp",
    )  # fmt: skip
    graph.add(device=[0, 1], duration=TICKS_PER_S, after=reduce, name="o", category="optimizer")
    assert extra.tolist() == [2]
    return graph.build()


def test_chain_split_slack_and_bubbles_by_hand() -> None:
    run = execute(two_devices())
    assert (run.start // TICKS_PER_S).tolist() == [0, 0, 4, 6, 6, 9, 9]
    assert run.makespan_s == 10
    path = run.critical_path()
    assert path.tasks.tolist() == [1, 3, 5]
    assert [row["reason"] for row in path.rows()] == ["first", "group", "dependency"]
    assert path.by_category() == {"forward": 6.0, "optimizer": 1.0, "dp": 3.0}
    assert path.by_name() == {"f": 6.0, "ar": 3.0, "o": 1.0}
    assert (run.slack() // TICKS_PER_S).tolist() == [2, 0, 3, 0, 0, 0, 0]
    assert bubbles(run) == [
        Bubble(0, 0, 6 * TICKS_PER_S, 9 * TICKS_PER_S),
        Bubble(1, 0, 6 * TICKS_PER_S, 9 * TICKS_PER_S),
    ]
    assert (exposed_communication(run) // TICKS_PER_S).tolist() == [3, 3]
    assert run.bubble == pytest.approx(1 - (7 + 7) / 20)
    assert (run.idle // TICKS_PER_S).tolist() == [3, 0, 3, 0]
    assert "3 tasks, 10 s" in path.describe()


@pytest.mark.parametrize(("stages", "batches"), [(1, 4), (2, 2), (4, 8), (8, 3)])
def test_bubble_of_a_pipeline_is_that_of_the_gpipe_paper(stages: int, batches: int) -> None:
    """All forward, then all backward passes: (p - 1) / (m + p - 1) of the time is idle."""
    graph = GraphBuilder()
    stage = np.arange(stages)
    forward = np.stack([graph.add(device=stage, duration=3) for _ in range(batches)])
    backward = np.stack([graph.add(device=stage, duration=6) for _ in range(batches)])
    graph.depend(forward[:, 1:], forward[:, :-1])
    graph.depend(backward[:, :-1], backward[:, 1:])
    graph.depend(backward[:, -1], forward[:, -1])
    run = execute(graph.build())
    assert run.makespan == 9 * (batches + stages - 1)
    assert run.bubble == pytest.approx((stages - 1) / (batches + stages - 1))
    idle = sum(gap.end - gap.start for gap in bubbles(run))
    assert idle == run.idle.sum()


def test_nothing_to_run() -> None:
    run = execute(GraphBuilder().build())
    assert run.makespan == 0 and run.bubble == 0 and len(run.critical_path().tasks) == 0
    assert len(run.slack()) == 0 and bubbles(run) == []
    graph = GraphBuilder()
    graph.add(count=3)
    assert execute(graph.build(), order="ready").end.tolist() == [0, 0, 0]


def test_far_streams_are_found_by_sorting() -> None:
    """A table of all (device, stream) would hold 30,000,000,000 places."""
    graph = GraphBuilder()
    graph.add(device=[1_000_000, 5, 5, 1_000_000], stream=[30_000, 7, 0, 30_000], duration=2)
    run = execute(graph.build())
    assert run.start.tolist() == [0, 0, 0, 2]
    assert run.device.tolist() == [5, 5, 1_000_000]
    assert run.stream.tolist() == [0, 7, 30_000]
