"""Flower strategies in the twin; with Flower where it is installed, else with a stand-in."""

import random
import sys
from pathlib import Path
from typing import Any

import flower_stand_in
import numpy as np
import pytest

import mltwin as mt
from mltwin.sim.errors import InputError

BASE: dict[str, Any] = {
    "system": "federated",
    "dataset": {"source": {"name": "gaussians", "samples": 400, "features": 6, "classes": 4}},
    "clients": {"count": 12, "speed": "exponential"},
    "stop": {"versions": 8},
}
STRATEGY = """
from flwr.server.strategy import FedAvg

class Recording(FedAvg):
    made = []

    def __init__(self, **given):
        super().__init__(**given)
        self.rounds = []
        self.made.append(self)

    def aggregate_fit(self, server_round, results, failures):
        self.rounds.append((server_round, [p.cid for p, _ in results], [str(f) for f in failures]))
        return super().aggregate_fit(server_round, results, failures)

def make(fraction: float = 0.5, mu: float = -1.0, epochs: float = 0.0, least: int = 2):
    config = {}
    if mu >= 0:
        config["proximal_mu"] = mu
    if epochs:
        config["local_epochs"] = epochs
    return Recording(fraction_fit=fraction, min_fit_clients=least, min_available_clients=least,
                     on_fit_config_fn=lambda number: config)
"""


