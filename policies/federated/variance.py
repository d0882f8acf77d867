"""Less variance from clients that are away: their last updates stand in for them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Server, Updates

from .limits import within
from .memory import Intervals, Memory
from .participation import aims, known_chances
from .registry import named
from .synchronous import Rounds, learns, total

Array = npt.NDArray[Any]


@named("strategy", "fedstale", source="Rodio and Neglia 2024 (ECAI); code arodio/FedStale")
@dataclass
class FedStale(Rounds):
    """Unbiased FedAvg in which old updates stand in, weighted, for clients that are away.

    u = Sum_S a_i / q_i (D_i - beta h_i) + beta Sum_i a_i h_i, w += eta_g u; then h_i = D_i for i in
    S, 0 before the first. beta = 0 is unbiased FedAvg, beta = 1 is FedVARP. Given w_t, u has the
    mean Sum a_i D_i for every beta and the variance Sum a_i^2 (1 - q_i) / q_i |D_i - beta h_i|^2.
    a_i is 1 / N, or the client's share of the samples where `equal` is false. Keeps a vector for
    each client.

    Attributes:
        beta: weight of stale updates.
        estimated: 1 / q_i is the mean interval of FedAU; else the selection knows q_i.
        cutoff: of the intervals, rounds; 0: none.
    """

    clients: int = 0
    equal: bool = True
    beta: float = 0.5
    estimated: bool = False
    cutoff: int = 0
    _last: Any = field(init=False, repr=False, default=None)
    _sum: Any = field(init=False, repr=False, default=None)
    _intervals: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, beta=(0, 1), cutoff=(0, 2**31))

    def reset(self, server: Server) -> None:
        """No update and no interval known; refuse a selection without chances (InputError)."""
        if not self.estimated:
            known_chances(self, server)
        self._intervals = Intervals(len(server.clients), self.cutoff)
        if learns(server):
            self._last = Memory(len(server.clients), len(server.weights))
            self._sum = np.zeros(len(server.weights))

    def change(self, server: Server, done: Arrivals, updates: Updates) -> Array:
        """eta_g u."""
        clients, weights = done.client, aims(self, server)[done.client]
        boosted = weights * self._boost(server, clients)
        if not self.beta:
            return self.server_lr * total(server, boosted, updates.delta)
        old = self._last[clients]
        fresh = total(server, boosted, updates.delta - self.beta * old)
        made = fresh + self.beta * self._sum
        moved = updates.delta.astype(np.float64) - old
        self._sum = self._sum + np.add.reduce(weights[:, None] * moved, axis=0)
        self._last.put(clients, updates.delta)
        return self.server_lr * made

    def _boost(self, server: Server, clients: Array) -> Array:
        """float64[n], 1 / q_i."""
        if not self.estimated:
            return 1.0 / known_chances(self, server)[clients]
        mean = self._intervals.mean(clients, server.version)
        self._intervals.record(clients, server.version)
        return np.asarray(mean)


@named("strategy", "fedvarp", source="Jhunjhunwala et al. 2022 (UAI), algorithm 2")
@dataclass
class FedVarp(FedStale):
    """Unbiased FedAvg in which the last update of a client stands in for it while it is away.

    FedStale with beta = 1. The paper's clients are drawn uniformly, q_i = m / N.
    """

    beta: float = 1.0


@named("strategy", "unbiased_fedavg", source="Rodio and Neglia 2024 (ECAI), baseline")
@dataclass
class UnbiasedFedAvg(FedStale):
    """Unbiased FedAvg, with chances known or estimated, without a memory of updates.

    FedStale with beta = 0: w += eta_g Sum_S a_i D_i / q_i.
    """

    beta: float = 0.0
