"""Anarchic federated learning: clients choose when they take part and how many steps they do.

Yang, Zhang, Khanduri and Liu 2022 (ICML), algorithms AFA-CD (cross-device) and AFA-CS
(cross-silo). The rules are from memory of the paper, of which only the abstract was at hand:
a client returns G_i, the mean gradient of its own K_i steps; the server averages the returns
(CD) or the last returns of all clients (CS).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import TICKS_PER_S, Arrivals, Server, Strategy
from mltwin.sim import rng_arrays

from .absent import Absent
from .buffered import MANY
from .limits import within
from .registry import named
from .synchronous import learns

Array = npt.NDArray[Any]


@dataclass
class Anarchic(Strategy):
    """Clients that come when they like; a step with every `returns` of their updates.

    A client that is done rests for an exponential time, then fetches the current model and does
    a uniform number of steps. Both draws are keyed by client and dispatch.

    Attributes:
        returns: m, updates of a step.
        server_lr: eta; a step moves by eta * eta_l times a mean of gradients, so with K steps
            everywhere eta = K is FedAvg.
        fewest, most: local steps K_i, drawn uniformly from fewest to most.
        rest_s: mean rest between two turns of a client, 0: none. All begin with a rest.
    """

    ignores = frozenset({"selection", "steps", "epochs"})

    returns: int = 10
    server_lr: float = 5.0
    fewest: int = 1
    most: int = 10
    rest_s: float = 0.0
    _turns: Array = field(
        init=False, repr=False, compare=False, default_factory=lambda: np.zeros(0, np.int64)
    )
    _absent: Absent = field(
        init=False, repr=False, compare=False, default_factory=lambda: Absent(0)
    )
    _returned: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        within(self, returns=(1, MANY), server_lr=(0, 1e9), rest_s=(0, 9e9))
        within(self, fewest=(1, MANY), most=(self.fewest, MANY))

    def keep(self, server: Server, client: Array, pace: Array | None) -> None:
        """Remember returns: float32[n, d] mean of the local steps, -eta_l * G_i."""
        raise NotImplementedError

    def change(self, server: Server) -> Array:
        """float64[d], of the model, once there are enough returns."""
        raise NotImplementedError

    def start(self, server: Server) -> None:
        """Let all clients rest."""
        self._turns = np.zeros(len(server.clients), np.int64)
        self._absent = Absent(len(server.clients))
        self._returned = 0
        everyone = np.arange(len(server.clients), dtype=np.int32)
        if self.rest_s:
            self._rest(server, everyone)
        else:
            self._work(server, self._absent.here(server, everyone))

    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """Keep what came; step when it is enough; let the clients rest."""
        done = arrivals.done
        if len(done):
            pace = None
            if learns(server):
                pace = server.train(done).delta / done.steps[:, None].astype(np.float32)
            self.keep(server, done.client, pace)
            self._returned += len(done)
        if self._returned >= self.returns:
            server.step(self.change(server) if learns(server) else None, used=self._returned)
            self._returned = 0
        self._rest(server, arrivals.client)

    def timer(self, server: Server, number: int) -> None:
        """A client has rested, or some are back."""
        if number == len(server.clients):
            self._work(server, self._absent.back(server))
        else:
            self._work(server, self._absent.here(server, np.array([number], np.int32)))

    def _rest(self, server: Server, clients: Array) -> None:
        from mltwin.sim.rng_compiled import exponentials

        turns = self._turns[clients]
        rests = self.rest_s * exponentials(server.seed, rng_arrays.THINK, clients, turns)
        for client, rest in zip(clients.tolist(), rests.tolist(), strict=True):
            server.timer(client, server.now + round(rest * TICKS_PER_S))

    def _work(self, server: Server, clients: Array) -> None:
        if not len(clients):
            return
        from mltwin.sim.rng_compiled import uniforms

        draws = uniforms(server.seed, rng_arrays.POLICY, clients, self._turns[clients])
        span = self.most - self.fewest + 1
        server.dispatch(clients, steps=self.fewest + (draws * span).astype(np.int64))
        self._turns[clients] += 1


@named("strategy", "afa_cd", source="Yang et al. 2022 (ICML), AFA-CD; from memory")
@dataclass
class AnarchicDevices(Anarchic):
    """Anarchic clients; step by the mean of every m returns.

    w+ = w - eta * eta_l / m * sum G_i over the returns.
    """

    _paces: list[Array] = field(init=False, repr=False, compare=False, default_factory=list)

    def start(self, server: Server) -> None:
        """Let all clients rest."""
        self._paces = []
        super().start(server)

    def keep(self, server: Server, client: Array, pace: Array | None) -> None:
        """Remember returns until the step."""
        if pace is not None:
            self._paces.append(pace)

    def change(self, server: Server) -> Array:
        """float64[d], eta times the mean."""
        paces, self._paces = np.concatenate(self._paces), []
        return server.combine(np.full(len(paces), self.server_lr / len(paces)), paces)


@named("strategy", "afa_cs", source="Yang et al. 2022 (ICML), AFA-CS; from memory")
@dataclass
class AnarchicSilos(Anarchic):
    """Anarchic clients; step by the mean over all clients of the last return of each.

    w+ = w - eta * eta_l / N * sum G_i over all N clients. One that never returned counts as 0.
    The server keeps N models.
    """

    returns: int = 1
    _last: Array | None = field(init=False, repr=False, compare=False, default=None)

    def start(self, server: Server) -> None:
        """Let all clients rest."""
        self._last = None
        super().start(server)

    def keep(self, server: Server, client: Array, pace: Array | None) -> None:
        """Replace the last return of each."""
        if pace is None:
            return
        if self._last is None:
            self._last = np.zeros((len(server.clients), pace.shape[1]), np.float32)
        self._last[client] = pace

    def change(self, server: Server) -> Array:
        """float64[d], eta times the mean."""
        assert self._last is not None
        count = len(self._last)
        return server.combine(np.full(count, self.server_lr / count), self._last)