@pytest.fixture(autouse=True, params=["stand-in", "flower"])
def _flower(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test with the stand-in, and with Flower where it is installed."""
    if request.param == "flower":
        pytest.importorskip("flwr")
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "flwr"]:
        monkeypatch.delitem(sys.modules, name)
    for name, module in flower_stand_in.modules():
        monkeypatch.setitem(sys.modules, name, module)


def scenario(folder: Path, text: str = STRATEGY, name: str = "make", **given: Any) -> Any:
    """A scenario whose strategy is in a file."""
    file = folder / f"strategy_{abs(hash(text))}_{len(sys.modules.get('flwr').__dict__)}.py"
    file.write_text(text, "utf-8")
    changes = {**BASE, **{k: v for k, v in given.items() if k in ("clients", "model", "stop")}}
    more = {k: v for k, v in given.items() if k not in changes}
    return mt.Scenario.parse({**changes, "strategy": {"name": f"{file}:{name}", **more}})


def plain(spec: dict[str, Any], **given: Any) -> Any:
    """The same scenario with a built-in strategy."""
    return mt.Scenario.parse({**BASE, **given, "strategy": spec})


def test_flower_s_fedavg_is_ours_to_float_error(tmp_path: Path) -> None:
    """Same clients chosen, same times, same costs; weights differ by float32's rounding."""
    theirs = scenario(tmp_path).run(3)
    ours = plain({"name": "fedavg", "clients": 6}).run(3)
    assert theirs.metrics["duration_s"] == ours.metrics["duration_s"]
    assert theirs.metrics["up_gb"] == ours.metrics["up_gb"]
    for column in ("dispatches", "used"):
        np.testing.assert_array_equal(
            theirs.tables["clients"][column], ours.tables["clients"][column]
        )
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(
            theirs.tables["evaluations"][name], ours.tables["evaluations"][name], rtol=1e-5
        )
    assert not theirs.violations


def test_it_is_the_same_on_the_twin_s_twin_and_again(tmp_path: Path) -> None:
    one = scenario(tmp_path, clients={"count": 12, "failure": 0.2, "speed": "exponential"})
    assert one.run(5).digest == one.run(5).digest == one.run(5, reference=True).digest


def test_its_clients_may_be_held_near_the_model(tmp_path: Path) -> None:
    """`proximal_mu` is Flower's FedProx."""
    theirs = scenario(tmp_path, mu=0.5).run(3)
    ours = plain({"name": "fedprox", "clients": 6, "mu": 0.5}).run(3)
    assert theirs.metrics["final_loss"] == pytest.approx(ours.metrics["final_loss"], rel=1e-5)
    other = scenario(tmp_path, mu=0.0).run(3)
    assert theirs.metrics["final_loss"] != pytest.approx(other.metrics["final_loss"], rel=1e-5)


def test_local_epochs_become_steps(tmp_path: Path) -> None:
    theirs = scenario(tmp_path, epochs=2.0).run(3)
    ours = plain({"name": "fedavg", "clients": 6}, training={"epochs": 2.0}).run(3)
    assert theirs.metrics["duration_s"] == ours.metrics["duration_s"]
    assert theirs.metrics["final_loss"] == pytest.approx(ours.metrics["final_loss"], rel=1e-5)


def test_lost_and_late_clients_are_its_failures(tmp_path: Path) -> None:
    people = {"count": 12, "failure": 0.3, "speed": {"name": "log_normal", "sigma": 2.0}}
    longest = scenario(tmp_path, clients=people, fraction=1.0).run(1).metrics["duration_s"] / 8
    one = scenario(tmp_path, clients=people, fraction=1.0, round_timeout_s=longest / 3)
    result = one.run(1)
    assert result.metrics["duration_s"] <= 8 * longest / 3 * 1.0001
    made = type_of(one).made[-1]
    told = [text for _, _, failures in made.rounds for text in failures]
    assert any("lost" in text for text in told) and any("in time" in text for text in told)
    for _, answered, failures in made.rounds:
        assert len(answered) + len(failures) == 12
    assert not result.violations


def type_of(one: Any) -> Any:
    """The recording class of a scenario's file."""
    from mltwin.policies.loading import load_file

    return load_file(Path(one.strategy["name"].rpartition(":")[0])).Recording


def test_a_round_waits_for_the_clients_it_wants(tmp_path: Path) -> None:
    """Half of the clients are there at a time; a round wants eight of twelve."""
    away = {"name": "cyclic", "period_s": 10.0, "duty": 0.5}
    people = {"count": 12, "availability": away, "speed": "homogeneous"}
    result = scenario(tmp_path, clients=people, least=8).run(2)
    assert result.facts["complete"] or "no other client returns" in result.facts["ended"]
    never = scenario(tmp_path, least=13).run(2)
    assert not never.facts["complete"]
    assert "13 clients are wanted, 12 are there" in never.facts["ended"]


def test_its_own_first_model_is_version_1(tmp_path: Path) -> None:
    text = """
import numpy as np
from flwr.common import ndarrays_to_parameters
from flwr.server.strategy import FedAvg

def make():
    arrays = [np.full((6, 4), 0.5, np.float32), np.zeros(4, np.float32)]
    return FedAvg(initial_parameters=ndarrays_to_parameters(arrays))
"""
    result = scenario(tmp_path, text, stop={"versions": 1}).run(1)
    assert result.metrics["updates"] == 0 and result.metrics["duration_s"] == 0
    wrong = text.replace("(6, 4)", "(7, 4)")
    with pytest.raises(InputError, match=r"arrays \[\(7, 4\), \(4,\)\], the model \[\(6, 4\)"):
        scenario(tmp_path, wrong).run(1)


def test_what_it_draws_is_seeded_and_the_world_left_alone(tmp_path: Path) -> None:
    text = """
import random
import numpy as np
from flwr.server.strategy import FedAvg

class Noisy(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
        return super().aggregate_fit(server_round, random.sample(results, 2), failures)
"""
    one = scenario(tmp_path, text, "Noisy")
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = one.run(1).digest
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    random.random()
    assert first == one.run(1).digest != one.run(2).digest


def test_runs_in_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    text = """
import numpy as np
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FedAvg

class Noisy(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
        new, metrics = super().aggregate_fit(server_round, results, failures)
        arrays = [a + np.random.normal(0, 0.1, a.shape) for a in parameters_to_ndarrays(new)]
        return ndarrays_to_parameters(arrays), metrics
"""
    one = scenario(tmp_path, text, "Noisy", stop={"versions": 20})
    alone = [one.run(seed).digest for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: one.run(seed).digest, range(6))) == alone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make(): return 3", "int is no strategy of Flower"),
        ("def make(): raise ValueError('no')", "ValueError: no"),
        (
            STRATEGY + "\nclass Odd(Recording):\n    def aggregate_fit(self, *given):\n"
            "        raise KeyError('accuracy')\ndef make(): return Odd()",
            "Odd.aggregate_fit in round 1: KeyError: 'accuracy'",
        ),
        (
            STRATEGY + "\ndef make(): return Recording(on_fit_config_fn=lambda n: "
            "{'batch_size': 32})",
            "batch_size 32, the plan's is 10",
        ),
        (
            STRATEGY + "\ndef make(): return Recording(on_fit_config_fn=lambda n: {'lr': 'high'})",
            "the strategy sends lr = 'high'",
        ),
        (
            STRATEGY + "\ndef make(): return Recording(on_fit_config_fn=lambda n: {'epochs': -1})",
            "the strategy sends epochs = -1",
        ),
        ("import flwr.nothing\ndef make(): pass", "Flower is not installed"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as told:
        scenario(tmp_path, text).run(1)
    assert message in str(told.value)


def test_time_alone_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only time is simulated"):
        scenario(tmp_path, model={"level": "time"}).run(1)


def test_an_object_will_do(tmp_path: Path) -> None:
    from flwr.server.strategy import FedAvg

    from mltwin.models.federation.hooks import Policies
    from mltwin.models.federation.learning.quadratic import QuadraticTask
    from mltwin.models.federation.simulate import simulate
    from mltwin.models.federation.tables import Clients, Plan
    from mltwin.policies.federated.registry import make

    draw = np.random.default_rng(0)
    task = QuadraticTask(draw.uniform(1, 3, (5, 4)), draw.normal(size=(5, 4)))
    clients = Clients.make(np.arange(1, 6))
    plan = Plan(versions=20, lr=0.05)
    strategy = mt.federated.flower(FedAvg())
    theirs = simulate(clients, Policies(strategy), plan, task=task)
    built_in = make("strategy", {"name": "fedavg", "clients": 5})
    ours = simulate(clients, Policies(built_in), plan, task=task)
    np.testing.assert_allclose(theirs.weights, ours.weights, rtol=1e-5)
    assert [row["answered"] for row in strategy.history] == [5] * 20


MESSAGES = """
from flwr.serverapp.strategy import FedAvg, FedProx

def average(fraction: float = 1.0, least: int = 2):
    return FedAvg(fraction_train=fraction, min_train_nodes=least, min_available_nodes=least)

def near(mu: float = 0.5):
    return FedProx(proximal_mu=mu)
"""


@pytest.fixture
def _messages(_flower: None) -> None:
    """Messages have no stand-in."""
    pytest.importorskip("flwr.serverapp.strategy")


@pytest.mark.usefixtures("_messages")
def test_message_based_strategies_work_too(tmp_path: Path) -> None:
    """All twelve take part, so that it does not matter who draws."""
    for name, given, built_in in (
        ("average", {}, {"name": "fedavg", "clients": 12}),
        ("near", {"mu": 0.5}, {"name": "fedprox", "clients": 12, "mu": 0.5}),
    ):
        theirs = scenario(tmp_path, MESSAGES, name, **given).run(3)
        ours = plain(built_in).run(3)
        assert theirs.metrics["duration_s"] == ours.metrics["duration_s"]
        np.testing.assert_allclose(
            theirs.tables["evaluations"]["loss"], ours.tables["evaluations"]["loss"], rtol=1e-5
        )


@pytest.mark.usefixtures("_messages")
@pytest.mark.parametrize(
    ("home", "name", "given"),
    [
        ("server", "FedAdam", "initial_parameters=zeros()"),
        ("server", "FedAvgM", "server_momentum=0.9, initial_parameters=zeros()"),
        ("server", "FedMedian", ""),
        ("server", "Krum", "num_malicious_clients=1"),
        ("serverapp", "FedAdam", ""),
        ("serverapp", "FedMedian", ""),
        ("serverapp", "Krum", "num_malicious_nodes=1"),
        ("serverapp", "QFedAvg", "client_learning_rate=0.1, q=0.1"),
    ],
)
def test_flower_s_own_strategies_learn(tmp_path: Path, home: str, name: str, given: str) -> None:
    text = f"""
import numpy as np
from flwr.common import ndarrays_to_parameters
from flwr.{home}.strategy import {name}

def zeros():
    return ndarrays_to_parameters([np.zeros((6, 4), np.float32), np.zeros(4, np.float32)])

def make():
    return {name}({given})
"""
    one = scenario(tmp_path, text)
    result = one.run(1)
    assert result.facts["complete"] and not result.violations
    losses = result.tables["evaluations"]["loss"]
    assert losses[-1] < losses[0] and result.digest == one.run(1).digest


@pytest.mark.usefixtures("_messages")
def test_messages_of_lost_clients_are_errors(tmp_path: Path) -> None:
    people = {"count": 12, "failure": 0.3, "speed": "exponential"}
    one = scenario(tmp_path, MESSAGES, "average", fraction=0.5, clients=people)
    assert one.run(5).digest == one.run(5).digest
    assert one.run(5).metrics["lost_share"] > 0 and not one.run(5).violations
    never = scenario(tmp_path, MESSAGES, "average", least=13).run(2)
    assert "13 clients are wanted, 12 are there" in never.facts["ended"]
