"""Optimisation over any fields of a scenario, by Optuna (extra `optuna`).

Optuna proposes points in batches of a fixed size and is told what they gave, so the search depends
on its seed alone, not on how many runs go on at once. A trial is stopped after its first seed when
it is clearly worse than the best so far on that seed, or misses a limit by far. Nothing of the
study is stored but its runs: a search that was killed proposes the same points again, finds their
runs in the store, and goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.comparison import Runnable, as_scenario
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.sweeps.jobs import Row

from .limits import Limit, Limits, as_limits, mean_of
from .optimum import Optimum, Trial
from .pareto import Objectives, as_objectives
from .runs import DEFAULT_SEEDS, SAME_SEEDS, Progress, Runs, check_metric
from .space import Axis, Space, as_axes, own_value

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "nsga2", "random")
BATCH = 4
_CLEARLY = 3.0  # standard errors that a trial must be worse by to be stopped
_FAR = 0.1  # share of a limit's bound that a trial must miss it by to be stopped
_LEARNT = 4  # whole trials from which the noise of a seed is judged


def optimise(
    scenario: Runnable,
    space: Space,
    objective: Objectives | str,
    *,
    limits: Limits | None = None,
    trials: int = 100,
    patience: int | None = 30,
    prune: bool = True,
    sampler: str = "tpe",
    seeds: int | Sequence[int] = DEFAULT_SEEDS,
    seed: int = 0,
    workers: int | None = None,
    backend: str = "threads",
    address: str | None = None,
    store: Any = None,
    progress: Progress | None = None,
) -> Optimum:
    """The values of fields that make metrics best, within limits.

    Args:
        scenario: where the search starts; its own values are the first trial where they lie in
            the space.
        space: field to (low, high), to `{low, high, log, step}`, or to a list of choices.
        objective: a metric, or metric to `lower` or `higher`; several give a Pareto front.
        limits: metric to bound, or texts such as `slo_attainment>=0.9`; means over the seeds.
        trials: at most so many.
        patience: stop when so many trials in a row have brought nothing better; None: never.
        prune: stop trials after their first seed when they are clearly worse.
        sampler: `tpe` (a model of where good trials lie), `nsga2` (genetic) or `random`.
        seeds: each trial is run with all of them, the same for all trials.
        seed: of the sampler.
        store: a folder that keeps the runs; a search killed goes on where it was.
        progress: called with (share of trials done, text).

    Raises InputError for a bad argument, a missing package, a metric that the runs lack, or when
    every trial of the first batches failed.
    """
    wanted = as_objectives([objective] if isinstance(objective, str) else objective)
    if trials < 1 or (patience is not None and patience < 1):
        raise InputError("give at least one trial", where="trials")
    base = as_scenario(scenario)
    axes, kept = as_axes(base, space), as_limits(limits)
    study = _study(sampler, list(wanted.values()), bool(kept), seed)
    with Runs(
        seeds, backend=backend, workers=workers, address=address, store=store, progress=progress
    ) as runs:
        search = _Search(base, axes, wanted, kept, runs)
        own = search.own_values()
        if own is not None:
            study.enqueue_trial(own)
        while len(search.trials) < trials and not search.is_stale(patience):
            batch = [study.ask() for _ in range(min(BATCH, trials - len(search.trials)))]
            search.run(study, batch, prune)
            runs.say(len(search.trials) / trials, search.text())
        runs.say(1.0, search.text())
    return search.found(own is not None, stopped_early=len(search.trials) < trials)


class _Search:
    """The state of a search: the trials, and what is known of their noise."""

    def __init__(
        self,
        scenario: Scenario,
        axes: list[Axis],
        objectives: dict[str, str],
        limits: tuple[Limit, ...],
        runs: Runs,
    ) -> None:
        self.scenario, self.axes = scenario, axes
        self.objectives, self.limits, self.runs = objectives, limits, runs
        self.trials: list[Trial] = []
        self.best: Trial | None = None
        self.notes: list[str] = []
        self._improved_at = 0
        self._front: list[tuple[float, ...]] = []

    def own_values(self) -> dict[str, Any] | None:
        """The scenario's own values as Optuna's parameters; None where one is not in the space."""
        found: dict[str, Any] = {}
        for axis in self.axes:
            own = own_value(self.scenario, axis.field)
            if not axis.holds(own):
                return None
            found[axis.field] = axis.choices.index(own) if axis.choices else own
        return found

    def run(self, study: "optuna.Study", batch: list["optuna.Trial"], prune: bool) -> None:
        """Run a batch, first seed first, and tell the study."""
        values = [{axis.field: _suggested(trial, axis) for axis in self.axes} for trial in batch]
        scenarios, errors = self._scenarios(values)
        seeds = self.runs.seeds
        alive = [i for i, made in enumerate(scenarios) if made is not None]
        rows: dict[int, list[Row]] = {i: [] for i in range(len(batch))}
        stages = [seeds[:1], seeds[1:]] if prune and len(seeds) > 1 else [seeds]
        stopped: set[int] = set()
        for stage in stages:
            todo = [i for i in alive if i not in stopped]
            made = self.runs.rows([s for i in todo if (s := scenarios[i]) is not None], stage)
            for i, found in zip(todo, made, strict=True):
                rows[i] += found
                errors[i] = errors[i] or next((row.error for row in found if row.error), "")
                if errors[i] or (stage != stages[-1] and self._is_hopeless(rows[i])):
                    stopped.add(i)
        self._check(rows, errors)
        for i, asked in enumerate(batch):
            trial = self._trial(values[i], rows[i], errors[i])
            self.trials.append(trial)
            self._tell(study, asked, trial)
            self._take(trial)
        if len(self.trials) == len(batch):
            self._drop_equal_seeds()

    def _drop_equal_seeds(self) -> None:
        """Go on with one seed where those of the first batch give the same runs."""
        whole = [t for t in self.trials if t.whole]
        if whole and self.runs.one_seed_if_equal([t.rows for t in whole]):
            self.trials = [replace(t, rows=t.rows[:1], whole=t.whole) for t in self.trials]
            self.best = None if self.best is None else self.trials[self.best.number]
            self.notes.append(SAME_SEEDS)

    def _scenarios(self, values: list[dict[str, Any]]) -> tuple[list[Scenario | None], list[str]]:
        """The scenario of each point, or why there is none."""
        scenarios: list[Scenario | None] = []
        errors = []
        for change in values:
            try:
                scenarios.append(self.scenario.changed(change))
                errors.append("")
            except InputError as error:
                scenarios.append(None)
                errors.append(str(error))
        return scenarios, errors

    def _check(self, rows: Mapping[int, list[Row]], errors: Sequence[str]) -> None:
        """Refuse a search whose first trials all fail, and metrics that no run has."""
        if any(not trial.error for trial in self.trials):
            return
        sound = [row for found in rows.values() for row in found if not row.error]
        if sound:
            for metric in (*self.objectives, *(limit.metric for limit in self.limits)):
                check_metric(sound, metric)
        elif len(self.trials) + len(rows) >= 3 * BATCH or not any(errors):
            raise InputError(next(e for e in (*errors, "no trial ran") if e), where="every trial")

    def _is_hopeless(self, rows: Sequence[Row]) -> bool:
        """Whether a trial can be stopped after these first seeds."""
        if self.best is None:
            return False
        if any(limit.excess(mean_of(rows, limit.metric)) > _FAR for limit in self.limits):
            return True
        if len(self.objectives) > 1:
            return False
        metric, way = next(iter(self.objectives.items()))
        mine, noise = mean_of(rows, metric), self._noise(metric)
        its = mean_of(self.best.rows[: len(rows)], metric)
        if mine is None or its is None or noise is None:
            return False
        worse = mine - its if way == "lower" else its - mine
        return worse > _CLEARLY * noise * (2 / len(rows)) ** 0.5 and worse > 0

    def _noise(self, metric: str) -> float | None:
        """Standard deviation of a seed's value about its trial's mean and its seed's mean.

        Of the better half of the whole trials: bad ones are noisier than what they would be
        compared with. None while there are too few.
        """
        way = self.objectives[metric]
        whole = [t for t in self.trials if t.whole and metric in t.means and t.feasible]
        if len(whole) < _LEARNT:
            return None
        whole.sort(key=lambda t: t.means[metric] if way == "lower" else -t.means[metric])
        half = whole[: max(2, len(whole) // 2)]
        values = np.array([[row.metrics[metric] for row in t.rows] for t in half])
        left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
        return float(np.sqrt((left**2).sum() / ((len(half) - 1) * (values.shape[1] - 1))))

    def _trial(self, values: dict[str, Any], rows: list[Row], error: str) -> Trial:
        metrics = (*self.objectives, *(limit.metric for limit in self.limits))
        means = {m: mean for m in metrics if (mean := mean_of(rows, m)) is not None}
        excess = [limit.excess(means.get(limit.metric)) for limit in self.limits]
        lacking = not error and any(m not in means for m in self.objectives)
        return Trial(
            number=len(self.trials),
            values=values,
            rows=[] if error else rows,
            means={} if error else means,
            excess=excess,
            whole=not error and not lacking and len(rows) == len(self.runs.seeds),
            error=error or ("a run lacks an objective" if lacking else ""),
        )

    def _tell(self, study: "optuna.Study", asked: "optuna.Trial", trial: Trial) -> None:
        from optuna.trial import TrialState

        if trial.error:
            study.tell(asked, state=TrialState.FAIL)
            return
        for limit, excess in zip(self.limits, trial.excess, strict=True):
            _constrain(asked, limit.text, excess)
        study.tell(asked, [self._guess(trial, metric) for metric in self.objectives])

    def _guess(self, trial: Trial, metric: str) -> float:
        """A trial's mean; of one stopped early, from its difference to the best on its seeds."""
        mean = trial.means[metric]
        if trial.whole or self.best is None:
            return mean
        partial = mean_of(self.best.rows[: len(trial.rows)], metric)
        return mean if partial is None else mean + self.best.means[metric] - partial

    def _take(self, trial: Trial) -> None:
        """Remember a trial that is better than all before."""
        if not (trial.whole and trial.feasible):
            return
        costs = tuple(
            trial.means[m] if way == "lower" else -trial.means[m]
            for m, way in self.objectives.items()
        )
        if any(all(a <= b for a, b in zip(old, costs, strict=True)) for old in self._front):
            return
        beaten = [
            old for old in self._front if all(a <= b for a, b in zip(costs, old, strict=True))
        ]
        self._front = [old for old in self._front if old not in beaten] + [costs]
        self._improved_at = trial.number
        if self.best is None or len(self.objectives) == 1:
            self.best = trial

    def is_stale(self, patience: int | None) -> bool:
        """Whether so many trials have gone by without anything better."""
        if patience is None or not self.trials:
            return False
        return len(self.trials) - 1 - self._improved_at >= patience

    def text(self) -> str:
        """`24 trials, 58 runs, best 211.3`."""
        text = f"{len(self.trials)} trials, {self.runs.made} runs"
        if self.best is not None and len(self.objectives) == 1:
            text += f", best {self.best.means[next(iter(self.objectives))]:.4g}"
        return text

    def found(self, own_first: bool, *, stopped_early: bool) -> Optimum:
        """What was found."""
        notes = self.notes
        if stopped_early:
            notes.append(f"stopped after {len(self.trials)} trials: nothing better for a while")
        failed = [trial for trial in self.trials if trial.error]
        if failed:
            notes.append(f"{len(failed)} trials failed, the first with: {failed[0].error}")
        return Optimum(
            scenario=self.scenario,
            axes=self.axes,
            objectives=self.objectives,
            limits=self.limits,
            seeds=self.runs.seeds,
            trials=self.trials,
            own_first=own_first,
            runs=self.runs.made,
            notes=notes,
        )


