"""Generalised heavy-ball momentum: clients go on in the direction in which the model has moved.

The direction is the mean move over so many rounds that all clients have had a part in it, so that
it does not lean to those of the last round. Each of a client's J local steps adds
beta / (eta_l J) m to its gradient, m pointing back along the move, so that all of them together go
beta |m| along it; notation as in `synchronous`.

The three rules were read in the authors' code (RickZack/GHBM, clients and servers, without the
Nesterov option); the paper's text was not readable.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Clients, Plan, Server, Updates
from mltwin.sim.errors import InputError

from .limits import within
from .memory import Memory
from .registry import named
from .synchronous import Rounds, learns, step_size

Array = npt.NDArray[Any]


@dataclass
class HeavyBall(Rounds):
    """Rounds whose clients follow a momentum.

    Attributes:
        beta: momentum; 0 is FedAvg.
    """

    beta: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, beta=(0, 1))

    def pull(self, server: Server, done: Arrivals) -> Array:
        """float64[n], beta / (eta_l J) of each client."""
        lr = step_size(server.plan, server.version)
        return np.asarray(self.beta / (lr * np.maximum(done.steps, 1)))


@named("strategy", "ghbm", source="Zaccone et al. 2025 (TMLR), GHBM; code RickZack/GHBM")
@dataclass
class Ghbm(HeavyBall):
    """Clients go on in the direction of the model's mean move of the last tau rounds.

    m = (w_{t-tau} - w_t) / tau; nothing in the first tau rounds. tau = 1 is classical momentum;
    about one over the share of clients in a round covers all of them. The model and m go down: 1.5
    times the traffic of FedAvg.

    Attributes:
        tau: rounds of the window.
    """

    down_models = 2.0
    tau: int = 10
    _past: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, tau=(1, 1e6))

    def reset(self, server: Server) -> None:
        """No past models."""
        self._past = deque(maxlen=self.tau)

    def local(self, server: Server, done: Arrivals) -> dict[str, Any]:
        """The momentum, added to each gradient."""
        if len(self._past) < self.tau:
            return {}
        momentum = (self._past[0] - server.weights) / self.tau
        correction = self.pull(server, done)[:, None] * momentum
        return {"correction": correction.astype(np.float32)}

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g times the mean update."""
        self._past.append(server.weights)
        return super().change(server, done, updates)


@dataclass
class Anchored(HeavyBall):
    """Momentum from what each client remembers: no more traffic than FedAvg, for state at clients.

    C is one over the mean number of rounds since this round's clients last took part: m / N, the
    constant of the authors' code, where all N take part alike. With that constant clients that
    fail or are away go further than the model has moved, and the model diverges: on digits (50
    clients, Dirichlet 0.1, rounds of 5, 40 % of dispatches fail, lr 0.1) the loss is 8e5 after 600
    rounds, with C as here 0.16.
    """

    _anchors: Any = field(init=False, repr=False, default=None)
    _last: Any = field(init=False, repr=False, default=None)

    def reset(self, server: Server) -> None:
        """No client has taken part."""
        self._last = np.full(len(server.clients), -1, np.int64)
        if learns(server):
            self._anchors = Memory(len(server.clients), len(server.weights))

    def share(self, server: Server, clients: Array) -> float:
        """C of a round of these clients; of newcomers the rounds so far count, at least N / m."""
        count, rounds = len(server.clients), server.version
        last = self._last[clients]
        first = max(rounds + 1.0, count / (self.clients or count))
        return 1.0 / float(np.where(last < 0, first, rounds - last).mean())

    def remember(self, server: Server, clients: Array, models: Array) -> None:
        """These clients take part in this round; float32[n, d], what they start from next time."""
        self._last[clients] = server.version
        self._anchors.put(clients, models.astype(np.float32))


@named("strategy", "local_ghbm", source="Zaccone et al. 2025 (TMLR); code RickZack/GHBM")
@dataclass
class LocalGhbm(Anchored):
    """Clients go on in the direction of the model's move since they last took part.

    m_i = C (a_i - w_t), a_i the model that client i received last time; 0 the first time. Over
    the round that is at most beta times a mean of earlier moves, so it does not grow by itself.
    """

    def local(self, server: Server, done: Arrivals) -> dict[str, Any]:
        """The momentum of each client, added to each gradient."""
        known = self._last[done.client] >= 0
        if not known.any():
            return {}
        moved = np.where(known[:, None], self._anchors[done.client] - server.weights, 0.0)
        pull = self.share(server, done.client[known]) * self.pull(server, done)
        return {"correction": (pull[:, None] * moved).astype(np.float32)}

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g times the mean update; what clients received is remembered."""
        received = np.broadcast_to(server.weights, updates.delta.shape)
        self.remember(server, done.client, received)
        return super().change(server, done, updates)


@named("strategy", "fedhbm", source="Zaccone et al. 2025 (TMLR); code RickZack/GHBM")
@dataclass
class FedHbm(Anchored):
    """Clients go on from their own last local model through where they are now, step by step.

    m_i = C (a_i - w_{i,k}) at local step k, a_i the local model with which client i ended last
    time, as far as the server has decoded it; the first time the initial model, sent along.
    In terms of `Local`: a proximal term of -C beta / (eta_l J) and the correction
    C beta / (eta_l J) (a_i - w_t). Needs the same number of steps at all clients.

    A client goes away from where it ended, by G - 1 times its distance from the model, G = (1 + C
    beta / J)^J: where the loss is flat this grows if G > 2. So with all clients in every round
    (C = 1) and beta 0.9 it diverges; with half of them (G = 1.5) it does not.
    """

    _first: Any = field(init=False, repr=False, default=None)
    _met: Any = field(init=False, repr=False, default=None)

    def check(self, clients: Clients, plan: Plan) -> None:
        """Refuse steps that differ between clients (InputError)."""
        super().check(clients, plan)
        if plan.epochs is not None:
            raise InputError(
                "fedhbm needs the same number of steps at all clients",
                where="plan.epochs",
                mend="give steps, or take ghbm or local_ghbm",
            )

    def reset(self, server: Server) -> None:
        """No client has taken part."""
        super().reset(server)
        self._first = server.weights
        self._met = np.zeros(len(server.clients), bool)

    def send(self, server: Server, chosen: Array) -> None:
        """The model, to newcomers with the initial one."""
        met = self._met[chosen]
        size = server.plan.model_bytes
        if size is None and learns(server):
            size = 4.0 * server.task.parameters
        if met.any():
            server.dispatch(chosen[met])
        if not met.all():
            server.dispatch(chosen[~met], down_bytes=None if size is None else 2.0 * size)
        self._met[chosen] = True

    def local(self, server: Server, done: Arrivals) -> dict[str, Any]:
        """The momentum, as a correction and a term of the local move."""
        known = self._last[done.client] >= 0
        anchors = np.where(known[:, None], self._anchors[done.client], self._first)
        pull = self.share(server, done.client) * float(self.pull(server, done)[0])
        correction = pull * (anchors - server.weights)
        return {"prox": -pull, "correction": correction.astype(np.float32)}

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g times the mean update; where clients ended is remembered."""
        self.remember(server, done.client, server.weights + updates.delta)
        return super().change(server, done, updates)
