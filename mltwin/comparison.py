"""`run` a scenario, `compare` several: same seeds, same draws, paired differences."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .fields import close_to
from .metrics import direction
from .result import Result
from .scenario import Scenario
from .text import Table, show
from .uncertainty import (
    add_error_bars,
    check_draws,
    interval_text,
    mean_interval,
    paired_difference,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Runnable = Scenario | str | Path


def run(scenario: Runnable, seed: int | None = None, **options: Any) -> Result:
    """Run a scenario, or the TOML file that holds it; `options` are the system's own."""
    return as_scenario(scenario).run(seed, **options)


def as_scenario(given: Runnable) -> Scenario:
    """A scenario, loaded if a path is given."""
    return given if isinstance(given, Scenario) else Scenario.load(given)


def compare(
    items: Iterable[Runnable | Result],
    *,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    store: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    error_bars: int | None = None,
    **options: Any,
) -> "Comparison":
    """Run scenarios on the same seeds and set them side by side; the first is the base.

    Args:
        items: scenarios, TOML files, or results and folders of stored runs (taken as they are).
        seeds: of every scenario; by default the scenario's own.
        workers: threads, by default one for each core.
        store: a folder in which each result is kept as soon as it is there.
        progress: called with (runs done, runs in all).
        error_bars: run each this many times more under the same draws of the models' fitted
            parameters, for intervals on metrics and on differences.

    Raises InputError if there is nothing to compare, or the first error of a run.
    """
    from mltwin.sim.executors import map_runs

    given = [_opened(item) for item in items]
    if not given:
        raise InputError("there is nothing to compare", mend="give two scenarios")
    jobs = [
        (i, item, seed)
        for i, item in enumerate(given)
        if isinstance(item, Scenario)
        for seed in (seeds or [item.seed])
    ]

    def one(job: tuple[int, Scenario, int]) -> Result:
        result = job[1].run(job[2], **options)
        if store is not None:
            result.save(store)
        return result

    draws = 0 if error_bars is None else check_draws(error_bars)
    total = len(jobs) * (1 + draws)

    def say(done: int, _: int) -> None:
        if progress is not None:
            progress(done, total)

    outcomes = map_runs(one, jobs, workers=workers, progress=say)
    runs: list[list[Result]] = [[] if isinstance(item, Scenario) else [item] for item in given]
    for (i, _, _), outcome in zip(jobs, outcomes, strict=True):
        runs[i].append(outcome.get())
    if draws:
        fresh = [outcome.get() for outcome in outcomes]
        add_error_bars(
            fresh, draws, workers=workers, progress=lambda n, _: say(len(jobs) + n, 0), **options
        )
        if store is not None:
            for result in fresh:
                result.save(store)
    return Comparison(runs)


def _opened(item: Runnable | Result) -> Scenario | Result:
    if isinstance(item, Result | Scenario):
        return item
    return Result.load(item) if Path(item).is_dir() else Scenario.load(item)


