"""What a server remembers of each client: a vector, or how often it took part."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Memory:
    """A float32 vector of each client; zeros until the first is put in.

    Takes memory only for clients that have one.
    """

    def __init__(self, clients: int, width: int) -> None:
        self.row = np.full(clients, -1, np.int64)
        self.vectors = np.zeros((16, width), np.float32)
        self.known = 0

    def __getitem__(self, clients: Array) -> Array:
        """float32[n, width], a copy."""
        rows = self.row[clients]
        found = self.vectors[rows]
        found[rows < 0] = 0
        return found

    def put(self, clients: Array, vectors: Array) -> None:
        """Remember float32[n, width] of distinct clients in place of what was there."""
        new = clients[self.row[clients] < 0]
        self.row[new] = np.arange(self.known, self.known + len(new))
        self.known += len(new)
        if self.known > len(self.vectors):
            larger = np.zeros((max(self.known, 2 * len(self.vectors)), vectors.shape[1]), "f4")
            larger[: len(self.vectors)] = self.vectors
            self.vectors = larger
        self.vectors[self.row[clients]] = vectors


class Intervals:
    """Rounds from one participation of a client to its next, cut at a number of rounds.

    FedAU (Wang and Ji 2024, algorithm 2): S_i counts rounds; an interval ends when the client
    takes part or when S_i reaches the cutoff K; the mean interval estimates 1 / q_i, q_i the chance
    of taking part in a round. With a chance p in every round its mean is (1 - (1 - p)^K) / p.

    Intervals that end at the cutoff are counted when the client is seen next, so that a round costs
    only its participants.

    Args:
        clients: N.
        cutoff: K; 0: none.
    """

    def __init__(self, clients: int, cutoff: int) -> None:
        self.cutoff = cutoff or 2**62
        self.last = np.full(clients, -1, np.int64)
        self.count = np.zeros(clients, np.int64)
        self.total = np.zeros(clients, np.int64)

    def mean(self, clients: Array, number: int) -> Array:
        """float64[n], mean interval of clients before round `number`; 1 where none has ended."""
        cut = (number - self.last[clients] - 1) // self.cutoff
        count = self.count[clients] + cut
        total = self.total[clients] + cut * self.cutoff
        return np.where(count > 0, total / np.maximum(count, 1), 1.0)

    def record(self, clients: Array, number: int) -> None:
        """Distinct clients take part in round `number` (from 0)."""
        gap = number - self.last[clients]
        self.total[clients] += gap
        self.count[clients] += (gap - 1) // self.cutoff + 1
        self.last[clients] = number
