"""What a policy of a user returns is looked at: a mistake is one line that names the policy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mltwin.models.federation.hooks import Attack, Codec, Combine, Policies, Selection, Updates
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Clients, Plan
from mltwin.policies.federated.asynchronous import FedBuff
from mltwin.policies.federated.synchronous import FedAvg
from mltwin.sim.errors import InputError

CLIENTS = Clients.make(np.full(6, 10), s_per_sample=1e-3)
TASK = QuadraticTask(np.ones((6, 3)), np.arange(18.0).reshape(6, 3))


@dataclass
class Chooses(Selection):
    given: Any

    def choose(self, server, count):
        return self.given


@dataclass
class Sends(Codec):
    up: Any = 8.0
    down: Any = 8.0
    decoded: Any = None

    def up_bytes(self, server, clients):
        return self.up

    def down_bytes(self, server, clients, model_bytes):
        return self.down

    def apply(self, server, arrivals, updates):
        return updates if self.decoded is None else self.decoded(updates)


@dataclass
class Spoils(Attack):
    made: Any

    def apply(self, server, arrivals, updates):
        return self.made(updates)


@dataclass
class Makes(Combine):
    given: Any

    def combine(self, server, coefficients, deltas):
        return self.given


def run(**policies: Any) -> Any:
    strategy = policies.pop("strategy", FedAvg(clients=2))
    return simulate(CLIENTS, Policies(strategy, **policies), Plan(versions=3), task=TASK)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"selection": Chooses(None)}, "Chooses.choose: returned None; return int32"),
    ({"selection": Chooses([0.5, 1.0])}, r"Chooses.choose: returned \[0.5, 1.0\]"),
    ({"selection": Chooses("ab")}, "Chooses.choose: returned 'ab'"),
    ({"selection": Chooses([0, 99])}, r"dispatch: clients \[0, 99\] are not distinct clients of 6"),
    ({"codec": Sends(up=None)}, "Sends.up_bytes: returned None; return float64"),
    ({"codec": Sends(up=-1.0)}, "Sends.up_bytes: returned -1.0"),
    ({"codec": Sends(up=[1.0, 2.0, 3.0])}, "Sends.up_bytes: returned .*; return float64.2."),
    ({"codec": Sends(down=np.full(9, 1.0))}, "Sends.down_bytes: returned float64.9."),
    ({"codec": Sends(down=float("nan"))}, "Sends.down_bytes: returned nan"),
    ({"codec": Sends(decoded=lambda u: u.loss)}, "Sends.apply: returned array"),
    (
        {"codec": Sends(decoded=lambda u: Updates(u.delta[:, :2], u.loss, u.squared))},
        r"Sends.apply: returned .*; return Updates with delta float32\[2, 3\]",
    ),
    ({"attack": Spoils(lambda u: None)}, "Spoils.apply: returned None"),
    ({"combine": Makes(None)}, r"Makes.combine: returned None; return float64\[3\]"),
    ({"combine": Makes(np.zeros((2, 3)))}, r"Makes.combine: returned float64\[2, 3\]"),
    ({"combine": Makes([[1.0], [1.0, 2.0]])}, "Makes.combine: returned "),
]


@pytest.mark.parametrize("rounds", [True, False], ids=["rounds", "refills"])
@pytest.mark.parametrize(("policies", "said"), WRONG)
def test_what_cannot_be_is_one_line(policies: dict[str, Any], said: str, rounds: bool) -> None:
    strategy = FedAvg(clients=2) if rounds else FedBuff(buffer=2, concurrency=2)
    with pytest.raises(InputError, match=said) as error:
        run(strategy=strategy, **policies)
    assert "\n" not in str(error.value)


def test_lists_and_other_numbers_do() -> None:
    usual = run(codec=Sends(up=np.full(2, 8.0), down=np.full(2, 8.0)))
    lists = run(codec=Sends(up=[8, 8], down=[8.0]))
    assert usual.totals == lists.totals
    assert np.array_equal(usual.weights, lists.weights)
    chosen = run(selection=Chooses([1, 3]))
    other = run(selection=Chooses(np.array([[1.0], [3.0]])))
    assert np.array_equal(chosen.weights, other.weights)
    assert run(combine=Makes([0, 0, 1])).weights[2] == 3.0 + TASK.initial(0)[2]


def test_clients_that_are_not_there_are_not_cancelled() -> None:
    @dataclass
    class Cancels(FedAvg):
        def start(self, server):
            server.cancel([6])

    with pytest.raises(InputError, match=r"cancel: clients \[6\] are not all of the 6"):
        run(strategy=Cancels(clients=2))
