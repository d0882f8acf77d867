"""Examples: who has which rows of a pool of labelled data."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Examples:
    """A pool of n samples, the rows of it that each of N clients has, and held-out samples.

    Attributes:
        x: float32[n, features]; y: int32[n] classes (targets float32[n] for a regression).
        classes: number of classes, 0 for a regression.
        first: int64[N+1], row: int32[...]: client i has pool rows row[first[i]:first[i+1]]; one
            pool row may be with several clients.
        test_x, test_y: held-out samples, with no client.
        test_client: int32[...], the client that a held-out sample belongs to by nature, -1 none.
        name: where the data is from.
        facts: how it was split.
    """

    x: Array
    y: Array
    classes: int
    first: Array
    row: Array
    test_x: Array
    test_y: Array
    test_client: Array
    name: str
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        first: npt.ArrayLike,
        row: npt.ArrayLike,
        test_x: npt.ArrayLike,
        test_y: npt.ArrayLike,
        *,
        classes: int,
        test_client: npt.ArrayLike | None = None,
        name: str = "data",
        facts: dict[str, Any] | None = None,
    ) -> "Examples":
        """Checked examples.

        Raises:
            InputError: no samples, values that are not finite (the first is named), labels outside
                the classes, a client without data or with a row that is not there.
        """
        pool = np.ascontiguousarray(x, np.float32)
        held = np.ascontiguousarray(test_x, np.float32)
        kind = np.int32 if classes else np.float32
        labels, held_labels = np.asarray(y, kind), np.asarray(test_y, kind)
        starts, rows = np.asarray(first, np.int64), np.asarray(row, np.int32)
        where = f"data {name!r}"
        if pool.ndim != 2 or len(pool) != len(labels) or not pool.size:
            raise InputError(f"features {pool.shape}, labels {labels.shape}", where=where)
        if held.shape[1:] != pool.shape[1:] or len(held) != len(held_labels):
            raise InputError(f"held-out features {held.shape}, of {pool.shape}", where=where)
        for what, values in (("x", pool), ("y", labels), ("test_x", held)):
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                raise InputError(f"{what}{bad[0].tolist()} is {values[tuple(bad[0])]}", where=where)
        if classes:
            for what, given in (("y", labels), ("test_y", held_labels)):
                off = np.flatnonzero((given < 0) | (given >= classes))
                if len(off):
                    raise InputError(
                        f"{what}[{off[0]}] is {given[off[0]]} of {classes} classes", where=where
                    )
        empty = np.flatnonzero(np.diff(starts) <= 0)
        if len(empty):
            raise InputError(
                f"client {empty[0]} has no data",
                where=where,
                mend="leave it out, or split among fewer clients",
            )
        if len(rows) != starts[-1] or (len(rows) and not 0 <= rows.min() <= rows.max() < len(pool)):
            raise InputError("a client has a row that is not there", where=where)
        origin = np.full(len(held), -1, np.int32) if test_client is None else test_client
        return cls(
            pool,
            labels,
            int(classes),
            starts,
            rows,
            held,
            held_labels,
            np.asarray(origin, np.int32),
            name,
            dict(facts or {}),
        )

    @property
    def clients(self) -> int:
        """N."""
        return len(self.first) - 1

    @property
    def samples(self) -> Array:
        """int64[N], rows of each client."""
        return np.diff(self.first)
