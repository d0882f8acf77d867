"""Error bars: a run once more under draws of its models' fitted parameters.

Each draw is a world that the measurements allow (`mltwin.models.gpu.draw`): the same requests and
the same seed on GPUs whose operators are a little faster or slower than fitted. The metrics over
the draws give an interval. It holds the error of the fitted times, kernel by kernel and of whole
iterations, and nothing else: not that of another seed or trace, nor of what the model leaves out.

Draw i is the same for every scenario and seed, so differences between policies are taken draw by
draw: what all of them share cancels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .result import Columns, Result
from .scenario import Scenario
from .text import Table, show

TABLE = "error_bars"
LEVEL = 0.95
LEAST_DRAWS, MOST_DRAWS = 2, 10_000

Interval = tuple[float, float]


@dataclass(frozen=True)
class ErrorBars:
    """Metrics of the draws of one run.

    Attributes:
        values: metric to its value in each draw, in order; NaN where a draw has none.
        draws: how many.
    """

    values: Mapping[str, np.ndarray]
    draws: int

    @classmethod
    def of_metrics(cls, metrics: Sequence[Mapping[str, float]]) -> "ErrorBars":
        """From the metrics of each draw."""
        names = dict.fromkeys(name for one in metrics for name in one)
        values = {n: np.array([one.get(n, np.nan) for one in metrics], float) for n in names}
        return cls(values, len(metrics))

    @classmethod
    def of_columns(cls, columns: Columns) -> "ErrorBars":
        """From the table `error_bars` of a result."""
        draws = int(np.max(columns["draw"], initial=-1)) + 1
        names, first, which = np.unique(
            columns["metric"].astype(str), return_index=True, return_inverse=True
        )
        found = np.full((len(names), draws), np.nan)
        found[which.ravel(), columns["draw"]] = columns["value"]
        return cls({str(names[i]): found[i] for i in np.argsort(first)}, draws)

    def columns(self) -> dict[str, np.ndarray]:
        """Columns draw, metric, value: one row a draw and metric."""
        kept = {name: np.flatnonzero(~np.isnan(values)) for name, values in self.values.items()}
        return {
            "draw": np.concatenate(list(kept.values())).astype(np.int64),
            "metric": np.concatenate([np.full(len(at), name) for name, at in kept.items()]),
            "value": np.concatenate([self.values[name][at] for name, at in kept.items()]),
        }

    def interval(self, metric: str, level: float = LEVEL) -> Interval | None:
        """The middle `level` of the draws (percentiles interpolate linearly).

        None for a metric that some draw has no value of.
        """
        values = self.values.get(metric)
        return None if values is None else spread_of(values, level)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The interval of every metric that has one."""
        found = {name: self.interval(name) for name in self.values}
        return {name: bounds for name, bounds in found.items() if bounds is not None}

    def data(self) -> dict[str, Any]:
        """Plain data: draws, level, and (low, high) by metric."""
        bounds = {name: list(pair) for name, pair in self.intervals.items()}
        return {"draws": self.draws, "level": LEVEL, "intervals": bounds}

    def text(self, metric: str) -> str:
        """`low..high`, or `-`."""
        bounds = self.intervals.get(metric)
        return "-" if bounds is None else interval_text(bounds)

    @property
    def caption(self) -> str:
        """What the intervals are."""
        return f"low..high: {100 * LEVEL:.0f} % of {self.draws} draws from the error of the fit"

    def beside(self, table: Table) -> Table:
        """A table of metrics (names first, then values) with a column of intervals."""
        columns = [*table.columns[:2], f"{100 * LEVEL:.0f} %", *table.columns[2:]]
        rows = [[*row[:2], self.text(str(row[0])), *row[2:]] for row in table.rows]
        return Table(columns, rows, title=table.title, caption=self.caption)


def spread_of(values: np.ndarray, level: float = LEVEL) -> Interval | None:
    """The middle `level` of values; None for no values or a NaN among them."""
    if not len(values) or np.isnan(values).any():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_text(bounds: Interval) -> str:
    """`low..high` as people read numbers; one number where both are the same.

    >>> interval_text((1234567.0, 1300000.0)), interval_text((0.50123, 0.51234))
    ('1,234,567..1,300,000', '0.5012..0.5123')
    """
    low, high = (show(bound) for bound in bounds)
    return low if low == high else f"{low}..{high}"


