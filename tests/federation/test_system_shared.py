"""Transfers that share links: kernel and twin, and what fair sharing must give."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from system_cases import (
    Buffered,
    Counting,
    Rounds,
    assert_twins,
    random_federation,
    random_policies,
)

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.links import SharedLinks
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients, Plan
from mltwin.models.network.builders_wide import star
from mltwin.sim.errors import InputError


def random_links(seed: int, clients: int) -> SharedLinks:
    draw = np.random.default_rng([11, seed])
    groups = int(draw.integers(1, 4))
    server = draw.random(2)
    links = SharedLinks.of_groups(
        draw.integers(0, groups, clients),
        draw.choice([0.5e9, 1e9, 2e9], groups),
        draw.choice([0.3e9, 1e9, 4e9], groups),
        server_down_bytes_per_s=None if server[0] < 0.4 else 2e9,
        server_up_bytes_per_s=None if server[1] < 0.4 else 1.5e9,
    )
    return replace(links, incremental=False)


@pytest.mark.parametrize("block", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kernel_and_twin_agree_event_by_event_over_shared_links(block: int) -> None:
    shared = 0
    for seed in range(150 * block, 150 * block + 150):
        clients, plan, key = random_federation(seed)
        links = random_links(seed, len(clients))
        fast = assert_twins(clients, seed, plan, key, links)
        alone = simulate(clients, random_policies(seed), plan, seed=key, record=True)
        shared += not np.array_equal(alone.log, fast.log)
    assert shared > 75


def test_repaired_rates_end_at_the_same_ticks() -> None:
    """Rates that are repaired where a change reaches, and all worked out anew: a tick apart."""
    clients = Clients.make(
        np.full(60, 10), s_per_sample=np.random.default_rng(0).random(60) * 0.01, jitter=0.2
    )
    group = np.arange(60) % 7
    links = SharedLinks.of_groups(
        group, np.full(7, 1e6), np.full(7, 3e5), server_up_bytes_per_s=1e6
    )
    times = [
        simulate(
            clients,
            Policies(Counting(3, 40)),
            Plan(versions=200, model_bytes=1e4),
            network=replace(links, incremental=incremental),
        ).versions["time"]
        for incremental in (False, True)
    ]
    assert np.abs(times[0] - times[1]).max() <= 1000


def test_links_wide_enough_are_as_if_not_shared() -> None:
    clients = Clients.make(
        np.full(30, 10), s_per_sample=1e-3, jitter=0.4, down_bytes_per_s=2e6, up_bytes_per_s=1e6,
        latency_s=0.01, failure=0.05,
    )  # fmt: skip
    plan = Plan(versions=60, model_bytes=1e5)
    wide = SharedLinks.at_server(30, down_bytes_per_s=1e12, up_bytes_per_s=1e12)
    alone, shared = (
        simulate(clients, Policies(Buffered(4, 12)), plan, network=network)
        for network in (None, wide)
    )
    assert np.abs(alone.versions["time"] - shared.versions["time"]).max() <= 200
    assert alone.totals == shared.totals
    # What a lost upload has moved: by time, latency among it, or by what its flow has moved.
    up = [run.evaluations["up_bytes"] for run in (alone, shared)]
    assert up[0] == pytest.approx(up[1], rel=0.01)


def test_a_round_over_one_uplink() -> None:
    """Ten equal clients upload together: each gets a tenth of the server's link."""
    clients = Clients.make(np.ones(10), s_per_sample=2.0, latency_s=0.5, up_bytes_per_s=1e6)
    links = SharedLinks.at_server(10, down_bytes_per_s=1e6, up_bytes_per_s=2e6)
    plan = Plan(steps=1, batch=1, versions=1, model_bytes=1e6)
    run = simulate(clients, Policies(Rounds(10, 10)), plan, network=links)
    # 10 MB down at 1 MB/s, training, 10 MB up at 2 MB/s (0.2 MB/s each, below their own 1 MB/s).
    assert run.end_s == pytest.approx(0.5 + 10.0 + 2.0 + 0.5 + 5.0, abs=1e-6)
    first = simulate(clients, Policies(Rounds(10, 1)), plan, network=links)
    assert first.clients["up_bytes"].sum() == pytest.approx(10e6)
    assert first.totals["cancelled"] == 9


def test_a_topology_gives_the_links() -> None:
    """A star around a switch: the server's own link is what ten uploads share."""
    topology = star(11, bytes_per_s=1e6)
    links = SharedLinks.on(topology, 0, np.arange(1, 11))
    clients = Clients.make(np.ones(10), s_per_sample=1.0)
    run = simulate(
        clients,
        Policies(Rounds(10, 10)),
        Plan(steps=1, batch=1, versions=1, model_bytes=1e5),
        network=links,
    )
    assert run.end_s == pytest.approx(1.0 + 1.0 + 1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SharedLinks.at_server(3, down_bytes_per_s=0.0, up_bytes_per_s=1.0), "above 0"),
        (lambda: SharedLinks.of_groups([0, 2], [1.0], [1.0]), "groups 0 to 2"),
    ],
)
def test_links_that_cannot_be(make: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()


def test_runs_over_links_that_cannot_be() -> None:
    links = SharedLinks.at_server(3, down_bytes_per_s=1.0, up_bytes_per_s=1.0)
    with pytest.raises(InputError, match="links of 3 clients, there are 2"):
        simulate(Clients.make([1, 1]), Policies(Rounds(1, 1)), Plan(versions=1), network=links)
