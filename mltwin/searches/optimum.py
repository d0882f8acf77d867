"""`Optimum`: what an optimisation found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.sweeps.jobs import Row
from mltwin.text import Table, show

from .found import Found, finite, toml_of
from .limits import Limit
from .space import Axis, label_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mltwin.sim.stats import Interval

    from .pareto import Front

_ROWS = 15


@dataclass(frozen=True)
class Trial:
    """One point that was tried.

    Attributes:
        values: field to value.
        rows: its runs, one a seed, in the order of the seeds; [] where it failed.
        means: means of objectives and limited metrics over the rows there are.
        excess: for each limit by how much of its bound it is missed; not above 0 where kept.
        whole: it was run with all seeds.
        error: why it failed, "" if it did not.
    """

    number: int
    values: dict[str, Any]
    rows: Sequence[Row]
    means: dict[str, float]
    excess: list[float]
    whole: bool
    error: str = ""

    @property
    def feasible(self) -> bool:
        """Whether all limits are kept."""
        return all(excess <= 0 for excess in self.excess)

    @property
    def pruned(self) -> bool:
        """Whether it was stopped before its last seed."""
        return not self.whole and not self.error


@dataclass(repr=False)
class Optimum(Found):
    """The best trials of an optimisation, and all others.

    Attributes:
        trials: in the order they were made.
        own_first: whether the first trial is the scenario as it stands.
        runs: how many runs it took.
    """

    scenario: Scenario
    axes: list[Axis]
    objectives: dict[str, str]
    limits: tuple[Limit, ...]
    seeds: tuple[int, ...]
    trials: list[Trial]
    own_first: bool
    runs: int
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """`Best NAME: p99_ttft_ms (lower) with slo_attainment >= 0.9`."""
        sides = ", ".join(f"{metric} ({way})" for metric, way in self.objectives.items())
        within = " and ".join(limit.text for limit in self.limits)
        return f"Best {self.scenario.label}: {sides}{f' with {within}' if within else ''}"

    @property
    def good(self) -> list[Trial]:
        """Trials that were run with all seeds and keep all limits, the best first.

        With several objectives: those on the front, by the first objective; of equal ones the
        first.
        """
        metric, way = next(iter(self.objectives.items()))
        found = [t for t in self.trials if t.whole and t.feasible]
        if len(self.objectives) > 1 and found:
            numbers = set(self.front().front["trial"])
            on = {tuple(t.means[m] for m in self.objectives): t for t in reversed(found)}
            found = [t for t in on.values() if t.number in numbers]
        return sorted(found, key=lambda t: (self._cost(t, metric, way), t.number))

    @property
    def best(self) -> Trial | None:
        """The best trial; None where none keeps the limits."""
        return next(iter(self.good), None)

    @property
    def reached(self) -> bool:
        """Whether any trial keeps all limits."""
        return self.best is not None

    @property
    def best_scenario(self) -> Scenario:
        """The scenario with the best trial's values.

        Raises ValueError where no trial keeps the limits.
        """
        if self.best is None:
            raise ValueError("no trial keeps the limits")
        return self.scenario.changed(self.best.values)

    def gain(self) -> "Interval | None":
        """Relative difference of the best trial to the scenario as it stands, paired by seed.

        None where that was not tried, failed, or is 0; for the first objective.
        """
        from mltwin.sim.stats import Interval, paired_ci

        metric = next(iter(self.objectives))
        own = self.trials[0] if self.own_first and self.trials else None
        if self.best is None or own is None or not own.whole:
            return None
        new, old = ([row.metrics[metric] for row in t.rows] for t in (self.best, own))
        if not all(old):
            return None
        if len(new) == 1:
            return Interval(new[0] / old[0] - 1, float("-inf"), float("inf"), 1)
        return paired_ci(new, old, relative=True)

    def course(self) -> list[tuple[int, float]]:
        """(trial, best value of the first objective so far) wherever it improves, and the end."""
        metric, way = next(iter(self.objectives.items()))
        course: list[tuple[int, float]] = []
        for t in self.trials:
            if not (t.whole and t.feasible):
                continue
            value = t.means[metric]
            if not course or (value < course[-1][1] if way == "lower" else value > course[-1][1]):
                course.append((t.number, value))
        if course:
            course.append((len(self.trials) - 1, course[-1][1]))
        return course

    def answer(self) -> list[str]:
        """The answer in words."""
        if self.best is None:
            return [self._closest()]
        what = ", ".join(f"{name} = {label_of(v)}" for name, v in self.best.values.items())
        worth = ", ".join(f"{m} {show(self.best.means[m])}" for m in self.objectives)
        if len(self.objectives) > 1:
            return [f"{len(self.good)} trials are on the front; the first: {what} ({worth})."]
        gain = self.gain()
        text = ""
        if gain is not None:
            bounds = f", {100 * gain.low:+.1f} to {100 * gain.high:+.1f}" if gain.n > 1 else ""
            text = f"; {100 * gain.estimate:+.1f} % against the scenario as it stands{bounds}"
        return [f"{what}: {worth}{text}."]

    def _closest(self) -> str:
        tried = [t for t in self.trials if not t.error]
        if not tried:
            return f"No trial ran: {self.trials[0].error}."
        near = min(tried, key=lambda t: max(t.excess, default=0.0))
        limit = self.limits[near.excess.index(max(near.excess))]
        what = ", ".join(f"{name} = {label_of(v)}" for name, v in near.values.items())
        return (
            f"No trial keeps {' and '.join(each.text for each in self.limits)}; the closest has "
            f"{limit.metric} {show(near.means.get(limit.metric))} with {what}."
        )

    def front(self) -> "Front":
        """The Pareto front of the trials that keep the limits.

        Raises InputError where there is none.
        """
        from .pareto import pareto

        rows = [
            {"trial": t.number, **{k: label_of(v) for k, v in t.values.items()}, **t.means}
            for t in self.trials
            if t.whole and t.feasible
        ]
        if not rows:
            raise InputError("no trial keeps the limits", where="optimise")
        fields = ["trial", *(axis.field for axis in self.axes)]
        return pareto(rows, self.objectives, by=fields, title=self.title)

    def table(self) -> Table:
        """The best trials: values, objectives, limited metrics."""
        metrics = list(dict.fromkeys([*self.objectives, *(lim.metric for lim in self.limits)]))
        rows: list[list[Any]] = [
            [
                t.number,
                *(_cell(t.values[a.field]) for a in self.axes),
                *(t.means.get(m) for m in metrics),
            ]
            for t in self.good[:_ROWS]
        ]
        pruned = sum(t.pruned for t in self.trials)
        caption = f"{len(self.trials)} trials, {self.runs} runs"
        caption += f", {pruned} trial{'s' if pruned > 1 else ''} stopped early" if pruned else ""
        best = {(0, j + 1) for j in range(len(self.axes))} if rows else set()
        columns = ["trial", *(axis.field for axis in self.axes), *metrics]
        return Table(columns, rows, title=self.title, caption=caption, best=best)

    def tables(self) -> list[Table]:
        """The best trials."""
        return [self.table()]

    def frame(self) -> "pd.DataFrame":
        """One row a trial: values, means, state."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "trial": t.number,
                    **{name: label_of(v) for name, v in t.values.items()},
                    **t.means,
                    "seeds": len(t.rows),
                    "feasible": t.feasible and not t.error,
                    "state": "failed" if t.error else "stopped" if t.pruned else "whole",
                    "error": t.error,
                }
                for t in self.trials
            ]
        )

    def data(self) -> dict[str, Any]:
        """The best trials and the course, as plain data."""
        gain = self.gain()
        return {
            "kind": "optimise",
            "objectives": self.objectives,
            "limits": [limit.text for limit in self.limits],
            "space": {axis.field: axis.text for axis in self.axes},
            "best": None if self.best is None else self.best.values,
            "gain": None if gain is None else [finite(v) for v in gain[:3]],
            "good": [
                {"trial": t.number, "values": t.values, "means": t.means} for t in self.good[:_ROWS]
            ],
            "course": [[number, value] for number, value in self.course()],
            "trials": len(self.trials),
            "seeds": list(self.seeds),
            "runs": self.runs,
            "answer": self.answer(),
            "notes": self.notes,
            "scenario": self.scenario.data(full=False),
        }

    def figure(self) -> "Figure":
        """One objective: its course over the trials; several: the front."""
        from .pictures import optimum_figure

        return optimum_figure(self)

    def reproduce(self) -> str:
        """The scenario with the best values."""
        return toml_of(self.scenario if self.best is None else self.best_scenario)

    @staticmethod
    def _cost(trial: Trial, metric: str, way: str) -> float:
        return trial.means[metric] if way == "lower" else -trial.means[metric]


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else label_of(value)
