"""Synchronous algorithms: what each reduces to, and where quadratics say that it must end."""

from typing import Any

import numpy as np
import pytest
from sync_case import Desk, arrivals, clients, quadratics, run, updates

from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.server import RunServer
from mltwin.models.federation.tables import Plan
from mltwin.policies.federated.adaptive import FedAdagrad, FedAdam, FedYogi
from mltwin.policies.federated.registry import make
from mltwin.sim.errors import InputError

ALL = {"clients": 6}
HALF = {"clients": 3}


def weights(strategy: Any, **given: Any) -> np.ndarray:
    found = run(strategy, **{"task": quadratics(noise=0.1), **given})
    assert found.weights is not None
    return found.weights


@pytest.mark.parametrize("some", [ALL, HALF], ids=["all", "half"])
@pytest.mark.parametrize(
    "reduced",
    [
        {"name": "fedprox", "mu": 0.0},
        {"name": "fedavgm", "beta": 0.0},
        {"name": "ghbm", "beta": 0.0, "tau": 1},
        {"name": "local_ghbm", "beta": 0.0},
        {"name": "fedhbm", "beta": 0.0},
    ],
    ids=lambda spec: spec["name"],
)
def test_without_its_term_it_is_fedavg_bit_for_bit(
    reduced: dict[str, Any], some: dict[str, Any]
) -> None:
    expected = weights({"name": "fedavg", **some})
    assert np.array_equal(weights({**reduced, **some}), expected)


def test_with_the_term_it_is_not() -> None:
    plain = weights({"name": "fedavg", **HALF})
    for name in ("fedprox", "fedavgm", "fedhyper"):
        assert not np.array_equal(weights({"name": name, **HALF}), plain)
    assert not np.array_equal(weights({"name": "ghbm", "tau": 2, **HALF}), plain)


def test_equal_weights_and_equal_data_are_the_same() -> None:
    alike = clients().changed(samples=np.full(6, 25))
    by_data, alike_all = (
        weights({"name": "fedavg", "equal": equal, **ALL}, who=alike) for equal in (False, True)
    )
    assert np.array_equal(by_data, alike_all)


