"""`Sample`: one quantity of a run, value by value, for distributions and plots over time.

A result names the samples worth looking at (`Result.samples`); any other column of any table is to
be had by its name, `table.column`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.errors import InputError

from .fields import close_to

if TYPE_CHECKING:
    from .result import Result

Statistic = Callable[[np.ndarray], float]

TIME_COLUMNS = ("time_s", "at_s")
_LEFT_OUT = ("error_bars",)  # says how sure the run is, not what it did


@dataclass(frozen=True)
class Sample:
    """Values of one quantity.

    Attributes:
        values: those that exist; no NaN.
        title, unit: for axes.
        at_s: when each came about, in simulated seconds, as long as `values`; None if unknown.
        limit: the bound that users were promised, if there is one.
        table, rows: where the values stand: rows of a table; "" and None where in none.
    """

    values: np.ndarray = field(repr=False)
    title: str = ""
    unit: str = ""
    at_s: np.ndarray | None = field(default=None, repr=False)
    limit: float | None = None
    table: str = ""
    rows: np.ndarray | None = field(default=None, repr=False)

    @property
    def axis(self) -> str:
        """Title and unit for an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        at_s: np.ndarray | None = None,
        *,
        title: str = "",
        unit: str = "",
        limit: float | None = None,
        table: str = "",
    ) -> "Sample":
        """A sample of the values that are finite, one for each row of a table."""
        numbers = np.asarray(values, float)
        known = np.isfinite(numbers)
        when = None if at_s is None else np.asarray(at_s, float)[known]
        return cls(numbers[known], title, unit, when, limit, table, np.flatnonzero(known))


def table_samples(result: "Result") -> dict[str, Sample]:
    """Every numeric column of every table as `table.column`.

    Where a table has a column `time_s` or `at_s`, its other columns came about at these instants.
    """
    from .metrics import unit

    found = {}
    for table, columns in result.tables.items():
        if table in _LEFT_OUT:
            continue
        numeric = {n: c for n, c in columns.items() if np.asarray(c).dtype.kind in "biuf"}
        times = next((numeric[n] for n in TIME_COLUMNS if n in numeric), None)
        for name, column in numeric.items():
            when = None if name in TIME_COLUMNS else times
            found[f"{table}.{name}"] = Sample.of(
                column, when, title=name, unit=unit(name), table=table
            )
    return found


def sample_of(result: "Result", name: str) -> Sample:
    """A sample that the result names, or any numeric column as `table.column`.

    A column's name alone will do where one table only has it.

    Raises InputError for a name that fits none, or several.
    """
    named = result.samples()
    if name in named:
        return named[name]
    columns = table_samples(result)
    fitting = [key for key in columns if name in (key, key.partition(".")[2])]
    if len(fitting) == 1:
        return columns[fitting[0]]
    if fitting:
        raise InputError(f"{name!r} is in several tables", mend=f"use one of {', '.join(fitting)}")
    known = [*named, *columns]
    mend = close_to(name, known) if known else "the run has no tables"
    raise InputError(f"no column {name!r}", where=result.label, mend=mend)


def pooled(samples: Sequence[Sample]) -> Sample:
    """Samples of one quantity over several runs as one; it has no times."""
    first = samples[0]
    values = np.concatenate([sample.values for sample in samples])
    return Sample(values, first.title, first.unit, None, first.limit)


def windowed(sample: Sample, edges_s: np.ndarray, statistic: str) -> np.ndarray:
    """A statistic of a sample in consecutive windows of time; NaN for a window without a value.

    Args:
        edges_s: bounds of the windows, ascending; a window holds its lower bound, the last one
            both.
        statistic: `mean`, `max`, `count`, `rate` (values a second) or a percentile such as `p99`.

    Raises InputError: a sample without times, or an unknown statistic.
    """
    if sample.at_s is None:
        raise InputError(f"{sample.title or 'the column'} has no times", mend="choose another")
    reduce = _statistic(statistic)
    order = np.argsort(sample.at_s, kind="stable")
    values, times = sample.values[order], sample.at_s[order]
    bounds = np.searchsorted(times, edges_s, side="left")
    bounds[-1] = np.searchsorted(times, edges_s[-1], side="right")
    parts = [values[a:b] for a, b in pairwise(bounds)]
    if statistic in ("count", "rate"):
        counts = np.array([len(part) for part in parts], float)
        return counts / np.diff(edges_s) if statistic == "rate" else counts
    return np.array([reduce(part) if len(part) else np.nan for part in parts], float)


def _statistic(name: str) -> Statistic:
    plain: dict[str, Statistic] = {"mean": _mean, "max": _largest, "count": len, "rate": len}
    if name in plain:
        return plain[name]
    if name.startswith("p") and name[1:].replace(".", "", 1).isdigit() and float(name[1:]) <= 100:
        level = float(name[1:])
        return lambda values: float(np.percentile(values, level))
    raise InputError(f"unknown statistic {name!r}", mend="use mean, max, count, rate, p50, p99")


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _largest(values: np.ndarray) -> float:
    return float(values.max())
