"""What became of updates that arrived: used, discarded, or still open."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .hooks import Arrivals

Array = npt.NDArray[Any]


class OpenUpdates:
    """Updates handed over to the strategy, in that order, until they are used or discarded.

    Attributes:
        used, discarded: int64[N], of each client.
        wasted_of: int64[N], ticks of work of discarded updates; wasted: their sum.
        staleness: list of int64 arrays, of the updates of each step.
        arrived, came_from: int64[...] ticks at which the updates of the last step arrived, and
            their clients.
    """

    def __init__(self, clients: int) -> None:
        self.used = np.zeros(clients, np.int64)
        self.discarded = np.zeros(clients, np.int64)
        self.wasted_of = np.zeros(clients, np.int64)
        self.wasted = 0
        self.staleness: list[Array] = []
        self.arrived = self.came_from = np.zeros(0, np.int64)
        self._rows = np.zeros((0, 5), np.int64)  # client, dispatch, held, spent, arrived

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def clients(self) -> Array:
        """int64[...], whose updates are open."""
        return self._rows[:, 0]

    def add(self, arrivals: Arrivals) -> None:
        """Updates (status DONE) are handed over."""
        spent = arrivals.spent if arrivals.spent is not None else arrivals.arrived - arrivals.sent
        rows = np.empty((len(arrivals), 5), np.int64)
        columns = arrivals.client, arrivals.dispatch, arrivals.held, spent, arrivals.arrived
        for place, column in enumerate(columns):
            rows[:, place] = column
        self._rows = np.concatenate([self._rows, rows]) if len(self._rows) else rows

    def use(self, which: int | Arrivals, version: int) -> Array:
        """Updates go into a step of the model; int64[...], their staleness."""
        if isinstance(which, Arrivals):
            rows = self._take(which)
        else:
            rows, self._rows = self._rows[: int(which)], self._rows[int(which) :]
        np.add.at(self.used, rows[:, 0], 1)
        stale = version - rows[:, 2]
        self.staleness.append(stale)
        self.arrived, self.came_from = rows[:, 4], rows[:, 0]
        return stale

    def discard(self, which: Arrivals) -> None:
        """Updates are thrown away, and with them the work that they took."""
        rows = self._take(which)
        np.add.at(self.discarded, rows[:, 0], 1)
        np.add.at(self.wasted_of, rows[:, 0], rows[:, 3])
        self.wasted += int(rows[:, 3].sum())

    def histogram(self) -> Array:
        """int64[...], used updates by their staleness."""
        return np.bincount(np.concatenate([np.zeros(0, np.int64), *self.staleness])).astype(
            np.int64
        )

    def _take(self, which: Arrivals) -> Array:
        """Rows of these arrivals, which are open no longer; those that are not open are left."""
        wanted = set(zip(which.client.tolist(), which.dispatch.tolist(), strict=True))
        keys = zip(self._rows[:, 0].tolist(), self._rows[:, 1].tolist(), strict=True)
        mask = np.array([key in wanted for key in keys], bool)
        rows, self._rows = self._rows[mask], self._rows[~mask]
        return rows
