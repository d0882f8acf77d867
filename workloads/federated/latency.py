"""Latency matrices between places: square tables of milliseconds, as Plexus and King share them."""

import os
import re
from dataclasses import dataclass

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source

from .draws import LATENCY, Array, client_uniforms

_PARTS = re.compile(r"[,;\s]+")
_MISSING = frozenset({"", "nan", "na", "-1", "-1.0", "-"})


@dataclass(frozen=True, eq=False)
class LatencyMatrix:
    """Seconds between n places.

    Attributes:
        seconds: float64[n, n], row to column, 0 on the diagonal.
        facts: the source, and how many cells were filled and how.
    """

    seconds: Array
    facts: dict[str, object]

    def __len__(self) -> int:
        return len(self.seconds)

    def places(self, peers: int, *, seed: int = 0) -> Array:
        """int64[peers], the place of each peer; in turn shuffled, so that all are used alike."""
        who = np.arange(peers)
        drawn = client_uniforms(seed, LATENCY, who)
        place = np.empty(peers, np.int64)
        place[np.argsort(drawn, kind="stable")] = who % len(self)
        return place

    def to(self, place: int) -> Array:
        """float64[n], seconds to one place, e.g. where the server stands. Raises InputError."""
        if not 0 <= place < len(self):
            raise InputError(f"place {place} of {len(self)}", where="latency matrix")
        return np.asarray(self.seconds[:, place])


def read_latency_matrix(
    path: str | os.PathLike[str], *, unit_s: float = 1e-3, round_trip: bool = False
) -> LatencyMatrix:
    """A square table of numbers parted by commas, blanks or semicolons, one row a line.

    Args:
        path: the file; a first line without a number is passed over.
        unit_s: of the cells; milliseconds by default, 1e-6 for the King data set.
        round_trip: cells are round trips, halved here.

    A cell that is missing (-1, NaN, empty) gets the cell on the other side of the diagonal, or
    where that is missing too the median of all, both counted in `facts`. The diagonal becomes 0.

    Raises:
        InputError: file, line, column and value are named; a table that is not square.
    """
    source = Source(path)
    rows: list[list[float]] = []
    skipped = 0
    for number, line in source.lines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        parts = line.strip().split(",") if "," in line else _PARTS.split(text)
        cells = [part.strip() for part in parts]
        if not rows and not skipped and not any(_numeric(cell) for cell in cells):
            skipped = 1
            continue
        rows.append([_cell(source, number, k, cell) for k, cell in enumerate(cells, 1)])
        if len(rows[-1]) != len(rows[0]):
            raise source.error(f"{len(rows[-1])} cells, the rows above have {len(rows[0])}", number)
    if len(rows) < 2 or len(rows) != len(rows[0]):
        raise source.error(
            f"{len(rows)} rows of {len(rows[0]) if rows else 0} cells are no square",
            mend="give n lines of n numbers",
        )
    table = np.array(rows) * (unit_s * (0.5 if round_trip else 1.0))
    np.fill_diagonal(table, 0.0)
    holes = np.isnan(table)
    if holes.all() or (holes.sum() == holes.size - len(table)):
        raise source.error("has no latency", mend="give numbers of 0 or more")
    mirrored = holes & ~holes.T
    table[mirrored] = table.T[mirrored]
    rest = np.isnan(table)
    known = table[~rest & ~np.eye(len(table), dtype=bool)]
    table[rest] = float(np.median(known))
    facts = {
        "source": source.path.name,
        "places": len(table),
        "mirrored": int(mirrored.sum()),
        "median": int(rest.sum()),
    }
    return LatencyMatrix(table, facts)


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in _MISSING
    return True


def _cell(source: Source, line: int, column: int, text: str) -> float:
    if text.lower() in _MISSING:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = -2.0
    if not (np.isfinite(value) and value >= 0):
        raise InputError(
            f"{text[:40]!r} is not a number of 0 or more",
            where=f"{source.path}, line {line}, column {column}",
            mend="correct it, or write -1 where nothing was measured",
        )
    return value
