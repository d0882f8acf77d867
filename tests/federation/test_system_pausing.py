"""Transfers over shared links of clients that leave and go on when they are back."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from system_cases import (
    Buffered,
    Rounds,
    assert_twins,
    random_availability,
    random_federation,
)
from test_system_shared import random_links

from mltwin.models.federation.hooks import FAILED, Policies
from mltwin.models.federation.links import SharedLinks
from mltwin.models.federation.reference_shared import SharedReference
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Availability, Clients, LinkTraces, Plan
from mltwin.models.network.reference import _Bundle

S = 10**9


def intervals(*rows: list[tuple[float, float]], period_s: float = 0.0) -> Availability:
    """Client c is there as row c says, in seconds."""
    begin, end = np.rint(np.array([edge for row in rows for edge in row]).T * S).astype(np.int64)
    first = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    period = np.full(len(rows), round(period_s * S), np.int64)
    offset = np.zeros(len(rows), np.int64)
    return Availability(first, begin, end, period, np.arange(len(rows), dtype=np.int32), offset)


def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts of the twin: flows that stop, that cannot start, that go on, that change their cap."""
    counts = dict.fromkeys(("stops", "waits", "goes", "changes"), 0)

    def move(self: SharedReference, client: int, original: Any = SharedReference._move) -> None:
        stage = self.stages[client]
        cap = self.network.bundle_of[self._flow(client)].cap
        before = stage.left
        original(self, client)
        if stage.at in (1, 3):
            counts["stops"] += before is None and stage.left is not None
            counts["waits"] += before is not None and stage.left is not None
            counts["goes"] += before is not None and stage.left is None
            after = self.network.bundle_of[self._flow(client)].cap
            counts["changes"] += before is None and stage.left is None and cap != after

    monkeypatch.setattr(SharedReference, "_move", move)
    return counts


def pausing_case(seed: int) -> tuple[Clients, Plan, int]:
    clients, plan, key = random_federation(seed)
    there = random_availability(np.random.default_rng([13, seed]), len(clients))
    return replace(clients, availability=there), replace(plan, interruption="pause"), key


