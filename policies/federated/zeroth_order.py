"""Learning from losses alone: clients try a shared random direction and send how it went."""

from dataclasses import dataclass

import numpy as np

from mltwin.models.federation.hooks import Array, Arrivals, Server

from .limits import within
from .randomness import round_direction
from .registry import named
from .synchronous import Rounds, learns

_PASSES = 2.0 / 3.0  # two forward passes; a training step is one forward and twice as much back


@dataclass
class _Probes(Rounds):
    """Rounds in which a client sends scalars g = (L(w + r z) - L(w - r z)) / (2 r).

    z is standard normal and named by the version, so every client of a round has the same one and
    E[g z] is the gradient of a smoothed loss (Nesterov and Spokoiny 2017, section 3). Losses are
    over all data of the client; a probe costs two thirds of a training step on them. The model
    itself comes down, though a client that took part before could rebuild it from the scalars.

    Attributes:
        probes: directions a round.
        radius: r.
        server_lr: step along each direction; about lr / d keeps it stable.
    """

    ignores = frozenset({"codec", "attack", "combine", "steps", "epochs", "lr"})

    server_lr: float = 1e-3
    probes: int = 1
    radius: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, probes=(1, 100_000), radius=(1e-9, 1e3))

    def send(self, server: Server, chosen: Array) -> None:
        """The model down, the scalars up."""
        batch = server.plan.batch
        samples = server.clients.samples[chosen]
        scale = _PASSES * (samples / batch if batch else np.ones(len(chosen)))
        sent = np.full(len(chosen), self.message_bytes)
        server.dispatch(chosen, steps=self.probes, scale=scale, up_bytes=sent)

    @property
    def message_bytes(self) -> float:
        """Of one client's scalars."""
        return 4.0 * self.probes

    def agreed(self, weights: Array, slopes: Array) -> float:
        """What is made of the clients' slopes along one direction; weights sum to 1."""
        raise NotImplementedError

    def _step(self, server: Server, done: Arrivals) -> None:
        if not learns(server) or not len(done):
            server.step(np.zeros(len(server.weights)) if learns(server) else None, used=done)
            return
        weights = np.ones(len(done)) if self.equal else server.clients.samples[done.client]
        weights = weights / weights.sum()
        change = np.zeros(len(server.weights))
        for probe in range(self.probes):
            way = round_direction(server, server.version * self.probes + probe, len(change))
            above = server.task.losses(server.weights + self.radius * way, done.client)
            below = server.task.losses(server.weights - self.radius * way, done.client)
            slope = self.agreed(weights, (above - below) / (2.0 * self.radius))
            change -= self.server_lr * slope / self.probes * way
        server.step(change, used=done)


@named(
    "strategy",
    "fedkseed",
    source="FedKSeed: Qin et al., arXiv 2312.06353, the abstract (scalar gradients of seeds); "
    "two-point estimate: Nesterov and Spokoiny 2017, section 3",
)
@dataclass
class FedKSeed(_Probes):
    """Zeroth order: clients send one slope for each random direction, 4 bytes each.

    The paper's clients take local steps along directions from a fixed set of seeds; here all
    probes of a round are at the server's model.
    """

    def agreed(self, weights: Array, slopes: Array) -> float:
        """The weighted mean."""
        return float(np.add.reduce(weights * slopes))


@named("strategy", "feedsign", source="FeedSign: Cai et al., arXiv 2501.17610, the abstract")
@dataclass
class FeedSign(_Probes):
    """Zeroth order with one bit a direction: clients vote on its sense, the majority moves.

    w -= eta_g sign(sum_i p_i sign(g_i)) z; a tie moves nothing.
    """

    @property
    def message_bytes(self) -> float:
        """A bit for each direction, in whole bytes."""
        return float(-(-self.probes // 8))

    def agreed(self, weights: Array, slopes: Array) -> float:
        """The sign that most weight votes for."""
        return float(np.sign(np.add.reduce(weights * np.sign(slopes))))
