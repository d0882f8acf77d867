"""Transfers over shared links of clients whose own links follow traces."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import system_cases
from system_cases import Buffered, Rounds, assert_twins, printed, random_federation
from test_system_pausing import intervals, pausing_case, watched
from test_system_shared import random_links

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.links import SharedLinks
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients, LinkTraces, Plan

S = 10**9
SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import system_cases
from system_cases import random_policies, told
from test_system_pausing import pausing_case
from test_system_shared import random_links
from mltwin.models.federation.simulate import simulate
made = hashlib.sha256()
for seed in range(15):
    clients, plan, key = pausing_case(seed)
    clients = clients.changed(links=system_cases.random_links(seed, len(clients)))
    links = random_links(seed, len(clients))
    run = simulate(clients, random_policies(seed), plan, seed=key, network=links, record=True)
    made.update(told(run))
print(made.hexdigest())
"""


def traces(*rows: list[tuple[float, float]], period_s: Any = 0.0, **sides: Any) -> LinkTraces:
    """Rows of (second from which on, bytes per second)."""
    begin, rates = np.array([piece for row in rows for piece in row]).T
    return LinkTraces(
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        np.rint(begin * S).astype(np.int64),
        rates,
        np.broadcast_to(np.rint(np.asarray(period_s) * S), len(rows)).astype(np.int64),
        np.asarray(sides["down"], np.int32),
        np.asarray(sides["up"], np.int32),
        np.asarray(sides.get("offset", np.zeros(len(sides["up"]))), np.int64),
    )


@pytest.mark.parametrize("block", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kernel_and_twin_agree_event_by_event_where_rates_change(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = watched(monkeypatch)
    for seed in range(150 * block, 150 * block + 150):
        clients, plan, key = (pausing_case if seed % 3 == 0 else random_federation)(seed)
        clients = clients.changed(links=system_cases.random_links(seed, len(clients)))
        links = random_links(seed, len(clients))
        assert_twins(clients, seed, plan, key, links)
    assert min(counts.values()) > 200, counts


def test_the_same_without_the_compiler() -> None:
    assert printed(SCRIPT) == printed(SCRIPT, NUMBA_DISABLE_JIT="1") != ""


@pytest.mark.parametrize("interruption", ["drop", "pause", "finish"])
def test_over_wide_links_rates_are_those_of_the_traces(interruption: str) -> None:
    """As without shared links, but for the rounding of each piece to a tick."""
    draw = np.random.default_rng(2)
    rows = [
        list(zip(np.arange(6) * 0.4, draw.choice([0.0, 2e5, 1e6], 6), strict=True))
        for _ in range(5)
    ]
    rows = [[*row[:5], (2.0, 5e5)] for row in rows]
    count = 150  # somebody is always idle: draws that meet nobody depend on the number of instants
    links = traces(
        *rows, period_s=2.4, down=draw.integers(0, 5, count), up=draw.integers(0, 5, count),
        offset=draw.integers(0, 3 * S, count),
    )  # fmt: skip
    edges = draw.uniform(0.1, 1.5, count // 2)
    stays = [[(0.0, edge), (edge + 0.3, 2.0)] for edge in edges] + [[(0.4, 1.0), (1.3, 2.1)]] * 75
    clients = Clients.make(
        np.full(count, 10), s_per_sample=1e-2, jitter=0.4, latency_s=0.05, failure=0.1,
        availability=intervals(*stays, period_s=2.1),
    ).changed(links=links)  # fmt: skip
    plan = Plan(versions=100, model_bytes=1e5, interruption=interruption)
    wide = SharedLinks.at_server(count, down_bytes_per_s=1e13, up_bytes_per_s=1e13)
    alone, shared = (
        simulate(clients, Policies(Buffered(4, 12)), plan, network=network)
        for network in (None, wide)
    )
    assert np.abs(alone.versions["time"] - shared.versions["time"]).max() <= 5000
    assert alone.totals == shared.totals and alone.totals["lost"] > 10
    for name in ("compute_ticks", "send_ticks", "receive_ticks", "wasted_ticks"):
        assert np.abs(alone.clients[name] - shared.clients[name]).max() <= 5000, name
    for name in ("down_bytes", "up_bytes"):
        assert np.abs(alone.clients[name] - shared.clients[name]).max() < 50, name


@pytest.mark.parametrize("reference", [False, True])
def test_what_a_slow_piece_leaves_goes_to_the_others(reference: bool) -> None:
    """Two uploads of 4 MB over 1 MB/s; one link: 0.25 MB/s to 2 s, nothing to 4 s, then 9 MB/s.

    The other moves 1.5 MB to 2 s, 2 MB to 4 s, and 0.5 MB of its own half MB/s until 5 s; the first
    0.5 MB, 0, 0.5 MB and the last 3 MB alone, until 8 s.
    """
    slow = traces([(0, 2.5e5), (2, 0.0), (4, 9e6)], down=[-1, -1], up=[0, -1])
    clients = Clients.make(np.ones(2), s_per_sample=0.0, up_bytes_per_s=1e9).changed(links=slow)
    links = SharedLinks.at_server(2, down_bytes_per_s=1e15, up_bytes_per_s=1e6)
    plan = Plan(steps=1, batch=1, model_bytes=4e6, versions=1)
    run = simulate(clients, Policies(Rounds(2, 2)), plan, network=links, reference=reference)
    assert run.clients["send_ticks"] / S == pytest.approx([8.0, 5.0], abs=1e-6)


def test_a_client_that_is_there_only_while_its_link_rests_ends_all_the_same() -> None:
    resting = traces([(0, 0.0), (1, 1e6)], period_s=2.0, down=[-1], up=[0])
    clients = Clients.make(
        np.ones(1), s_per_sample=0.0, availability=intervals([(0, 1)], period_s=2.0)
    ).changed(links=resting)  # fmt: skip
    links = SharedLinks.at_server(1, down_bytes_per_s=1e15, up_bytes_per_s=1e9)
    plan = Plan(steps=1, batch=1, model_bytes=1e5, versions=1, interruption="pause")
    run = simulate(clients, Policies(Rounds(1, 1)), plan, network=links)
    assert run.complete and run.totals["arrived"] == 1 and run.end_s > 10_000


def test_repaired_rates_end_where_those_worked_out_anew_do() -> None:
    draw = np.random.default_rng(0)
    rows = [
        [(0, 3e4), *((0.5 * k, rate) for k, rate in enumerate(draw.random(9) * 2e5, 1))]
        for _ in range(8)
    ]
    links = traces(
        *rows, period_s=5.0, down=draw.integers(0, 8, 60), up=draw.integers(0, 8, 60),
        offset=draw.integers(0, 5 * S, 60),
    )  # fmt: skip
    clients = Clients.make(np.full(60, 10), s_per_sample=draw.random(60) * 0.01, jitter=0.2)
    shared = SharedLinks.of_groups(
        np.arange(60) % 7, np.full(7, 1e6), np.full(7, 3e5), server_up_bytes_per_s=1e6
    )
    times = [
        simulate(
            clients.changed(links=links),
            Policies(Buffered(3, 40)),
            Plan(versions=200, model_bytes=1e4),
            network=replace(shared, incremental=incremental),
        ).versions["time"]
        for incremental in (False, True)
    ]
    assert np.abs(times[0] - times[1]).max() <= 1000
