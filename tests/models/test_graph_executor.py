"""The executor against its SimPy reference, and against times that can be told by hand."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mltwin.models.network.topology import SWITCH, Topology
from mltwin.models.training.critical_path import previous_on_stream
from mltwin.models.training.executor import GraphRun, execute, run_plan
from mltwin.models.training.executor_kernel import advance
from mltwin.models.training.executor_network import advance as advance_network
from mltwin.models.training.executor_network import make_network_world
from mltwin.models.training.executor_sweep import sweep
from mltwin.models.training.executor_tables import GraphPlan, make_world
from mltwin.models.training.graph import (
    COLLECTIVE,
    COMPUTE,
    HOST,
    NOTHING,
    TRANSFER,
    Graph,
    GraphBuilder,
)
from mltwin.models.training.graph_reference import GraphReference, execute_reference
from mltwin.models.training.tables import COLUMNS
from mltwin.models.training.transfers import transfer_routes
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import NEVER

GRAPHS = 1000


def random_graph(seed: int) -> Graph:
    """Few devices, short durations with many ties, groups, joins; some graphs cannot finish."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 26))
    devices, streams = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    graph = GraphBuilder()
    kind = rng.choice(
        [COMPUTE, COLLECTIVE, TRANSFER, HOST, NOTHING], n, p=[0.45, 0.2, 0.1, 0.1, 0.15]
    )
    device = np.where((kind == NOTHING) | (rng.random(n) < 0.05), -1, rng.integers(0, devices, n))
    duration = rng.choice([0, 1, 2, 3, 7, 10], n)
    duration[kind == TRANSFER] += 1
    group = np.where((kind == COLLECTIVE) & (rng.random(n) < 0.8), rng.integers(0, 4, n), -1)
    graph.add(
        kind=kind,
        device=device,
        stream=rng.integers(0, streams, n),
        priority=rng.integers(0, 3, n),
        duration=duration,
        group=group,
        source=np.where(kind == TRANSFER, 0, -1),
        target=np.where(kind == TRANSFER, 1, -1),
    )
    for task in range(1, n):
        before = rng.integers(0, task, int(rng.integers(0, 3)))
        graph.depend(np.full(len(before), task), before)
    if n > 2 and rng.random() < 0.05:
        graph.depend(0, int(rng.integers(1, n)))
    return graph.build()


def times_of(ends: dict[int, int], tasks: int) -> list[int]:
    return [ends.get(task, -1) for task in range(tasks)]


