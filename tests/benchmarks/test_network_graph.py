"""The graph that the benchmark times is executed as the reference says."""

import pytest

from benchmarks.network_graph import SLOWDOWN, overlap_graph
from mltwin.models.training.executor import execute
from mltwin.models.training.graph_reference import execute_reference


@pytest.mark.slow
def test_a_step_of_the_timed_graph_equals_the_reference() -> None:
    graph = overlap_graph(1000)
    assert len(graph) == 9280
    run = execute(graph, overlap_slowdown=SLOWDOWN)
    twin = execute_reference(graph, overlap_slowdown=SLOWDOWN)
    assert run.end.tolist() == twin.end.tolist()
    # The slowdown is felt: it is not the run of undisturbed kernels.
    assert run.makespan > execute(graph).makespan
