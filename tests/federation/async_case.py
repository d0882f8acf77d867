"""Small federations for tests of asynchronous strategies, and a plain oracle of them."""

import heapq

import numpy as np

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Availability, Clients, Plan
from mltwin.policies.federated.registry import make

STEPS, LR = 5, 0.05


def quadratics(count=8, width=4, seed=0):
    """Clients that disagree about the optimum and are curved differently."""
    rng = np.random.default_rng(seed)
    return QuadraticTask(
        rng.uniform(0.5, 2.0, (count, width)), 3.0 * rng.normal(size=(count, width))
    )


def equal_clients(count=8, **columns):
    """Clients that take exactly 0.05 s for STEPS steps."""
    return Clients.make(np.full(count, 50), s_per_sample=1e-3, **columns)


def plan(**changes):
    """Forty versions, plain steps."""
    given = {"steps": STEPS, "batch": 10, "lr": LR, "versions": 40, "evaluate_every": 1000}
    return Plan(**(given | changes))


def run(strategy, clients, given, task, *, selection=None, **options):
    """One run, whose counts must add up."""
    policies = Policies(make("strategy", strategy))
    if selection:
        policies.selection = make("selection", selection)
    result = simulate(clients, policies, given, task=task, **options)
    assert result.violations == []
    return result


def gone_and_back(count, begin_s, end_s, period_s):
    """Availability: each client is there from begin to end of each period, from its own offset."""
    to_ticks = 10**9
    period = int(period_s * to_ticks)
    return Availability(
        np.array([0, 1]),
        np.array([int(begin_s * to_ticks)]),
        np.array([int(end_s * to_ticks)]),
        np.array([period]),
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int64) * period // count,
    )


def oracle(task, durations, versions, move):
    """Asynchronous steps on quadratics with fixed, distinct durations, as one would write them.

    Each arrival at once becomes a version: w <- move(w, held, D, staleness). Returns the last w.
    """
    weights = np.zeros(task.parameters)
    held = [(weights, 0)] * len(durations)
    queue = [(duration, client) for client, duration in enumerate(durations)]
    heapq.heapify(queue)
    for version in range(versions):
        now, client = heapq.heappop(queue)
        start, since = held[client]
        local = start.astype(np.float32).astype(float)
        for _ in range(STEPS):
            local = local - LR * task.curvature[client] * (local - task.centre[client])
        weights = move(weights, start, local - start, version - since)
        held[client] = weights, version + 1
        heapq.heappush(queue, (now + durations[client], client))
    return weights
