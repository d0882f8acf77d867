"""Rounds: choose clients, send the model, wait, make one step of what came, start again.

`Rounds` is the frame that every synchronous algorithm shares; an algorithm says how clients train
(`local`) and what change their updates make (`change`). Notation: w_t the model, S_t the clients
whose update counts, D_i = w_i - w_t the update of client i after K_i steps of size eta_l, p_i its
share of the samples, eta_g = `server_lr`. Where a source names code, the rule was read there; the
others are the papers' rules as commonly stated.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import (
    TICKS_PER_S,
    Arrivals,
    Clients,
    Plan,
    Server,
    Strategy,
    Updates,
)
from mltwin.sim.errors import InputError

from .limits import within
from .memory import Memory
from .registry import named

Array = npt.NDArray[Any]

DEADLINE, BEGIN = range(2)
"""Timers."""
PATIENCE = 1000
"""Rounds in a row that come to nothing before the run ends."""


@dataclass
class Rounds(Strategy):
    """The frame of synchronous rounds (Bonawitz et al. 2019, section 2.2).

    A round begins when `clients` are idle, invites `over` times as many, and ends with the first
    `clients` updates, when no more can come, or at the deadline; who is still at work is stopped.
    With fewer than `minimum` updates the round is abandoned: the model stays, another begins.

    Attributes:
        clients: m, updates that a round waits for; 0: of all that are there.
        over: clients invited for each update wanted; the slowest are stopped.
        deadline_s: longest duration of a round; 0: none.
        minimum: fewest updates that make a step.
        fill: wait until m clients are idle; else begin with those that are there.
        every_s: rounds begin at least so far apart.
        server_lr: eta_g.
        equal: updates weigh the same; else by samples.
    """

    clients: int = 10
    over: float = 1.0
    deadline_s: float = 0.0
    minimum: int = 1
    fill: bool = True
    every_s: float = 0.0
    server_lr: float = 1.0
    equal: bool = False

    _round: int = field(init=False, repr=False, default=0)
    _empty: int = field(init=False, repr=False, default=0)
    _waits: int = field(init=False, repr=False, default=0)
    _began: int = field(init=False, repr=False, default=0)
    _working: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        within(
            self,
            clients=(0, 2**31),
            over=(1, 1e6),
            deadline_s=(0, 9e9),
            minimum=(1, 2**31),
            every_s=(0, 9e9),
            server_lr=(0, 1e9),
        )

    def check(self, clients: Clients, plan: Plan) -> None:
        """Refuse rounds that want more clients than there are, or no step size (InputError)."""
        if self.fill and self.clients > len(clients):
            raise InputError(
                f"a round wants {self.clients} clients of {len(clients)}",
                where="strategy.clients",
                mend=f"give at most {len(clients)}, 0 for all, or fill = false",
            )
        if plan.lr <= 0:
            raise InputError(f"the clients' learning rate is {plan.lr}", where="plan.lr")
        if self.minimum > min(self.clients or len(clients), len(clients)):
            raise InputError(
                f"a step wants {self.minimum} updates, a round has fewer clients",
                where="strategy.minimum",
            )

    # What an algorithm fills in.

    def reset(self, server: Server) -> None:
        """Forget an earlier run."""

    def send(self, server: Server, chosen: Array) -> None:
        """Dispatch the clients of a round."""
        server.dispatch(chosen)

    def local(self, server: Server, done: Arrivals) -> dict[str, Any]:
        """Fields of `Local` that the algorithm sets."""
        return {}

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """float64[d], what is added to the model."""
        return self.server_lr * self.mean(server, done, updates.delta)

    # Helpers of algorithms.

    def mean(self, server: Server, done: Arrivals, deltas: Array) -> Array:
        """Weighted mean of updates: Sum p_i D_i / Sum p_i over S_t, or the plain mean."""
        weights = np.ones(len(done)) if self.equal else server.clients.samples[done.client]
        return total(server, weights / weights.sum() if len(done) else weights, deltas)

    # The frame.

    def start(self, server: Server) -> None:
        """The first round."""
        self._round = self._empty = self._waits = 0
        self._working = np.zeros(0, np.int32)
        self.reset(server)
        self._begin(server)

    def timer(self, server: Server, number: int) -> None:
        """The deadline, or time for another attempt to begin a round."""
        if number == DEADLINE:
            server.wait(0)
        else:
            self._begin(server)

    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """The end of a round."""
        server.timer(DEADLINE, None)
        done = arrivals.done
        late = set(self._working.tolist()).difference(arrivals.client.tolist())
        if late:
            server.cancel(np.array(sorted(late), np.int32))
        if len(done) < self.minimum:
            server.discard(done)
            self._next(server, "brought too few updates")
        else:
            self._step(server, done)
            self._next(server)

    def _begin(self, server: Server) -> None:
        self._began = server.now
        there = len(server.clients)
        wanted = self.clients or there
        chosen = server.select(min(there, math.ceil(wanted * self.over)))
        needed = wanted if self.fill and self.clients else 1
        if len(chosen) < needed:
            idle = len(server.idle())
            if idle < needed:
                self._await(server, needed, idle)
                return
        if len(chosen):
            self._waits = 0
            self._working = chosen
            if self.deadline_s:
                server.timer(DEADLINE, server.now + round(self.deadline_s * TICKS_PER_S))
            self.send(server, chosen)
            server.wait(min(wanted, len(chosen)))
        else:
            self._step(server, nothing())
            self._next(server, "had nobody who takes part")

    def _await(self, server: Server, needed: int, idle: int) -> None:
        """Begin when a client returns."""
        at = server.next_available()
        self._waits += 1
        if at is None or self._waits > 10 * (len(server.clients) + PATIENCE):
            server.fail(
                f"a round can never begin: it wants {needed} clients, {idle} are there "
                + ("and no other returns" if at is None else f"after {self._waits} returns")
            )
        else:
            server.timer(BEGIN, at)

    def _next(self, server: Server, nothing_came: str = "") -> None:
        self._round += 1
        self._empty = self._empty + 1 if nothing_came else 0
        if server.ended is not None:
            return
        if self._empty >= PATIENCE:
            server.fail(f"a round can never fill: {PATIENCE} in a row {nothing_came}")
            return
        at = self._began + round(self.every_s * TICKS_PER_S)
        if at > server.now or nothing_came:
            server.timer(BEGIN, max(at, server.now))
        else:
            self._begin(server)

    def _step(self, server: Server, done: Arrivals) -> None:
        if not learns(server):
            server.step(None, used=done)
            return
        if len(done):
            updates = server.train(done, **self.local(server, done))
        else:
            none = np.zeros(0)
            updates = Updates(np.zeros((0, len(server.weights)), np.float32), none, none)
        server.step(self.change(server, done, updates), used=done)


def learns(server: Server) -> bool:
    """Whether there is a model, or time only."""
    return server.task is not None and server.task.parameters > 0


def nothing() -> Arrivals:
    """No arrivals."""
    none = np.zeros(0, np.int64)
    return Arrivals(none, none, none, none, none, none, none, none, none)


def total(server: Server, coefficients: Array, deltas: Array) -> Array:
    """float64[d], the sum of coefficients[i] * deltas[i] as the run combines; 0 of nothing."""
    if not len(coefficients):
        return np.zeros(deltas.shape[1])
    return server.combine(coefficients, deltas)


def step_size(plan: Plan, version: int) -> float:
    """eta_l of dispatches that hold a version."""
    every = plan.lr_decay_every
    return plan.lr * plan.lr_decay ** (version // every) if every else plan.lr


@named("strategy", "fedavg", source="McMahan et al. 2017, algorithm 1")
@dataclass
class FedAvg(Rounds):
    """Federated averaging: the mean of the clients' updates, weighted by their data.

    w += eta_g Sum p_i D_i / Sum p_i over S_t.
    """


@named("strategy", "fedprox", source="Li et al. 2020 (MLSys), algorithm 2")
@dataclass
class FedProx(Rounds):
    """FedAvg whose clients are held near the model that they received.

    mu/2 |w - w_t|^2 is added to their loss.

    Attributes:
        mu: of the proximal term; 0 is FedAvg.
    """

    mu: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, mu=(0, 1e6))

    def local(self, server: Server, done: Arrivals) -> dict[str, Any]:
        """The proximal term."""
        return {"prox": self.mu}


@named("strategy", "fedavgm", source="Hsu, Qi and Brown 2019, section 4.3")
@dataclass
class FedAvgM(Rounds):
    """FedAvg with momentum at the server.

    v = beta v + mean D_i, w += eta_g v.

    Attributes:
        beta: momentum; 0 is FedAvg.
    """

    beta: float = 0.9
    _velocity: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, beta=(0, 1))

    def reset(self, server: Server) -> None:
        """No velocity."""
        self._velocity = 0.0

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g v."""
        self._velocity = self.beta * self._velocity + self.mean(server, done, updates.delta)
        return self.server_lr * self._velocity


