"""Graphs that cannot run: one line that names the tasks."""

import numpy as np
import pytest

from mltwin.models.training.executor import execute
from mltwin.models.training.graph import COLLECTIVE, Graph, GraphBuilder
from mltwin.sim.errors import InputError


def message(graph: Graph, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        execute(graph, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cycle_names_its_tasks_in_order() -> None:
    graph = GraphBuilder()
    graph.add(device=0, duration=1, name="start")
    graph.add(count=3, device=[1, 2, 3], duration=1, name=["a", "b", "c"])
    graph.depend([1, 2, 3, 1], [3, 1, 2, 0])
    for order in ("issue", "ready"):
        assert message(graph.build(), order=order) == (
            "the graph has a cycle of 3 tasks: a (task 1) waits for c (task 3); "
            "c (task 3) waits for b (task 2); b (task 2) waits for a (task 1); "
            "remove one of these dependencies"
        )


def test_a_long_cycle_is_cut_in_the_message() -> None:
    graph = GraphBuilder()
    ring = np.arange(5000)
    graph.add(device=-1, duration=np.ones(5000, int), after=(ring + 1) % 5000)
    text = message(graph.build())
    assert "a cycle of 5000 tasks: compute (task 0) waits for compute (task 1);" in text
    assert "... 4992 more" in text


def test_an_order_of_issue_against_the_dependencies() -> None:
    graph = GraphBuilder()
    graph.add(device=0, duration=1, name="x")
    graph.add(device=0, duration=1, name="y")
    graph.depend(0, 1)
    text = message(graph.build())
    assert "x (task 0) waits for y (task 1)" in text
    assert "y (task 1) stands behind x (task 0) on device 0, stream 0" in text
    assert execute(graph.build(), order="ready").start.tolist() == [1, 0]


@pytest.mark.parametrize("order", ["issue", "ready"])
def test_groups_issued_in_crossed_order(order: str) -> None:
    graph = GraphBuilder()
    names = ["A0", "B0", "B1", "A1"]
    graph.add(kind=COLLECTIVE, device=[0, 0, 1, 1], group=[0, 1, 1, 0], duration=5, name=names)
    text = message(graph.build(), order=order)
    assert "4 tasks never run" in text
    assert "B0 (task 1) stands behind A0 (task 0) on device 0, stream 0" in text
    assert "A1 (task 3) stands behind B1 (task 2) on device 1, stream 0" in text
    assert "A0 (task 0) waits for A1 (task 3) of its group 0" in text
    assert "B1 (task 2) waits for B0 (task 1) of its group 1" in text


def test_two_members_of_a_group_on_one_stream() -> None:
    graph = GraphBuilder()
    graph.add(kind=COLLECTIVE, device=0, group=0, duration=[5, 5], name="ar")
    text = message(graph.build())
    assert "ar (task 1) stands behind ar (task 0)" in text
    assert "ar (task 0) waits for ar (task 1) of its group 0" in text


def test_what_builder_and_graph_refuse() -> None:
    graph = GraphBuilder()
    graph.add(device=0, duration=1)
    cases = [
        (lambda: graph.add(device=[0, 1], duration=[1, 2, 3]), "device 2, duration 3"),
        (lambda: graph.add(devices=0), "no column 'devices'"),
        (lambda: graph.add(category="forwards"), "no category 'forwards'"),
        (lambda: Graph.make(1, {"duration": -1}), "task 0: duration -1"),
        (lambda: Graph.make(1, {"duration": 1.5}), "column 'duration' must hold int64"),
        (lambda: Graph.make(2, {"kind": [0, 9]}), "task 1: kind 9"),
        (lambda: Graph.make(1, {"kind": 2, "source": 0}), "task 0: target -1"),
        (lambda: Graph.make(1, {"group": 10**9}), "task 0: group 1000000000; number groups"),
        (lambda: Graph.make(1, {"device": 10**9}), "task 0: device 1000000000"),
        (lambda: Graph.make(1, {"bytes": np.nan}), "task 0: bytes nan"),
        (lambda: Graph.make(1, {}, ([0], [3])), "there is no task 3; the graph has tasks 0 to 0"),
        (lambda: Graph.make(1, {}, ([0], [0])), "task 0 waits for itself"),
        (lambda: Graph.make(2, {"device": [2**40, 0]}), "column 'device' has values beyond"),
    ]
    for call, text in cases:
        with pytest.raises(InputError, match=text.replace("(", r"\(").replace(".", r"\.")):
            call()


def test_graphs_are_equal_by_digest_and_cannot_be_written() -> None:
    def build(name: str) -> Graph:
        graph = GraphBuilder()
        first = graph.add(count=3, device=[0, 1, 2], duration=5, name=name)
        graph.depend_all(graph.add(count=2, device=0), first)
        return graph.build()

    assert build("f").digest == build("f").digest != build("g").digest
    with pytest.raises(ValueError, match="read-only"):
        build("f").duration[0] = 7
    assert build("f").describe() == "5 tasks (5 compute) on 3 devices"


def test_depend_all_joins_large_sets() -> None:
    graph = GraphBuilder()
    first = graph.add(count=6, device=np.arange(6), duration=np.arange(1, 7))
    last = graph.add(count=6, device=np.arange(6), duration=1)
    graph.depend_all(last, first)
    made = graph.build()
    assert len(made.after) == 12
    assert (execute(made).start[last] == 6).all()
