"""What became of updates that arrived: used, discarded, or still open."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .hooks import Arrivals

Array = npt.NDArray[Any]


TOGETHER = 1000
"""Steps whose updates are counted at a time; a larger one is counted at once."""


class Rows(NamedTuple):
    """Columns of n updates: int64[n] each, client perhaps int32."""

    client: Array
    dispatch: Array
    held: Array
    arrived: Array
    spent: Array

    def where(self, rows: Any) -> "Rows":
        """Some of them."""
        return Rows(*(column[rows] for column in self))


class OpenUpdates:
    """Updates handed over to the strategy, in that order, until they are used or discarded.

    Most strategies use what they were just given, whole: then nothing is looked up or copied.

    Attributes:
        discarded: int64[N], of each client.
        wasted_of: int64[N], ticks of work of discarded updates; wasted: their sum.
        last: the updates of the last step.
    """

    def __init__(self, clients: int) -> None:
        self._used = np.zeros(clients, np.int64)
        self.discarded = np.zeros(clients, np.int64)
        self.wasted_of = np.zeros(clients, np.int64)
        self.wasted = 0
        self.last = _rows(None)
        self._by_staleness = np.zeros(0, np.int64)
        self._uncounted: list[tuple[Array, Array]] = []  # clients and staleness of steps
        self._given: list[Arrivals] = []  # the newest, as they were handed over
        self._older = self.last

    def __len__(self) -> int:
        return len(self._older.client) + sum(map(len, self._given))

    @property
    def clients(self) -> Array:
        """int64[...], whose updates are open."""
        return self._settled().client

    def add(self, arrivals: Arrivals) -> None:
        """Updates (status DONE) are handed over."""
        if len(arrivals):
            self._given.append(arrivals)

    def use(self, which: int | Arrivals, version: int) -> Array:
        """Updates go into a step of the model; int64[...], their staleness."""
        rows = self._take(which) if isinstance(which, Arrivals) else self._first(int(which))
        self.last = rows
        stale: Array = version - rows.held
        self._uncounted.append((rows.client, stale))
        if len(self._uncounted) == TOGETHER or len(stale) > TOGETHER:
            self._count()
        return stale

    def discard(self, which: Arrivals) -> None:
        """Updates are thrown away, and with them the work that they took."""
        rows = self._take(which)
        np.add.at(self.discarded, rows.client, 1)
        np.add.at(self.wasted_of, rows.client, rows.spent)
        self.wasted += int(rows.spent.sum())

    @property
    def used(self) -> Array:
        """int64[N], of each client."""
        self._count()
        return self._used

    def histogram(self) -> Array:
        """int64[...], used updates by their staleness."""
        self._count()
        return self._by_staleness

    def _count(self) -> None:
        """Count what was used since this was last done; at each step it would cost as much."""
        if self._uncounted:
            clients, stale = map(np.concatenate, zip(*self._uncounted, strict=True))
            np.add.at(self._used, clients, 1)
            most = max(len(self._by_staleness), int(stale.max(initial=-1)) + 1)
            found = np.bincount(stale, minlength=most).astype(np.int64)
            found[: len(self._by_staleness)] += self._by_staleness
            self._by_staleness = found
            self._uncounted = []

    def _settled(self) -> Rows:
        """All that are open."""
        if self._given:
            parts = [self._older, *map(_rows, self._given)]
            self._older = Rows(*map(np.concatenate, zip(*parts, strict=True)))
            self._given = []
        return self._older

    def _first(self, count: int) -> Rows:
        """The first rows, which are open no longer."""
        if self._all_of(None, count):
            return _rows(self._given.pop())
        rows = self._settled()
        self._older = rows.where(slice(count, None))
        return rows.where(slice(count))

    def _take(self, which: Arrivals) -> Rows:
        """Rows of these arrivals, which are open no longer; those that are not open are left."""
        if self._all_of(which, len(which)):
            return _rows(self._given.pop())
        rows = self._settled()
        mask = np.isin(_keys(rows), _keys(which))
        self._older = rows.where(~mask)
        return rows.where(mask)

    def _all_of(self, which: Arrivals | None, count: int) -> bool:
        """Whether what is open was handed over at a time, and is this or as many."""
        if len(self._given) != 1 or len(self._older.client):
            return False
        return self._given[0] is which or (which is None and len(self._given[0]) == count)


def _rows(arrivals: Arrivals | None) -> Rows:
    if arrivals is None:
        return Rows(*[np.zeros(0, np.int64)] * 5)
    spent = arrivals.spent if arrivals.spent is not None else arrivals.arrived - arrivals.sent
    return Rows(arrivals.client, arrivals.dispatch, arrivals.held, arrivals.arrived, spent)


def _keys(rows: Rows | Arrivals) -> Array:
    """int64[n], a number for each dispatch: neither client nor dispatch have more than 31 bits."""
    return np.asarray(rows.client.astype(np.int64) << 32 | rows.dispatch)
