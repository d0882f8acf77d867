"""Federated methods side by side: learning curves with bands, time to accuracy, tuned fairly.

    mt.federated.compare({"FedAvg": fedavg, "FedBuff": fedbuff}, seeds=5,
                         tune={"strategy.server_lr": [0.3, 1.0, 3.0]})

A method with a badly chosen step size loses to any other. `tune` chooses values for each method on
seeds of their own before the methods are ranked on others.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .comparison import Comparison, as_scenario
from .comparison import compare as compare_runs
from .federated_metrics import is_of_target
from .federated_plots import AXES, band, plot_curves, target_of
from .federated_result import FederatedResult
from .fields import close_to
from .scenario import Scenario
from .text import Cell, Table, show

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mltwin.sim.stats import Interval

Methods = Mapping[str, Scenario | str | Path] | Iterable[Scenario | str | Path]
Grid = Mapping[str, Sequence[Any]]
FIRST_TUNING_SEED = 1_000_000
TUNING_SEEDS = 3
_COSTS = (("rounds", "rounds", 1.0), ("MB", "bytes", 1e6), ("kJ", "joules", 1e3))
"""Columns of the table: head, beginning of the metric's name, unit."""


@dataclass(frozen=True)
class Tuned:
    """What was chosen for one method.

    Attributes:
        name: of the method.
        chosen: field to value.
        tried: how many choices there were.
        seeds: that they were tried on.
        edge: fields whose chosen value is the least or the greatest of those tried, so that a
            better one may lie beyond.
    """

    name: str
    chosen: Mapping[str, Any]
    tried: int
    seeds: Sequence[int]
    edge: Sequence[str]


