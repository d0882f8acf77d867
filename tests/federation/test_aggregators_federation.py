"""A federation whose server waits for its aggregation service."""

from dataclasses import replace

import numpy as np
import pytest
from system_cases import Buffered, Counting, Rounds, assert_same, random_federation, random_policies

from mltwin.models.federation.aggregators import (
    DESIGNS,
    AggregationRun,
    Service,
    design,
    simulate_aggregation,
)
from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.outcome import FederatedRun
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import TICKS_PER_S, Clients, Plan

SIZE = 1e8
FREE = {"serialise_gb_per_s": np.inf, "nic_gbit_per_s": np.inf, "latency_s": 0.0, "pass_s": 0.0,
        "cold_start_s": 0.0}  # fmt: skip


def clients_of(count: int = 12, jitter: float = 0.4) -> Clients:
    return Clients.make(np.full(count, 50), s_per_sample=0.1, jitter=jitter)


def run_of(plan: Plan, *, strategy: object = None, count: int = 12, **more: object) -> FederatedRun:
    policies = Policies(strategy or Rounds(count, count))
    run = simulate(clients_of(count, **more), policies, plan, seed=5)
    assert not run.violations
    return run


def test_equal_arrivals_at_one_aggregator_are_seconds_per_update() -> None:
    """12 updates at once, folded one after another, is `aggregate_s_per_update`."""
    one = design("always_on", levels=1, fold_gb_per_s=1.0, **FREE)
    plan = Plan(versions=6, model_bytes=SIZE)
    with_service = run_of(replace(plan, aggregation=one), jitter=0.0)
    plain = run_of(replace(plan, aggregate_s_per_update=0.1), jitter=0.0)
    assert np.array_equal(with_service.versions["time"], plain.versions["time"])
    assert with_service.aggregation.totals["fold_s"] == pytest.approx(6 * 12 * 0.1)
    assert plain.aggregation is None


def test_a_service_that_takes_no_time_changes_nothing() -> None:
    free = design("lifl", fold_gb_per_s=np.inf, **FREE)
    plan = Plan(versions=8, model_bytes=SIZE)
    for strategy in (Rounds(5, 3), Buffered(3, 7)):
        one, two = (run_of(p, strategy=strategy) for p in (plan, replace(plan, aggregation=free)))
        assert np.array_equal(one.versions["time"], two.versions["time"])
        assert one.totals == two.totals and one.end == two.end


class Watched:
    """A service that keeps what it was asked."""

    def __init__(self, service: Service) -> None:
        self.service, self.asked = service, []

    def begin(self, update_bytes: float) -> "Watched":
        self.inner = self.service.begin(update_bytes)
        return self

    def step(self, arrived: np.ndarray, closes: int, clients: np.ndarray) -> int:
        self.asked.append(np.array(arrived)[np.argsort(clients)])
        return self.inner.step(arrived, closes, clients)

    def run_until(self, end: int) -> AggregationRun:
        return self.inner.run_until(end)


@pytest.mark.parametrize("name", DESIGNS)
def test_rounds_wait_for_the_version_as_the_service_alone_says(name: str) -> None:
    watched = Watched(design(name))
    run = run_of(Plan(versions=5, model_bytes=SIZE, aggregation=watched))
    steps = run.aggregation.steps
    assert steps["updates"].tolist() == [12] * 5
    assert np.array_equal(steps["closed"], run.versions["time"])
    # The clients have no links, so that a round's first update is a client's work after the
    # version that it got: 5 s at the median, with jitter.
    begun = np.r_[0, steps["made"][:-1]]
    assert (steps["first"] > begun + TICKS_PER_S).all()
    rounds = [ticks / TICKS_PER_S for ticks in watched.asked]
    alone = simulate_aggregation(design(name), rounds, update_bytes=SIZE, from_version=False)
    assert np.array_equal(alone.steps["made"], steps["made"])
    assert alone.totals == run.aggregation.totals
    assert run.end > run_of(Plan(versions=5, model_bytes=SIZE)).end


def test_kernel_and_twin_agree_with_a_service() -> None:
    for seed in range(120):
        clients, plan, key = random_federation(seed)
        name = list(DESIGNS)[seed % 3]
        small = design(name, cold_start_s=2e-8, keep_alive_s=1e-7, latency_s=1e-9, pass_s=1e-9)
        slow = replace(plan, aggregation=small, model_bytes=10.0)
        fast, plain = (
            simulate(clients, random_policies(seed), slow, seed=key, record=True, reference=twin)
            for twin in (False, True)
        )
        assert_same(fast, plain, seed)
        assert not fast.violations and not plain.violations
        assert fast.aggregation.totals == plain.aggregation.totals
        for column, values in fast.aggregation.steps.items():
            assert np.array_equal(values, plain.aggregation.steps[column])
        assert fast.aggregation.steps["updates"].sum() == fast.totals["used"]


def test_a_plan_serves_any_number_of_runs_and_automatic_steps_are_asked_for() -> None:
    plan = Plan(versions=6, model_bytes=SIZE, aggregation=design("lifl"))
    runs = [run_of(plan, strategy=Counting(3, 7)) for _ in range(2)]
    asked = run_of(plan, strategy=Buffered(3, 7))
    assert runs[0].aggregation.totals == runs[1].aggregation.totals == asked.aggregation.totals
    assert np.array_equal(runs[0].versions["time"], asked.versions["time"])