def _suggested(trial: "optuna.Trial", axis: Axis) -> Any:
    if axis.choices:
        return axis.choices[trial.suggest_categorical(axis.field, list(range(len(axis.choices))))]
    span = axis.span
    if span.integer:
        return trial.suggest_int(axis.field, int(span.low), int(span.high), log=span.log)
    return trial.suggest_float(axis.field, float(span.low), float(span.high), log=span.log)


def _study(sampler: str, sides: list[str], limited: bool, seed: int) -> "optuna.Study":
    """An empty study in memory.

    Raises InputError for an unknown sampler or a missing package.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"unknown value {sampler!r}", where="sampler", mend=" or ".join(SAMPLERS))
    try:
        import optuna
    except ImportError:
        raise InputError(
            "Optuna is not installed", where="optimise", mend="pip install mltwin[optuna]"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Optuna 5 takes constraints from the trial itself, earlier ones through a function.
    by_function = limited and not hasattr(optuna.trial.Trial, "set_constraint")
    options: dict[str, Any] = {"constraints_func": _excess} if by_function else {}
    if sampler == "tpe":
        made: Any = optuna.samplers.TPESampler(seed=seed, constant_liar=True, **options)
    elif sampler == "nsga2":
        made = optuna.samplers.NSGAIISampler(seed=seed, population_size=4 * BATCH, **options)
    else:
        made = optuna.samplers.RandomSampler(seed=seed)
    directions: list[Any] = ["minimize" if side == "lower" else "maximize" for side in sides]
    return optuna.create_study(directions=directions, sampler=made)


def _constrain(trial: Any, name: str, excess: float) -> None:
    """Tell Optuna of a limit: above 0 is a miss."""
    if hasattr(trial, "set_constraint"):
        trial.set_constraint(name, excess)
    else:
        trial.set_user_attr("excess", [*trial.user_attrs.get("excess", ()), excess])


def _excess(trial: Any) -> Sequence[float]:
    return trial.user_attrs.get("excess", ())