@pytest.mark.parametrize("by_priority", [False, True])
@pytest.mark.parametrize("slowdown", ["1", "5/4", "4/3"])
def test_kernel_equals_reference(by_priority: bool, slowdown: str) -> None:
    blocked = 0
    for seed in range(GRAPHS // 5):
        graph = random_graph(1000 * len(slowdown) + seed)
        reference = GraphReference(
            graph, by_priority=by_priority, slowdown=Fraction(slowdown)
        ).run()
        plan = GraphPlan(graph, by_priority=by_priority)
        plan.slowdown = Fraction(slowdown)
        world = make_world(plan)
        advance(world, NEVER - 1)
        assert world.start.tolist() == times_of(reference.start, len(graph)), seed
        assert world.end.tolist() == times_of(reference.end, len(graph)), seed
        blocked += len(reference.end) < len(graph)
        if not by_priority and slowdown == "1" and len(reference.end) == len(graph):
            again = make_world(plan)
            sweep(again)
            assert again.start.tolist() == world.start.tolist(), seed
            assert again.end.tolist() == world.end.tolist(), seed
        if len(reference.end) < len(graph):
            with pytest.raises(InputError, match=r"cycle|wait for each other"):
                run_plan(plan)
    assert 0 < blocked < GRAPHS // 10


def small_network(seed: int) -> Topology:
    """Four hosts on two switches, bandwidths of a few bytes a tick."""
    rng = np.random.default_rng(seed)
    cables = [(0, 4), (1, 4), (2, 5), (3, 5), (4, 5)]
    ends = np.array(cables + [(b, a) for a, b in cables])
    return Topology.make(
        name="small",
        nodes=("a", "b", "c", "d", "left", "right"),
        kinds=[1, 1, 1, 1, SWITCH, SWITCH],
        source=ends[:, 0],
        target=ends[:, 1],
        bytes_per_s=rng.integers(1, 6, len(ends)) * 1e11,
        latency_s=rng.integers(0, 3, len(ends)) * 1e-9,
        endpoints=[0, 1, 2, 3],
    )


def with_transfers(graph: Graph, seed: int) -> Graph:
    """The same tasks; transfers lose their duration and get bytes and ranks."""
    rng = np.random.default_rng(seed)
    moves = graph.kind == TRANSFER
    columns = {name: getattr(graph, name).copy() for name in COLUMNS}
    columns["duration"] = columns["duration"] * 1000
    columns["duration"][moves] = 0
    columns["bytes"][moves] = rng.choice([0, 10, 1000, 1234.5], moves.sum())
    columns["source"][moves] = rng.integers(0, 4, moves.sum())
    columns["target"][moves] = rng.integers(0, 4, moves.sum())
    waits = np.repeat(np.arange(len(graph)), np.diff(graph.after_first))
    return Graph.make(len(graph), columns, (waits, graph.after))


def finishing_graphs(
    first: int, count: int, by_priority: bool = False
) -> list[tuple[Graph, Topology]]:
    made: list[tuple[Graph, Topology]] = []
    seed = first
    while len(made) < count:
        seed += 1
        graph = with_transfers(random_graph(seed), seed)
        reference = GraphReference(graph, by_priority=by_priority).run()
        if len(reference.end) == len(graph) and (graph.kind == TRANSFER).any():
            made.append((graph, small_network(seed)))
    return made


def same_run(run: GraphRun, twin: GraphRun) -> bool:
    return run.start.tolist() == twin.start.tolist() and run.end.tolist() == twin.end.tolist()


@pytest.mark.parametrize("order", ["issue", "ready"])
def test_alphabeta_transfers_equal_reference(order: str) -> None:
    options: dict[str, Any] = {"order": order, "routing": "spray"}
    for graph, topology in finishing_graphs(5000, 50, order == "ready"):
        run = execute(graph, topology=topology, **options)
        assert same_run(run, execute_reference(graph, topology=topology, **options))


@pytest.mark.parametrize("routing", ["ecmp", "spray"])
def test_shared_links_equal_reference(routing: str) -> None:
    options: dict[str, Any] = {"fidelity": "maxmin", "routing": routing, "overlap_slowdown": 1.25}
    for graph, topology in finishing_graphs(7000, 100):
        run = execute(graph, topology=topology, **options)
        twin = execute_reference(graph, topology=topology, **options)
        np.testing.assert_allclose(run.end, twin.end.astype(float), rtol=1e-9, atol=2)
        path = run.critical_path()
        assert path.ticks.sum() == run.makespan
        assert (run.slack()[path.tasks] == 0).all()
        assert run.link_bytes is not None and run.link_bytes.sum() >= 0


def test_sprayed_parts_and_shares_by_hand() -> None:
    """Two transfers of 1,000 bytes share a link of 2 bytes a tick; a third has one to itself."""
    ends = np.array([(0, 2), (1, 2), (2, 3), (2, 4), (0, 5), (5, 3)])
    net = Topology.make(
        name="net", nodes=("a", "b", "s", "c", "d", "t"), kinds=[1, 1, 3, 1, 1, 3],
        source=ends[:, 0], target=ends[:, 1], bytes_per_s=[4e12, 4e12, 2e12, 2e12, 4e12, 4e12],
        latency_s=0.0, endpoints=[0, 1, 3, 4],
    )  # fmt: skip
    graph = GraphBuilder()
    graph.add(kind=TRANSFER, source=[0, 1, 1], target=[2, 2, 3], bytes=1000)
    made = graph.build()
    shortest = execute(made, topology=net, fidelity="maxmin", routing="shortest")
    # b sends 4 bytes a tick in all: 1 or 2 to c, 2 to d.
    assert shortest.end.tolist() == [1000, 1000, 500]
    sprayed = execute(made, topology=net, fidelity="maxmin", routing="spray")
    # Half of a's bytes go over t at 4 a tick (2 with the other half): the rest shares with b.
    assert sprayed.end.tolist() == [500, 750, 500]


def test_cut_into_pieces_is_the_same_run() -> None:
    for seed in range(40):
        plan = GraphPlan(random_graph(seed), slowdown=1.25)
        whole, pieces = make_world(plan), make_world(plan)
        advance(whole, NEVER - 1)
        for until in (*range(60), NEVER - 1):
            advance(pieces, until)
            assert pieces.start.max() <= until
        assert pieces.start.tolist() == whole.start.tolist()
        assert pieces.end.tolist() == whole.end.tolist()


def test_a_network_cut_into_pieces_is_the_same_run() -> None:
    for graph, topology in finishing_graphs(9000, 20):
        wired = graph.kind == TRANSFER
        found = transfer_routes(graph, wired, topology, "spray")
        plan = GraphPlan(graph, slowdown=1.25, wired=wired)
        whole = make_network_world(plan, found, topology)
        pieces = make_network_world(plan, found, topology)
        advance_network(whole, NEVER - 1)
        for until in (*range(0, 30_000, 97), NEVER - 1):
            advance_network(pieces, until)
        assert pieces.start.tolist() == whole.start.tolist()
        assert pieces.end.tolist() == whole.end.tolist()
        assert whole.end.min() >= 0


def test_every_finished_run_keeps_the_laws() -> None:
    """Streams run one task at a time, nobody starts early, chain and slack fit the makespan."""
    for seed in range(60):
        graph = random_graph(seed)
        try:
            runs = [execute(graph, order=order) for order in ("issue", "ready")]
        except InputError:
            continue
        for run in runs:
            waits = np.repeat(np.arange(len(graph)), np.diff(graph.after_first))
            assert (run.end[graph.after] <= run.start[waits]).all()
            before = previous_on_stream(run)
            later = before >= 0
            assert (run.end[before[later]] <= run.start[later]).all()
            assert (run.end - run.start >= graph.duration).all()
            path, slack = run.critical_path(), run.slack()
            assert path.ticks.sum() == run.makespan
            assert (slack >= 0).all() and (slack[path.tasks] == 0).all()
            assert sorted(run.order.tolist()) == list(range(len(graph)))


def test_slowed_compute_by_hand() -> None:
    """10 ticks of work beside 6 ticks of communication at 3/2: 4 units are done by then."""
    graph = GraphBuilder()
    graph.add(device=0, duration=10)
    graph.add(kind=COLLECTIVE, device=0, stream=1, duration=6)
    run = execute(graph.build(), overlap_slowdown=1.5)
    assert run.end.tolist() == [12, 6]


def test_priorities_and_order_of_issue() -> None:
    graph = GraphBuilder()
    graph.add(device=0, duration=[5, 5, 5], priority=[0, 1, 2])
    assert execute(graph.build()).start.tolist() == [0, 5, 10]
    assert execute(graph.build(), order="ready").start.tolist() == [10, 5, 0]


def test_issue_order_blocks_behind_a_task_that_is_not_ready() -> None:
    graph = GraphBuilder()
    slow = graph.add(device=1, duration=100)
    graph.add(device=0, duration=5, after=slow)
    graph.add(device=0, duration=5)
    assert execute(graph.build()).start.tolist() == [0, 100, 105]
    assert execute(graph.build(), order="ready").start.tolist() == [0, 100, 0]


def test_wrong_options_are_named() -> None:
    graph = GraphBuilder()
    graph.add(device=0, duration=1)
    with pytest.raises(InputError, match="no order 'fifo'"):
        execute(graph.build(), order="fifo")
    with pytest.raises(InputError, match=r"overlap_slowdown 0\.5"):
        execute(graph.build(), overlap_slowdown=0.5)
    graph.add(kind=TRANSFER, source=0, target=1, bytes=5, name="send")
    with pytest.raises(InputError, match=r"send \(task 1\) is a transfer without a duration"):
        execute(graph.build())
    graph.add(kind=TRANSFER, source=0, target=9, bytes=5, name="far")
    with pytest.raises(InputError, match=r"far \(task 2\) names rank 9"):
        execute(graph.build(), topology=small_network(1))


@pytest.mark.parametrize("fidelity", ["alphabeta", "maxmin"])
def test_a_broken_link_in_use_is_named(fidelity: str) -> None:
    topology = small_network(1)
    speed = topology.bytes_per_s.copy()
    speed[4] = 0
    graph = GraphBuilder()
    graph.add(kind=TRANSFER, source=0, target=1, bytes=5)
    execute(graph.build(), topology=topology.with_links(bytes_per_s=speed), fidelity=fidelity)
    graph.add(kind=TRANSFER, source=0, target=2, bytes=5, name="send")
    with pytest.raises(InputError, match=r"left -> right has no bandwidth, but send \(task 1\)"):
        execute(graph.build(), topology=topology.with_links(bytes_per_s=speed), fidelity=fidelity)
