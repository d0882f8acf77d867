"""Which idle clients work next.

A selection draws by keys (seed, SELECTION, client + 1, number of the choice), so that it does not
matter who else was idle. What it has learned in a run it forgets in the next.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import (
    TICKS_PER_S,
    Arrivals,
    Selection,
    Server,
    Updates,
)
from mltwin.sim import rng_arrays

from .limits import within
from .registry import named
from .traces import leaves, presence

Array = npt.NDArray[Any]


@named("selection", "uniform", source="McMahan et al. 2017, algorithm 1")
@dataclass
class Uniform(Selection):
    """Any idle client, all alike."""

    uniform = True

    def choose(self, server: Server, count: int) -> Array:
        """Drawn uniformly."""
        return server.uniform(count)

    def chances(self, server: Server, count: int) -> Array:
        """m / N; true where all clients are idle."""
        return np.full(len(server.clients), min(1.0, count / len(server.clients)))


@dataclass
class Drawing(Selection):
    """A selection that counts its choices, for their draws, and knows when a run is another."""

    fills: ClassVar[bool] = True

    _run: Any = field(init=False, repr=False, default=None)
    _choices: int = field(init=False, repr=False, default=0)

    def at_run(self, server: Server) -> None:
        """Begin afresh where the run is another."""
        if self._run is not server:
            self._run, self._choices = server, 0
            self.forget(server)

    def forget(self, server: Server) -> None:
        """What was learned in an earlier run."""

    def exponentials(self, server: Server, clients: Array) -> Array:
        """float64[n], exponential of mean 1, one of each client for this choice."""
        number = self._choices
        keys = clients.astype(np.int64) + 1
        return np.asarray(rng_arrays.exponentials(server.seed, rng_arrays.SELECTION, keys, number))

    def drawn(self, server: Server, clients: Array, weights: Array, count: int) -> Array:
        """int32[<= count], clients drawn one after another in proportion to weights, ascending.

        Exponential races (Efraimidis and Spirakis 2006): the least draws over weights win.
        """
        self._choices += 1
        race = np.full(len(clients), np.inf)
        positive = weights > 0
        race[positive] = self.exponentials(server, clients[positive]) / weights[positive]
        return np.sort(clients[_least(race, count)])


def _least(keys: Array, count: int) -> Array:
    """Places of the `count` least keys, in their order; of equal ones the first."""
    if count >= len(keys):
        return np.argsort(keys, kind="stable")
    bound = np.partition(keys, count)[count]
    near = np.flatnonzero(keys <= bound)
    return near[np.argsort(keys[near], kind="stable")][:count]


@named("selection", "weighted", source="Li et al. 2020 (MLSys), algorithm 2")
@dataclass
class Weighted(Drawing):
    """Clients with much data more often: one after another in proportion to their samples.

    Without replacement, unlike the paper; give the strategy `equal = true`, else data counts twice.
    """

    def choose(self, server: Server, count: int) -> Array:
        """Drawn by samples."""
        self.at_run(server)
        idle = server.idle()
        return self.drawn(server, idle, server.clients.samples[idle].astype(np.float64), count)


@named("selection", "round_robin", source="Yang et al. 2020 (IEEE TCOM), section III")
@dataclass
class RoundRobin(Drawing):
    """By number, one after another, those that are away left out."""

    _last: int = field(init=False, repr=False, default=-1)

    def forget(self, server: Server) -> None:
        """Begin with client 0."""
        self._last = -1

    def choose(self, server: Server, count: int) -> Array:
        """The next in the circle."""
        self.at_run(server)
        idle = server.idle()
        start = int(np.searchsorted(idle, self._last, side="right"))
        chosen = np.roll(idle, -start)[:count]
        if len(chosen):
            self._last = int(chosen[-1])
        return chosen


@named("selection", "fastest", source="the greedy bound of Nishio and Yonetani 2019 (FedCS)")
@dataclass
class Fastest(Drawing):
    """Those whose dispatch is expected to end first; biased to their data.

    Expected is the time without jitter: transfers of the model, overhead and the plan's steps.
    """

    def choose(self, server: Server, count: int) -> Array:
        """The least expected durations; of equal ones the lower number."""
        idle = server.idle()
        return idle[_least(expected_s(server, idle), count)]


@named("selection", "power_of_choice", source="Cho, Wang and Joshi 2020, pow-d and rpow-d")
@dataclass
class PowerOfChoice(Drawing):
    """Of d candidates, drawn by samples, those with the largest loss (pow-d).

    The candidates' losses are those of the current model on all their data; the time and bytes of
    asking them are not simulated. `last_known` (rpow-d): the mean loss that each saw when it last
    trained, candidates that never did first. Without a model all losses are equal.

    Attributes:
        candidates: d; at least as many as are wanted.
        last_known: rpow-d.
    """

    candidates: int = 30
    last_known: bool = False
    _seen: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        within(self, candidates=(1, 2**31))

    def forget(self, server: Server) -> None:
        """No loss seen."""
        self._seen = np.full(len(server.clients), np.inf)

    def choose(self, server: Server, count: int) -> Array:
        """The candidates with the largest loss; of equal ones the lower number."""
        self.at_run(server)
        idle = server.idle()
        samples = server.clients.samples[idle].astype(np.float64)
        asked = self.drawn(server, idle, samples, max(self.candidates, count))
        if self.last_known:
            losses = self._seen[asked]
        elif server.task is None or not server.task.parameters:
            losses = np.zeros(len(asked))
        else:
            losses = server.task.losses(server.weights, asked)
        return asked[_least(-losses, count)]

    def report(self, server: Server, arrivals: Arrivals, updates: Updates | None) -> None:
        """Remember the losses."""
        self.at_run(server)
        if updates is not None:
            self._seen[arrivals.client] = updates.loss


@named(
    "selection", "available_longest", source="this project; what an oracle of availability gives"
)
@dataclass
class AvailableLongest(Drawing):
    """Those that stay longest from now on, by their traces: least work is lost."""

    def choose(self, server: Server, count: int) -> Array:
        """The latest leavers; of equal ones any, drawn."""
        self.at_run(server)
        idle = server.idle()
        self._choices += 1
        leave = leaves(server.clients, idle, server.now)
        order = np.lexsort((self.exponentials(server, idle), -leave))
        return np.sort(idle[order[:count]])


@named("selection", "least_available", source="Abdelmoniem et al. 2023 (EuroSys), REFL")
@dataclass
class LeastAvailable(Drawing):
    """Those least likely to be there soon, while they are there (REFL's intelligent selection).

    REFL predicts availability in the window of one to two expected rounds from now; here a trace is
    its own forecast: the share of the window that the client is there.

    Attributes:
        round_s: expected duration of a round.
    """

    round_s: float = 60.0

    def __post_init__(self) -> None:
        within(self, round_s=(1e-9, 1e9))

    def choose(self, server: Server, count: int) -> Array:
        """The least share of the window; of equal ones any, drawn."""
        self.at_run(server)
        idle = server.idle()
        self._choices += 1
        round_ticks = round(self.round_s * TICKS_PER_S)
        begin, end = server.now + round_ticks, server.now + 2 * round_ticks
        share = presence(server.clients, idle, end) - presence(server.clients, idle, begin)
        order = np.lexsort((self.exponentials(server, idle), share))
        return np.sort(idle[order[:count]])


def expected_s(server: Server, clients: Array) -> Array:
    """float64[n], seconds of a dispatch without jitter, as the plan has it."""
    there, plan = server.clients, server.plan
    samples = there.samples[clients]
    batch = np.minimum(plan.batch, samples) if plan.batch else samples
    steps: Any = plan.steps
    if plan.epochs is not None:
        steps = np.maximum(1, np.ceil(plan.epochs * samples / batch))
    size = plan.model_bytes
    if size is None:
        size = 4.0 * server.task.parameters if server.task is not None else 0.0
    links = 1.0 / there.down_bytes_per_s[clients] + 1.0 / there.up_bytes_per_s[clients]
    train = steps * batch * there.s_per_sample[clients] * plan.compute_factor
    return 2 * there.latency_s[clients] + size * links + plan.overhead_s + train
