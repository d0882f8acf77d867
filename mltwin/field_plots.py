"""Pictures of many scenarios, from a data frame of runs: heat maps and Pareto plots.

The frame is that of `Comparison.frame()` or of a sweep: one row a run, with the fields that differ
and all metrics as columns. Runs of the same scenario (other seeds) are averaged.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .fields import close_to
from .metrics import direction, unit
from .plots import COLOURS, FAINT, INK, log_where_wide, new_figure
from .text import show

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MOST_WRITTEN = 200  # cells of a heat map that hold their number
_MOST_NAMED = 12  # points of a Pareto plot that bear their name


def plot_heat(frame: "pd.DataFrame", x: str, y: str, metric: str) -> "Figure":
    """A metric over two fields: one cell for each pair of values, the better the brighter.

    Raises InputError for a column that the frame lacks.
    """
    grid = heat_grid(frame, x, y, metric)
    values = grid.to_numpy(float)
    rows, columns = values.shape
    size = (max(4.0, 0.62 * columns + 2.0), max(2.6, 0.36 * rows + 1.3))
    colours = "viridis_r" if direction(metric) == "lower" else "viridis"
    with new_figure(1, 1, size) as (figure, axes):
        panel = axes[0, 0]
        image = panel.imshow(values, cmap=colours, aspect="auto", origin="lower")
        panel.set_xticks(range(columns), [show(v) for v in grid.columns])
        panel.set_yticks(range(rows), [show(v) for v in grid.index])
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        panel.grid(visible=False)
        panel.set_title(metric)
        if values.size <= _MOST_WRITTEN:
            _write_cells(panel, values, image)
        figure.colorbar(image, ax=panel, label=unit(metric))
    return figure


def heat_grid(frame: "pd.DataFrame", x: str, y: str, metric: str) -> "pd.DataFrame":
    """Means of a metric by the values of y (rows) and x (columns); NaN where there is no run.

    Raises InputError for a column that the frame lacks.
    """
    _check(frame, x, y, metric)
    return frame.pivot_table(index=y, columns=x, values=metric, aggfunc="mean", dropna=False)


def plot_pareto(frame: "pd.DataFrame", x: str, y: str, *, name: str = "scenario") -> "Figure":
    """Two metrics against each other; scenarios that none beats in both stand out, with names.

    Which way is better follows from the metrics' names (`mltwin.metrics.direction`).
    Raises InputError for a column that the frame lacks, or metrics without a better way.
    """
    points = front(frame, x, y, name=name)
    best = points[points["on_front"]].sort_values(x)
    with new_figure(1, 1, (4.4, 3.2)) as (figure, axes):
        panel = axes[0, 0]
        rest = points[~points["on_front"]]
        panel.plot(rest[x], rest[y], "o", color=FAINT, alpha=0.6, markersize=5)
        panel.plot(best[x], best[y], "o-", color=COLOURS[0], markersize=6, linewidth=1.2)
        for place, row in enumerate(best.itertuples(index=False)):
            if place < _MOST_NAMED:
                _name_point(panel, row)
        log_where_wide(panel, points[x], "x")
        log_where_wide(panel, points[y], "y")
        panel.margins(0.12)
        panel.set_xlabel(_with_way(x))
        panel.set_ylabel(_with_way(y))
    return figure


def front(frame: "pd.DataFrame", x: str, y: str, *, name: str = "scenario") -> "pd.DataFrame":
    """Means of two metrics by scenario, and `on_front`: whether no other is as good in both and
    better in one.

    Raises InputError for a column that the frame lacks, or metrics without a better way.
    """
    _check(frame, name, x, y)
    for metric in (x, y):
        if direction(metric) == "none":
            raise InputError(f"neither way is better in {metric}", mend="choose another metric")
    points = frame.groupby(name, sort=False)[[x, y]].mean().dropna().reset_index()
    signs = [1 if direction(metric) == "lower" else -1 for metric in (x, y)]
    costs = points[[x, y]].to_numpy(float) * signs
    as_good = np.all(costs[None, :, :] <= costs[:, None, :], axis=2)
    better = np.any(costs[None, :, :] < costs[:, None, :], axis=2)
    return points.assign(on_front=~np.any(as_good & better, axis=1))


def _name_point(panel: Any, row: Any) -> None:
    panel.annotate(
        str(row[0]),
        (row[1], row[2]),
        xytext=(5, 4),
        textcoords="offset points",
        fontsize=7.5,
        color=INK,
    )


def _write_cells(panel: Any, values: np.ndarray, image: Any) -> None:
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            colour = "#010101" if light else "#fefefe"  # as they are on dark pages too
            panel.text(j, i, show(value, 3), ha="center", va="center", fontsize=7, color=colour)


def _with_way(metric: str) -> str:
    return f"{metric} ({direction(metric)} is better)"


def _check(frame: "pd.DataFrame", *columns: str) -> None:
    for column in columns:
        if column not in frame.columns:
            raise InputError(f"no column {column!r}", mend=close_to(column, list(frame.columns)))