class Comparison:
    """Runs side by side: for each name the runs of its seeds, in the order of the seeds."""

    def __init__(self, runs: Sequence[Sequence[Result]]) -> None:
        labels = [group[0].label for group in runs]
        self.names = [_numbered(label, i, labels) for i, label in enumerate(labels)]
        self.runs = dict(zip(self.names, (list(group) for group in runs), strict=True))

    def values(self, name: str, metric: str) -> np.ndarray:
        """A metric of each of a scenario's runs that has it."""
        found = [r.metrics[metric] for r in self.runs[name] if metric in r.metrics]
        return np.array(found, float)

    def metrics(self) -> list[str]:
        """Metrics that any run has, in order of appearance."""
        every = (m for group in self.runs.values() for result in group for m in result.metrics)
        return list(dict.fromkeys(every))

    def headline(self) -> list[str]:
        """The metrics that the systems show first, save those that are 0 everywhere; else all."""
        chosen = [m for group in self.runs.values() for m in group[0].headline]
        shown = [m for m in dict.fromkeys(chosen) if self._is_of_interest(m)]
        return shown or self.metrics()

    def _is_of_interest(self, metric: str) -> bool:
        """Whether any run has the metric, and not all have 0."""
        return any(self.values(name, metric).any() for name in self.names)

    def difference(self, name: str, metric: str, confidence: float = 0.95) -> Any:
        """Relative difference of a scenario to the first, paired by seed.

        A `mltwin.sim.stats.Interval` (its bounds are infinite for one seed), or None where the
        metric is missing or 0 in the base, or the seeds differ.
        """
        from mltwin.sim.stats import Interval, paired_ci

        base = self.names[0]
        if [r.seed for r in self.runs[name]] != [r.seed for r in self.runs[base]]:
            return None
        new, old = self.values(name, metric), self.values(base, metric)
        if len(new) != len(old) or not len(new) or np.any(old == 0):
            return None
        if len(new) == 1:
            return Interval(float(new[0] / old[0] - 1), -np.inf, np.inf, 1)
        return paired_ci(new, old, confidence, relative=True)

    def difference_bars(self, name: str, metric: str) -> tuple[float, float] | None:
        """Interval of a scenario's relative difference to the first under draws of the models'
        fitted parameters, both in the same draws; means over the seeds.

        None where error bars or values are missing, the base has a 0, or seeds or draws differ.
        """
        new, old = self.runs[name], self.runs[self.names[0]]
        if [r.seed for r in new] != [r.seed for r in old]:
            return None
        return paired_difference(new, old, metric)

    def table(self, metrics: Sequence[str] | None = None) -> Table:
        """One row a metric, one column a scenario (means over seeds), differences to the first.

        The best of a row stands out. A difference whose interval holds 0 has a `~`. Runs with error
        bars show those intervals, `low..high`, differences taken draw by draw.
        Raises InputError for a metric that no run has.
        """
        shown = self._chosen(metrics) or self.headline()
        others = self.names[1:]
        rows, best = [], set()
        for i, metric in enumerate(shown):
            means = [self._mean(name, metric) for name in self.names]
            row: list[Any] = [metric]
            row += [self._cell(n, metric, v) for n, v in zip(self.names, means, strict=True)]
            row += [self._difference_text(name, metric) for name in others]
            rows.append(row)
            if (winner := _best(means, direction(metric))) is not None:
                best.add((i, 1 + winner))
        count = max(len(group) for group in self.runs.values())
        columns = ["metric", *self.names, *(f"{name} vs first" for name in others)]
        return Table(columns, rows, caption=self._caption(count), best=best)

    def _caption(self, seeds: int) -> str:
        bars = next((r.error_bars for group in self.runs.values() for r in group), None)
        means = f"means of {seeds} seeds; " if seeds > 1 else ""
        if bars is not None:
            return f"{means}{bars.caption}; ~ may differ from {self.names[0]} either way"
        return f"{means}~ differs from {self.names[0]} by chance (95 %)" if means else ""

    def _cell(self, name: str, metric: str, mean: float | None) -> float | str | None:
        """A scenario's mean of a metric, with its error bar if it has one."""
        bounds = None if mean is None else mean_interval(self.runs[name], metric)
        if bounds is None or bounds[0] == bounds[1]:
            return mean
        return f"{show(mean)} ({interval_text(bounds)})"

    def data(self) -> dict[str, Any]:
        """Metrics of each run as plain data: name to a list of seed, digest, metrics."""
        found = self.runs.items()
        return {name: [self._run_data(name, run) for run in group] for name, group in found}

    def _run_data(self, name: str, run: Result) -> dict[str, Any]:
        data: dict[str, Any] = {"seed": run.seed, "digest": run.digest, "metrics": run.metrics}
        if run.error_bars is None:
            return data
        found = {metric: self.difference_bars(name, metric) for metric in run.metrics}
        against = {metric: list(bounds) for metric, bounds in found.items() if bounds is not None}
        return data | {"error_bars": run.error_bars.data() | {"vs_first": against}}

    def plot(
        self, path: str | Path | None = None, metrics: Sequence[str] | None = None
    ) -> "Figure":
        """A panel for each metric (default: the headline's, six at most)."""
        from .plots import plot_comparison, save_figure

        shown = self._chosen(metrics) or self.headline()[:6]
        return save_figure(plot_comparison(self, shown), path)

    def _chosen(self, metrics: Sequence[str] | None) -> list[str]:
        for metric in metrics or ():
            if metric not in self.metrics():
                raise InputError(f"no metric {metric!r}", mend=close_to(metric, self.metrics()))
        return list(metrics or ())

    def _mean(self, name: str, metric: str) -> float | None:
        values = self.values(name, metric)
        return float(values.mean()) if len(values) else None

    def _difference_text(self, name: str, metric: str) -> str:
        found = self.difference(name, metric)
        if found is None:
            return "-"
        text = f"{100 * found.estimate:+.1f} %"
        bounds = self.difference_bars(name, metric)
        if bounds == (0.0, 0.0):
            return text
        if bounds is not None:
            low, high = (100 * bound for bound in bounds)
            return f"{'~' if low <= 0 <= high else ''}{text} ({low:+.1f}..{high:+.1f})"
        if not np.isfinite(found.half_width):
            return text
        by_chance = found.low <= 0 <= found.high
        return f"{'~' if by_chance else ''}{text} ± {show(100 * found.half_width, 2)}"

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.names)}>"


def _numbered(label: str, index: int, labels: list[str]) -> str:
    """A label, made unique where two scenarios bear the same."""
    same = [i for i, other in enumerate(labels) if other == label]
    return label if len(same) == 1 else f"{label} #{same.index(index) + 1}"


def _best(means: list[float | None], way: str) -> int | None:
    known = [(value, i) for i, value in enumerate(means) if value is not None]
    if way == "none" or len(known) < 2 or len({value for value, _ in known}) == 1:
        return None
    return (min(known) if way == "lower" else max(known))[1]
