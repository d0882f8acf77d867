"""Stochastic weights (Fraboni et al. 2023), delays and stability, anarchic clients."""

import math

import async_case as case
import numpy as np
import pytest

from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.tables import Availability, Clients
from mltwin.policies.federated import fixed_time

TAU = np.array([1.0, 0.7, 0.4])
CENTRES = np.array([0.0, 1.0, 3.0])
TASK = QuadraticTask(np.ones((3, 1)), CENTRES[:, None])
CLIENTS = Clients.make(np.full(3, 10), s_per_sample=TAU / 10)


def settled(strategy, versions, lr=0.01, clients=CLIENTS, **changes):
    """Mean over the second half of the versions of the only parameter."""

    class Noting(QuadraticTask):
        def evaluate(self, weights):
            seen.append(float(weights[0]))
            return super().evaluate(weights)

    seen = []
    task = Noting(np.ones((3, 1)), CENTRES[:, None])
    given = case.plan(steps=1, lr=lr, versions=versions, evaluate_every=1, **changes)
    case.run(strategy, clients, given, task)
    return float(np.mean(seen[len(seen) // 2 :]))


def test_identical_weights_find_the_optimum_weighted_by_speed():
    exact = (CENTRES / TAU).sum() / (1 / TAU).sum()
    assert exact == pytest.approx(1.8116, abs=5e-5)
    found = settled({"name": "async", "weights": "identical"}, 1500)
    assert found == pytest.approx(exact, abs=0.01)


def test_unbiased_weights_find_the_optimum_weighted_by_data():
    assert settled({"name": "async", "weights": "fraboni"}, 1500) == pytest.approx(4 / 3, abs=0.01)


@pytest.mark.slow
def test_both_to_three_digits():
    for weights, exact in (("identical", 1.8116), ("fraboni", 1.3333)):
        found = settled({"name": "async", "weights": weights}, 15_000, lr=0.002)
        assert found == pytest.approx(exact, abs=0.001)


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "async", "buffer": 2, "weights": "fraboni"},
        {"name": "async", "weights": "fraboni", "frequency": "counted"},
        {"name": "async", "buffer": 2, "frequency": "counted", "restart": "at step"},
        {"name": "stale", "buffer": 1, "weigh": "gap"},
        {"name": "fedfix", "period_s": 0.35},
        {"name": "fedfix", "period_s": 0.35, "times": "counted"},
    ],
    ids=lambda strategy: " ".join(str(value) for value in strategy.values()),
)
def test_other_unbiased_weights_do_too(strategy):
    assert settled(strategy, 1200) == pytest.approx(4 / 3, abs=0.02)


def test_counted_times_stay_unbiased_where_known_ones_do_not():
    """Client 2 pauses half of the time, so that its known time is wrong."""
    there = Availability(
        np.array([0, 1]), np.array([0]), np.array([10**9]), np.array([2 * 10**9]),
        np.array([-1, -1, 0], np.int32), np.zeros(3, np.int64),
    )  # fmt: skip
    clients = CLIENTS.changed(availability=there)
    fix = {"name": "fedfix", "period_s": 0.35}
    options = {"clients": clients, "interruption": "pause"}
    known = settled(fix, 1500, **options)
    counted = settled({**fix, "times": "counted"}, 1500, **options)
    assert abs(counted - 4 / 3) < 0.05 < abs(known - 4 / 3)


def test_frequencies_and_surrogate():
    share = np.full(3, 1 / 3)
    frequency = fixed_time.frequencies(TAU)
    np.testing.assert_allclose(frequency.sum(), 1.0)
    weights = fixed_time.unbiased(share, frequency)
    np.testing.assert_allclose(weights, share * TAU * (1 / TAU).sum(), rtol=1e-14)
    np.testing.assert_allclose(fixed_time.surrogate(weights, frequency), share, rtol=1e-14)
    biased = fixed_time.surrogate(np.ones(3), frequency)
    np.testing.assert_allclose(biased, (1 / TAU) / (1 / TAU).sum(), rtol=1e-14)
    fixed = fixed_time.frequencies(TAU, period_s=0.35)
    np.testing.assert_allclose(1 / fixed, [3, 2, 2])
    assert (fixed_time.frequencies(TAU, buffer=2) == 2 * frequency).all()


def test_a_time_of_whole_periods_is_not_rounded_up():
    times = fixed_time.ticks(np.array([0.3, 0.7, 1.1]))
    assert fixed_time.periods(times, 10**8).tolist() == [3, 7, 11]


