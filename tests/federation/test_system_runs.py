"""Runs of federations: paired worlds, versions, endings, refusals, without the compiler."""

from typing import Any

import numpy as np
import pytest
from system_cases import Buffered, Counting, Rounds, printed, random_federation, random_policies

from mltwin.models.federation.hooks import FAILED, Policies, Strategy
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.reference import Reference
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Availability, Clients, Plan
from mltwin.sim.errors import InputError

PLAN = Plan(steps=1, batch=1, versions=3)
SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from system_cases import random_federation, random_policies, told
from mltwin.models.federation.simulate import simulate
made = hashlib.sha256()
for seed in range(25):
    clients, plan, key = random_federation(seed)
    run = simulate(clients, random_policies(seed), plan, seed=key, record=True)
    made.update(told(run))
print(made.hexdigest())
"""


def test_the_same_without_the_compiler() -> None:
    assert printed(SCRIPT) == printed(SCRIPT, NUMBA_DISABLE_JIT="1") != ""


def test_conservation_at_every_event_of_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws hold between any two events; the kernel does the same events."""
    checked = 0

    def checking(self: Reference, original: Any = Reference._coming) -> int:
        nonlocal checked
        counts = self.counts()
        assert counts["dispatched"] == (
            self.arrived + counts["lost"] + counts["cancelled"] + counts["in_flight"]
        )
        assert counts["versions_made"] == counts["versions_freed"] + counts["versions_live"]
        held = sum(self.slots.holders.values())
        assert held >= counts["in_flight"]
        checked += 1
        return original(self)

    monkeypatch.setattr(Reference, "_coming", checking)
    for seed in range(60):
        clients, plan, key = random_federation(seed)
        simulate(clients, random_policies(seed), plan, seed=key, reference=True)
    assert checked > 2000


def test_two_strategies_see_the_same_clients() -> None:
    """Durations and failures belong to (client, dispatch), whatever else is dispatched."""
    clients = Clients.make(np.ones(12), s_per_sample=1.0, jitter=0.6, failure=0.2)

    class Watch(Buffered):
        """Notes how long each dispatch took, or when it failed."""

        def start(self, server: Any) -> None:
            self.took: dict[tuple[int, int], tuple[int, int]] = {}
            super().start(server)

        def arrived(self, server: Any, arrivals: Any) -> None:
            times = (arrivals.arrived - arrivals.sent).tolist()
            for row, took in enumerate(times):
                key = int(arrivals.client[row]), int(arrivals.dispatch[row])
                self.took[key] = took, int(arrivals.status[row])
            super().arrived(server, arrivals)

    one, two = Watch(1, 12), Watch(4, 5)
    for strategy in (one, two):
        simulate(clients, Policies(strategy), Plan(steps=1, batch=1, updates=400), seed=9)
    both = one.took.keys() & two.took.keys()
    assert len(both) > 300
    assert all(one.took[key] == two.took[key] for key in both)
    assert any(status == FAILED for _, status in one.took.values())
    assert one.took != two.took


def test_equal_clients_make_a_buffer_a_round() -> None:
    """A buffer of all clients, which are equally fast, is a synchronous round."""
    clients = Clients.make(np.ones(6), s_per_sample=2.0)
    rounds, buffer = (
        simulate(clients, Policies(strategy), Plan(steps=1, batch=1, versions=5))
        for strategy in (Rounds(6, 6), Buffered(6, 6))
    )
    assert rounds.versions["time"].tolist() == buffer.versions["time"].tolist()
    assert buffer.staleness.tolist() == [30]


class Learn(Rounds):
    """FedAvg over all clients, with equal weights."""

    def arrived(self, server: Any, arrivals: Any) -> None:
        done = arrivals.done
        updates = server.train(arrivals)
        server.step(server.combine(np.full(len(done), 1 / len(done)), updates.delta), used=done)
        self._round(server)


def learn(lr: float, **plan: Any) -> Any:
    task = QuadraticTask(np.array([[1.0], [3.0]]), np.array([[2.0], [-1.0]]), 0.0)
    clients = Clients.make([5, 5], s_per_sample=1.0)
    asked = {"steps": 1, "versions": 200, **plan}
    return simulate(clients, Policies(Learn(2, 2)), Plan(lr=lr, **asked), task=task)


def test_a_model_is_learned() -> None:
    run = learn(0.1)
    assert run.complete and not run.violations
    assert run.weights == pytest.approx([(2.0 * 1 - 1.0 * 3) / 4], abs=1e-5)
    assert run.evaluations["loss"][-1] < run.evaluations["loss"][0]
    assert len(run.evaluations["version"]) == 201


