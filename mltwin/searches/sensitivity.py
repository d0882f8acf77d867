"""Which knob matters: fields varied one at a time, or over their whole ranges at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mltwin.comparison import Runnable, as_scenario
from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.sim.stats import Interval, mean_ci
from mltwin.sweeps.jobs import Row

from .effects import (
    Effect,
    Sensitivity,
    crossed,
    elementary_effects,
    morris_design,
    morris_indices,
    saltelli_design,
    sobol_intervals,
)
from .runs import SAME_SEEDS, Progress, Runs, check_metric
from .space import Axis, Space, as_axes, is_number, label_of, own_value

METHODS = ("oat", "morris", "sobol")
_POINTS = {"oat": 0, "morris": 20, "sobol": 256}


def sensitivity(
    scenario: Runnable,
    space: Space | Sequence[str],
    metric: str,
    *,
    method: str = "oat",
    points: int | None = None,
    step: float = 0.1,
    levels: int = 4,
    seeds: int | Sequence[int] = 5,
    seed: int = 0,
    workers: int | None = None,
    backend: str = "threads",
    address: str | None = None,
    store: Any = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """How much a metric depends on each field of a space.

    Args:
        space: field to (low, high) or a list of values; for `oat` the fields alone will do.
        method: `oat` (one at a time about the scenario: elasticities, paired by seed, Student's t
            over the seeds), `morris` (elementary effects over the whole ranges: finds what
            matters in few runs) or `sobol` (shares of the variance: many runs).
        points: trajectories of morris (20: each is fields + 1 points), base points of sobol
            (256, a power of 2: fields + 2 points for each).
        step: of `oat`, relative, each way; whole numbers move by 1 at least.
        levels: of morris, an even number.
        seeds: each point is run with all of them; morris and sobol take the mean.
        seed: of the design's random draws.
        store: a folder that keeps what was run.

    Raises InputError for a bad argument, a metric that the runs lack, or the error of a run.
    """
    base = as_scenario(scenario)
    if method not in METHODS:
        raise InputError(f"unknown value {method!r}", where="method", mend=" or ".join(METHODS))
    if not 0 < step < 1:
        raise InputError(f"{step} is not between 0 and 1", where="step")
    if levels < 2 or levels % 2:
        raise InputError(f"{levels} is no even number from 2", where="levels")
    count = _POINTS[method] if points is None else points
    if method != "oat" and count < 2:
        raise InputError(f"{count} points are too few", where="points")
    if method == "sobol" and count & (count - 1):
        raise InputError(f"{count} is no power of 2", where="points", mend="take 256 or 1024")
    if method != "oat" and not isinstance(space, Mapping):
        raise InputError("fields without ranges", where="space", mend="give a range for each")
    with Runs(
        seeds, backend=backend, workers=workers, address=address, store=store, progress=progress
    ) as runs:
        runs.all_at_once()
        if method == "oat" or not isinstance(space, Mapping):
            return _one_at_a_time(base, space, metric, step, runs)
        axes = as_axes(base, space)
        if method == "morris":
            return _morris(base, axes, metric, count, levels, seed, runs)
        return _sobol(base, axes, metric, count, seed, runs)


def _morris(
    base: Scenario, axes: list[Axis], metric: str, count: int, levels: int, seed: int, runs: Runs
) -> Sensitivity:
    points = morris_design(len(axes), count, levels, seed)
    values, rows = _values(base, axes, points.reshape(-1, len(axes)), metric, runs)
    effects = elementary_effects(points, values.reshape(points.shape[:2]))
    found = morris_indices(effects, seed)
    return _made(base, axes, metric, "morris", ["mu*", "mu", "sigma"], found, rows, runs)


def _sobol(
    base: Scenario, axes: list[Axis], metric: str, count: int, seed: int, runs: Runs
) -> Sensitivity:
    a, b = saltelli_design(len(axes), count, seed)
    every = np.concatenate([a[None], b[None], crossed(a, b)]).reshape(-1, len(axes))
    values, rows = _values(base, axes, every, metric, runs)
    f_a, f_b, *f_ab = values.reshape(-1, count)
    found = sobol_intervals(f_a, f_b, np.array(f_ab), seed)
    return _made(base, axes, metric, "sobol", ["total", "first order"], found, rows, runs)


def _made(
    base: Scenario,
    axes: list[Axis],
    metric: str,
    method: str,
    quantities: list[str],
    found: list[dict[str, Interval]],
    rows: list[dict[str, Any]],
    runs: Runs,
) -> Sensitivity:
    effects = [Effect(a.field, a.field, values) for a, values in zip(axes, found, strict=True)]
    return Sensitivity(base, metric, method, quantities, effects, rows, runs.seeds, runs.made)


def _values(
    base: Scenario, axes: list[Axis], points: np.ndarray, metric: str, runs: Runs
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The metric (mean over seeds) at points of the unit cube, and one dict a run."""
    changes = [{a.field: a.at(x) for a, x in zip(axes, point, strict=True)} for point in points]
    found = runs.sound([base.changed(change) for change in changes])
    check_metric([row for group in found for row in group], metric)
    rows = [
        {**change, "seed": row.seed, metric: row.metrics.get(metric)}
        for change, group in zip(changes, found, strict=True)
        for row in group
    ]
    return np.array(
        [_mean(group, metric, c) for group, c in zip(found, changes, strict=True)]
    ), rows


