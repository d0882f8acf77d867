"""Estimators of sensitivity, on plain numbers: designs in the unit cube, and what outputs say.

- Morris: elementary effects along random trajectories (Technometrics 33, 1991); mu*, the mean of
  their absolute values, is Campolongo, Cariboni and Saltelli's (Environ. Model. Softw. 22, 2007).
- Sobol: shares of the variance. First order by Saltelli et al. (Comput. Phys. Commun. 181, 2010,
  table 2 b), total by Jansen (Comput. Phys. Commun. 117, 1999; table 2 f there).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.stats import Interval, bootstrap_ci
from mltwin.text import Table, show

from .found import Found, finite, toml_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mltwin.scenario import Scenario

_RESAMPLES = 1000


def morris_design(fields: int, trajectories: int, levels: int, seed: int) -> np.ndarray:
    """(trajectories, fields + 1, fields) points: each step moves one field by half the cube.

    The step is levels / (2 (levels - 1)), for an even number of levels (Morris, section 3).
    """
    from mltwin.sim.rng_arrays import RESAMPLING, uniforms

    delta = levels / (2 * (levels - 1))
    draws = uniforms(seed, RESAMPLING, np.arange(trajectories * 3 * fields))
    draws = draws.reshape(trajectories, 3, fields)
    base = np.floor(draws[:, 0] * (levels // 2)) / (levels - 1)  # at most 1 - delta
    rises = draws[:, 1] < 0.5
    order = np.argsort(draws[:, 2], axis=1)
    points = np.repeat(np.where(rises, base, base + delta)[:, None], fields + 1, axis=1)
    for step in range(fields):
        moved = order[:, step]
        who = np.arange(trajectories)
        change = np.where(rises[who, moved], delta, -delta)
        points[who[:, None], np.arange(step + 1, fields + 1)[None], moved[:, None]] += change[
            :, None
        ]
    return points


def elementary_effects(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(trajectories, fields) effects from points and (trajectories, fields + 1) values."""
    steps = np.diff(points, axis=1)
    moved = np.argmax(np.abs(steps), axis=2)
    sizes = np.take_along_axis(steps, moved[..., None], axis=2)[..., 0]
    effects = np.empty((len(points), points.shape[2]))
    np.put_along_axis(effects, moved, np.diff(values, axis=1) / sizes, axis=1)
    return effects


def morris_indices(effects: np.ndarray, seed: int = 0) -> list[dict[str, Interval]]:
    """For each field mu*, mu and sigma, with bootstrap intervals over the trajectories."""
    found = []
    for column in effects.T:
        found.append(
            {
                "mu*": bootstrap_ci(np.abs(column), seed=seed, resamples=_RESAMPLES),
                "mu": bootstrap_ci(column, seed=seed, resamples=_RESAMPLES),
                "sigma": bootstrap_ci(column, _deviation, seed=seed, resamples=_RESAMPLES),
            }
        )
    return found


def _deviation(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1))