@pytest.fixture
def exact_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients receive float64 models, so that only the algorithm is in the result."""

    class Exact(RunServer):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            if self.ring is not None:
                self.ring = self.ring.astype(np.float64)

    monkeypatch.setattr("mltwin.models.federation.simulate.RunServer", Exact)


def fixed_point(task: QuadraticTask, share: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """(Sum p_i P_i)^-1 Sum p_i P_i c_i with P_i = I - (I - lr A_i)^steps."""
    size = task.parameters
    power = [
        np.eye(size) - np.linalg.matrix_power(np.eye(size) - lr * matrix, steps)
        for matrix in task.curvature
    ]
    left = sum(p * one for p, one in zip(share, power, strict=True))
    right = sum(p * one @ c for p, one, c in zip(share, power, task.centre, strict=True))
    return np.linalg.solve(left, right)


@pytest.mark.usefixtures("exact_versions")
@pytest.mark.parametrize("lr", [1.0, 0.5], ids=["server 1", "server 0.5"])
def test_fedavg_on_quadratics_ends_at_its_biased_fixed_point(lr: float) -> None:
    task, who = quadratics(), clients()
    plan = Plan(steps=7, lr=0.05, versions=400, evaluate_every=400)
    end = weights({"name": "fedavg", "server_lr": lr, **ALL}, task=task, who=who, plan=plan)
    expected = fixed_point(task, who.share, 0.05, 7)
    assert np.abs(end - expected).max() < 1e-12
    assert np.abs(expected - task.optimum).max() > 0.05  # the bias that local steps bring


@pytest.mark.usefixtures("exact_versions")
def test_fednova_takes_away_the_bias_of_unequal_steps() -> None:
    """Two clients of one curvature: FedAvg leans to the one with more samples, so more steps."""
    task = QuadraticTask(np.ones((2, 1)), np.array([[0.0], [1.0]]))
    who = clients(2).changed(samples=np.array([10, 40]))
    plan = Plan(epochs=1, batch=10, lr=0.01, versions=1500, evaluate_every=1500)

    def end(name: str) -> float:
        spec = {"name": name, "clients": 2, "equal": True}
        return float(weights(spec, task=task, who=who, plan=plan)[0])

    pulls = 1 - 0.99 ** np.array([1, 4])
    assert abs(end("fedavg") - pulls[1] / pulls.sum()) < 1e-12
    means = pulls / [1, 4]
    assert abs(end("fednova") - means[1] / means.sum()) < 1e-12
    assert abs(end("fednova") - 0.5) < 0.005


@pytest.mark.usefixtures("exact_versions")
def test_fednova_with_equal_steps_is_fedavg() -> None:
    assert (
        np.abs(weights({"name": "fednova", **HALF}) - weights({"name": "fedavg", **HALF})).max()
        < 1e-14
    )


@pytest.mark.usefixtures("exact_versions")
def test_scaffold_ends_at_the_optimum_where_fedavg_does_not() -> None:
    task = quadratics()
    plan = Plan(steps=7, lr=0.05, versions=400, evaluate_every=400)
    end = weights({"name": "scaffold", **ALL}, task=task, plan=plan)
    assert np.abs(end - task.optimum).max() < 1e-6  # its control variates are float32
    biased = weights({"name": "fedavg", "equal": True, **ALL}, task=task, plan=plan)
    assert np.abs(biased - task.optimum).max() > 0.05


def test_scaffold_with_one_client_is_plain_descent() -> None:
    task = quadratics(1, noise=0.1)
    one = clients(1)
    plain, controlled = (
        weights({"name": name, "clients": 1}, task=task, who=one) for name in ("fedavg", "scaffold")
    )
    assert np.abs(controlled - plain).max() < 1e-7  # one float32 vector stands for c and for c_i


@pytest.mark.usefixtures("exact_versions")
def test_fedamd_on_quadratics_ends_at_the_optimum() -> None:
    task = quadratics()
    plan = Plan(steps=5, lr=0.03, versions=600, evaluate_every=600)
    end = weights({"name": "fedamd", "anchors": 0.5, **ALL}, task=task, plan=plan)
    assert np.abs(end - task.optimum).max() < 1e-5  # its gradients are kept as float32


def test_classical_momentum_is_ghbm_over_one_round() -> None:
    """One full local step at N = 1: w_{t+1} = w_t - eta g + beta (w_t - w_{t-1})."""
    task = QuadraticTask(np.array([[3.0, 0.5]]), np.array([[1.0, -2.0]]))
    plan = Plan(steps=1, lr=0.1, versions=10)
    spec = {"name": "ghbm", "clients": 1, "tau": 1, "beta": 0.8}
    end = weights(spec, task=task, who=clients(1), plan=plan)
    last = now = np.zeros(2)
    for _ in range(10):
        step = -0.1 * task.curvature[0] * (now - task.centre[0])
        last, now = now, now + step + 0.8 * (now - last)
    assert np.abs(end - now).max() < 1e-6


def test_momentum_since_the_last_time_is_classical_for_one_client() -> None:
    given = {"task": quadratics(1, noise=0.1), "who": clients(1)}
    window = weights({"name": "ghbm", "clients": 1, "tau": 1}, **given)
    own = weights({"name": "local_ghbm", "clients": 1}, **given)
    assert np.abs(own - window).max() < 1e-5  # its anchors are float32


def test_fedhbm_goes_on_from_where_a_client_ended() -> None:
    """Against a plain loop: two clients in turn, C = 1/2."""
    task = QuadraticTask(np.array([[1.0, 3.0], [2.0, 0.5]]), np.array([[1.0, 0.0], [0.0, -2.0]]))
    plan = Plan(steps=3, lr=0.05, versions=9)
    spec = {"name": "fedhbm", "clients": 1, "beta": 0.6}
    end = weights(spec, task=task, who=clients(2), plan=plan, selection="round_robin")
    w, anchors = np.zeros(2), [np.zeros(2), np.zeros(2)]
    for number in range(9):
        client = number % 2
        x = w
        for _ in range(3):
            gradient = task.curvature[client] * (x - task.centre[client])
            x = x - 0.05 * (gradient + 0.6 / (0.05 * 3) * 0.5 * (anchors[client] - x))
        anchors[client] = w = x
    assert np.abs(end - w).max() < 1e-5


@pytest.mark.parametrize("name", ["local_ghbm", "fedhbm"])
def test_remembered_momentum_counts_the_rounds_that_a_client_missed(name: str) -> None:
    """Flat losses after a first push: with 60 % of dispatches lost the model must not run away."""
    task = QuadraticTask(np.full((12, 1), 0.02), np.ones((12, 1)))
    plan = Plan(steps=2, lr=0.1, versions=400, evaluate_every=400)
    found = run({"name": name, "clients": 4}, task=task, who=clients(12, failure=0.6), plan=plan)
    assert found.complete and found.clients["lost"].sum() > 1.2 * found.totals["used"]
    assert abs(found.weights[0] - 1.0) < 0.1


def test_rounds_missed_scale_momentum_to_the_mean_move() -> None:
    """A client back after 5 rounds and one after 1: C = 1/3; alone after 5: C = 1/5."""
    strategy = make("strategy", {"name": "local_ghbm", "clients": 2, "beta": 0.5})
    desk = Desk(task=quadratics(), weights=np.zeros(4))
    strategy.reset(desk)
    for version, who in ((0, [0, 1]), (4, [1, 2])):
        desk.version, desk.weights = version, np.full(4, float(version))
        strategy.change(desk, arrivals(who), updates(np.zeros((2, 4))))
    desk.version, desk.weights = 5, np.full(4, 5.0)
    both = strategy.local(desk, arrivals([0, 1]))["correction"][:, 0]
    scale = 0.5 / (0.05 * 4)
    assert both == pytest.approx([scale / 3 * -5.0, scale / 3 * -1.0])
    alone = strategy.local(desk, arrivals([0, 3]))["correction"][:, 0]
    assert alone == pytest.approx([scale / 5 * -5.0, 0.0])
    assert strategy.local(desk, arrivals([3])) == {}


def test_fedhbm_needs_equal_steps() -> None:
    with pytest.raises(InputError, match="same number of steps"):
        run({"name": "fedhbm", **ALL}, plan=Plan(epochs=1, versions=1))


def test_ghbm_moves_all_local_steps_together_by_beta_of_the_window() -> None:
    """Where nothing else moves: flat losses after a first push keep going by the window's mean."""
    task = QuadraticTask(np.array([[1.0]]), np.array([[1.0]]))
    plan = Plan(steps=5, lr=0.01, versions=6)
    spec = {"name": "ghbm", "clients": 1, "tau": 2, "beta": 0.9}
    found = run(spec, task=task, who=clients(1), plan=plan)
    past = [0.0]
    for _ in range(6):
        w = past[-1]
        pull = 0.9 / 5 * (past[-1] - past[-3]) / 2 if len(past) > 2 else 0.0
        for _ in range(5):
            w = w - 0.01 * (w - 1.0) + pull
        past.append(w)
    assert found.weights is not None
    assert abs(found.weights[0] - past[-1]) < 1e-6


