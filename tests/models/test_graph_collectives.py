"""Collectives as transfers inside a graph take what they take alone on the network."""

import numpy as np
import pytest

from mltwin.models.network.collectives import transfers
from mltwin.models.network.collectives_flows import flow_table
from mltwin.models.network.simulate import simulate_flows
from mltwin.models.network.topology import SWITCH, Topology
from mltwin.models.training.executor import execute
from mltwin.models.training.graph import GraphBuilder
from mltwin.models.training.graph_collectives import add_collective
from mltwin.sim.errors import InputError

RANKS, RATE, LATENCY = 4, 1e10, 2e-6


def star() -> Topology:
    """Four hosts on a switch."""
    host = np.arange(RANKS)
    hub = np.full(RANKS, RANKS)
    return Topology.make(
        name="star",
        nodes=("a", "b", "c", "d", "hub"),
        kinds=[1] * RANKS + [SWITCH],
        source=np.concatenate([host, hub]),
        target=np.concatenate([hub, host]),
        bytes_per_s=RATE,
        latency_s=LATENCY,
        endpoints=host,
    )


@pytest.mark.parametrize("algorithm", ["ring", "halving_doubling"])
def test_alone_it_takes_what_its_flows_take(algorithm: str) -> None:
    table = transfers("all_reduce", RANKS, 1e8, algorithm)
    builder = GraphBuilder()
    done = add_collective(builder, table)
    flows = simulate_flows(star(), flow_table(table, star()))
    run = execute(builder.build(), topology=star(), fidelity="maxmin")
    assert run.makespan == pytest.approx(flows.makespan, rel=1e-9)
    assert (run.end[done] == run.makespan).all()


def test_a_ring_by_hand_waits_for_the_last_rank() -> None:
    """2 (n - 1) steps of a quarter of the bytes and two latencies each, from the last rank on."""
    builder = GraphBuilder()
    ready = builder.add(device=np.arange(RANKS), duration=np.array([0, 0, 0, 5]) * 10**9)
    add_collective(builder, transfers("all_reduce", RANKS, 1e8, "ring"), after=ready)
    last = builder.add(device=np.arange(RANKS), stream=1, duration=0)
    run = execute(builder.build(), topology=star(), fidelity="maxmin")
    step = 25e6 / RATE + 2 * LATENCY
    assert run.makespan_s == pytest.approx(5e-3 + 2 * (RANKS - 1) * step, rel=1e-9)
    assert (run.start[last] >= run.makespan - round(step * 1e12)).all()
    assert run.link_bytes is not None
    assert run.link_bytes.sum() == pytest.approx(2 * 2 * (RANKS - 1) * 1e8)


def test_two_collectives_share_links() -> None:
    """Two rings over the same hosts on different streams move twice the bytes in twice the time."""
    table = transfers("all_reduce", RANKS, 1e8, "ring")
    one, two = GraphBuilder(), GraphBuilder()
    add_collective(one, table)
    for stream in (1, 2):
        add_collective(two, table, stream=stream)
    net = star().with_links(latency_s=0.0)
    single = execute(one.build(), topology=net, fidelity="maxmin").makespan
    double = execute(two.build(), topology=net, fidelity="maxmin").makespan
    assert double == pytest.approx(2 * single, rel=1e-9)
    alone = execute(two.build(), topology=net, fidelity="alphabeta").makespan
    assert alone == pytest.approx(single, rel=1e-9)


def test_pipelines_are_refused() -> None:
    table = transfers("all_reduce", RANKS, 1e8, "ring", pipelined=True)
    with pytest.raises(InputError, match="pipelined=False"):
        add_collective(GraphBuilder(), table)
