"""`Frontier`: what a goodput search found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.scenario import Scenario
from mltwin.sweeps.jobs import Row
from mltwin.text import Table, show

from .found import Found, finite, toml_of
from .limits import Limit, mean_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mltwin.sim.stats import Interval

# Metrics that the table shows where the runs have them.
SHOWN = ("p99_ttft_ms", "p99_tpot_ms", "request_goodput", "dollars_per_million_tokens")


@dataclass(frozen=True)
class Point:
    """A rate and its runs, one a seed."""

    rate: float
    rows: Sequence[Row]

    def mean(self, metric: str) -> float | None:
        """The mean of a metric over the seeds; None where a run lacks it."""
        return mean_of(self.rows, metric)


@dataclass(repr=False)
class Frontier(Found):
    """The highest rate that keeps a limit, and all that was run to find it.

    Attributes:
        rate: the highest rate that was run and kept the limit (mean over seeds) with no miss
            below it; None where no rate does.
        fails_at: the next rate of the grid, which missed it; None where none did.
        by_seed: seed to its own frontier, interpolated between neighbouring rates.
        points: every rate that was run, ascending.
        runs: how many runs it took.
    """

    scenario: Scenario
    rate_field: str
    limit: Limit
    seeds: tuple[int, ...]
    rate: float | None
    fails_at: float | None
    by_seed: dict[int, float]
    points: list[Point]
    runs: int
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """`Highest workload.rate of NAME with slo_attainment >= 0.9`."""
        return f"Highest {self.rate_field} of {self.scenario.label} with {self.limit.text}"

    @property
    def reached(self) -> bool:
        """Whether any rate keeps the limit."""
        return self.rate is not None

    @property
    def interval(self) -> "Interval | None":
        """Student's t interval (95 %) for the mean of the seeds' own frontiers.

        None for one seed, or where a seed's frontier lies outside what was run.
        """
        from mltwin.sim.stats import mean_ci

        if len(self.by_seed) < 2 or len(self.by_seed) < len(self.seeds):
            return None
        return mean_ci(list(self.by_seed.values()))

    @property
    def best(self) -> Point | None:
        """The runs at the answer; where there is none, those that came closest."""
        if self.rate is not None:
            return next(point for point in self.points if point.rate == self.rate)
        known = [p for p in self.points if p.mean(self.limit.metric) is not None]
        if not known:
            return None
        return max(reversed(known), key=lambda p: self.limit.slack(p.mean(self.limit.metric)))

    @property
    def gpus(self) -> float | None:
        """GPUs of the cluster, where the runs say."""
        return None if self.best is None else self.best.mean("gpus")

    @property
    def rate_per_gpu(self) -> float | None:
        """The rate divided by the GPUs."""
        return self.rate / self.gpus if self.rate is not None and self.gpus else None

    def answer(self) -> list[str]:
        """The answer in words."""
        if self.rate is None:
            return [self._closest()]
        per_gpu = f", {show(self.rate_per_gpu)} per GPU" if self.rate_per_gpu else ""
        beyond = f"; {show(self.fails_at)} is too much" if self.fails_at is not None else ""
        lines = [f"{self.rate_field} = {show(self.rate)} keeps {self.limit.text}{per_gpu}{beyond}."]
        found = self.interval
        if found is not None:
            lines.append(
                f"Over {found.n} seeds the frontier is {show(found.estimate)} "
                f"({show(found.low)} to {show(found.high)}, 95 %)."
            )
        return lines

    def _closest(self) -> str:
        best = self.best
        if best is None:
            return f"No rate keeps {self.limit.text}: no run has a value."
        return (
            f"No rate keeps {self.limit.text}; the closest is {show(best.mean(self.limit.metric))} "
            f"at {self.rate_field} = {show(best.rate)}."
        )

    def table(self) -> Table:
        """One row a rate: the metric (mean, and its range over seeds), and what else is known."""
        shown = [m for m in SHOWN if m != self.limit.metric and self._have(m)]
        several = len(self.seeds) > 1
        rows: list[list[Any]] = []
        best = set()
        for i, point in enumerate(self.points):
            value = point.mean(self.limit.metric)
            values = [r.metrics[self.limit.metric] for r in point.rows if self._has(r)]
            row: list[Any] = [point.rate, value]
            if several:
                row.append(f"{show(min(values))} to {show(max(values))}" if values else "-")
            row += ["yes" if self.limit.met(value) else "no", *(point.mean(m) for m in shown)]
            rows.append(row)
            if point.rate == self.rate:
                best.add((i, 0))
        columns = [self.rate_field, self.limit.metric, *(["over seeds"] if several else [])]
        caption = f"means of {len(self.seeds)} seeds, the same at each rate" if several else ""
        return Table([*columns, "kept", *shown], rows, title=self.title, caption=caption, best=best)

    def tables(self) -> list[Table]:
        """The table of what was run."""
        return [self.table()]

    def frame(self) -> "pd.DataFrame":
        """One row a run: rate, seed, whether the limit is kept, metrics, digest."""
        import pandas as pd

        rows = [
            {
                self.rate_field: point.rate,
                "seed": row.seed,
                "kept": self.limit.met(row.metrics.get(self.limit.metric)),
                **row.metrics,
                "digest": row.digest,
            }
            for point in self.points
            for row in point.rows
        ]
        return pd.DataFrame(rows)

    def data(self) -> dict[str, Any]:
        """The answer, the interval, and each rate with its means, as plain data."""
        found = self.interval
        return {
            "kind": "goodput",
            "field": self.rate_field,
            "limit": self.limit.text,
            "rate": self.rate,
            "fails_at": self.fails_at,
            "rate_per_gpu": finite(self.rate_per_gpu),
            "gpus": finite(self.gpus),
            "interval": None if found is None else [found.estimate, found.low, found.high],
            "by_seed": {str(seed): rate for seed, rate in self.by_seed.items()},
            "seeds": list(self.seeds),
            "runs": self.runs,
            "answer": self.answer(),
            "notes": self.notes,
            "metrics": {} if self.best is None else _means(self.best),
            "points": [
                {
                    "rate": p.rate,
                    "value": finite(p.mean(self.limit.metric)),
                    "values": [finite(row.metrics.get(self.limit.metric)) for row in p.rows],
                    "kept": self.limit.met(p.mean(self.limit.metric)),
                }
                for p in self.points
            ],
            "scenario": self.scenario.data(full=False),
        }

    def figure(self) -> "Figure":
        """The metric over the rate: each seed, the mean, the limit, and the answer."""
        from .pictures import frontier_figure

        return frontier_figure(self)

    def reproduce(self) -> str:
        """The scenario at the answer."""
        if self.rate is None:
            return toml_of(self.scenario)
        return toml_of(self.scenario.set(self.rate_field, self.rate))

    def _has(self, row: Row) -> bool:
        return row.metrics.get(self.limit.metric) is not None

    def _have(self, metric: str) -> bool:
        return any(metric in row.metrics for point in self.points for row in point.rows)


def _means(point: Point) -> dict[str, float]:
    """The means of the metrics that all runs of a point have."""
    names = [m for m in point.rows[0].metrics if all(m in row.metrics for row in point.rows)]
    return {m: float(np.mean([row.metrics[m] for row in point.rows])) for m in names}