@pytest.mark.parametrize(
    ("cls", "second"),
    [
        (FedAdagrad, lambda v, s: v + s),
        (FedAdam, lambda v, s: 0.99 * v + 0.01 * s),
        (FedYogi, lambda v, s: v - 0.01 * s * np.sign(v - s)),
    ],
    ids=["adagrad", "adam", "yogi"],
)
def test_moments_are_those_of_the_paper(cls: Any, second: Any) -> None:
    """Without noise and with one client, the mean update has a closed form."""
    task = QuadraticTask(np.array([[2.0, 0.5]]), np.array([[1.0, -1.0]]))
    plan = Plan(steps=3, lr=0.05, versions=8)
    given = cls(clients=1, server_lr=0.2, beta1=0.9, tau=0.01)
    end = weights(given, task=task, who=clients(1), plan=plan)
    w, m, v = np.zeros(2), np.zeros(2), np.full(2, 1e-4)
    for _ in range(8):
        d = (1 - (1 - 0.05 * task.curvature[0]) ** 3) * (task.centre[0] - w)
        m, v = 0.9 * m + 0.1 * d, second(v, d * d)
        w = w + 0.2 * m / (np.sqrt(v) + 0.01)
    assert np.abs(end - w).max() < 1e-5


@pytest.mark.parametrize("variant", ["g", "gm", "sl"])
def test_hypergradients_are_those_of_the_code(variant: str) -> None:
    task = QuadraticTask(np.array([[2.0, 0.5]]), np.array([[1.0, -1.0]]))
    plan = Plan(steps=3, lr=0.05, versions=8)
    end = weights(
        {"name": "fedhyper", "variant": variant, "clients": 1},
        task=task, who=clients(1), plan=plan,
    )  # fmt: skip
    low, high = {"g": (-0.8, 4), "gm": (-0.2, 4), "sl": (-0.9, 9)}[variant]
    w, h, last = np.zeros(2), 0.0, None
    for _ in range(8):
        lr = 0.05 * (1 + h) if variant == "sl" else 0.05
        d = (1 - (1 - lr * task.curvature[0]) ** 3) * (task.centre[0] - w)
        w = w + d
        if last is not None:
            h = min(max(h + float(last @ d), low), high)
            if variant != "sl":
                w = w + h * d
            if variant == "gm":
                w = w + 0.9 * h * last
        last = d + 0.9 * last if variant == "gm" and last is not None else d
    assert np.abs(end - w).max() < 1e-5


