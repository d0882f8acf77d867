"""Collectives as flows: equal to the closed form where they are alone, slower where links are
shared."""

import numpy as np
import pytest

from mltwin.models.network.builders import leaf_spine, nvswitch_node, rail_optimised, star
from mltwin.models.network.collectives import ALGORITHMS, KINDS, alphabeta_s, transfers
from mltwin.models.network.collectives_flows import (
    best_algorithm,
    collective_seconds,
    estimate_s,
    flow_table,
    flows_of,
)
from mltwin.models.network.simulate import simulate_flows
from mltwin.sim.errors import InputError

SIZE, LATENCY, RATE = 1e6, 1e-6, 1e9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [1, 5, None])
def test_alone_on_a_star_flows_take_as_long_as_the_closed_form(kind: str, chunks: int) -> None:
    """Steps (1 or 5 chunks) and pipelines (None); a tick may be lost in each step."""
    for n in [2] if kind == "send_recv" else [2, 3, 4, 6, 8, 13]:
        network = star(n, bytes_per_s=RATE, latency_s=LATENCY)
        for algorithm in ALGORITHMS[kind]:
            if algorithm == "halving_doubling" and kind != "all_reduce" and n & (n - 1):
                continue
            islands = [g for g in range(1, n + 1) if n % g == 0]
            for island in islands if algorithm == "hierarchical" else [None]:
                table = transfers(
                    kind, n, SIZE, algorithm, island=island, chunks=chunks, pipelined=not chunks,
                    root=n // 2 if kind == "broadcast" else 0,
                )  # fmt: skip
                run = simulate_flows(network, flow_table(table, network))
                formula = alphabeta_s(
                    kind, algorithm, n, SIZE, 2 * LATENCY, RATE, chunks=chunks, island=island
                )
                allowed = 1e-12 * (len(table) + 2)
                assert run.makespan * 1e-12 == pytest.approx(formula, rel=1e-9, abs=allowed), (
                    algorithm, n, island,
                )  # fmt: skip


def test_the_hierarchy_on_rails_is_its_closed_form() -> None:
    network = rail_optimised(6, 8)
    found = collective_seconds(network, "all_reduce", 1e9, algorithm="hierarchical")
    assert found.seconds == pytest.approx(found.estimates["hierarchical"], rel=1e-9)
    assert best_algorithm(network, "all_reduce", 1e9, 48) == "hierarchical"
    auto = collective_seconds(network, "all_reduce", 1e9)
    assert (auto.algorithm, auto.seconds) == ("hierarchical", found.seconds)
    assert auto.estimates == estimate_s(network, "all_reduce", 1e9, 48)
    closed = collective_seconds(network, "all_reduce", 1e9, fidelity="alphabeta")
    assert closed.seconds == auto.estimates["hierarchical"]
    assert closed.run is None


def test_two_rings_over_the_same_links_take_twice_as_long() -> None:
    network = star(4, bytes_per_s=RATE, latency_s=0.0)
    one = flow_table(transfers("all_reduce", 4, SIZE, "ring", pipelined=True), network)
    alone = simulate_flows(network, one).makespan
    both = type(one).make(
        np.tile(one.bytes, 2),
        np.concatenate([one.first, one.first[1:] + one.first[-1]]),
        np.tile(one.links, 2),
    )
    assert simulate_flows(network, both).makespan == pytest.approx(2 * alone, rel=1e-9)


def test_a_ring_over_too_few_uplinks_is_slowed_by_them() -> None:
    """Leaves of two hosts with half of their bandwidth up: a ring whose every edge goes up is
    slowed, one in which every other edge does is not."""
    network = leaf_spine(4, 2, 2, oversubscription=2.0)
    islands = np.asarray(network.island)
    assert len(network.endpoints) == len(set(islands)) == 8
    near = collective_seconds(network, "all_reduce", 1e9, np.arange(8), "ring")
    far = collective_seconds(network, "all_reduce", 1e9, [0, 4, 1, 5, 2, 6, 3, 7], "ring")
    assert far.seconds == pytest.approx(2 * near.seconds, rel=1e-3)


def test_sprayed_collectives_split_every_transfer_and_keep_its_bytes() -> None:
    network = leaf_spine(4, 2, 4, oversubscription=1.0)
    table = transfers("all_reduce", 8, SIZE, "ring")
    split, transfer = flows_of(table, network, "spray")
    assert len(split) > len(table)
    assert np.bincount(transfer, split.bytes) == pytest.approx(table.bytes, rel=1e-12)
    assert simulate_flows(network, split).violations == ()


def test_a_switch_that_reduces_gets_one_stream_a_link() -> None:
    network = leaf_spine(4, 2, 2)
    table = flow_table(transfers("all_reduce", 8, SIZE, "in_network", pipelined=True), network)
    run = simulate_flows(network, table)
    crossed = run.link_bytes[run.link_bytes > 0]
    assert crossed == pytest.approx(np.full(len(crossed), SIZE), rel=1e-9)
    # Every host's link and one link a leaf, up and down.
    assert len(crossed) == 2 * (8 + 4)
    assert run.makespan * 1e-12 < 0.75 * collective_seconds(network, "all_reduce", SIZE).seconds


def test_inside_a_server_all_to_all_takes_what_each_gpu_sends() -> None:
    network = nvswitch_node(8, nvlink_bytes_per_s=450e9, latency_s=1e-6)
    found = collective_seconds(network, "all_to_all", 64e6)
    assert found.seconds == pytest.approx(2e-6 + 7 / 8 * 64e6 / 450e9, rel=1e-9)
    assert found.bus_bytes_per_s == pytest.approx(450e9, rel=0.02)


def test_bad_input_is_named() -> None:
    network = star(4)
    for change, text in (
        ({"kind": "sum"}, "sum"),
        ({"ranks": [0, 4]}, "rank 4"),
        ({"algorithm": "snake"}, "snake"),
        ({"fidelity": "packets"}, "packets"),
        ({"ranks": [0]}, "at least 2"),
        ({"bytes": -1.0}, "bytes is -1"),
    ):
        with pytest.raises(InputError, match=text):
            collective_seconds(**{"topology": network, "kind": "all_reduce", "bytes": 1e6} | change)
    with pytest.raises(InputError, match="different rails"):
        transfers("all_reduce", [0, 1, 2, 9, 10, 11], 1e6, "hierarchical",
                  topology=rail_optimised(2, 8))  # fmt: skip
    with pytest.raises(InputError, match="islands of 1 to 2"):
        transfers("all_reduce", [0, 1, 8], 1e6, "hierarchical", topology=rail_optimised(2, 8))


def test_sixteen_thousand_gpus() -> None:
    """Pipelined flows, each link merged: a few solves in all."""
    network = rail_optimised(2048, 8)
    found = collective_seconds(network, "all_reduce", 10e9, algorithm="hierarchical")
    assert found.seconds == pytest.approx(found.estimates["hierarchical"], rel=1e-6)
    assert found.run is not None and found.run.solves < 20
