"""Federations and servers for the tests of synchronous algorithms."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mltwin.models.federation.hooks import Arrivals, Policies, Updates
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.outcome import FederatedRun
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.sums import weighted_sum
from mltwin.models.federation.tables import Clients, Plan
from mltwin.policies.federated.registry import built_in, make

PLAN = Plan(steps=4, lr=0.05, versions=12)


def synchronous() -> list[str]:
    """Names of the algorithms of rounds."""
    homes = ("synchronous", "adaptive", "heavy_ball", "participation", "variance")
    return [
        name
        for name, entry in built_in("strategy").items()
        if entry.cls.__module__.rpartition(".")[2] in homes
    ]


def quadratics(count: int = 6, width: int = 4, seed: int = 0, **given: Any) -> QuadraticTask:
    """Clients with different curvatures and optima."""
    draw = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(draw.normal(size=(count, width, width)))
    values = draw.uniform(0.2, 6.0, (count, width))
    curvature = np.einsum("nij,nj,nkj->nik", turn, values, turn)
    return QuadraticTask(curvature, draw.normal(size=(count, width)), **given)


def clients(count: int = 6, **given: Any) -> Clients:
    """Clients with 10, 20, ... samples, the later the slower."""
    numbers = np.arange(1, count + 1)
    return Clients.make(10 * numbers, **{"s_per_sample": 1e-3 * numbers, **given})


def run(
    strategy: Any,
    *,
    who: Clients | None = None,
    task: Any = None,
    plan: Plan = PLAN,
    seed: int = 1,
    reference: bool = False,
    **policies: Any,
) -> FederatedRun:
    """A run of policies by name; a fault in its books fails the test."""
    made = {kind: make(kind, spec) for kind, spec in policies.items()}
    chosen = make("strategy", strategy) if isinstance(strategy, (str, dict)) else strategy
    found = simulate(
        who or clients(), Policies(chosen, **made), plan, task=task, seed=seed, reference=reference
    )
    assert found.violations == []
    return found


@dataclass(eq=False)
class Desk:
    """What strategies, selections and combines read of a server, without a run."""

    clients: Clients = field(default_factory=clients)
    plan: Plan = field(default_factory=lambda: PLAN)
    task: Any = None
    selection: Any = None
    seed: int = 1
    version: int = 0
    now: int = 0
    weights: Any = field(default_factory=lambda: np.zeros(0))
    away: tuple[int, ...] = ()

    def idle(self) -> np.ndarray:
        """All that are not away."""
        return np.setdiff1d(np.arange(len(self.clients), dtype=np.int32), self.away)

    def combine(self, coefficients: Any, deltas: Any) -> np.ndarray:
        """The sum."""
        return weighted_sum(np.asarray(coefficients), deltas)


def arrivals(who: Any, *, duration: Any = 1, steps: int = 4, status: Any = 0) -> Arrivals:
    """Arrivals of clients at tick `duration`, sent at 0."""
    client = np.atleast_1d(np.asarray(who, np.int32))
    zeros = np.zeros(len(client), np.int64)
    spent = np.broadcast_to(duration, len(client)).astype(np.int64)
    kinds = np.broadcast_to(status, len(client)).astype(np.int8)
    return Arrivals(client, zeros, zeros, zeros, spent, zeros + steps, kinds, zeros, spent)


def updates(delta: Any, squared: Any = 0.0) -> Updates:
    """Updates of [n, d]."""
    rows = np.atleast_2d(np.asarray(delta, np.float32))
    return Updates(rows, np.zeros(len(rows)), np.broadcast_to(squared, len(rows)).astype(float))
