"""Updates of any staleness: as they are, weighed, compensated, or estimated anew.

Wang and Gao, arXiv 2309.13536 (Tackling intertwined data and device heterogeneities in federated
learning with unlimited staleness) and its code (pittisl/FL-with-intertwined-heterogeneity). There
the slow clients are those with most of one class, so that leaving out or shrinking what they send
costs that class. The paper's rounds have a fixed delay; here delays follow from devices and links
(split `label_speed` makes the clients).
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import TICKS_PER_S, Arrivals, Server
from mltwin.sim.errors import InputError

from .buffered import MANY, Buffered, Waiting, joined, step_with
from .inversion import Dummies, invert, local_training
from .limits import one_of, within
from .registry import named
from .synchronous import learns, step_size

Array = npt.NDArray[Any]

CORRECTIONS = ("direct", "weighted", "dc_asgd", "inversion")
DONE_INVERTING = 0
"""Timer."""


class Memory(NamedTuple):
    """What is kept of a slow client: the data that its last update was inverted to, and it."""

    dummies: Dummies
    update: Array


@named("strategy", "stale", source="Wang, Gao (arXiv 2309.13536), and its code")
@dataclass
class Stale(Buffered):
    """Step with every K updates, the stale ones as they are or corrected.

    w+ = w + eta_g / K * sum D_i'; D_i' = D_i where staleness s is below `after`, else
    "direct": D_i; "weighted": D_i 2^(-s / half_life); "dc_asgd" (Zheng et al. 2017):
    D_i - strength * D_i * D_i * (w - w_held), coordinate by coordinate; "inversion": training on
    data that would have made D_i, from the current model (softmax regression only).

    Inversion is left for "direct" once it does worse: when a client's next update D is there,
    trained from v, with margin * |estimate from v - D|_1 > |last D - D|_1; or after
    `switch_after` versions.

    Attributes:
        correct: one of `CORRECTIONS`.
        after: staleness from which updates are corrected.
        half_life: in versions; strength: lambda of DC-ASGD (the code has 4).
        dummies: samples that an update is inverted to; iterations, rate: of Adam
            (`inversion.invert`).
        weigh: "count": 1 / K each; "gap": an update counts for all steps since the client's last,
            gap / N, so that slow clients have the same say as others, as in the paper, where they
            send (old) updates in each round.
        inversion_s: seconds that the server is busy with the inversion of one update; the step
            comes so much later, one after the other.
        margin: of the switch; switch_after: versions, 0: never.
    """

    correct: str = "direct"
    after: int = 5
    half_life: float = 20.0
    strength: float = 4.0
    dummies: int = 32
    iterations: int = 300
    rate: float = 0.1
    inversion_s: float = 0.0
    weigh: str = "count"
    margin: float = 0.9
    switch_after: int = 0
    switched: int = field(init=False, compare=False, default=-1)
    """Version at which inversion was left; -1: it was not."""
    _last: Any = field(init=False, repr=False, compare=False, default=None)
    _memory: dict[int, Memory] = field(init=False, repr=False, compare=False, default_factory=dict)
    _busy: Waiting | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "correct", CORRECTIONS)
        one_of(self, "weigh", ("count", "gap"))
        within(self, after=(0, MANY), half_life=(1e-9, 1e9), strength=(0, 1e9))
        within(self, dummies=(1, 2**20), iterations=(1, 2**20), rate=(0, 1e6))
        within(self, inversion_s=(0, 9e9), margin=(0, 1e9), switch_after=(0, MANY))

    def start(self, server: Server) -> None:
        """Put clients to work.

        Raises:
            InputError: inversion for a task that is not a softmax regression.
        """
        self._memory, self._busy, self.switched = {}, None, -1
        self._last = np.zeros(len(server.clients), np.int64)
        if self.correct == "inversion" and learns(server):
            _classes(server)
        super().start(server)

    @property
    def told(self) -> dict[str, Any]:
        """The version at which inversion was left; -1: it was not."""
        return {"inversion_left_at": self.switched} if self.correct == "inversion" else {}

    def at_work(self, server: Server) -> int:
        """All clients, but for those whose updates are being inverted."""
        busy = len(self._busy.arrivals) if self._busy and self.restart == "at step" else 0
        return super().at_work(server) - busy

    def make(self, server: Server, arrivals: Arrivals) -> Array:
        """float32[n, d], the updates, the stale ones corrected."""
        delta = server.train(arrivals).delta
        staleness = server.staleness(arrivals)
        stale = np.flatnonzero(staleness >= self.after)
        if self.correct == "direct" or not len(stale):
            return delta
        delta = delta.copy()
        some = arrivals.where(stale)
        if self.correct == "weighted":
            delta[stale] *= 2.0 ** (-staleness[stale, None] / self.half_life)
        elif self.correct == "dc_asgd":
            ahead = server.weights - server.held(some)
            with np.errstate(over="ignore", invalid="ignore"):  # the run ends where it diverges
                delta[stale] -= self.strength * delta[stale] * delta[stale] * ahead
        else:
            for row in stale.tolist():
                delta[row] = self._anew(server, arrivals.where(np.array([row])), delta[row])
        return delta

    def coefficients(self, server: Server, batch: Waiting) -> Array:
        """float64[n], weights of the updates of a step."""
        if self.weigh == "count":
            return super().coefficients(server, batch)
        gaps = np.zeros(len(batch.arrivals))
        for row, client in enumerate(batch.arrivals.client.tolist()):
            gaps[row] = server.version + 1 - self._last[client]
            self._last[client] = server.version + 1
        return self.server_lr * gaps / len(server.clients)

    def full(self, server: Server) -> None:
        """Step with what waits, when the server has done its inversions."""
        if self._busy is not None:
            return
        batch, self._parts = joined(self._parts), []
        cost = self._inverted(server, batch.arrivals) * round(self.inversion_s * TICKS_PER_S)
        if cost:
            self._busy = batch
            server.timer(DONE_INVERTING, server.now + cost)
        else:
            step_with(server, batch, self.coefficients(server, batch))

    def timer(self, server: Server, number: int) -> None:
        """The inversions are done: step."""
        batch, self._busy = self._busy, None
        assert batch is not None
        step_with(server, batch, self.coefficients(server, batch))
        if self.waiting >= self.buffer:
            self.full(server)
        if self.restart == "at step":
            server.refill(max(self.at_work(server) - self.waiting, 0))

    def _inverted(self, server: Server, arrivals: Arrivals) -> int:
        if self.correct != "inversion" or self._plain(server):
            return 0
        return int((server.staleness(arrivals) >= self.after).sum())

    def _plain(self, server: Server) -> bool:
        if self.switched < 0 and self.switch_after and server.version >= self.switch_after:
            self.switched = server.version
        return self.switched >= 0

    def _anew(self, server: Server, one: Arrivals, update: Array) -> Array:
        """float64[d], what the client would send from the current model."""
        if self._plain(server):
            return update
        client, steps = int(one.client[0]), int(one.steps[0])
        lr = step_size(server.plan, int(one.held[0]))
        held = server.held(one)[0].astype(np.float64)
        sent = update.astype(np.float64)
        last = self._memory.get(client)
        if last is not None:
            error = np.abs(local_training(held, last.dummies, steps, lr) - sent).sum()
            if self.margin * error > np.abs(last.update - sent).sum():
                self.switched = server.version
                return update
        first = self._first(server, client, int(one.dispatch[0]))
        made = invert(
            held, sent, first, steps=steps, lr=lr, iterations=self.iterations, rate=self.rate
        )
        self._memory[client] = Memory(made, sent)
        return local_training(server.weights, made, steps, lr)

    def _first(self, server: Server, client: int, dispatch: int) -> Dummies:
        classes = _classes(server)
        features = server.task.parameters // classes
        size = self.dummies * (features + classes)
        draws = 2.0 * server.draws(client + len(server.clients) * dispatch, size) - 1.0
        draws = draws.reshape(self.dummies, -1)
        x = draws[:, :features].copy()
        x[:, -1] = 1.0
        return Dummies(x, draws[:, features:].copy())


def _classes(server: Server) -> int:
    sizes: Any = getattr(getattr(server.task, "layout", None), "sizes", ())
    if len(sizes) != 2:
        raise InputError(
            "inversion is for softmax regression",
            where="Stale.correct",
            mend='take "direct", "weighted" or "dc_asgd", or the softmax task',
        )
    return int(sizes[1])
