"""What strategies share whose server steps after so many updates, whoever they are from."""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Clients, Plan, Server, Strategy
from mltwin.sim.errors import InputError

from .limits import one_of, within
from .synchronous import learns

Array = npt.NDArray[Any]

MANY = 2**31 - 1


class Waiting(NamedTuple):
    """Trained updates that wait for a step.

    Attributes:
        arrivals: n of them.
        delta: float32[n, d]; None where only time is simulated.
    """

    arrivals: Arrivals
    delta: Array | None


def joined(parts: list[Waiting]) -> Waiting:
    """All of some updates, in their order; there is at least one part."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for column in fields(Arrivals):
        values = [getattr(part.arrivals, column.name) for part in parts]
        known = [value for value in values if value is not None]
        columns[column.name] = np.concatenate(known) if len(known) == len(parts) else None
    deltas = [part.delta for part in parts if part.delta is not None]
    return Waiting(Arrivals(**columns), np.concatenate(deltas) if deltas else None)


def step_with(server: Server, batch: Waiting, coefficients: Array) -> None:
    """Step by the sum of coefficients[i] * delta[i]."""
    change = None if batch.delta is None else server.combine(coefficients, batch.delta)
    server.step(change, used=batch.arrivals)


@dataclass
class Buffered(Strategy):
    """A step with every `buffer` updates, while all clients are kept at work.

    Attributes:
        buffer: K, updates of a step.
        server_lr: eta_g, on the step.
        max_staleness: a staler update is discarded; -1: none is.
        restart: "at once": another client starts when one is done; "at step": an update in the
            buffer keeps its place, and clients start only when the server steps (so no client is
            twice in a buffer where all of them are at work).
    """

    buffer: int = 10
    server_lr: float = 1.0
    max_staleness: int = -1
    restart: str = "at once"
    _parts: list[Waiting] = field(init=False, repr=False, compare=False, default_factory=list)
    _asked: int = field(init=False, repr=False, compare=False, default=1)

    def __post_init__(self) -> None:
        within(self, buffer=(1, MANY), server_lr=(0, 1e9), max_staleness=(-1, MANY))
        one_of(self, "restart", ("at once", "at step"))

    # What an algorithm fills in.

    @property
    def most_at_work(self) -> int:
        """Clients that are kept at work; 0: all."""
        return 0

    def at_work(self, server: Server) -> int:
        """Clients that are kept at work now."""
        return self.most_at_work or len(server.clients)

    def make(self, server: Server, arrivals: Arrivals) -> Array:
        """float32[n, d], what is kept of updates: their change of the model that they held."""
        return server.train(arrivals).delta

    def coefficients(self, server: Server, batch: Waiting) -> Array:
        """float64[n], weights of the updates of a step."""
        return np.full(len(batch.arrivals), self.server_lr / self.buffer)

    def full(self, server: Server) -> None:
        """Step with what waits."""
        batch, self._parts = joined(self._parts), []
        step_with(server, batch, self.coefficients(server, batch))

    # The frame.

    def check(self, clients: Clients, plan: Plan) -> None:
        """Refuse a buffer that can never fill."""
        most = min(self.most_at_work or len(clients), len(clients))
        if self.restart == "at step" and self.buffer > most:
            raise InputError(
                f"a buffer of {self.buffer} updates, but only {most} clients at work until the "
                "server steps",
                where=f"{type(self).__name__}.buffer",
                mend=f'give at most {most}, or restart = "at once"',
            )

    def start(self, server: Server) -> None:
        """Put clients to work."""
        self._parts = []
        self._ask(server)
        server.refill(self.at_work(server))

    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """Keep the updates; step when there are enough, or no more will come."""
        done = arrivals.done
        fresh = self._fresh(server, done)
        if len(fresh):
            self._parts.append(Waiting(fresh, self.make(server, fresh) if learns(server) else None))
        more_to_come = len(done) >= self._asked
        if self._parts and (self.waiting >= self.buffer or not more_to_come):
            self.full(server)
        self._ask(server)
        if self.restart == "at step":
            server.refill(max(self.at_work(server) - self.waiting, 0))

    @property
    def waiting(self) -> int:
        """Updates in the buffer."""
        return sum(len(part.arrivals) for part in self._parts)

    def _fresh(self, server: Server, done: Arrivals) -> Arrivals:
        if self.max_staleness < 0:
            return done
        stale = server.staleness(done) > self.max_staleness
        if stale.any():
            server.discard(done.where(stale))
        return done.where(~stale)

    def _ask(self, server: Server) -> None:
        missing = max(self.buffer - self.waiting, 1)
        self._asked = 1 if self.restart == "at step" else missing
        server.wait(self._asked)
