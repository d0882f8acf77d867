"""Asynchronous averaging: FedAsync and FedBuff.

The server keeps a number of clients at work. It steps with each update (FedAsync) or with every
K of them (FedBuff), and an update that was made from an older version counts for less.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Lesson, Server, Strategy

from .buffered import MANY, Buffered, Waiting
from .limits import one_of, within
from .registry import named
from .synchronous import learns

Array = npt.NDArray[Any]

DISCOUNTS = ("constant", "polynomial", "hinge")


def discount(kind: str, staleness: npt.ArrayLike, a: float, b: float) -> Array:
    """float64[n], what is left of an update of staleness s (server versions).

    "constant": 1. "polynomial": (1 + s)^-a. "hinge": 1 up to s = b, then 1 / (a (s - b) + 1).
    Xie, Koyejo and Gupta 2019 (FedAsync), section 5.2.
    """
    s = np.asarray(staleness, np.float64)
    if kind == "polynomial":
        return (1.0 + s) ** -a
    if kind == "hinge":
        return 1.0 / (a * np.maximum(s - b, 0.0) + 1.0)
    return np.ones_like(s)


@named("strategy", "fedasync", source="Xie, Koyejo, Gupta 2019 (arXiv 1903.03934), algorithm 1")
@dataclass
class FedAsync(Strategy):
    """Mix each client's model in as it arrives, less the staler it is.

    w+ = (1 - a_s) w + a_s w_i with a_s = alpha * discount(s), where w_i is the client's model.

    Attributes:
        alpha: weight of a fresh model, above 0 to 1.
        weighting: `discount` by staleness, "constant", "polynomial" or "hinge".
        a, b: of the discount (the paper's hinge has a = 10, b = 4).
        concurrency: clients at work; 0: all.
        max_staleness: a staler update is discarded; -1: none is.
        prox: mu of the proximal term of local training (the paper's rho).
    """

    alpha: float = 0.6
    weighting: str = "polynomial"
    a: float = 0.5
    b: float = 4.0
    concurrency: int = 0
    max_staleness: int = -1
    prox: float = 0.0

    def __post_init__(self) -> None:
        within(self, alpha=(0, 1), a=(0, 1e6), b=(0, 1e9), prox=(0, 1e6))
        within(self, concurrency=(0, MANY), max_staleness=(-1, MANY))
        one_of(self, "weighting", DISCOUNTS)

    @property
    def automatic(self) -> tuple[int, int] | None:
        """(1, concurrency) where no update is discarded."""
        return (1, self.concurrency) if self.max_staleness < 0 else None

    @property
    def lesson(self) -> Lesson:
        """a_s (w_i - w), w_i = w_held + D."""
        return Lesson(self._weights, mixes=True, local={"prox": self.prox} if self.prox else {})

    def _weights(self, staleness: Array, clients: Array | None = None) -> Array:
        return self.alpha * discount(self.weighting, staleness, self.a, self.b)

    def start(self, server: Server) -> None:
        """Put clients to work."""
        server.refill(self.concurrency or len(server.clients))

    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """Mix the models in, one after the other."""
        for one in arrivals.done.singly():
            self._mix(server, one)

    def _mix(self, server: Server, one: Arrivals) -> None:
        staleness = server.staleness(one)
        if 0 <= self.max_staleness < staleness[0]:
            server.discard(one)
            return
        if not learns(server):
            server.step(None, used=one)
            return
        weight = self._weights(staleness)
        delta = server.train(one, prox=self.prox).delta if self.prox else server.train(one).delta
        back = server.held(one)[0] - server.weights
        back *= weight[0]
        back += server.combine(weight, delta)
        server.step(back, used=one)


@named("strategy", "fedbuff", source="Nguyen et al. 2022 (arXiv 2106.06639), algorithm 1")
@dataclass
class FedBuff(Buffered):
    """Step with the mean of every K updates, the stale ones for less.

    w+ = w + eta_g / K * sum over K arrivals of (1 + s_i)^-a D_i.

    Attributes:
        concurrency: clients at work; 0: all.
        a: exponent of the discount; 0: staleness does not count.
        normalise: divide by K ("count", the paper) or by the sum of the discounts ("discounts",
            as FedScale does).
    """

    concurrency: int = 100
    a: float = 0.5
    normalise: str = "count"

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, concurrency=(0, MANY), a=(0, 1e6))
        one_of(self, "normalise", ("count", "discounts"))

    @property
    def automatic(self) -> tuple[int, int] | None:
        """(buffer, concurrency) where clients restart at once and no update is discarded."""
        plain = self.max_staleness < 0 and self.restart == "at once"
        return (self.buffer, self.concurrency) if plain else None

    @property
    def lesson(self) -> Lesson | None:
        """eta_g / K (1 + s_i)^-a D_i; None where the weights of a step depend on one another."""
        return Lesson(self._weights) if self.normalise == "count" else None

    def _weights(self, staleness: Array, clients: Array | None = None) -> Array:
        left = discount("polynomial", staleness, self.a, 0.0)
        return self.server_lr * left / float(self.buffer)

    @property
    def most_at_work(self) -> int:
        """Clients that are kept at work; 0: all."""
        return self.concurrency

    def coefficients(self, server: Server, batch: Waiting) -> Array:
        """float64[n], weights of the updates of a step."""
        staleness = server.staleness(batch.arrivals)
        if self.normalise == "count":
            return self._weights(staleness)
        left = discount("polynomial", staleness, self.a, 0.0)
        return self.server_lr * left / float(left.sum())
