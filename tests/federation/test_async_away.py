"""Asynchronous strategies where clients leave, fail and return; and on both engines."""

import async_case as case
import numpy as np
import pytest

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients
from mltwin.policies.federated.registry import make

STRATEGIES = (
    {"name": "fedasync", "max_staleness": 6},
    {"name": "fedbuff", "buffer": 3, "concurrency": 5},
    {"name": "fedbuff", "buffer": 3, "concurrency": 0, "restart": "at step", "max_staleness": 2},
    {"name": "fedcompass", "least": 2, "most": 9},
    {"name": "fedfix"},
    {"name": "fedfix", "times": "counted", "period_s": 0.04},
    {"name": "async", "buffer": 2},
    {"name": "async", "frequency": "counted"},
    {"name": "afa_cd", "returns": 3, "rest_s": 0.1},
    {"name": "afa_cs", "rest_s": 0.02},
    {"name": "stale", "buffer": 3, "correct": "dc_asgd", "strength": 0.01},
)
TASK = case.quadratics(7)


def world(seed, interruption):
    """Clients of random speed that are away much of the time and often fail."""
    rng = np.random.default_rng(seed)
    there = case.gone_and_back(7, 0.1, rng.uniform(0.4, 1.1), 1.3)
    if seed % 3 == 0:
        there.trace[:4] = -1
    clients = Clients.make(
        rng.integers(10, 60, 7),
        s_per_sample=rng.lognormal(-7, 0.8, 7),
        jitter=0.3 * (seed % 2),
        failure=0.2,
        latency_s=0.01,
        up_bytes_per_s=1e4,
        availability=there,
    )
    given = case.plan(
        interruption=interruption,
        detect_s=0.05 * (seed % 2),
        aggregate_s=0.003 * (seed % 4),
        until_s=30.0,
        evaluate_every=5,
    )
    return clients, given


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda spec: " ".join(map(str, spec.values())))
@pytest.mark.parametrize("seed", range(4))
def test_runs_among_absences_end_as_planned_and_alike_on_both_engines(strategy, seed):
    clients, given = world(seed, ("drop", "pause", "finish", "drop")[seed])
    runs = [
        simulate(
            clients,
            Policies(make("strategy", strategy)),
            given,
            task=TASK,
            seed=seed,
            record=True,
            reference=reference,
        )
        for reference in (False, True)
    ]
    fast, readable = runs
    assert fast.violations == readable.violations == []
    assert fast.complete and fast.totals["arrived"] > 20, fast.ended
    assert fast.log.tolist() == readable.log.tolist()
    assert (fast.weights == readable.weights).all()
    if seed < 3:
        assert fast.versions["version"][-1] == 40, fast.ended


def test_clients_that_come_later_are_put_to_work_when_they_come():
    """All but client 0 are away at first; each strategy hears of every one of them."""
    there = case.gone_and_back(7, 0.5, 3.0, 4.0)
    there.trace[0] = -1
    there.offset[:] = 0
    clients = case.equal_clients(7, availability=there)
    for spec in STRATEGIES:
        if spec.get("max_staleness"):
            continue
        run = case.run(spec, clients, case.plan(versions=None, until_s=2.5), TASK)
        assert (run.clients["used"] > 0).all(), spec
        assert run.clients["dispatches"][0] > run.clients["dispatches"][1]


def test_when_all_are_gone_for_good_the_run_ends_with_a_line():
    there = case.gone_and_back(7, 0.0, 1.0, 2.0)
    there.period[:] = 0
    there.offset[:] = 0
    clients = case.equal_clients(7, availability=there)
    for spec in STRATEGIES:
        run = case.run(spec, clients, case.plan(versions=10_000), TASK)
        assert "no client is there any more" in run.ended, (spec, run.ended)
        assert run.totals["used"] > 10 and run.end < 5e9


@pytest.mark.parametrize("seed", range(4))
def test_automatic_runs_are_those_of_the_hooks(seed):
    """Strategies that only count leave the steps to the kernel; the twin asks them each time."""
    clients, given = world(seed, "drop")
    for spec in (
        {"name": "fedbuff", "buffer": 3, "concurrency": 5},
        {"name": "fedbuff", "buffer": 4, "concurrency": 100},
        {"name": "fedasync", "concurrency": 4},
    ):
        policies = Policies(make("strategy", spec))
        assert policies.strategy.automatic
        runs = [
            simulate(clients, policies, given, seed=seed, reference=reference)
            for reference in (False, True)
        ]
        for name in ("version", "time", "used", "staleness_max"):
            assert runs[0].versions[name].tolist() == runs[1].versions[name].tolist()
        assert runs[0].staleness.tolist() == runs[1].staleness.tolist()
        assert runs[0].totals == runs[1].totals
