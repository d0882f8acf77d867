"""Steps of strategies that only count are learned after their events: with the same result."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import sync_case
from learning_cases import clouds
from system_cases import assert_same, random_federation

from mltwin.models.federation.hooks import Arrivals, Policies
from mltwin.models.federation.learning.mlp import MlpTask
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.lessons import lesson_of
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients, Plan
from mltwin.policies.federated.asynchronous import FedAsync, FedBuff
from mltwin.policies.federated.fixed_time import Async
from mltwin.policies.federated.registry import make


@dataclass
class CountedFedBuff(FedBuff):
    """Says how often it was asked."""

    calls = 0
    automatic, lesson = FedBuff.automatic, FedBuff.lesson

    def arrived(self, server: Any, arrivals: Arrivals) -> None:
        self.calls += 1
        super().arrived(server, arrivals)


@dataclass
class Joint(QuadraticTask):
    """A task that may not be trained for many steps at a time."""

    separable = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.sizes: list[int] = []

    def train(self, *given: Any) -> Any:
        self.sizes.append(len(given[2]))
        return super().train(*given)


@dataclass
class Halved(FedBuff):
    """Weighs its updates otherwise, and does not say that it only counts."""

    def coefficients(self, server: Any, batch: Any) -> Any:
        return 0.5 * super().coefficients(server, batch)


def strategies(seed: int, clients: int) -> Any:
    draw = np.random.default_rng([3, seed])
    if draw.random() < 0.3:
        return Async(
            buffer=int(draw.integers(1, 4)),
            weights=str(draw.choice(["identical", "fraboni"])),
            frequency=str(draw.choice(["known", "counted"])),
        )
    if draw.random() < 0.5:
        return FedAsync(
            alpha=float(draw.uniform(0.1, 1)),
            weighting=str(draw.choice(["constant", "polynomial", "hinge"])),
            concurrency=int(draw.integers(0, 8)),
            prox=float(draw.choice([0, 0.2])),
        )
    return FedBuff(
        buffer=int(draw.integers(1, 5)),
        concurrency=int(draw.integers(0, 8)),
        server_lr=float(draw.uniform(0.3, 1.5)),
    )


def task_for(seed: int, clients: int) -> Any:
    if seed % 2:
        return MlpTask(clouds(clients, seed=seed), ())
    return sync_case.quadratics(clients, 5, seed, noise=0.1)


def learned(seed: int) -> tuple[Clients, Plan]:
    """A random federation whose plan learns, with and without a decay of the step size."""
    clients, plan, _ = random_federation(seed)
    decay = {"lr_decay": 0.9, "lr_decay_every": 3} if seed % 3 else {}
    every = (1, 2, 7, 50)[seed % 4]
    return clients, replace(plan, steps=3, lr=0.05, evaluate_every=every, epochs=None, **decay)


def test_the_model_is_the_one_that_the_hooks_make() -> None:
    asked = 0
    for seed in range(80):
        clients, plan = learned(seed)
        fast, plain = (
            simulate(
                clients,
                Policies(strategies(seed, len(clients))),
                plan,
                task=task_for(seed, len(clients)),
                seed=seed,
                record=True,
                reference=twin,
            )
            for twin in (False, True)
        )
        assert_same(fast, plain, seed)
        assert np.array_equal(fast.weights, plain.weights), seed
        assert not fast.violations
        asked += fast.totals["used"]
    assert asked > 2000


def calm(count: int = 20) -> Clients:
    speed = 1e-3 * np.random.default_rng(1).lognormal(0, 1, count)
    return Clients.make(np.full(count, 50), s_per_sample=speed)


def run(strategy: Any, task: Any, plan: Plan, reference: bool = False, **policies: Any) -> Any:
    made = {kind: make(kind, spec) for kind, spec in policies.items()}
    return simulate(
        calm(), Policies(strategy, **made), plan, task=task, seed=2, reference=reference
    )


PLAN = Plan(steps=4, lr=0.05, versions=300, evaluate_every=40)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, 0),
        ({"normalise": "discounts"}, 300),
        ({"max_staleness": 3}, 300),
        ({"codec": "qsgd"}, 300),
        ({"attack": "sign_flip"}, 300),
        ({"combine": "median"}, 300),
        ({"selection": "oort"}, 300),
        ({"selection": "uniform"}, 0),
    ],
)
def test_a_strategy_is_asked_where_something_else_has_a_say(
    given: dict[str, Any], asked: int
) -> None:
    own = {key: given[key] for key in given if key in ("normalise", "max_staleness")}
    strategy = CountedFedBuff(buffer=5, concurrency=10, **own)
    others = {key: given[key] for key in given if key not in own}
    found = run(strategy, task_for(0, 20), PLAN, **others)
    assert found.complete and len(found.versions["version"]) == 300
    assert (strategy.calls >= asked) if asked else (strategy.calls == 0)


@pytest.mark.parametrize("strategy", [FedAsync(concurrency=10), FedBuff(4, concurrency=10)])
@pytest.mark.parametrize("lr", [3.0, 1e25])
def test_a_run_that_diverges_ends_where_it_happens(strategy: Any, lr: float) -> None:
    plan = replace(PLAN, lr=lr, versions=2000, evaluate_every=1000)
    fast, plain = (run(strategy, task_for(0, 20), plan, twin) for twin in (False, True))
    assert "is not finite: lower the learning rate" in fast.ended
    assert_same(fast, plain)
    assert np.array_equal(fast.weights, plain.weights)


def test_a_target_ends_the_run_at_its_version() -> None:
    plan = replace(PLAN, target=0.8, evaluate_every=3)
    fast, plain = (run(FedBuff(3), task_for(1, 20), plan, twin) for twin in (False, True))
    assert "was reached by version" in fast.ended and fast.versions["version"][-1] < 300
    assert_same(fast, plain)


def test_many_steps_are_trained_at_a_time_only_where_that_changes_nothing() -> None:
    one = sync_case.quadratics(20, 4)
    joint = Joint(one.curvature, one.centre)
    several = run(FedBuff(4, concurrency=10), one, PLAN)
    alone = run(FedBuff(4, concurrency=10), joint, PLAN)
    assert set(joint.sizes) == {4} and len(joint.sizes) == 300
    assert np.array_equal(several.weights, alone.weights)


def test_a_subclass_is_asked() -> None:
    task = task_for(0, 20)
    fast, plain = (run(Halved(3, concurrency=9), task, PLAN, twin) for twin in (False, True))
    assert np.array_equal(fast.weights, plain.weights)
    whole = run(FedBuff(3, concurrency=9), task, PLAN)
    assert not np.array_equal(fast.weights, whole.weights)


def test_there_is_no_lesson_without_a_model() -> None:
    strategy = FedBuff(4, concurrency=10)
    assert lesson_of(Policies(strategy), PLAN, None) is None
    assert lesson_of(Policies(strategy), PLAN, task_for(0, 20)) is not None
