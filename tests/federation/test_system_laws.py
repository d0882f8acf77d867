"""Federations against closed forms: rounds, staleness, availability, bytes, energy."""

from typing import Any

import numpy as np
import pytest
from system_cases import Buffered, Counting, Rounds

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Availability, Clients, Plan
from mltwin.sim.rng_arrays import SERVICE, exponentials

TICK = 1e-9


def harmonic(count: int) -> float:
    return float(np.sum(1.0 / np.arange(1, count + 1)))


def exponential_clients(count: int, rate: Any, seed: int) -> Clients:
    """Clients of whom each works once, for an exponential time of its rate."""
    drawn = exponentials(seed, SERVICE, np.arange(count)) / rate
    return Clients.make(np.ones(count), s_per_sample=drawn)


def first_round(count: int, wanted: int, rate: Any, seed: int) -> float:
    clients = exponential_clients(count, rate, seed)
    plan = Plan(steps=1, batch=1, versions=1)
    return simulate(clients, Policies(Rounds(count, wanted)), plan, seed=seed).end_s


@pytest.mark.parametrize(
    ("wanted", "expected"), [(100, harmonic(100)), (75, harmonic(100) - harmonic(25))]
)
def test_a_round_waits_for_the_slowest_it_needs(wanted: int, expected: float) -> None:
    """E of the k-th of n exponentials: H_n - H_{n-k}."""
    ends = np.array([first_round(100, wanted, 1.0, seed) for seed in range(400)])
    assert abs(ends.mean() - expected) < 4 * ends.std() / np.sqrt(len(ends))


def test_a_round_of_unequal_clients() -> None:
    """E of the maximum by inclusion and exclusion: 2.3889 for rates 1, 2, 5, 0.5."""
    ends = np.array([first_round(4, 4, np.array([1, 2, 5, 0.5]), seed) for seed in range(800)])
    assert abs(ends.mean() - 2.3889) < 4 * ends.std() / np.sqrt(len(ends))


@pytest.mark.parametrize(
    ("concurrency", "buffer", "jitter"), [(10, 1, 0.0), (10, 1, 0.8), (100, 10, 0.4), (50, 7, 1.2)]
)
def test_mean_staleness_is_that_of_any_law(concurrency: int, buffer: int, jitter: float) -> None:
    """(M - 1) / K, less the start and end of the run: each step ages the M - 1 others by one."""
    speeds = np.random.default_rng(1).lognormal(sigma=0.7, size=3000) * 1e-2
    clients = Clients.make(np.full(3000, 10), s_per_sample=speeds, jitter=jitter)
    run = simulate(clients, Policies(Counting(buffer, concurrency)), Plan(updates=200_000), seed=3)
    mean = run.staleness @ np.arange(len(run.staleness)) / run.staleness.sum()
    assert mean == pytest.approx(
        (concurrency - 1) / buffer, abs=2 * concurrency**2 / 200_000 + 0.01
    )
    assert run.totals["in_flight"] == concurrency - 1  # the last arrival ended the run


def test_staleness_of_exponential_clients_is_geometric() -> None:
    """P(0) = 1/M, variance M (M - 1), for M equal exponential clients and steps of one update."""
    count, updates = 10, 12_000
    # Each client works once: exponential times without memory, though none is drawn by the engine.
    drawn = exponentials(5, SERVICE, np.arange(updates + count))
    clients = Clients.make(np.ones(updates + count), s_per_sample=drawn)

    class Once(Buffered):
        """Every client once, in the order of their numbers."""

        def start(self, server: Any) -> None:
            self.given = count
            server.dispatch(np.arange(count))

        def arrived(self, server: Any, arrivals: Any) -> None:
            server.step(None, used=1)
            server.dispatch(np.array([self.given]))
            self.given += 1

    run = simulate(clients, Policies(Once()), Plan(steps=1, batch=1, updates=updates))
    levels = np.arange(len(run.staleness))
    share = run.staleness / run.staleness.sum()
    mean = share @ levels
    assert share[0] == pytest.approx(1 / count, abs=0.012)
    assert mean == pytest.approx(count - 1, abs=0.05)
    assert share @ (levels - mean) ** 2 == pytest.approx(count * (count - 1), rel=0.12)


def test_duty_cycle_of_availability() -> None:
    """Clients there 6 of 24 hours, at random phases: a quarter is idle, work ends by the night."""
    hour = 3600 * 10**9
    count = 4000
    availability = Availability(
        np.array([0, 1]), np.array([0]), np.array([6 * hour]), np.array([24 * hour]),
        np.zeros(count, np.int32), np.random.default_rng(2).integers(0, 24 * hour, count),
    )  # fmt: skip
    clients = Clients.make(np.ones(count), s_per_sample=3600.0, availability=availability)

    class Everyone(Rounds):
        """All who are there, once."""

        def start(self, server: Any) -> None:
            self.idle = len(server.idle())
            server.dispatch(server.idle())
            server.wait(count)

        def arrived(self, server: Any, arrivals: Any) -> None:
            server.step(None, used=len(arrivals.done))

    strategy = Everyone()
    run = simulate(clients, Policies(strategy), Plan(steps=1, batch=1, versions=1))
    assert strategy.idle == pytest.approx(count / 4, abs=4 * np.sqrt(count * 3 / 16))
    # An hour of work fits if at least one of the six hours is left.
    share = run.totals["arrived"] / run.totals["dispatched"]
    assert share == pytest.approx(5 / 6, abs=4 * np.sqrt(5 / 36 / strategy.idle))
    paused = simulate(
        clients, Policies(Everyone()), Plan(steps=1, batch=1, versions=1, interruption="pause")
    )
    assert paused.totals["arrived"] == paused.totals["dispatched"] == strategy.idle
    assert 18 * 3600 < paused.end_s <= 19 * 3600