def check_draws(draws: Any) -> int:
    """A number of draws that is one.

    Raises InputError: no whole number, fewer than 2 or more than 10,000.
    """
    if not isinstance(draws, int) or isinstance(draws, bool):
        raise InputError(f"{draws!r} draws", where="error_bars", mend="give a whole number")
    if not LEAST_DRAWS <= draws <= MOST_DRAWS:
        raise InputError(
            f"{draws} draws",
            where="error_bars",
            mend=f"give {LEAST_DRAWS} to {MOST_DRAWS}; 100 give a steady interval",
        )
    return draws


def run_with_error_bars(
    scenario: Scenario,
    seed: int,
    draws: int,
    *,
    workers: int | None = None,
    progress: Callable[[float, float], None] | None = None,
    **options: Any,
) -> Result:
    """`Scenario.run` with error bars; `progress` counts the draws as well."""
    runs = check_draws(draws) + 1
    first = None if progress is None else (lambda share, now: progress(share / runs, now))
    given = options if first is None else {**options, "progress": first}
    result = scenario.run(seed, **given)
    duration = float(result.metrics.get("duration_s", 0.0))

    def say(done: int, _: int) -> None:
        if progress is not None:
            progress((1 + done) / runs, duration)

    add_error_bars([result], draws, workers=workers, progress=say, **options)
    return result


def add_error_bars(
    results: Sequence[Result],
    draws: int,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> None:
    """Run each result's scenario under the same draws, and put the metrics into the results.

    Args:
        results: fresh runs; they get the table `error_bars` (draw, metric, value), and what a
            draw violates.
        draws: how many.
        workers: threads, by default one for each core.
        progress: called with (runs done, runs in all).
        options: of the runs.

    Raises InputError: a number of draws that `check_draws` refuses, a system without fitted
    parameters, or the first error of a run.
    """
    from mltwin.sim.executors import map_runs

    jobs = [(result, index) for result in results for index in range(check_draws(draws))]

    def one(job: tuple[Result, int]) -> tuple[dict[str, float], list[str]]:
        result, index = job
        assert result.scenario is not None
        found = result.scenario.redraw(result, index, **options)
        return found.metrics, [f"draw {index}: {text}" for text in found.violations]

    outcomes = map_runs(one, jobs, workers=workers, progress=progress)
    found = [outcome.get() for outcome in outcomes]
    for i, result in enumerate(results):
        mine = found[i * draws : (i + 1) * draws]
        result.tables[TABLE] = ErrorBars.of_metrics([metrics for metrics, _ in mine]).columns()
        result.violations += [text for _, said in mine for text in said]


def paired_difference(new: Sequence[Result], old: Sequence[Result], metric: str) -> Interval | None:
    """Interval of new / old - 1 under the same draws, mean over the pairs of runs.

    None where a run has no error bars, the numbers of draws differ, or a value is missing or 0 in
    the base.
    """
    changes = []
    for one, other in zip(new, old, strict=True):
        mine, base = one.error_bars, other.error_bars
        if mine is None or base is None or mine.draws != base.draws:
            return None
        values, against = mine.values.get(metric), base.values.get(metric)
        if values is None or against is None or np.any(against == 0):
            return None
        changes.append(values / against - 1)
    return spread_of(np.mean(changes, axis=0)) if changes else None


def mean_interval(results: Sequence[Result], metric: str) -> Interval | None:
    """Interval of a metric's mean over runs (seeds), draw by draw; None as above."""
    bars = [result.error_bars for result in results]
    if not bars or any(one is None for one in bars) or len({b.draws for b in bars if b}) != 1:
        return None
    values = [one.values.get(metric) for one in bars if one is not None]
    if any(one is None for one in values):
        return None
    return spread_of(np.mean([one for one in values if one is not None], axis=0))


def coverage(intervals: Sequence[Interval], measured: Sequence[float]) -> float:
    """The share of measured values that lie within their intervals, bounds included.

    Intervals that claim 95 % should hold 95 % of what is measured.

    Raises InputError: nothing to count, numbers that differ, or a bound or value that is NaN.
    """
    bounds, values = np.asarray(intervals, float), np.asarray(measured, float)
    if not len(values) or bounds.shape != (len(values), 2):
        raise InputError(
            f"{len(values)} measured values for {len(bounds)} intervals",
            mend="give one (low, high) for each of one value or more",
        )
    if np.isnan(bounds).any() or np.isnan(values).any():
        raise InputError("a bound or a measured value is NaN", mend="leave such rows out")
    return float(np.mean((bounds[:, 0] <= values) & (values <= bounds[:, 1])))
