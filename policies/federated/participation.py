"""Clients that take part as they will, and the rules that make up for it.

`Participation` is a selection of which the server has no say: each client takes part in a round by
a process of its own. The strategies weigh updates so that clients which are seldom there count as
much as others. Give them `clients = 0`: all that take part.

Notation as in `synchronous`; q_i is the chance that client i takes part in a round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Selection, Server, Updates
from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

from .limits import one_of, within
from .memory import Intervals, Memory
from .registry import named
from .synchronous import Rounds, learns, total

Array = npt.NDArray[Any]

PROCESSES = ("bernoulli", "markov", "cyclic")


@named("selection", "participation", source="Wang and Ji 2024 (ICLR), section 6; code IBM/fedau")
@dataclass
class Participation(Selection):
    """Clients take part by a process: independent coins, a Markov chain or a cycle.

    bernoulli: in each round with chance q_i. markov: a client that is away comes with chance
    min(`arrival`, q_i / (1 - q_i)), one that is there leaves so that it is there a share q_i of the
    rounds; begun in equilibrium. cyclic: there for the first round(q_i `period`) rounds of each
    period, at least one, from a drawn phase.

    With `labels` > 0 the chances depend on the labels of a client's data: q_i = mean * C * Sum_c
    m_ic r_c, m_ic the share of class c of C in its data, r drawn from a Dirichlet distribution of
    concentration `labels`; then cut to `lowest` and 1. Else q_i = `mean`, or `chance` as given.

    Attributes:
        process: "bernoulli", "markov" or "cyclic".
        mean: of the chances.
        chance: q_i of each client in place of `mean`.
        labels: concentration; small ties participation to few classes; 0: to none.
        lowest: least chance with `labels`.
        arrival: Markov; most that an away client comes back in a round.
        period: cyclic; rounds.
    """

    process: str = "bernoulli"
    mean: float = 0.1
    chance: Sequence[float] = ()
    labels: float = 0.0
    lowest: float = 0.02
    arrival: float = 0.05
    period: int = 100

    _run: Any = field(init=False, repr=False, default=None)
    _q: Any = field(init=False, repr=False, default=None)
    _there: Any = field(init=False, repr=False, default=None)
    _round: int = field(init=False, repr=False, default=-1)

    def __post_init__(self) -> None:
        one_of(self, "process", PROCESSES)
        within(
            self,
            mean=(1e-9, 1),
            labels=(0, 1e6),
            lowest=(1e-9, 1),
            arrival=(1e-9, 1),
            period=(1, 1e9),
        )

    def chances(self, server: Server, count: int) -> Array:
        """float64[N], q_i."""
        if self._run is not server:
            self._run, self._round = server, -1
            self._q = self._drawn(server)
            if self.process == "cyclic":
                self._q = self._rounds_of_cycle() / self.period
        return np.asarray(self._q)

    def choose(self, server: Server, count: int) -> Array:
        """Those of the round (the server's version) that are idle."""
        self.chances(server, count)
        while self._round < server.version:
            self._round += 1
            self._there = self._present(server, self._round)
        idle = server.idle()
        return idle[self._there[idle]][:count]

    def _drawn(self, server: Server) -> Array:
        count = len(server.clients)
        if len(self.chance):
            given = np.asarray(self.chance, np.float64)
            if given.shape != (count,) or not ((given > 0) & (given <= 1)).all():
                raise InputError(
                    f"{len(given)} chances for {count} clients, within 0 (not included) and 1",
                    where="selection.chance",
                )
            return given
        if not self.labels:
            return np.full(count, self.mean)
        shares = _label_shares(server)
        classes = shares.shape[1]
        favour = _dirichlet(self.labels, classes, server.seed)
        mixed = np.zeros(count)
        for label in range(classes):
            mixed += shares[:, label] * favour[label]
        return np.clip(mixed * classes * self.mean, self.lowest, 1.0)

    def _present(self, server: Server, number: int) -> Array:
        """bool[N], who takes part in a round."""
        q = self._q
        if self.process == "cyclic":
            phase = (_coins(server, 0) * self.period).astype(np.int64)
            return np.asarray((number + phase) % self.period < self._rounds_of_cycle())
        coins = _coins(server, number)
        if self.process == "bernoulli" or number == 0:
            return coins < q
        away = np.maximum(1.0 - q, 1e-300)
        come = np.minimum(self.arrival, q / away)
        leave = come * away / q
        return np.where(self._there, coins >= leave, coins < come)

    def _rounds_of_cycle(self) -> Array:
        return np.maximum(np.round(self._q * self.period), 1.0)


def _coins(server: Server, number: int) -> Array:
    """float64[N] of a round."""
    clients = np.arange(len(server.clients))
    return np.asarray(rng_arrays.uniforms(server.seed, rng_arrays.CLIENTS, clients, _key(number)))


def _key(number: int) -> int:
    """Counter of a round's draws, apart from those of the clients' properties."""
    return (1 << 40) + number


def _label_shares(server: Server) -> Array:
    """float64[N, C], the share of each class in each client's data."""
    examples = getattr(server.task, "examples", None)
    if examples is None or not examples.classes:
        raise InputError(
            "participation that depends on labels needs a task of classes",
            where="selection.labels",
            mend="give labelled data, or labels = 0",
        )
    owner = np.repeat(np.arange(examples.clients), examples.samples)
    cell = owner * examples.classes + examples.y[examples.row]
    counts = np.bincount(cell, minlength=examples.clients * examples.classes)
    return counts.reshape(examples.clients, -1) / examples.samples[:, None]


def _dirichlet(concentration: float, classes: int, seed: int) -> Array:
    """float64[classes] of a symmetric Dirichlet distribution, by breaking a stick.

    Class c takes a share Beta(a, a (classes - 1 - c)) of what is left, drawn by inversion.
    """
    from scipy.special import betaincinv

    u = rng_arrays.uniforms(seed, rng_arrays.CLIENTS, 1 << 40, np.arange(classes))
    left, shares = 1.0, np.zeros(classes)
    for label in range(classes - 1):
        rest = concentration * (classes - 1 - label)
        shares[label] = left * float(betaincinv(concentration, rest, u[label]))
        left -= shares[label]
    shares[-1] = left
    return shares


@dataclass
class Boosted(Rounds):
    """Rounds whose step is eta_g * Sum_S c_i D_i with c_i = a_i om_i of the algorithm.

    a_i is 1 / N, or the client's share of the samples where `equal` is false.
    """

    clients: int = 0
    equal: bool = True

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g Sum_S a_i om_i D_i."""
        weights = aims(self, server)[done.client] * self.boost(server, done.client)
        return self.server_lr * total(server, weights, updates.delta)

    def boost(self, server: Server, clients: Array) -> Array:
        """float64[n], om_i, about 1 / q_i."""
        raise NotImplementedError


def aims(strategy: Rounds, server: Server) -> Array:
    """float64[N], how much each client shall count: 1 / N or its share of the samples."""
    count = len(server.clients)
    return np.full(count, 1.0 / count) if strategy.equal else server.clients.share


def known_chances(strategy: Rounds, server: Server) -> Array:
    """float64[N], q_i as the run's selection knows it.

    Raises:
        InputError: it does not know.
    """
    count = strategy.clients or len(server.clients)
    if server.selection is None:
        return np.full(len(server.clients), min(1.0, count / len(server.clients)))
    chances = server.selection.chances(server, count)
    if chances is None:
        raise InputError(
            "the run's selection does not know its clients' chances",
            where="selection",
            mend="take participation or uniform, or a strategy that estimates them (fedau)",
        )
    return chances


@named("strategy", "known_prob", source="Wang and Ji 2024 (ICLR), baseline; code IBM/fedau")
@dataclass
class KnownProbability(Boosted):
    """Unbiased FedAvg: an update is divided by its client's known chance to take part.

    w += eta_g Sum_S a_i D_i / q_i (Horvitz and Thompson).
    """

    def reset(self, server: Server) -> None:
        """Refuse a selection that does not know (InputError)."""
        known_chances(self, server)

    def boost(self, server: Server, clients: Array) -> Array:
        """1 / q_i."""
        return 1.0 / known_chances(self, server)[clients]


@named("strategy", "average_all", source="Wang and Ji 2024 (ICLR), baseline; code IBM/fedau")
@dataclass
class AverageAll(Boosted):
    """Clients away count as updates of zero; biased to those often there.

    w += eta_g Sum_S a_i D_i.
    """

    def boost(self, server: Server, clients: Array) -> Array:
        """1."""
        return np.ones(len(clients))


@named("strategy", "fedau", source="Wang and Ji 2024 (ICLR), algorithm 2; code IBM/fedau")
@dataclass
class FedAu(Boosted):
    """Clients seldom there weigh more: by their mean interval from one round to the next.

    w += eta_g Sum_S a_i om_i D_i, om_i the mean interval of client i. Intervals are rounds from one
    participation to the next, cut at `cutoff`; before its first has ended om_i = 1. See
    `memory.Intervals`.

    Attributes:
        cutoff: K, rounds; bounds the variance, biases against clients with q_i < 1 / K; 0: none.
    """

    cutoff: int = 50
    _intervals: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, cutoff=(0, 2**31))

    def reset(self, server: Server) -> None:
        """No interval known."""
        self._intervals = Intervals(len(server.clients), self.cutoff)

    def boost(self, server: Server, clients: Array) -> Array:
        """om_i; then the interval that ends now is counted."""
        mean = self._intervals.mean(clients, server.version)
        self._intervals.record(clients, server.version)
        return np.asarray(mean)


@named("strategy", "mifa", source="Gu et al. 2021 (NeurIPS), algorithm 1; as in code IBM/fedau")
@dataclass
class Mifa(Rounds):
    """The mean over all clients of the last update of each, however old.

    w += eta_g Sum_i a_i h_i after h_i = D_i for i in S. h_i is 0 until the client's first update,
    as in the code of FedAU (the paper waits for all in the first round). Keeps a vector for each
    client.
    """

    ignores = frozenset({"combine"})

    clients: int = 0
    equal: bool = True
    _last: Any = field(init=False, repr=False, default=None)
    _sum: Any = field(init=False, repr=False, default=None)

    def reset(self, server: Server) -> None:
        """No update known."""
        if learns(server):
            self._last = Memory(len(server.clients), len(server.weights))
            self._sum = np.zeros(len(server.weights))

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g Sum_i a_i h_i."""
        moved = updates.delta.astype(np.float64) - self._last[done.client]
        weights = aims(self, server)[done.client]
        self._sum = self._sum + np.add.reduce(weights[:, None] * moved, axis=0)
        self._last.put(done.client, updates.delta)
        return self.server_lr * self._sum
