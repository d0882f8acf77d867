"""`Smallest`: what a search for the smallest cluster found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.metrics import unit
from mltwin.scenario import Scenario
from mltwin.sweeps.jobs import Row
from mltwin.text import Table, show

from .costs import unit_of
from .found import Found, finite, toml_of
from .frontier import SHOWN
from .limits import Limit, mean_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ROWS = 40


@dataclass(frozen=True)
class Tried:
    """Values of the fields, their cost, and the runs, one a seed; does: all limits are kept."""

    values: tuple[Any, ...]
    cost: float
    rows: Sequence[Row]
    does: bool

    def mean(self, metric: str) -> float | None:
        """The mean of a metric over the seeds; None where a run lacks it."""
        return mean_of(self.rows, metric)


@dataclass(repr=False)
class Smallest(Found):
    """The cheapest values of some fields that keep all limits, and all that was tried.

    Attributes:
        best: the answer; None where not even the largest cluster does.
        staircase: values that were tried and do, with nothing tried that does below them; for
            two pools, the pairs at which neither can be smaller.
        tried: every point that was run, in the order of its values.
        runs: how many runs it took.
    """

    scenario: Scenario
    fields: list[str]
    limits: tuple[Limit, ...]
    cost_name: str
    seeds: tuple[int, ...]
    tried: list[Tried]
    best: Tried | None
    staircase: list[tuple[Any, ...]]
    runs: int
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """`Smallest NAME with slo_attainment >= 0.9`."""
        return f"Smallest {self.scenario.label} with {self.limits_text}"

    @property
    def limits_text(self) -> str:
        """All limits."""
        return " and ".join(limit.text for limit in self.limits)

    @property
    def reached(self) -> bool:
        """Whether any cluster in the box keeps the limits."""
        return self.best is not None

    @property
    def cost(self) -> float | None:
        """The least cost."""
        return None if self.best is None else self.best.cost

    @property
    def values(self) -> dict[str, Any]:
        """Field to value of the answer; {} without one."""
        return {} if self.best is None else dict(zip(self.fields, self.best.values, strict=True))

    @property
    def answer_scenario(self) -> Scenario:
        """The scenario with the answer's values.

        Raises ValueError where there is no answer.
        """
        if self.best is None:
            raise ValueError("no cluster keeps the limits")
        return self.scenario.changed(self.values)

    def closest(self) -> Tried:
        """The point that came closest to the first limit."""
        limit = self.limits[0]
        return max(self.tried, key=lambda t: limit.slack(t.mean(limit.metric)))

    def answer(self) -> list[str]:
        """The answer in words."""
        if self.best is None:
            best, limit = self.closest(), self.limits[0]
            return [
                f"No cluster up to {self._text(self.tried[-1].values)} keeps {self.limits_text}; "
                f"the closest is {limit.metric} {show(best.mean(limit.metric))} "
                f"with {self._text(best.values)}."
            ]
        cost = f"{show(self.best.cost)} {unit_of(self.cost_name)}"
        lines = [f"{cost}: {self._text(self.best.values)} keeps {self.limits_text}."]
        return [*lines, *(self._margin(limit) for limit in self.limits)]

    def _margin(self, limit: Limit) -> str:
        """How a limit is kept: the mean, its interval, and the best that is cheaper."""
        from mltwin.sim.stats import mean_ci

        assert self.best is not None
        mean = self.best.mean(limit.metric)
        values = [row.metrics[limit.metric] for row in self.best.rows]
        text = f"{limit.metric} is {show(mean)}"
        if len(values) > 1:
            found = mean_ci(values)
            low, high = within_unit(found.low, found.high, limit.metric)
            text += f" ({show(low)} to {show(high)}, 95 % over {found.n} seeds)"
        cheaper = [t for t in self.tried if t.cost < self.best.cost]
        if cheaper:
            near = max(cheaper, key=lambda t: limit.slack(t.mean(limit.metric)))
            text += (
                f"; the best cheaper one tried, {self._text(near.values)}, "
                f"has {show(near.mean(limit.metric))}"
            )
        return f"{text}."

    def _text(self, values: Sequence[Any]) -> str:
        """`3 prefill, 5 decode`, or `replicas = 8`."""
        named = [
            f"{show(value)} {_pool(name)}" if _pool(name) else f"{name} = {show(value)}"
            for name, value in zip(self.fields, values, strict=True)
        ]
        return ", ".join(named)

    def table(self) -> Table:
        """One row a point, the cheapest first; the answer stands out."""
        metrics = [limit.metric for limit in self.limits]
        shown = metrics + [m for m in SHOWN if m not in metrics and self._have(m)]
        near = self.best.cost if self.best else 0.0
        chosen = sorted(self.tried, key=lambda t: (abs(t.cost - near), t.values))[:_ROWS]
        chosen.sort(key=lambda t: (t.cost, t.values))
        rows: list[list[Any]] = [
            [*t.values, t.cost, "yes" if t.does else "no", *(t.mean(m) for m in shown)]
            for t in chosen
        ]
        best = {
            (i, j) for i, t in enumerate(chosen) if t is self.best for j in range(len(t.values))
        }
        left = len(self.tried) - len(chosen)
        caption = f"means of {len(self.seeds)} seeds" if len(self.seeds) > 1 else ""
        if left:
            caption += f"{'; ' if caption else ''}{left} more were tried"
        heads = [short_name(name) for name in self.fields]
        columns = [*heads, unit_of(self.cost_name), "kept", *shown]
        return Table(columns, rows, title=self.title, caption=caption, best=best)

    def staircase_table(self) -> Table:
        """The smallest pairs that do, with their cost."""
        costs = {t.values: t.cost for t in self.tried}
        rows: list[list[Any]] = [[*values, costs[values]] for values in self.staircase]
        caption = "none of these can be smaller in one pool alone, as far as was tried"
        heads = [short_name(name) for name in self.fields]
        return Table([*heads, unit_of(self.cost_name)], rows, title="Staircase", caption=caption)

    def tables(self) -> list[Table]:
        """What was tried, and for several fields the staircase."""
        several = len(self.fields) > 1 and self.staircase
        return [self.table(), *([self.staircase_table()] if several else [])]

    def frame(self) -> "pd.DataFrame":
        """One row a run: fields, cost, seed, whether its point does, metrics, digest."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    **dict(zip(self.fields, t.values, strict=True)),
                    self.cost_name: t.cost,
                    "seed": row.seed,
                    "kept": t.does,
                    **row.metrics,
                    "digest": row.digest,
                }
                for t in self.tried
                for row in t.rows
            ]
        )

    def data(self) -> dict[str, Any]:
        """The answer, the staircase and every point with its means, as plain data."""
        metrics = [limit.metric for limit in self.limits]
        shown = list(dict.fromkeys([*metrics, *SHOWN]))
        return {
            "kind": "cluster",
            "fields": self.fields,
            "limits": [limit.text for limit in self.limits],
            "cost": self.cost_name,
            "best": None if self.best is None else self.values,
            "least_cost": self.cost,
            "staircase": [list(values) for values in self.staircase],
            "seeds": list(self.seeds),
            "runs": self.runs,
            "answer": self.answer(),
            "notes": self.notes,
            "metrics": {} if self.best is None else _means(self.best),
            "tried": [
                {
                    "values": list(t.values),
                    "cost": t.cost,
                    "kept": t.does,
                    **{m: finite(t.mean(m)) for m in shown if self._have(m)},
                }
                for t in self.tried
            ],
            "scenario": self.scenario.data(full=False),
        }

    def figure(self) -> "Figure":
        """One field: the first limit's metric over it; two: a heat map with the staircase."""
        from .pictures import cluster_figure

        return cluster_figure(self)

    def reproduce(self) -> str:
        """The scenario with the answer's values."""
        return toml_of(self.scenario if self.best is None else self.answer_scenario)

    def _have(self, metric: str) -> bool:
        return any(metric in row.metrics for t in self.tried for row in t.rows)


def within_unit(low: float, high: float, metric: str) -> tuple[float, float]:
    """The ends of an interval, those of a share kept within 0 and 1."""
    return (max(low, 0.0), min(high, 1.0)) if unit(metric) == "share" else (low, high)


def short_name(field: str) -> str:
    """`prefill replicas` for `cluster.prefill.replicas`, else the field as it is."""
    return f"{_pool(field)} replicas" if _pool(field) else field


def _pool(name: str) -> str:
    """The pool of a field `cluster.POOL.replicas`, else ""."""
    parts = name.split(".")
    return parts[1] if len(parts) == 3 and (parts[0], parts[2]) == ("cluster", "replicas") else ""


def _means(tried: Tried) -> dict[str, float]:
    names = [m for m in tried.rows[0].metrics if all(m in row.metrics for row in tried.rows)]
    return {m: float(np.mean([row.metrics[m] for row in tried.rows])) for m in names}