def test_bytes_and_joules_are_those_of_the_participants() -> None:
    clients = Clients.make(
        np.full(20, 8), s_per_sample=0.5, down_bytes_per_s=2e6, up_bytes_per_s=1e6, latency_s=0.25,
        compute_w=3.0, send_w=2.0, receive_w=1.0,
    )  # fmt: skip
    run = simulate(
        clients, Policies(Rounds(7, 7)), Plan(steps=2, batch=4, versions=11, model_bytes=1e6)
    )
    last = {name: column[-1] for name, column in run.evaluations.items()}
    took = 77 * np.array([0.75, 4.0, 1.25])  # download, training, upload
    assert last["updates"] == 77 == run.clients["used"].sum()
    assert last["down_bytes"] == last["up_bytes"] == 77e6 == run.clients["up_bytes"].sum()
    assert last["joules"] == pytest.approx(took @ [1.0, 3.0, 2.0])
    names = ("receive_ticks", "compute_ticks", "send_ticks")
    assert [run.clients[name].sum() * TICK for name in names] == pytest.approx(list(took))
    assert run.end_s == pytest.approx(11 * 6.0)
    assert last["wasted_s"] == 0.0


def test_what_is_cancelled_has_cost_what_was_done() -> None:
    """Of two clients the slow one is cancelled half way through its upload."""
    clients = Clients.make(
        [1, 1], s_per_sample=[1.0, 4.0], up_bytes_per_s=[1e6, 1e6], down_bytes_per_s=1e6,
        compute_w=1.0, send_w=10.0,
    )  # fmt: skip
    plan = Plan(steps=1, batch=1, versions=1, model_bytes=1e6)
    slow = clients.changed(up_bytes_per_s=np.array([1e6 / 4.5, 1e6]))
    run = simulate(slow, Policies(Rounds(2, 1)), plan)
    # Client 1: 1 s download, 4 s training, 1 s upload = 6 s; client 0: 1 + 1 + 4.5 = 6.5 s.
    assert run.end_s == pytest.approx(6.0)
    assert run.clients["cancelled"].tolist() == [1, 0]
    assert run.clients["up_bytes"].tolist() == pytest.approx([1e6 * 4.0 / 4.5, 1e6])
    assert run.evaluations["wasted_s"][-1] == pytest.approx(6.0)
    assert run.evaluations["joules"][-1] == pytest.approx(1.0 + 40.0 + 4.0 + 10.0)


def test_jitter_has_mean_one() -> None:
    clients = Clients.make(np.ones(1000), s_per_sample=1.0, jitter=0.5)
    run = simulate(clients, Policies(Counting(1, 1000)), Plan(steps=1, batch=1, updates=100_000))
    mean = run.clients["compute_ticks"].sum() * TICK / run.totals["arrived"]
    # Runs end while long work is under way: the bias is of the order of 1,000 in 100,000.
    assert mean == pytest.approx(1.0, abs=0.01)


def test_failures_are_as_often_as_said_and_at_any_point() -> None:
    clients = Clients.make(np.ones(500), s_per_sample=1.0, failure=0.3)
    run = simulate(clients, Policies(Counting(1, 500)), Plan(steps=1, batch=1, updates=50_000))
    ended = run.totals["lost"] + run.totals["arrived"]
    assert run.totals["lost"] / ended == pytest.approx(0.3, abs=0.02)
    wasted = run.clients["wasted_ticks"].sum() * TICK / run.totals["lost"]
    assert wasted == pytest.approx(0.5, abs=0.02)


def test_few_idle_clients_are_drawn_uniformly() -> None:
    """Where drawing among all finds nobody, each of the few who are idle is as likely."""
    count, few = 2000, 10
    trace = np.zeros(count, np.int32)
    trace[::200] = -1
    never = Availability(
        np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64),
        trace, np.zeros(count, np.int64),
    )  # fmt: skip
    clients = Clients.make(np.ones(count), s_per_sample=1.0, availability=never)
    run = simulate(clients, Policies(Rounds(2, 2)), Plan(steps=1, batch=1, versions=3000), seed=4)
    chosen = run.clients["dispatches"][::200]
    expected = chosen.sum() / few
    assert run.clients["dispatches"].sum() == chosen.sum() >= 6000
    assert ((chosen - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 degrees, p = 0.001


@pytest.mark.slow
def test_many_clients_of_whom_few_are_there() -> None:
    """No event looks at all clients: 200,000 of them, more work than clients who are there."""
    count, hour = 200_000, 3600 * 10**9
    draw = np.random.default_rng(3)
    availability = Availability(
        np.array([0, 1]), np.array([0]), np.array([hour // 4]), np.array([24 * hour]),
        np.zeros(count, np.int32), draw.integers(0, 24 * hour, count),
    )  # fmt: skip
    clients = Clients.make(np.ones(count), s_per_sample=10.0, availability=availability)
    plan = Plan(steps=1, batch=1, updates=50_000, interruption="finish")
    run = simulate(clients, Policies(Counting(100, 5000)), plan, seed=1)
    assert run.complete and not run.violations
    # A duty of 1/96: 2,083 clients are there at a time and work 10 s each.
    rate = run.totals["arrived"] / run.end_s
    assert rate == pytest.approx(count / 96 / 10.0, rel=0.05)