def _mean(rows: Sequence[Row], metric: str, change: Mapping[str, Any]) -> float:
    """The mean over seeds.

    Raises InputError where a run lacks the metric: an index cannot leave a point out.
    """
    if any(metric not in row.metrics for row in rows):
        at = ", ".join(f"{name} = {label_of(value)}" for name, value in change.items())
        raise InputError(f"no {metric} at {at}", where="space", mend="narrow the ranges")
    return float(np.mean([row.metrics[metric] for row in rows]))


def _one_at_a_time(
    base: Scenario, space: Space | Sequence[str], metric: str, step: float, runs: Runs
) -> Sensitivity:
    axes = _axes_about(base, space)
    trials: list[tuple[str, str, dict[str, Any]]] = [("", "", {})]
    for axis, own in axes:
        if axis.choices:
            others = [c for c in axis.choices if c != own]
            trials += [
                (axis.field, f"{axis.field} = {label_of(c)}", {axis.field: c}) for c in others
            ]
        else:
            low, high = _steps_about(axis, own, step)
            trials += [
                (axis.field, "low", {axis.field: low}),
                (axis.field, "high", {axis.field: high}),
            ]
    found = runs.sound([base.changed(change) for _, _, change in trials])
    check_metric(found[0], metric)
    notes = []
    if runs.one_seed_if_equal(found):
        found, notes = [group[:1] for group in found], [SAME_SEEDS]
    by_trial = dict(zip(((f, label) for f, label, _ in trials), found, strict=True))
    own_rows = found[0]
    effects = []
    for axis, _ in axes:
        if axis.choices:
            mine = [(label, c) for f, label, c in trials if f == axis.field]
            for label, _change in mine:
                change = _relative(by_trial[axis.field, label], own_rows, own_rows, metric)
                effects.append(Effect(axis.field, label, _known(change=change)))
        else:
            effects.append(_numeric_effect(axis.field, trials, by_trial, own_rows, base, metric))
    rows = [
        {**change, "seed": row.seed, metric: row.metrics.get(metric)}
        for (_, _, change), group in zip(trials, found, strict=True)
        for row in group
    ]
    missing = [e.label for e in effects if not e.values]
    if missing:
        notes.append(f"no relative effect of {', '.join(missing)}: the metric is 0 or missing")
    return Sensitivity(
        base, metric, "oat", ["change", "elasticity"], effects, rows, runs.seeds, runs.made, notes
    )


def _numeric_effect(
    name: str,
    trials: list[tuple[str, str, dict[str, Any]]],
    by_trial: Mapping[tuple[str, str], list[Row]],
    own_rows: list[Row],
    base: Scenario,
    metric: str,
) -> Effect:
    ends = {label: change[name] for f, label, change in trials if f == name}
    low, high = by_trial[name, "low"], by_trial[name, "high"]
    change = _relative(high, low, own_rows, metric)
    width = (ends["high"] - ends["low"]) / (0.5 * (ends["high"] + ends["low"]))
    label = f"{name} ({ends['low']:g} to {ends['high']:g})"
    if change is None:
        return Effect(name, label, {})
    per_cent = Interval(change.estimate / width, change.low / width, change.high / width, change.n)
    return Effect(name, label, {"change": change, "elasticity": per_cent})


def _relative(
    new: Sequence[Row], old: Sequence[Row], own: Sequence[Row], metric: str
) -> Interval | None:
    """Mean over seeds of (new - old) / own, paired by seed; None where it has no meaning."""
    columns = [[row.metrics.get(metric) for row in rows] for rows in (new, old, own)]
    if any(v is None for column in columns for v in column) or not all(columns[2]):
        return None
    a, b, c = (np.array(column, float) for column in columns)
    changes = (a - b) / np.abs(c)
    if len(changes) == 1:
        return Interval(float(changes[0]), -np.inf, np.inf, 1)
    return mean_ci(changes)


def _known(**values: Interval | None) -> dict[str, Interval]:
    return {name: value for name, value in values.items() if value is not None}


def _axes_about(base: Scenario, space: Space | Sequence[str]) -> list[tuple[Axis, Any]]:
    """Each axis with the scenario's own value of its field.

    Raises InputError for a field without a value to vary about.
    """
    if isinstance(space, str):
        space = [space]
    if not isinstance(space, Mapping):
        space = {name: _about(base, name) for name in space}
    found = []
    for axis in as_axes(base, space):
        own = own_value(base, axis.field)
        if not axis.choices:
            own = axis.at(0.5) if own is None else own
            if not axis.holds(own) or own == 0:
                raise InputError(
                    f"{own!r} cannot be changed by per cent within {axis.text}",
                    where=axis.field,
                    mend="give the field a number in its range, or a list of values to try",
                )
        found.append((axis, own))
    return found


def _about(base: Scenario, field: str) -> tuple[Any, Any]:
    """A range about a field's own value, wide enough for any step.

    Raises InputError for a field that does not exist, or without a number.
    """
    own = own_value(base, field)
    if own is None:
        base.set(field, 1)
    if not is_number(own) or own == 0:
        raise InputError(
            f"{own!r} cannot be changed by per cent",
            where=field,
            mend="give the field a number, or a list of values to try",
        )
    if isinstance(own, int) and own > 0:
        return 1, 2 * own + 1
    return (0.0, 2.0 * own) if own > 0 else (2.0 * own, 0.0)


def _steps_about(axis: Axis, own: Any, step: float) -> tuple[Any, Any]:
    """The two values to try about the own one, within the axis."""
    span = axis.span
    if span.integer and isinstance(own, int):
        width = max(1, round(abs(own) * step))
        return max(own - width, int(span.low)), min(own + width, int(span.high))
    ends = sorted((own * (1 - step), own * (1 + step)))
    return float(max(ends[0], span.low)), float(min(ends[1], span.high))
