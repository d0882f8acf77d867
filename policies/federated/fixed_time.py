"""Aggregation by stochastic weights: FedFix and unbiased asynchronous averaging.

In the framework of Fraboni, Vidal, Kameni and Lorenzi 2023 (JMLR 24) a server step is
w+ = w + eta_g * sum over arrived i of d_i D_i, with D_i against the model that client i held.
What it minimises weighs client i by E[d_i], its weight times how often it arrives a step: with
equal d_i fast clients count for more. The strategies here choose d_i so that E[d_i] = p_i.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import (
    TICKS_PER_S,
    Arrivals,
    Clients,
    Lesson,
    Plan,
    Server,
    Strategy,
)

from .buffered import MANY, Buffered, Waiting, joined, step_with
from .limits import one_of, within
from .registry import named
from .synchronous import learns

Array = npt.NDArray[Any]

BYTES_PER_PARAMETER = 4.0


def expected_s(clients: Clients, plan: Plan, parameters: int = 0) -> Array:
    """float64[N], seconds of a dispatch with the plan's steps; links not shared, nobody leaves.

    Download + overhead + compute + upload; jitter has mean 1.
    """
    size = BYTES_PER_PARAMETER * parameters if plan.model_bytes is None else plan.model_bytes
    batch = np.minimum(plan.batch, clients.samples) if plan.batch else clients.samples
    steps: Any = plan.steps
    if plan.epochs is not None:
        steps = np.maximum(1, np.ceil(plan.epochs * clients.samples / batch))
    compute_s = steps * batch * clients.s_per_sample * plan.compute_factor
    links_s = size / clients.down_bytes_per_s + size / clients.up_bytes_per_s
    return np.asarray(2 * clients.latency_s + links_s + plan.overhead_s + compute_s)


def ticks(seconds: npt.ArrayLike) -> Any:
    """int64, whole ticks of 1 ns of times in seconds, at least 1."""
    return np.maximum(np.rint(np.asarray(seconds, np.float64) * TICKS_PER_S).astype(np.int64), 1)


def periods(duration: Array, period: int) -> Array:
    """int64[n], periods until the step that takes an update: ceil(tau / dt). Both in ticks."""
    return -(-duration // period)


def frequencies(times_s: npt.ArrayLike, *, buffer: int = 1, period_s: float | None = None) -> Array:
    """float64[N], updates of client i in a server step, in the long run.

    With a step each period: 1 / ceil(tau_i / dt). With one each `buffer` arrivals of clients that
    restart at once: buffer / tau_i / sum_j(1 / tau_j). Fraboni et al. 2023, section 4.
    """
    times = np.asarray(times_s, np.float64)
    if period_s is not None:
        return 1.0 / periods(ticks(times), ticks(period_s))
    return buffer / times / np.sum(1.0 / times)


def unbiased(share: npt.ArrayLike, frequency: npt.ArrayLike) -> Array:
    """float64[N], d_i = p_i / frequency_i: with them E[d_i] of a step is p_i."""
    return np.asarray(share, np.float64) / np.asarray(frequency, np.float64)


def surrogate(weights: npt.ArrayLike, frequency: npt.ArrayLike) -> Array:
    """float64[N], what a run minimises: shares proportional to E[d_i] = d_i * frequency_i."""
    expected = np.asarray(weights, np.float64) * np.asarray(frequency, np.float64)
    return expected / expected.sum()


@named("strategy", "fedfix", source="Fraboni et al. 2023 (JMLR 24), section 4: FedFix")
@dataclass
class FedFix(Strategy):
    """Step at fixed times with what has arrived; unbiased however fast clients are.

    A client whose update came in starts again at the step. d_i = ceil(tau_i / dt) p_i.

    Attributes:
        period_s: dt; 0: half of the slowest client's expected time.
        server_lr: eta_g.
        times: tau_i "known" (`expected_s`), or "counted": d_i = p_i times the periods since the
            last step with an update of i, which is right for jitter, shared links and absences.
    """

    ignores = frozenset({"selection"})

    period_s: float = 0.0
    server_lr: float = 1.0
    times: str = "known"
    _parts: list[Waiting] = field(init=False, repr=False, compare=False, default_factory=list)
    _known: Array | None = field(init=False, repr=False, compare=False, default=None)
    _last: Any = field(init=False, repr=False, compare=False, default=None)
    _period: int = field(init=False, repr=False, compare=False, default=0)
    _number: int = field(init=False, repr=False, compare=False, default=0)
    _due: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        within(self, period_s=(0, 9e9), server_lr=(0, 1e9))
        one_of(self, "times", ("known", "counted"))

    def start(self, server: Server) -> None:
        """Send all that are there the first model; the first step is due after a period."""
        times = expected_s(server.clients, server.plan, _parameters(server))
        self._period = int(ticks(self.period_s or times.max() / 2))
        self._known = periods(ticks(times), self._period) if self.times == "known" else None
        self._last, self._number = np.zeros(len(server.clients), np.int64), 0
        self._parts, self._due = [], False
        server.wait(MANY)
        self._next(server)

    def timer(self, server: Server, number: int) -> None:
        """Have what came since the last step handed over."""
        self._due = True
        self._number += 1
        server.wait(0)

    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """Train; at a step's time, step and start those that wait."""
        done = arrivals.done
        if len(done):
            self._parts.append(Waiting(done, server.train(done).delta if learns(server) else None))
        if not self._due:
            return
        self._due = False
        if self._parts:
            batch, self._parts = joined(self._parts), []
            step_with(server, batch, self._weights(server, batch.arrivals))
        self._next(server)

    def _weights(self, server: Server, arrivals: Arrivals) -> Array:
        if self._known is not None:
            taken = self._known[arrivals.client]
        else:
            taken = self._number - self._last[arrivals.client]
            self._last[arrivals.client] = self._number
        return self.server_lr * taken * server.clients.share[arrivals.client]

    def _next(self, server: Server) -> None:
        idle = server.idle()
        if len(idle):
            server.dispatch(idle)
        elif not server.in_flight and server.next_available() is None:
            server.fail("no client is there any more")
            return
        server.timer(0, server.now + self._period)


