"""`run` a scenario, `compare` several: same seeds, same draws, paired differences."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .fields import close_to
from .result import Result
from .scenario import Scenario
from .stored import Group, Item, Runnable, opened, unique_names
from .text import Table
from .uncertainty import (
    add_error_bars,
    check_draws,
    paired_difference,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .differences import Differences


def run(scenario: Runnable, seed: int | None = None, **options: Any) -> Result:
    """Run a scenario, or the TOML file that holds it; `options` are the system's own."""
    return as_scenario(scenario).run(seed, **options)


def as_scenario(given: Runnable) -> Scenario:
    """A scenario, loaded if a path is given."""
    return given if isinstance(given, Scenario) else Scenario.load(given)


def compare(
    items: Iterable[Item],
    *,
    seeds: Sequence[int] | None = None,
    base: str | None = None,
    workers: int | None = None,
    store: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    error_bars: int | None = None,
    **options: Any,
) -> "Comparison":
    """Run scenarios on the same seeds and set them side by side.

    Args:
        items: scenarios, TOML files, results, lists of results (one for each seed), stored runs, or
            folders of stored runs, which are grouped by scenario. Stored runs are taken as they
            are.
        seeds: of every scenario that is run; by default those of the first stored runs, or the
            scenario's own.
        base: name of the one that the others are held against; by default the first.
        workers: threads, by default one for each core.
        store: a folder in which each result is kept as soon as it is there.
        progress: called with (runs done, runs in all).
        error_bars: run each this many times more under the same draws of the models' fitted
            parameters, for intervals on metrics and on differences.

    Raises InputError if there is nothing to compare, or the first error of a run.
    """
    from mltwin.sim.executors import map_runs

    given = opened(items)
    if not given:
        raise InputError("there is nothing to compare", mend="give two scenarios")
    chosen = seeds or _stored_seeds(given)
    jobs = [
        (i, item, seed)
        for i, item in enumerate(given)
        if isinstance(item, Scenario)
        for seed in (chosen or [item.seed])
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
    runs: list[list[Result]] = [[] if isinstance(item, Scenario) else item for item in given]
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
    found = Comparison(runs)
    return found if base is None else found.based_on(base)


def _stored_seeds(given: Sequence[Group]) -> list[int]:
    """Seeds of the first stored runs, so that what is run now can be paired with them."""
    stored = [item for item in given if not isinstance(item, Scenario)]
    return [result.seed for result in stored[0]] if stored else []


class Comparison:
    """Runs side by side: for each name the runs of its seeds; the first is the base.

    Args:
        runs: the runs of each scenario.
        names: of the scenarios, all different; by default their labels, made so.
    """

    def __init__(
        self, runs: Sequence[Sequence[Result]], names: Sequence[str] | None = None
    ) -> None:
        self.names = (
            list(names) if names is not None else unique_names([group[0] for group in runs])
        )
        self.runs = dict(zip(self.names, (list(group) for group in runs), strict=True))

    def based_on(self, name: str) -> "Comparison":
        """The same with another scenario as the base.

        Raises InputError for a name that none bears.
        """
        if name not in self.runs:
            raise InputError(f"no scenario {name!r}", where="base", mend=close_to(name, self.names))
        names = [name, *(other for other in self.names if other != name)]
        return Comparison([self.runs[other] for other in names], names)

    def values(self, name: str, metric: str) -> np.ndarray:
        """A metric of each of a scenario's runs that has it."""
        found = [r.metrics[metric] for r in self.runs[name] if metric in r.metrics]
        return np.array(found, float)

    def metrics(self) -> list[str]:
        """Metrics that any run has, in order of appearance."""
        every = (m for group in self.runs.values() for result in group for m in result.metrics)
        return list(dict.fromkeys(every))

    def notes(self) -> list[str]:
        """What the runs say of themselves, each once.

        With the scenario's name where not all say it, and with how many of its runs where not all
        of them do.
        """
        said = {name: Counter(n for r in runs for n in r.notes) for name, runs in self.runs.items()}
        found = []
        for note in dict.fromkeys(note for group in said.values() for note in group):
            if all(said[name][note] == len(runs) for name, runs in self.runs.items()):
                found.append(note)
                continue
            for name, runs in self.runs.items():
                times = said[name][note]
                some = f" ({times} of {len(runs)} runs)" if times < len(runs) else ""
                found += [f"{name}: {note}{some}"] if times else []
        return found

    def headline(self) -> list[str]:
        """The metrics that the systems show first, save those that are 0 everywhere; else all."""
        chosen = [m for group in self.runs.values() for m in group[0].headline]
        shown = [m for m in dict.fromkeys(chosen) if self._is_of_interest(m)]
        return shown or self.metrics()

    def _is_of_interest(self, metric: str) -> bool:
        """Whether any run has the metric, and not all have 0."""
        return any(self.values(name, metric).any() for name in self.names)

    def paired(self, name: str, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
        """A metric of a scenario and of the base over the seeds that both have, seed by seed.

        None where they have no seed in common, or a run lacks the metric.
        """
        pairs = self._pairs(name)
        if not pairs or any(metric not in run.metrics for pair in pairs for run in pair):
            return None
        found = np.array([[run.metrics[metric] for run in pair] for pair in pairs], float)
        return found[:, 0], found[:, 1]

    def _pairs(self, name: str) -> list[tuple[Result, Result]]:
        """Runs of a scenario and of the base with the same seed."""
        new, old = self.runs[name], self.runs[self.names[0]]
        if [run.seed for run in new] == [run.seed for run in old]:
            return list(zip(new, old, strict=True))
        base = {run.seed: run for run in old}
        mine = {run.seed: run for run in new}
        return [(mine[seed], base[seed]) for seed in sorted(base) if seed in mine]

    def difference(self, name: str, metric: str, confidence: float = 0.95) -> Any:
        """Relative difference of a scenario to the first, paired by seed.

        A `mltwin.sim.stats.Interval` (its bounds are infinite for one seed), or None where the
        metric is missing or 0 in the base, or no seed is common to both.
        """
        from mltwin.sim.stats import Interval, paired_ci

        pair = self.paired(name, metric)
        if pair is None or np.any(pair[1] == 0):
            return None
        new, old = pair
        if len(new) == 1:
            return Interval(float(new[0] / old[0] - 1), -np.inf, np.inf, 1)
        return paired_ci(new, old, confidence, relative=True)

    def differences(
        self,
        metrics: Sequence[str] | None = None,
        *,
        least: float | None = None,
        confidence: float = 0.95,
    ) -> "Differences":
        """Each metric of each scenario against the first, corrected for how many are asked.

        Args:
            metrics: by default the headline's.
            least: the smallest difference that matters, as a share (0.01: 1 %); gives the seeds
                needed to find it, and tells what is the same within it.
            confidence: of each interval alone, and of all together.

        Raises InputError for a metric that no run has, or a share that is none.
        """
        from .differences import find_differences

        shown = self._chosen(metrics) or self.headline()
        return find_differences(self, shown, least=least, confidence=confidence)

    def seeds_needed(
        self, metric: str, least: float = 0.01, *, name: str | None = None, power: float = 0.8
    ) -> int:
        """How many seeds find a difference of `least` (a share of the base) in a metric.

        Args:
            metric: which.
            least: the difference to find.
            name: against this scenario; by default the one that needs most.
            power: the chance to find it, in a two-sided test at 5 %.

        Judged by the differences at hand (`mltwin.inference.seeds_needed`).
        Raises InputError: an unknown metric or name, a share that is none, or fewer than two paired
        seeds that have the metric.
        """
        from .differences import seeds_for

        self._chosen([metric])
        if name is not None and name not in self.names:
            raise InputError(f"no scenario {name!r}", mend=close_to(name, self.names))
        others = self.names[1:] if name is None else [name]
        found = [seeds_for(self, other, metric, least, power=power) for other in others]
        known = [seeds for seeds in found if seeds is not None]
        if not known or len(known) < len(found):
            raise InputError(
                f"{metric} has no spread to judge by",
                mend="give two scenarios and two seeds or more, and a metric that is not 0",
            )
        return max(known)

    def frame(self) -> "pd.DataFrame":
        """One row a run: scenario, seed, digest, the fields that differ, and all metrics.

        A field that bears a metric's name is called `scenario.<field>`.
        """
        from .comparison_frames import runs_frame

        return runs_frame(self)

    def fields(self) -> Table:
        """The fields in which the scenarios differ, one row each."""
        from .comparison_frames import fields_table

        return fields_table(self)

    def difference_bars(self, name: str, metric: str) -> tuple[float, float] | None:
        """Interval of a scenario's relative difference to the first under draws of the models'
        fitted parameters, both in the same draws; means over the seeds.

        None where error bars or values are missing, the base has a 0, draws differ or no seed is
        common to both.
        """
        pairs = self._pairs(name)
        return paired_difference([new for new, _ in pairs], [old for _, old in pairs], metric)

    def table(self, metrics: Sequence[str] | None = None) -> Table:
        """One row a metric, one column a scenario (means over seeds), differences to the first.

        The best of a row stands out. A difference whose interval holds 0 has a `~`. Runs with error
        bars show those intervals, `low..high`, differences taken draw by draw.
        Raises InputError for a metric that no run has.
        """
        from .means_table import means_table

        return means_table(self, self._chosen(metrics) or self.headline())

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

    def plot_cdf(self, column: str, path: str | Path | None = None) -> "Figure":
        """The distribution of a quantity (`Result.samples`, or `table.column`) in each scenario.

        Raises InputError for a column that a run lacks.
        """
        from .comparison_plots import plot_cdfs
        from .plots import save_figure

        return save_figure(plot_cdfs(self, column), path)

    def plot_over_time(
        self, column: str, path: str | Path | None = None, *, statistic: str = "p99"
    ) -> "Figure":
        """A statistic (`mean`, `max`, `count`, `rate`, `p99`) of a quantity over windows of time.

        Raises InputError for a column that a run lacks or that has no times.
        """
        from .comparison_plots import plot_over_time
        from .plots import save_figure

        return save_figure(plot_over_time(self, column, statistic), path)

    def plot_differences(
        self, path: str | Path | None = None, metrics: Sequence[str] | None = None
    ) -> "Figure":
        """Forest plot: each difference to the first scenario with its intervals."""
        from .comparison_plots import plot_forest
        from .plots import save_figure

        return save_figure(plot_forest(self.differences(metrics)), path)

    def plot_heat(self, x: str, y: str, metric: str, path: str | Path | None = None) -> "Figure":
        """A metric over two fields that differ, one cell for each pair of their values.

        Raises InputError for a field or metric that `frame` has no column of.
        """
        from .field_plots import plot_heat
        from .plots import save_figure

        return save_figure(plot_heat(self.frame(), x, y, metric), path)

    def plot_pareto(self, x: str, y: str, path: str | Path | None = None) -> "Figure":
        """Two metrics against each other; scenarios that none beats in both stand out.

        Raises InputError for a metric that no run has, or that is better neither way.
        """
        from .field_plots import plot_pareto
        from .plots import save_figure

        return save_figure(plot_pareto(self.frame(), x, y), path)

    def report(
        self,
        path: str | Path,
        metrics: Sequence[str] | None = None,
        *,
        least: float = 0.01,
        title: str = "",
    ) -> Path:
        """Write one self-contained HTML page that says it all; its path.

        Args:
            path: of the page.
            metrics: by default the headline's.
            least: the smallest difference that matters, as a share.
            title: by default the scenarios' names.

        Raises InputError for a metric that no run has, or a place that cannot be written.
        """
        from .reports.compared import compared_report

        shown = self._chosen(metrics) or self.headline()
        return compared_report(self, shown, least=least, title=title).save(path)

    def _chosen(self, metrics: Sequence[str] | None) -> list[str]:
        for metric in metrics or ():
            if metric not in self.metrics():
                raise InputError(f"no metric {metric!r}", mend=close_to(metric, self.metrics()))
        return list(metrics or ())

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.names)}>"