@pytest.mark.parametrize("block", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kernel_and_twin_agree_event_by_event_where_clients_pause(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = watched(monkeypatch)
    for seed in range(150 * block, 150 * block + 150):
        clients, plan, key = pausing_case(seed)
        links = random_links(seed, len(clients))
        assert_twins(clients, seed, plan, key, links)
    assert counts["stops"] > 400 and counts["waits"] > 40, counts


@pytest.mark.parametrize("traced", [False, True])
def test_bytes_of_pausing_flows_are_those_of_the_links(
    traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any event: what links have carried is what ended dispatches and those under way moved."""
    carried = 0.0
    checked = paused = 0
    most = 0.0

    def carrying(self: _Bundle, now: int, original: Any = _Bundle.pull) -> None:
        nonlocal carried
        carried += self.share * max(0, now - self.since) * self.weight
        original(self, now)

    def checking(self: SharedReference, original: Any = SharedReference._coming) -> int:
        nonlocal checked, paused, most
        moved = self.costs.down_bytes + self.costs.up_bytes
        for bundle in self.network.active:
            bundle.pull(self.now)
        for client, work in self.at_work.items():
            stage = self.stages[client]
            if work.lost or stage.at < 1:
                continue
            moved += work.down_bytes + (work.up_bytes if stage.at >= 3 else 0.0)
            left = stage.left or 0.0
            paused += stage.left is not None
            for bundle in self.network.active:
                for level, flow in bundle.members:
                    if flow // 2 == client:
                        left += level - bundle.work
            moved -= left
        assert carried == pytest.approx(moved, abs=100 + 1e-9 * moved)
        most = max(most, moved)
        checked += 1
        return original(self)

    monkeypatch.setattr(_Bundle, "pull", carrying)
    monkeypatch.setattr(SharedReference, "_coming", checking)
    draw = np.random.default_rng(3)
    rows = []
    for _ in range(12):
        edges = np.cumsum(draw.uniform(0.5, 4.0, 8)) - 1.0
        rows.append(list(zip(np.maximum(edges[::2], 0.0), edges[1::2], strict=True)))
    clients = Clients.make(
        np.ones(12), s_per_sample=draw.uniform(0.1, 2.0, 12), failure=0.15, latency_s=0.1,
        up_bytes_per_s=1e6, availability=intervals(*rows, period_s=32.0),
    )  # fmt: skip
    if traced:
        pieces = np.array([0, 0.7, 1.1, 2.0, 3.0]) * S
        clients = clients.changed(
            links=LinkTraces(
                np.array([0, 5]), pieces.astype(np.int64), np.array([3e5, 0.0, 4e6, 5e4, 9e5]),
                np.array([round(3.3 * S)]), np.zeros(12, np.int32), np.zeros(12, np.int32),
                draw.integers(0, 3 * S, 12),
            )
        )  # fmt: skip
    links = SharedLinks.of_groups(
        np.arange(12) % 3, [2e6, 1e6, 3e6], [1e6, 5e5, 2e6], server_up_bytes_per_s=2e6
    )
    plan = Plan(steps=1, batch=1, model_bytes=2e6, until_s=200.0, interruption="pause")
    run = simulate(
        clients, Policies(Buffered(2, 8)), plan, network=replace(links, incremental=False),
        reference=True,
    )  # fmt: skip
    assert not run.violations and run.totals["arrived"] > 30 and run.totals["lost"] > 5
    assert checked > 500 and paused > 100 and most > 1e8


@pytest.mark.parametrize("reference", [False, True])
def test_a_paused_upload_leaves_the_link_to_the_others(reference: bool) -> None:
    """Two uploads of 4 MB at 1 MB/s; one waits from 2 to 5 s: 1 MB each, then 3 MB and 3 MB."""
    clients = Clients.make(
        np.ones(2), s_per_sample=0.0, up_bytes_per_s=1e9,
        availability=intervals([(0, 2), (5, 100)], [(0, 100)]),
    )  # fmt: skip
    links = SharedLinks.at_server(2, down_bytes_per_s=1e15, up_bytes_per_s=1e6)
    plan = Plan(steps=1, batch=1, model_bytes=4e6, versions=1, interruption="pause")
    run = simulate(clients, Policies(Rounds(2, 2)), plan, network=links, reference=reference)
    assert run.end_s == pytest.approx(8.0, abs=1e-6)
    assert run.clients["send_ticks"] / S == pytest.approx([5.0, 5.0], abs=1e-6)


@pytest.mark.parametrize("reference", [False, True])
def test_a_client_that_leaves_for_good_loses_its_upload(reference: bool) -> None:
    """Half a MB of the first interval and a quarter of the last have moved, at 1 MB/s."""
    clients = Clients.make(
        np.ones(1), s_per_sample=0.0, up_bytes_per_s=1e6,
        availability=intervals([(0, 0.5), (3, 3.25)]),
    )  # fmt: skip
    links = SharedLinks.at_server(1, down_bytes_per_s=1e15, up_bytes_per_s=1e7)
    plan = Plan(steps=1, batch=1, model_bytes=4e6, versions=1, interruption="pause")
    run = simulate(clients, Policies(Buffered(1, 1)), plan, network=links, reference=reference)
    assert "no client is there any more" in run.ended and run.totals["lost"] == 1
    assert run.end == pytest.approx(3.25 * S, abs=10)
    assert run.clients["up_bytes"][0] == pytest.approx(0.75e6, abs=10)
    assert run.clients["wasted_ticks"][0] == pytest.approx(0.75 * S, abs=10)


def test_over_wide_links_clients_pause_as_over_their_own() -> None:
    draw = np.random.default_rng(5)
    rows = [[(0.0, edge), (edge + 0.3, 2.0)] for edge in draw.uniform(0.1, 1.5, 30)]
    clients = Clients.make(
        np.full(30, 10), s_per_sample=1e-2, jitter=0.4, down_bytes_per_s=2e6, up_bytes_per_s=1e6,
        latency_s=0.05, failure=0.1, availability=intervals(*rows, period_s=2.7),
    )  # fmt: skip
    plan = Plan(versions=60, model_bytes=1e5, interruption="pause")
    wide = SharedLinks.at_server(30, down_bytes_per_s=1e12, up_bytes_per_s=1e12)
    alone, shared = (
        simulate(clients, Policies(Buffered(4, 12)), plan, network=network)
        for network in (None, wide)
    )
    assert np.abs(alone.versions["time"] - shared.versions["time"]).max() <= 500
    assert alone.totals == shared.totals and alone.totals["lost"] > 10
    for name in ("compute_ticks", "send_ticks", "receive_ticks", "wasted_ticks"):
        assert np.abs(alone.clients[name] - shared.clients[name]).max() <= 1000, name


def test_a_failure_is_at_a_point_of_the_work_not_of_the_absence() -> None:
    """Work of 1 s alone, there 0.1 s of each 10 s: what failed has worked for 0.5 s on average."""

    class Watch(Buffered):
        """Notes the work of what failed."""

        def start(self, server: Any) -> None:
            self.spent: list[int] = []
            super().start(server)

        def arrived(self, server: Any, arrivals: Any) -> None:
            failed = arrivals.where(arrivals.status == FAILED)
            self.spent += failed.spent.tolist()
            super().arrived(server, arrivals)

    count = 200
    rows = [[(0.0, 0.1)]] * count
    clients = Clients.make(
        np.ones(count), s_per_sample=0.4, up_bytes_per_s=1e6, latency_s=0.05, failure=0.5,
        availability=intervals(*rows, period_s=10.0),
    )  # fmt: skip
    links = SharedLinks.at_server(count, down_bytes_per_s=1e15, up_bytes_per_s=1e12)
    plan = Plan(steps=1, batch=1, model_bytes=5e5, updates=1500, interruption="pause")
    watch = Watch(1, count)
    run = simulate(clients, Policies(watch), plan, network=links)
    spent = np.array(watch.spent) / S
    assert run.totals["lost"] == pytest.approx(1500, rel=0.2)
    assert spent.max() <= 1.0 and spent.mean() == pytest.approx(0.5, abs=0.03)
    assert np.histogram(spent, 4, (0, 1))[0].min() > 0.2 * len(spent)