def saltelli_design(fields: int, points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two (points, fields) samples A and B of the unit cube.

    A Sobol sequence of twice as many dimensions, shifted at random (Cranley and Patterson, SIAM
    J. Numer. Anal. 13, 1976); `points` is a power of 2.
    """
    from scipy.stats import qmc

    from mltwin.sim.rng_arrays import RESAMPLING, uniforms

    shift = uniforms(seed, RESAMPLING, np.arange(2 * fields))
    sample = (qmc.Sobol(2 * fields, scramble=False).random(points) + shift) % 1.0
    return sample[:, :fields], sample[:, fields:]


def crossed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(fields, points, fields): A with one column of B."""
    mixed = np.repeat(a[None], a.shape[1], axis=0)
    for i in range(a.shape[1]):
        mixed[i, :, i] = b[:, i]
    return mixed


def sobol_indices(
    f_a: np.ndarray, f_b: np.ndarray, f_ab: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First-order and total indices from (..., points) values at A and B and (fields, ..., points)
    values at the crossed samples. Both are 0 where nothing varies."""
    middle = 0.5 * (f_a.mean(-1, keepdims=True) + f_b.mean(-1, keepdims=True))
    f_a, f_b, f_ab = f_a - middle, f_b - middle, f_ab - middle
    variance = 0.5 * (np.mean(f_a**2, -1) + np.mean(f_b**2, -1))
    scale = np.where(variance > 0, variance, np.inf)
    first = np.mean(f_b * (f_ab - f_a), -1) / scale
    total = 0.5 * np.mean((f_a - f_ab) ** 2, -1) / scale
    return first, total


def sobol_intervals(
    f_a: np.ndarray, f_b: np.ndarray, f_ab: np.ndarray, seed: int = 0, confidence: float = 0.95
) -> list[dict[str, Interval]]:
    """For each field its first-order and total index, with percentile bootstrap intervals."""
    from mltwin.sim.rng_arrays import RESAMPLING, integers

    n = len(f_a)
    estimates = sobol_indices(f_a, f_b, f_ab)
    tails = [100 * (1 - confidence) / 2, 100 * (1 + confidence) / 2]
    draws: list[tuple[np.ndarray, np.ndarray]] = []
    for r in range(_RESAMPLES):
        chosen = integers(seed, RESAMPLING, r, n, np.arange(n))
        draws.append(sobol_indices(f_a[chosen], f_b[chosen], f_ab[:, chosen]))
    found = []
    for i in range(len(f_ab)):
        row = {}
        for place, name in enumerate(("first order", "total")):
            low, high = np.percentile([draw[place][i] for draw in draws], tails)
            row[name] = Interval(float(estimates[place][i]), float(low), float(high), n)
        found.append(row)
    return found


@dataclass(frozen=True)
class Effect:
    """What one field (or one choice of it) does: quantity to its estimate with interval."""

    field: str
    label: str
    values: Mapping[str, Interval]


@dataclass(repr=False)
class Sensitivity(Found):
    """Which field matters for a metric, the most important first.

    Attributes:
        method: `oat`, `morris` or `sobol`.
        quantities: names of what is estimated, the one that ranks first.
        effects: one a field (for choices taken one at a time: one a choice).
        rows: one dict a run: fields, seed, metric.
        runs: how many runs it took.
    """

    scenario: "Scenario"
    metric: str
    method: str
    quantities: list[str]
    effects: list[Effect]
    rows: list[dict[str, Any]]
    seeds: tuple[int, ...]
    runs: int
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = self.quantities[0]

        def size(effect: Effect) -> float:
            value = effect.values.get(first)
            return -1.0 if value is None else abs(value.estimate)

        self.effects.sort(key=size, reverse=True)

    @property
    def title(self) -> str:
        """`What p99_ttft_ms of NAME depends on (morris)`."""
        return f"What {self.metric} of {self.scenario.label} depends on ({self.method})"

    def effect(self, field_or_label: str) -> Effect:
        """The effect of a field.

        Raises KeyError for one that was not varied.
        """
        for effect in self.effects:
            if field_or_label in (effect.field, effect.label):
                return effect
        raise KeyError(field_or_label)

    def answer(self) -> list[str]:
        """The field that matters most, and those whose interval holds nothing."""
        first = self.quantities[0]
        known = [e for e in self.effects if first in e.values]
        if not known:
            return [f"Nothing that was varied has an effect on {self.metric} that can be told."]
        top = known[0].values[first]
        lines = [
            f"{self.metric} depends most on {known[0].label}: {first} {show(top.estimate)}"
            f"{_bounds(top)}."
        ]
        idle = [e.label for e in known if _is_idle(e.values[first])]
        if idle:
            lines.append(f"No effect beyond chance (95 %): {', '.join(idle)}.")
        return lines

    def table(self) -> Table:
        """One row a field, each quantity with its interval."""
        rows: list[list[Any]] = []
        for effect in self.effects:
            row: list[Any] = [effect.label]
            for name in self.quantities:
                value = effect.values.get(name)
                row += (
                    [None, ""] if value is None else [value.estimate, _bounds(value).strip(" ()")]
                )
            rows.append(row)
        columns = ["field", *(c for name in self.quantities for c in (name, "95 %"))]
        return Table(columns, rows, title=self.title, caption=_MEANING[self.method])

    def tables(self) -> list[Table]:
        """The effects."""
        return [self.table()]

    def frame(self) -> "pd.DataFrame":
        """One row a run: fields, seed, metric."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def data(self) -> dict[str, Any]:
        """The effects as plain data."""
        return {
            "kind": "sensitivity",
            "metric": self.metric,
            "method": self.method,
            "quantities": self.quantities,
            "effects": [
                {
                    "field": effect.field,
                    "label": effect.label,
                    **{
                        name: [finite(value.estimate), finite(value.low), finite(value.high)]
                        for name, value in effect.values.items()
                    },
                }
                for effect in self.effects
            ],
            "seeds": list(self.seeds),
            "runs": self.runs,
            "answer": self.answer(),
            "notes": self.notes,
            "scenario": self.scenario.data(full=False),
        }

    def figure(self) -> "Figure":
        """A bar for each field and quantity."""
        from .pictures import sensitivity_figure

        return sensitivity_figure(self)

    def reproduce(self) -> str:
        """The scenario whose fields were varied."""
        return toml_of(self.scenario)


_MEANING = {
    "oat": (
        "elasticity: per cent of change of the metric for one per cent of the field, about the "
        "scenario's own value; change: of the metric between the two values tried, in its own unit"
    ),
    "morris": (
        "mu*: mean absolute change of the metric over the field's whole range; mu: with its sign; "
        "sigma: how much that depends on the other fields"
    ),
    "sobol": (
        "first order: share of the metric's variance due to the field alone; total: with all its "
        "interactions"
    ),
}


def _bounds(value: Interval) -> str:
    if not np.isfinite([value.low, value.high]).all():
        return ""
    return f" ({show(value.low)} to {show(value.high)})"


def _is_idle(value: Interval) -> bool:
    return bool(np.isfinite(value.low) and value.low <= 0 <= value.high)
