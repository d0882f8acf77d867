"""Flower strategies inside the twin: bring the strategy you have, get virtual time and its costs.

    # mine.py
    from flwr.server.strategy import FedProx

    def make_strategy(mu: float = 0.01):
        return FedProx(proximal_mu=mu, fraction_fit=0.1)

In a scenario `strategy = { name = "mine.py:make_strategy", mu = 0.1 }`; at the models
(`mltwin.models.federation.simulate`) `Policies(flower(strategy))`. The strategy's code runs as it
is: it chooses clients and aggregates their models. The twin trains them, and says who is there, how
long each takes and who is lost. Needs the extra `flower`.

A round is that of Flower's server: `configure_fit`, dispatch, `aggregate_fit` when all have
answered, are lost, or after `round_timeout_s` of virtual time; then `evaluate`. Clients that are
lost or late are its `failures`. Federated evaluation (`configure_evaluate`) is not simulated: the
twin evaluates each model itself.

A client's metrics are `loss` and `train_loss`, both the mean loss of its local steps. Models travel
as Flower's clients send them, in float32: of dense layers the weights [inputs, units] and the
biases [units] of each, of other models one vector. Softmax regression starts at 0.

Of a strategy's configuration for its clients these keys mean something here (with - for _ too):
`proximal_mu` (as Flower's FedProx sends), `lr` or `learning_rate`, `steps` or `local_steps`,
`epochs` or `local_epochs`, and `batch_size`, which must be the plan's. Others are for code that is
not here.

Strategies of `flwr.server.strategy` choose clients through the run's selection policy, so that
under one seed Flower's FedAvg and the built-in one choose the same. Message-based strategies
(`flwr.serverapp.strategy`) draw for themselves, from a seeded `random`.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import (
    STATUSES,
    TICKS_PER_S,
    Arrivals,
    Clients,
    Plan,
    Server,
    Strategy,
)
from mltwin.policies.federated.synchronous import BEGIN, DEADLINE, PATIENCE
from mltwin.sim.errors import InputError

from .federated_flower_calls import Calls, TooFew, Trained, calls_of, missing_flower, not_installed
from .federated_flower_config import local_of, steps_of

Array = npt.NDArray[Any]


@dataclass
class FlowerStrategy(Strategy):
    """Rounds decided by a Flower strategy; made by `flower` or `adapted`.

    A strategy that has initial parameters of its own makes of them version 1, at time 0.

    Attributes:
        round_timeout_s: after which a round ends without those still at work; 0: never.
        history: of each round its number, virtual seconds, clients that answered and failed, and
            what the strategy's `aggregate_fit` and `evaluate` said.
    """

    round_timeout_s: float = 0.0
    history: list[dict[str, Any]] = field(init=False, repr=False, default_factory=list)

    _calls: Calls = field(init=False, repr=False, compare=False)
    _round: int = field(init=False, repr=False, default=1)
    _empty: int = field(init=False, repr=False, default=0)
    _waits: int = field(init=False, repr=False, default=0)
    _working: Any = field(init=False, repr=False, default=None)
    _local: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.round_timeout_s < 9e9:
            raise InputError(
                f"round_timeout_s is {self.round_timeout_s}", where="strategy", mend="give 0 to 9e9"
            )
        self._calls = calls_of(self.make())

    def make(self) -> Any:
        """The Flower strategy."""
        raise InputError("there is no Flower strategy", where="strategy", mend="use flower(...)")

    def check(self, clients: Clients, plan: Plan) -> None:
        """Refuse clients that do not learn at all (InputError)."""
        if plan.lr <= 0:
            raise InputError(f"the clients' learning rate is {plan.lr}", where="plan.lr")

    def start(self, server: Server) -> None:
        """Take the strategy's first model, if it has one; begin.

        Raises InputError: only time is simulated, or a `Combine` would be passed over.
        """
        if server.task is None or server.task.parameters == 0:
            raise InputError(
                "a Flower strategy aggregates models, and only time is simulated",
                where="strategy",
                mend="set model.level to softmax",
            )
        if getattr(getattr(server, "policies", None), "combine", None) is not None:
            raise InputError(
                "a Flower strategy combines updates itself", where="combine", mend="leave it out"
            )
        self.history.clear()
        self._round, self._empty, self._waits = 1, 0, 0
        self._calls.begin(server)
        first = self._calls.first()
        if first is not None:
            server.step(first - server.weights, used=0)
        self._calls.evaluate(0)
        self._begin(server)

    def timer(self, server: Server, number: int) -> None:
        """The round's time is over, or a client has returned."""
        if number == DEADLINE:
            server.wait(0)
        else:
            self._begin(server)

    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """The end of a round."""
        server.timer(DEADLINE, None)
        done = arrivals.done
        late = np.setdiff1d(self._working, arrivals.client)
        server.cancel(late)
        updates = server.train(done, **self._local)
        failed = [
            (int(client), f"was lost: {STATUSES[status]}")
            for client, status in zip(arrivals.client, arrivals.status, strict=True)
            if status
        ]
        failed += [(int(client), "did not answer in time") for client in late]
        models = server.held(done) + updates.delta if len(done) else updates.delta
        trained = Trained(done.client, models, server.clients.samples[done.client], updates.loss)
        new, metrics = self._calls.aggregate(self._round, trained, failed)
        if new is None:
            server.discard(done)
            self._empty += 1
        else:
            server.step(new - server.weights, used=done)
            self._empty = 0
        self.history.append({
            "round": self._round, "time_s": server.now / TICKS_PER_S, "answered": len(done),
            "failed": len(failed), "fit": metrics, "evaluate": self._calls.evaluate(self._round),
        })  # fmt: skip
        self._round += 1
        if server.ended is not None:
            return
        if self._empty >= PATIENCE:
            server.fail(f"{PATIENCE} rounds in a row came to nothing")
        elif new is None:  # the same clients may fail again and again at one instant
            server.timer(BEGIN, server.now)
        else:
            self._begin(server)

    def _begin(self, server: Server) -> None:
        try:
            sent = self._calls.configure(self._round)
        except TooFew as few:
            self._await(server, f"{few.wanted} clients are wanted, {few.there} are there")
            return
        if not sent:
            self._await(server, "the strategy chose nobody")
            return
        self._waits = 0
        self._working = np.array([client for client, _ in sent], np.int32)
        self._local = local_of(sent, server.plan)
        if self.round_timeout_s:
            server.timer(DEADLINE, server.now + round(self.round_timeout_s * TICKS_PER_S))
        server.dispatch(self._working, steps=steps_of(sent, server))
        server.wait(len(sent))

    def _await(self, server: Server, why: str) -> None:
        """Try again when a client returns."""
        at = server.next_available()
        self._waits += 1
        if at is None or self._waits > PATIENCE + 10 * len(server.clients):
            server.fail(f"round {self._round} can never begin: {why}, and no other client returns")
        else:
            server.timer(BEGIN, at)