def test_a_model_that_diverges_ends_with_what_there_is() -> None:
    run = learn(1e30)
    assert not run.complete
    assert "not finite: lower the learning rate" in run.ended or "the loss of version" in run.ended
    assert np.all(np.isfinite(run.weights))
    assert len(run.versions["version"]) < 200


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    ("clients", "plan", "strategy", "text"),
    [
        (
            Clients.make([1, 1], s_per_sample=1.0, failure=1.0),
            PLAN,
            Buffered(1, 2),
            "were all lost: no round can fill",
        ),
        (
            Clients.make([1], s_per_sample=1.0, failure=1.0),
            Plan(versions=3, detect_s=None),
            Buffered(1, 1),
            "the server never learns of it",
        ),
        (
            Clients.make(
                [1],
                s_per_sample=0.2,
                availability=Availability(
                    np.array([0, 1]), np.array([0]), np.array([10**9]), np.array([0]),
                    np.zeros(1, np.int32), np.zeros(1, np.int64),
                ),
            ),
            Plan(steps=1, batch=1, versions=100),
            Buffered(1, 1),
            "no client is there any more",
        ),
        (
            Clients.make([1, 1], s_per_sample=1.0),
            PLAN,
            Rounds(0, 1),
            "the strategy waits for nothing that can come",
        ),
    ],
)  # fmt: skip
def test_what_cannot_go_on_ends_in_one_line(
    clients: Clients, plan: Plan, strategy: Strategy, text: str, reference: bool
) -> None:
    run = simulate(clients, Policies(strategy), plan, reference=reference)
    assert text in run.ended and "\n" not in run.ended
    assert not run.complete and not run.violations


@pytest.mark.parametrize("reference", [False, True])
def test_a_round_stays_open_for_losses_that_the_server_never_learns_of(reference: bool) -> None:
    """Two of three updates came, the third never will: what came is kept, but makes no version."""
    clients = Clients.make([1, 1, 1], s_per_sample=[1.0, 2.0, 3.0], failure=[0, 0, 1])
    plan = Plan(steps=1, batch=1, versions=3, detect_s=None)
    run = simulate(clients, Policies(Rounds(3, 3)), plan, reference=reference)
    assert "a dispatch was lost and the server never learns of it" in run.ended
    assert not run.complete and not run.violations and len(run.versions["version"]) == 0
    assert run.totals["pending"] == 2 and run.end_s == 2.0
    invited = simulate(clients, Policies(Rounds(3, 2)), plan, reference=reference)
    assert invited.complete and invited.versions["used"].tolist() == [2, 2, 2]


def test_a_strategy_in_circles_is_stopped() -> None:
    class Circles(Rounds):
        def start(self, server: Any) -> None:
            server.timer(0, server.now)

        def timer(self, server: Any, number: int) -> None:
            server.timer(0, server.now)

    run = simulate(Clients.make([1]), Policies(Circles()), PLAN)
    assert "goes in circles" in run.ended


def test_a_limit_of_time_ends_a_run() -> None:
    clients = Clients.make([1, 1], s_per_sample=1.0)
    run = simulate(clients, Policies(Counting(1, 2)), Plan(steps=1, batch=1, until_s=10.5))
    assert run.complete and run.end_s == 10.5 and run.totals["arrived"] == 20


@pytest.mark.parametrize(
    ("plan", "where"),
    [
        (Plan(), "plan"),
        (Plan(versions=0), "plan.versions"),
        (Plan(versions=1, interruption="stop"), "plan.interruption"),
        (Plan(versions=1, detect_s=-1.0), "plan.detect_s"),
        (Plan(versions=1, batch=-1), "plan.batch"),
        (Plan(versions=1, target=0.5), "plan.target"),
    ],
)
def test_plans_that_cannot_be(plan: Plan, where: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(Clients.make([1]), Policies(Rounds(1, 1)), plan)
    assert caught.value.where == where


@pytest.mark.parametrize("reference", [False, True])
def test_a_client_at_work_is_not_sent_more(reference: bool) -> None:
    class Twice(Rounds):
        def start(self, server: Any) -> None:
            server.dispatch(np.array([1]))
            server.dispatch(np.array([0, 1]))

    with pytest.raises(InputError, match="client 1 is at work"):
        simulate(Clients.make([1, 1]), Policies(Twice()), PLAN, reference=reference)


def test_training_outside_the_hook_is_refused() -> None:
    class Late(Learn):
        def arrived(self, server: Any, arrivals: Any) -> None:
            self.kept = arrivals
            server.timer(0, server.now)

        def timer(self, server: Any, number: int) -> None:
            server.train(self.kept)

    task = QuadraticTask(np.ones((1, 1)), np.zeros((1, 1)), 0.0)
    with pytest.raises(InputError, match="held is gone"):
        simulate(Clients.make([1]), Policies(Late(1, 1)), PLAN, task=task)