def test_expected_times_are_those_that_pass():
    clients = Clients.make(
        np.array([10, 25, 40]),
        s_per_sample=[1e-3, 2e-3, 3e-3],
        up_bytes_per_s=1e5,
        down_bytes_per_s=4e5,
        latency_s=0.01,
    )
    for changes in ({}, {"epochs": 2.0}, {"batch": 0, "overhead_s": 0.5}):
        given = case.plan(versions=1, model_bytes=1e4, compute_factor=1.5, **changes)
        times = fixed_time.expected_s(clients, given)
        run = case.run({"name": "fedavg", "clients": 0}, clients, given, None)
        spent = sum(run.clients[f"{part}_ticks"] for part in ("receive", "compute", "send"))
        np.testing.assert_allclose(times, spent / 1e9, rtol=0, atol=2e-9)


@pytest.mark.parametrize("delay", [0, 1, 2, 5])
def test_a_constant_delay_is_stable_up_to_the_known_limit(delay):
    """w_{t+1} = w_t - a w_{t-T} decays iff a < 2 sin(pi / (2 (2T + 1))).

    T + 1 equal clients that begin one after the other: each update is T versions old.
    """
    count = delay + 1
    second = 10**9
    there = Availability(
        np.arange(count + 1), np.arange(count) * second, np.full(count, 10**6 * second),
        np.zeros(count, np.int64), np.arange(count, dtype=np.int32), np.zeros(count, np.int64),
    )  # fmt: skip
    clients = Clients.make(np.ones(count, int), s_per_sample=float(count), availability=there)
    task = QuadraticTask(np.ones((count, 1)), np.ones((count, 1)))
    limit = 2 * math.sin(math.pi / (2 * (2 * delay + 1)))
    spec = {"name": "async", "weights": "identical", "server_lr": 1.0}
    off = {}
    for factor in (0.93, 1.07):
        versions = 120 * (2 * delay + 1)
        given = case.plan(steps=1, batch=1, lr=factor * limit, versions=versions)
        run = case.run(spec, clients, given, task)
        off[factor] = run.evaluations["distance"][-1]
        assert run.versions["staleness_max"][count:].tolist() == [delay] * (versions - count)
    assert off[0.93] < 1e-2 and off[1.07] > 10


def test_the_mean_staleness_is_set_by_the_count_of_clients_alone():
    """(M - 1) / K for any speeds: each version ages the other M - 1 by one, K arrivals each."""
    rng = np.random.default_rng(1)
    clients = Clients.make(np.full(20, 10), s_per_sample=rng.lognormal(0, 1, 20) / 10, jitter=0.5)
    for buffer in (1, 4):
        spec = {"name": "fedbuff", "buffer": buffer, "concurrency": 0}
        run = case.run(spec, clients, case.plan(versions=4000 // buffer), None)
        late = run.versions["staleness_mean"][200 // buffer :]
        assert late.mean() == pytest.approx(19 / buffer, rel=0.03)


def test_anarchic_clients_draw_the_same_whatever_the_algorithm():
    clients = case.equal_clients(6)
    options = {"rest_s": 0.3, "fewest": 2, "most": 9, "returns": 2}
    runs = [
        case.run({"name": name, **options}, clients, case.plan(), None, record=True, seed=3)
        for name in ("afa_cd", "afa_cs")
    ]
    assert (runs[0].log == runs[1].log).all()
    other = case.run({"name": "afa_cd", **options}, clients, case.plan(), None, seed=4)
    assert other.end != runs[0].end


def test_anarchic_devices_average_away_the_noise_of_their_gradients():
    """The variance about the optimum falls as 1 / m (linear speed-up, equal data)."""
    spread = {}
    for returns in (1, 4):
        task = QuadraticTask(np.ones((8, 40)), np.zeros((8, 40)), noise=1.0)
        spec = {"name": "afa_cd", "returns": returns, "server_lr": 1.0, "fewest": 1, "most": 1}
        given = case.plan(steps=1, lr=0.04, versions=300, evaluate_every=3)
        run = case.run(spec, case.equal_clients(8), given, task)
        spread[returns] = np.mean(run.evaluations["distance"][25:] ** 2)
    assert spread[1] / spread[4] == pytest.approx(4, rel=0.3)


def test_anarchic_silos_remember_every_client():
    """AFA-CD weighs clients by how often they return, AFA-CS does not."""
    options = {"returns": 1, "fewest": 1, "most": 1, "server_lr": 1.0}
    silos = settled({"name": "afa_cs", **options}, 800, lr=0.02)
    devices = settled({"name": "afa_cd", **options}, 800, lr=0.02)
    assert silos == pytest.approx(4 / 3, abs=0.02)
    assert devices == pytest.approx(1.8116, abs=0.02)
