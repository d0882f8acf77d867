"""Sub-models: their parts, their averages, their costs, and the bandit that chooses them."""

import numpy as np
import pytest

from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.learning.mlp import MlpTask
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.learning.softmax import SoftmaxTask
from mltwin.models.federation.learning.tables import Examples
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients, Plan
from mltwin.policies.federated.covering import averaged, part
from mltwin.policies.federated.registry import make
from mltwin.policies.federated.submodels import FedSpine, HeteroFl
from mltwin.sim import rng
from mltwin.sim.errors import InputError

FEATURES, CLASSES = 6, 3


def _examples(clients=6, samples=30) -> Examples:
    """Three classes about their own centres."""
    count = clients * samples
    y = np.arange(count) % CLASSES
    noise = rng.normals(4, rng.POLICY, 0, np.arange(count * FEATURES)).reshape(count, -1)
    x = noise + 1.5 * np.eye(CLASSES, FEATURES)[y]
    first = np.arange(0, count + 1, samples)
    return Examples.make(x, y, first, np.arange(count), x[:60], y[:60], classes=CLASSES)


DATA = _examples()
CLIENTS = Clients.make(DATA.samples, s_per_sample=[1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3])


def _run(strategy, task, **plan):
    spent = Plan(**{"steps": 3, "batch": 0, "lr": 0.2, "versions": 8, **plan})
    return simulate(CLIENTS, Policies(make("strategy", strategy)), spent, task=task, seed=2)


def test_parts_of_dense_layers() -> None:
    task = MlpTask(DATA, hidden=(8, 4))
    half = part(task, 0.5)
    assert half.sum() == (FEATURES + 1) * 4 + (4 + 1) * 2 + (2 + 1) * CLASSES
    assert part(task, 1.0).all()
    assert (part(task, 0.25) <= half).all()
    rolled = np.zeros(task.parameters, bool)
    for offset in range(8):
        window = part(task, 0.5, offset)
        assert window.sum() == half.sum()
        rolled |= window
    assert rolled.all()


def test_parts_of_models_without_hidden_layers() -> None:
    mask = part(SoftmaxTask(DATA), 0.5)
    matrix = mask.reshape(FEATURES + 1, CLASSES)
    assert matrix[:3].all() and not matrix[3:6].any() and matrix[6].all()
    quadratic = QuadraticTask(np.ones((2, 5)), np.zeros((2, 5)))
    assert part(quadratic, 0.4, 4).tolist() == [True, False, False, False, True]


def test_each_parameter_is_averaged_over_those_that_have_it() -> None:
    masks = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)
    deltas = np.array([[2.0, 4.0, 9.0, 9.0], [6.0, 9.0, 8.0, 9.0]])
    assert averaged(np.array([3.0, 1.0]), masks, deltas).tolist() == [3.0, 4.0, 8.0, 0.0]


def test_whole_models_are_fedavg() -> None:
    task = MlpTask(DATA, hidden=(8,))
    whole = {"name": "heterofl", "shares": [1.0], "clients": 4}
    parts = _run(whole, task)
    plain = _run({"name": "fedavg", "clients": 4}, task)
    assert parts.weights == pytest.approx(plain.weights, abs=2e-6)
    assert parts.end == plain.end
    assert (parts.evaluations["up_bytes"] == plain.evaluations["up_bytes"]).all()


def test_what_nobody_has_stays_and_costs_follow_the_parts() -> None:
    task = MlpTask(DATA, hidden=(8,))
    run = _run({"name": "heterofl", "shares": [0.5], "clients": 4}, task)
    mask = part(task, 0.5)
    first = task.initial(2)
    assert (run.weights[~mask] == first[~mask]).all()
    assert (run.weights[mask] != first[mask]).any()
    sent = run.evaluations["up_bytes"][-1]
    assert sent == 8 * 4 * 4.0 * mask.sum()
    whole = _run({"name": "heterofl", "shares": [1.0], "clients": 4}, task)
    assert run.end == pytest.approx(whole.end * mask.mean(), rel=1e-6)


def test_slow_clients_get_small_models() -> None:
    strategy = HeteroFl(clients=0, shares=(1.0, 0.5, 0.25))
    strategy.check(CLIENTS, Plan())
    assert strategy._level.tolist() == [0, 0, 1, 1, 2, 2]
    turn = HeteroFl(shares=(1.0, 0.5), assign="turn")
    turn.check(Clients.make(np.ones(20, int)), Plan())
    assert turn._level[:4].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["heterofl", "fedrolex", "fedspine"])
def test_sub_models_learn(name: str) -> None:
    task = MlpTask(DATA, hidden=(8,))
    run = _run({"name": name, "clients": 4}, task, versions=60, steps=5)
    assert run.complete and run.evaluations["accuracy"][-1] > 0.75
    assert run.evaluations["accuracy"][0] < 0.5
    again = _run({"name": name, "clients": 4}, task, versions=60, steps=5)
    assert (again.weights == run.weights).all()


def test_only_time_is_simulated_without_a_model() -> None:
    run = _run({"name": "heterofl", "clients": 4}, None, model_bytes=1e6)
    assert run.complete and run.evaluations["up_bytes"][-1] < 8 * 4 * 1e6
    with pytest.raises(InputError, match="fedspine: its bandit learns from losses"):
        _run({"name": "fedspine", "clients": 4}, None, model_bytes=1e6)


def test_the_bandit_tries_all_arms_and_keeps_to_the_best() -> None:
    bandit = FedSpine(shares=(1.0, 0.5, 0.25), exploration=0.1)
    bandit._plays, bandit._reward = np.zeros((1, 3), int), np.zeros((1, 3))
    played = []
    for _ in range(200):
        arm = bandit.arm(0)
        bandit._plays[0, arm] += 1
        bandit._reward[0, arm] += (0.1, 0.5, 0.2)[arm]
        played.append(arm)
    assert played[:3] == [0, 1, 2]
    assert played.count(1) > 180
    curious = FedSpine(shares=(1.0, 0.5, 0.25), exploration=50.0)
    curious._plays, curious._reward = np.array([[9, 9, 8]]), np.array([[1.0, 9.0, 1.0]])
    assert curious.arm(0) == 2


def test_sub_models_take_no_codec() -> None:
    policies = Policies(
        make("strategy", {"name": "heterofl", "clients": 4}), codec=make("codec", "sign")
    )
    with pytest.raises(InputError, match="sub-models cannot go with this codec"):
        simulate(CLIENTS, policies, Plan(versions=1), task=SoftmaxTask(DATA))
    with pytest.raises(InputError, match="shares are"):
        make("strategy", {"name": "heterofl", "shares": [0.0]})