@named("strategy", "async", source="Fraboni et al. 2023 (JMLR 24), section 4: asynchronous FL")
@dataclass
class Async(Buffered):
    """Asynchronous averaging of all clients with chosen weights, biased or not.

    Every `buffer` arrivals a step: w+ = w + eta_g * sum d_i D_i.

    Attributes:
        buffer: c; 1: a step with each update.
        weights: "identical": d_i = 1 / c, which weighs clients by their speed; "fraboni":
            d_i = p_i / (updates of i a step), which weighs them by their data.
        frequency: the updates of i a step: "known" from `expected_s`, for clients that restart at
            once; "counted" so far, for any other.
    """

    buffer: int = 1
    weights: str = "fraboni"
    frequency: str = "known"
    _per_step: Array | None = field(init=False, repr=False, compare=False, default=None)
    _share: Array | None = field(init=False, repr=False, compare=False, default=None)
    _count: Array | None = field(init=False, repr=False, compare=False, default=None)
    _steps: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "weights", ("identical", "fraboni"))
        one_of(self, "frequency", ("known", "counted"))

    @property
    def automatic(self) -> tuple[int, int] | None:
        """(buffer, all) where clients restart at once and no update is discarded."""
        return (self.buffer, 0) if self.max_staleness < 0 and self.restart == "at once" else None

    @property
    def lesson(self) -> Lesson | None:
        """eta_g d_i D_i; None where what has been counted changes d_i."""
        counted = self.weights == "fraboni" and self.frequency == "counted"
        return None if counted else Lesson(self._weights)

    def _weights(self, staleness: Array, clients: Array) -> Array:
        if self.weights == "identical":
            return np.full(len(clients), self.server_lr / self.buffer)
        assert self._share is not None and self._per_step is not None
        return self.server_lr * unbiased(self._share[clients], self._per_step[clients])

    def start(self, server: Server) -> None:
        """Put all clients to work."""
        times = expected_s(server.clients, server.plan, _parameters(server))
        known = self.frequency == "known"
        self._per_step = frequencies(times, buffer=self.buffer) if known else None
        self._count, self._steps = np.zeros(len(server.clients), np.int64), 0
        self._share = server.clients.share
        super().start(server)

    def coefficients(self, server: Server, batch: Waiting) -> Array:
        """float64[n], weights of the updates of a step."""
        who = batch.arrivals.client
        if self.weights == "identical" or self.frequency == "known":
            return self._weights(server.staleness(batch.arrivals), who)
        assert self._count is not None and self._share is not None
        self._steps += 1
        np.add.at(self._count, who, 1)
        return self.server_lr * unbiased(self._share[who], self._count[who] / self._steps)


def _parameters(server: Server) -> int:
    return server.task.parameters if server.task is not None else 0