@dataclass
class _Given(FlowerStrategy):
    """A strategy object that is there already."""

    strategy: Any = None

    def make(self) -> Any:
        """It."""
        return self.strategy


def flower(strategy: Any, *, round_timeout_s: float = 0.0) -> FlowerStrategy:
    """A Flower strategy as a strategy of the twin, for one run (what it remembers it keeps).

    Args:
        strategy: a `flwr.server.strategy.Strategy`, or a message-based one of
            `flwr.serverapp.strategy`.
        round_timeout_s: virtual seconds after which a round ends; 0: never.

    Raises InputError: it is neither, or Flower is not installed.
    """
    return _Given(round_timeout_s=round_timeout_s, strategy=strategy)


def adapted(factory: Callable[..., Any], where: str) -> type[FlowerStrategy]:
    """A strategy class of the twin whose parameters are those of a function (or class) that makes
    a Flower strategy, and `round_timeout_s`.

    Raises InputError: it is nothing that can be called with named parameters.
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        raise InputError("this cannot be called", where=where, mend="name a function") from None
    plain = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, one in signature.parameters.items() if one.kind in plain]
    fields: list[Any] = []
    for name in names:
        default = signature.parameters[name].default
        if default is inspect.Parameter.empty:
            fields.append((name, Any))
        elif type(default).__hash__ is None:
            fields.append((name, Any, field(default_factory=partial(copy.copy, default))))
        else:
            fields.append((name, Any, field(default=default)))

    def make(self: Any) -> Any:
        try:
            return factory(**{name: getattr(self, name) for name in names})
        except InputError:
            raise
        except Exception as error:
            if missing_flower(error):
                raise not_installed() from None
            raise InputError(f"{type(error).__name__}: {error}", where=where) from error

    name = getattr(factory, "__name__", "Flower")
    return dataclasses.make_dataclass(
        name, fields, bases=(FlowerStrategy,), namespace={"make": make}, kw_only=True
    )