def test_hypergradients_of_clients_are_those_of_the_code() -> None:
    task = QuadraticTask(np.array([[2.0, 0.5]] * 2), np.array([[1.0, -1.0], [3.0, 1.0]]))
    plan = Plan(steps=4, lr=0.05, versions=6)
    end = weights(
        {"name": "fedhyper", "variant": "cl", "clients": 2, "equal": True},
        task=task, who=clients(2), plan=plan,
    )  # fmt: skip
    w = d = np.zeros(2)
    for _ in range(6):
        moved = []
        for centre in task.centre:
            x, b, last = w, 1.0, d
            for k in range(4):
                s = -0.05 * b * task.curvature[0] * (x - centre)
                x = x + s
                if k:
                    b = min(max(b * min(1.1, 1 + s @ last + 0.1 * (s @ d) / 2), 0.1), 10.0)
                    last = s
            moved.append(x - w)
        d = np.mean(moved, axis=0)
        w = w + d
    assert np.abs(end - w).max() < 1e-5


def test_bytes_are_those_that_the_algorithm_sends() -> None:
    def sent(strategy: dict[str, Any]) -> tuple[float, float]:
        found = run({**strategy, **ALL}, task=quadratics())
        return found.evaluations["down_bytes"][-1], found.evaluations["up_bytes"][-1]

    model = 4.0 * 4 * 6 * 12
    assert sent({"name": "fedavg"}) == (model, model)
    assert sent({"name": "scaffold"}) == (2 * model, 2 * model)
    assert sent({"name": "ghbm"}) == (2 * model, model)
    assert sent({"name": "local_ghbm"}) == (model, model)
    assert sent({"name": "fedhbm"}) == (13 / 12 * model, model)
    assert sent({"name": "fedamd", "every": 3}) == (4 / 12 * model + 8 / 12 * 2 * model, model)


def test_anchors_make_one_pass_and_miners_two_gradients_a_step() -> None:
    plan = Plan(steps=4, batch=5, versions=2)
    found = run({"name": "fedamd", "clients": 1, "every": 2}, who=clients(1), plan=plan)
    assert found.versions["time"].tolist() == [10_000_000, 50_000_000]


def test_only_anchors_move_nothing_and_are_refused() -> None:
    with pytest.raises(InputError, match="nobody moves the model"):
        run({"name": "fedamd", "anchors": 1.0, **ALL})


def test_two_algorithms_under_one_seed_see_the_same_clients() -> None:
    plain, other = (
        run({"name": name, **HALF}, who=clients(jitter=0.3), task=quadratics())
        for name in ("fedavg", "fedadam")
    )
    assert plain.clients["dispatches"].tolist() == other.clients["dispatches"].tolist()
    assert plain.versions["time"].tolist() == other.versions["time"].tolist()