class FederatedComparison:
    """Methods on the same seeds: the same clients, speeds, availability and order of data.

    Attributes:
        runs: the plain comparison: metrics, paired differences, tests, reports.
        tuned: what was chosen for each method; empty where nothing was tuned.
    """

    def __init__(self, runs: Comparison, tuned: Sequence[Tuned] = ()) -> None:
        self.runs = runs
        self.tuned = list(tuned)

    @property
    def results(self) -> dict[str, list[FederatedResult]]:
        """The runs of each method, one a seed.

        Raises InputError: a run of another system.
        """
        for name, group in self.runs.runs.items():
            if not all(isinstance(run, FederatedResult) for run in group):
                raise InputError(f"{name!r} is no federated run", where="compare")
        return self.runs.runs  # type: ignore[return-value]

    @property
    def metric(self) -> str:
        """What learning curves show: accuracy, else loss.

        Raises InputError: a method without a model.
        """
        for name, group in self.results.items():
            if group[0].curve_metric is None:
                raise InputError("only its time is simulated", where=name, mend="set model.level")
        shared = {group[0].curve_metric for group in self.results.values()}
        return "accuracy" if shared == {"accuracy"} else "loss"

    def reached(self, name: str, metric: str = "accuracy") -> np.ndarray:
        """Seconds of virtual time to the target in each run of a method; infinite: not reached."""
        key = f"time_to_{metric}_s"
        return np.array([run.metrics.get(key, np.inf) for run in self.runs.runs[name]], float)

    def table(self) -> Table:
        """One row a method: how good its model is, what the target took, difference to the first.

        The time to the target is a median over seeds, those that never reach it counted as
        infinite. Its difference is paired by seed, and given only where every run of both
        methods gets there. A `~` marks an interval that holds 0. Where a method has no model, the
        plain comparison of metrics.
        """
        if any(group[0].curve_metric is None for group in self.results.values()):
            return self.runs.table()  # nothing is learned: times, work and costs
        metric = self.metric
        target = target_of([run for group in self.results.values() for run in group], metric)
        heads = ["method", f"final {metric}"]
        costs: list[tuple[str, float]] = []
        if target is not None:
            spent = [cost for cost in _COSTS if self._costs_something(cost[1], metric)]
            costs = [(f"{key}_to_{metric}", unit) for _, key, unit in spent]
            heads += [f"reach {target:g}", "time (s)", *(head for head, _, _ in spent)]
            heads.append("time vs first")
        rows = [self._row(name, metric, costs, target is not None) for name in self.runs.names]
        seeds = len(self.runs.runs[self.runs.names[0]])
        caption = f"means over {seeds} seeds" if seeds > 1 else "one seed"
        if target is not None:
            caption += "; to the target: medians, not reached is infinite"
        return Table(heads, rows, caption=caption + self._tuning_text())

    def _costs_something(self, key: str, metric: str) -> bool:
        """Whether any run spends anything of a cost on its way (clients may have no watts)."""
        return any(self.runs.values(name, f"{key}_to_{metric}").any() for name in self.runs.names)

    def _row(
        self, name: str, metric: str, costs: Sequence[tuple[str, float]], aimed: bool
    ) -> list[Cell]:
        final = self.runs.values(name, f"final_{metric}")
        row: list[Cell] = [name, float(final.mean()) if len(final) else None]
        if not aimed:
            return row
        group = self.runs.runs[name]
        there = int(np.isfinite(self.reached(name, metric)).sum())
        row.append(f"{there} of {len(group)}")
        for key, unit in ((f"time_to_{metric}_s", 1.0), *costs):
            middle = float(np.median([run.metrics.get(key, np.inf) for run in group])) / unit
            row.append(middle if np.isfinite(middle) else None)
        row.append(self._difference_text(name, metric))
        return row

    def difference(self, name: str, metric: str | None = None) -> "Interval | None":
        """Relative difference to the first method in time to the target, paired by seed.

        None where a run of either never gets there.
        """
        chosen = metric or self.metric
        found: Interval | None = self.runs.difference(name, f"time_to_{chosen}_s")
        return found

    def _difference_text(self, name: str, metric: str) -> str:
        if name == self.runs.names[0]:
            return ""
        found = self.difference(name, metric)
        if found is None:
            return "-"
        half = found.half_width
        about = f" ± {show(100 * half, 2)}" if np.isfinite(half) else ""
        unsure = "~" if found.low <= 0 <= found.high else ""
        return f"{unsure}{100 * found.estimate:+.1f} %{about}"

    def _tuning_text(self) -> str:
        if not self.tuned:
            return ""
        seeds = len(self.tuned[0].seeds)
        return f"; tuned before, each method alone, on {seeds} other seeds"

    def tuning_table(self) -> Table:
        """What was chosen for each method, and whether it lies at the edge of what was tried."""
        rows: list[list[Cell]] = []
        for one in self.tuned:
            chosen = ", ".join(f"{key} = {show(value)}" for key, value in one.chosen.items())
            rows.append([one.name, chosen or "nothing to tune", one.tried, ", ".join(one.edge)])
        return Table(["method", "chosen", "choices", "at the edge"], rows)

    @property
    def notes(self) -> list[str]:
        """As `Comparison.notes`, but for targets that were missed: the table tells that."""
        return [note for note in self.runs.notes() if not is_of_target(note)]

    def data(self) -> dict[str, Any]:
        """Metrics of each run, and what was tuned, as plain data."""
        tuned = [
            {"method": one.name, "chosen": dict(one.chosen), "choices": one.tried,
             "seeds": list(one.seeds), "edge": list(one.edge)}
            for one in self.tuned
        ]  # fmt: skip
        return {"runs": self.runs.data(), "tuned": tuned}

    def curves(self, against: str = "time", metric: str | None = None) -> "pd.DataFrame":
        """Learning curves with bands: columns method, x, mean, low, high.

        Args:
            against: time, rounds, updates, bytes or joules.
            metric: of the model; default: accuracy, else loss.

        Raises InputError: an unknown axis or metric.
        """
        import pandas as pd

        if against not in AXES:
            raise InputError(f"no axis {against!r}", where="against", mend=close_to(against, AXES))
        parts = []
        for name, group in self.results.items():
            found = band(group, against, metric or self.metric)
            parts.append(pd.DataFrame({"method": name, **found._asdict()}))
        return pd.concat(parts, ignore_index=True)

    def plot(
        self,
        path: str | Path | None = None,
        *,
        against: Sequence[str] = ("time", "rounds", "bytes", "joules"),
        metric: str | None = None,
    ) -> "Figure":
        """Learning curves of all methods against each axis; saved if a path is given."""
        from .plots import save_figure

        shown = metric or self.metric
        every = [run for group in self.results.values() for run in group]
        return save_figure(plot_curves(self.results, shown, against, target_of(every, shown)), path)

    def report(self, path: str | Path) -> Path:
        """One self-contained HTML page with metrics and differences."""
        return self.runs.report(path)

    def __str__(self) -> str:
        tables = [self.table(), self.tuning_table()] if self.tuned else [self.table()]
        return "\n\n".join(str(table) for table in tables)