@named("strategy", "fednova", source="Wang et al. 2020 (NeurIPS), equation 8, plain SGD")
@dataclass
class FedNova(Rounds):
    """FedAvg that does not favour clients which take more local steps.

    w += eta_g (Sum p_i K_i) Sum p_i D_i / K_i, p_i summing to 1 over S_t. With as many steps for
    all it is FedAvg.
    """

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g times the mean number of steps times the mean of D_i / K_i."""
        steps = np.maximum(done.steps, 1).astype(np.float64)
        shares = np.ones(len(done)) if self.equal else server.clients.samples[done.client]
        shares = shares / shares.sum() if len(done) else shares
        taken = float(np.sum(shares * steps))
        return self.server_lr * taken * total(server, shares / steps, updates.delta)


@named("strategy", "scaffold", source="Karimireddy et al. 2020 (ICML), algorithm 1, option II")
@dataclass
class Scaffold(Rounds):
    """Control variates against client drift; twice the traffic, a vector for each client.

    Local steps y -= eta_l (grad - c_i + c); then c_i' = c_i - c + (w_t - y_i) / (K_i eta_l),
    c += Sum_S (c_i' - c_i) / N, w += eta_g mean_S D_i. All control variates start at 0.
    """

    down_models = 2.0
    up_models = 2.0
    equal: bool = True
    _common: Any = field(init=False, repr=False, default=None)
    _own: Any = field(init=False, repr=False, default=None)

    def reset(self, server: Server) -> None:
        """All control variates 0."""
        if learns(server):
            self._common = np.zeros(len(server.weights))
            self._own = Memory(len(server.clients), len(server.weights))

    def local(self, server: Server, done: Arrivals) -> dict[str, Any]:
        """c - c_i, added to each gradient."""
        correction = (self._common - self._own[done.client]).astype(np.float32)
        return {"correction": correction, "lr": step_size(server.plan, server.version)}

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g mean D_i; new control variates."""
        lr = step_size(server.plan, server.version)
        old = self._own[done.client]
        taken = updates.delta / (np.maximum(done.steps, 1) * lr)[:, None]
        self._own.put(done.client, (old - self._common - taken).astype(np.float32))
        moved = self._own[done.client].astype(np.float64) - old
        self._common = self._common + np.add.reduce(moved, axis=0) / len(server.clients)
        return self.server_lr * self.mean(server, done, updates.delta)