def compare(
    methods: Methods,
    *,
    seeds: int | Sequence[int] = 5,
    tune: Grid | Mapping[str, Grid] | None = None,
    tuning_seeds: int | Sequence[int] = TUNING_SEEDS,
    workers: int | None = None,
    store: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> FederatedComparison:
    """Run methods on the same seeds and set their learning side by side; the first is the base.

    Args:
        methods: name to scenario or file; or scenarios, which bring their names.
        seeds: how many, from 0, or which.
        tune: values to try before: field to values, for every method that has the field; or name
            of a method to such a mapping. All combinations are tried.
        tuning_seeds: how many, or which; none of `seeds`. The best choice reaches the target in
            most of them, then soonest; without a target its last model is best.
        workers: threads, by default one for each core.
        store: a folder in which each result (not those of tuning) is kept.
        progress: called with (runs done, runs in all), of tuning and of ranking by turns.
        options: of the runs.

    Raises InputError: nothing to compare, a field that no method has, seeds in common, or the
        first error of a run.
    """
    given = _named(methods)
    ranked = _seeds(seeds, 0)
    tuned: list[Tuned] = []
    if tune:
        tried = _seeds(tuning_seeds, FIRST_TUNING_SEED)
        both = sorted(set(tried) & set(ranked))
        if both:
            raise InputError(
                f"seed {both[0]} is among those that rank", where="tuning_seeds",
                mend="tune on other seeds",
            )  # fmt: skip
        given, tuned = _tune(given, _grids(given, tune), tried, workers, progress, options)
    runs = compare_runs(
        list(given.values()), seeds=ranked, workers=workers, store=store, progress=progress,
        **options,
    )  # fmt: skip
    return FederatedComparison(runs, tuned)


def _named(methods: Methods) -> dict[str, Scenario]:
    """Scenarios by name, each called so."""
    if isinstance(methods, Mapping):
        found = {name: as_scenario(one).changed({"name": name}) for name, one in methods.items()}
    else:
        opened = [as_scenario(one) for one in methods]
        found = {one.label: one for one in opened}
        if len(found) < len(opened):
            raise InputError("two methods bear one name", where="compare", mend="name them apart")
    if not found:
        raise InputError("there is nothing to compare", mend="give two scenarios")
    wrong = [name for name, one in found.items() if one.system != "federated"]
    if wrong:
        raise InputError(
            f"is of system {found[wrong[0]].system!r}", where=wrong[0], mend="use mltwin.compare"
        )
    return found


def _seeds(given: int | Sequence[int], first: int) -> list[int]:
    if not isinstance(given, int):
        return list(given)
    if given < 1:
        raise InputError(f"{given} seeds", where="seeds", mend="give 1 or more")
    return list(range(first, first + given))


def _grids(
    given: Mapping[str, Scenario], tune: Grid | Mapping[str, Grid]
) -> dict[str, dict[str, list[Any]]]:
    """The fields to try for each method, with their values.

    Raises InputError: an unknown method, or a field that none has.
    """
    if all(isinstance(value, Mapping) for value in tune.values()):
        unknown = [name for name in tune if name not in given]
        if unknown:
            raise InputError(
                f"no method {unknown[0]!r}", where="tune", mend=close_to(unknown[0], given)
            )
        return {name: {k: list(v) for k, v in dict(tune.get(name, {})).items()} for name in given}
    from .federated_run import has_field

    found: dict[str, dict[str, list[Any]]] = {name: {} for name in given}
    for path, values in tune.items():
        mine = [name for name, scenario in given.items() if has_field(scenario, path)]
        if not mine:
            raise InputError("no method has it", where=path, mend="see mltwin fed strategies")
        for name in mine:
            found[name][path] = list(values)
    return found


def _tune(
    given: Mapping[str, Scenario],
    grids: Mapping[str, Mapping[str, Sequence[Any]]],
    seeds: Sequence[int],
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    options: Mapping[str, Any],
) -> tuple[dict[str, Scenario], list[Tuned]]:
    """The best choice of each method, and what was chosen."""
    from mltwin.sim.executors import map_runs

    choices = {
        name: [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
        for name, grid in grids.items()
    }
    jobs = [
        (name, number, seed)
        for name, mine in choices.items()
        for number in range(len(mine))
        if len(mine) > 1
        for seed in seeds
    ]

    def one(job: tuple[str, int, int]) -> dict[str, float]:
        name, number, seed = job
        return given[name].changed(choices[name][number]).run(seed, **options).metrics

    outcomes = map_runs(one, jobs, workers=workers, progress=progress)
    metrics: dict[tuple[str, int], list[dict[str, float]]] = {}
    for (name, number, _), outcome in zip(jobs, outcomes, strict=True):
        metrics.setdefault((name, number), []).append(outcome.get())
    best, told = {}, []
    for name, mine in choices.items():
        scores = [_score(metrics.get((name, number), [{}])) for number in range(len(mine))]
        chosen = mine[scores.index(max(scores))]
        best[name] = given[name].changed(chosen)
        told.append(Tuned(name, chosen, len(mine), seeds, _at_edge(chosen, grids[name])))
    return best, told


def _score(runs: Sequence[Mapping[str, float]]) -> tuple[float, float, float]:
    """How good a choice is: the greater, the better.

    Runs that reach the target, then how soon they do, then the last model (a run without one, as
    it diverged, counts as the worst).
    """
    times = [
        run[key] for run in runs for key in ("time_to_accuracy_s", "time_to_loss_s") if key in run
    ]
    if all("final_accuracy" in run for run in runs):
        last = float(np.mean([run["final_accuracy"] for run in runs]))
    else:
        last = -float(np.mean([run.get("final_loss", np.inf) for run in runs]))
    return float(len(times)), -float(np.mean(times)) if times else 0.0, last


def _at_edge(chosen: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> list[str]:
    numeric = {
        key: values
        for key, values in grid.items()
        if len(values) > 1 and all(isinstance(value, int | float) for value in values)
    }
    return [key for key, values in numeric.items() if chosen[key] in (min(values), max(values))]
