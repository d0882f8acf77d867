"""Pictures of a sweep: curves with bands over one field, heat maps over two, else scatters."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.metrics import unit
from mltwin.plots import COLOURS, log_where_wide, new_figure
from mltwin.text import show

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from .sweep import Sweep

MOST_CURVES = len(COLOURS)
_MOST_FIELDS = 4
_LEAST_HEAT = 3
_SIZE = (4.6, 3.2)
_WIDE = 20
_LEVEL_CHARACTERS = 24


def plot_sweep(sweep: "Sweep", metrics: Sequence[str]) -> "Figure":
    """A panel a metric, means over the seeds; see `form`."""
    means, fields = sweep.means(metrics), list(sweep.field_names().values())
    kind, axes_of = form(means, fields)
    title = sweep.record.name
    if kind == "scatter":
        return _scatters(means, axes_of, metrics, title)
    draw = {"curves": _curves, "heat": _heat}[kind]
    wide = max(1, min(3, len(metrics)))
    tall = max(1, -(-len(metrics) // wide))
    size = (_SIZE[0] * wide, _SIZE[1] * tall + 0.3)
    with new_figure(tall, wide, size, title) as (figure, axes):
        for panel, metric in zip(axes.flat, metrics, strict=False):
            draw(figure, panel, means, axes_of, metric)
        for panel in list(axes.flat)[len(metrics) :]:
            panel.set_axis_off()
    return figure


def form(means: "pd.DataFrame", fields: Sequence[str]) -> tuple[str, list[str]]:
    """How to draw a sweep, and the fields in the order of their axes.

    `curves`: over the first field, one for each value of the second, if there is one. `heat`: the
    first field across, the second upwards. `scatter`: the points over each field by itself.
    """
    counts = {name: means[name].astype(str).nunique() for name in fields}
    numeric = [name for name in fields if is_numeric(means[name])]
    if len(fields) == 1:
        return "curves", list(fields)
    if len(fields) == 2 and len(means) == counts[fields[0]] * counts[fields[1]]:
        if len(numeric) == 2 and min(counts.values()) >= _LEAST_HEAT:
            return "heat", list(fields)
        across = max(numeric, key=lambda name: counts[name]) if numeric else fields[0]
        other = next(name for name in fields if name != across)
        if counts[other] <= MOST_CURVES:
            return "curves", [across, other]
    return "scatter", list(fields[:_MOST_FIELDS])


def is_numeric(column: "pd.Series[Any]") -> bool:
    """Whether all values are numbers (truth values are not)."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in column.tolist())


def _places(column: "pd.Series[Any]") -> tuple[np.ndarray, list[str] | None]:
    """Positions along an axis, and the labels of values that are no numbers."""
    if is_numeric(column):
        return column.to_numpy(float), None
    labels = list(dict.fromkeys(str(value) for value in column))
    return np.array([labels.index(str(value)) for value in column], float), labels


def _curves(
    figure: "Figure", panel: "Axes", means: "pd.DataFrame", fields: Sequence[str], metric: str
) -> None:
    del figure
    places, labels = _places(means[fields[0]])
    groups = _groups(means, fields[1] if len(fields) > 1 else None)
    for i, (name, rows) in enumerate(groups.items()):
        order = rows[np.argsort(places[rows], kind="stable")]
        x, y = places[order], means[metric].to_numpy(float)[order]
        half = means[f"{metric} ±"].to_numpy(float)[order]
        colour = COLOURS[i % len(COLOURS)]
        if labels is None:
            panel.plot(x, y, "o-", color=colour, markersize=4, label=name)
            panel.fill_between(x, y - half, y + half, color=colour, alpha=0.18, linewidth=0)
        else:
            beside = x + 0.12 * (i - (len(groups) - 1) / 2)
            panel.errorbar(
                beside, y, np.nan_to_num(half), fmt="o", color=colour, capsize=3, label=name
            )
    _name_axis(panel, "x", fields[0], places, labels)
    panel.set_title(metric)
    panel.set_ylabel(unit(metric))
    if len(groups) > 1:
        panel.legend(title=fields[1], title_fontsize=8)


def _groups(means: "pd.DataFrame", field: str | None) -> Mapping[str, np.ndarray]:
    """Rows of each value of a field; without one, all rows under no name."""
    if field is None:
        return {"": np.arange(len(means))}
    texts = means[field].astype(str).to_numpy()
    return {str(text): np.flatnonzero(texts == text) for text in dict.fromkeys(texts)}


def _heat(
    figure: "Figure", panel: "Axes", means: "pd.DataFrame", fields: Sequence[str], metric: str
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    grid = means.pivot(index=fields[1], columns=fields[0], values=metric)
    x, y = grid.columns.to_numpy(float), grid.index.to_numpy(float)
    values = grid.to_numpy(float)
    drawn = panel.pcolormesh(
        np.arange(len(x)),
        np.arange(len(y)),
        values,
        cmap="cividis",
        shading="nearest",
        norm=(norm := None if unit(metric) == "share" else _norm(values)),
    )
    panel.grid(visible=False)
    for axis, at in ((panel.xaxis, x), (panel.yaxis, y)):
        step = max(1, -(-len(at) // 8))
        axis.set_ticks(range(0, len(at), step), [f"{v:g}" for v in at[::step]])
    panel.set_xlabel(fields[0])
    panel.set_ylabel(fields[1])
    panel.set_title(metric)
    bar = figure.colorbar(drawn, ax=panel, label=unit(metric))
    if norm is not None:
        bar.set_ticks(LogLocator(10, subs=(1, 2, 5)))
        bar.minorticks_off()
    bar.formatter = FuncFormatter(lambda value, _: show(value, 2))
    bar.update_ticks()


def _norm(values: np.ndarray) -> "Normalize | None":
    """Logarithmic colours where positive values differ by more than a factor of 20."""
    from matplotlib.colors import LogNorm

    known = values[np.isfinite(values)]
    if not len(known) or known.min() <= 0 or known.max() / known.min() <= _WIDE:
        return None
    return LogNorm(float(known.min()), float(known.max()))


def _scatters(
    means: "pd.DataFrame", fields: Sequence[str], metrics: Sequence[str], title: str
) -> "Figure":
    tall, wide = max(1, len(metrics)), max(1, len(fields))
    with new_figure(tall, wide, (2.9 * wide, 2.5 * tall + 0.4), title) as (figure, axes):
        for i, metric in enumerate(metrics):
            for j, name in enumerate(fields):
                panel = axes[i][j]
                places, labels = _places(means[name])
                values, half = means[metric].to_numpy(float), means[f"{metric} ±"].to_numpy(float)
                panel.errorbar(
                    places, values, np.nan_to_num(half), fmt="o", color=COLOURS[0],
                    markersize=4, alpha=0.7, elinewidth=0.8,
                )  # fmt: skip
                _name_axis(panel, "x", name if i == len(metrics) - 1 else "", places, labels)
                _show_means(panel, values)
                if j == 0:
                    panel.set_ylabel(metric)
    return figure


def _show_means(panel: "Axes", values: np.ndarray) -> None:
    """An axis for the means, however far the intervals of few seeds reach."""
    known = values[np.isfinite(values)]
    if len(known) and known.max() > known.min():
        room = 0.15 * (known.max() - known.min())
        panel.set_ylim(known.min() - room, known.max() + room)


def _name_axis(
    panel: "Axes", which: str, name: str, places: np.ndarray, labels: list[str] | None
) -> None:
    panel.set_xlabel(name)
    if labels is None:
        log_where_wide(panel, places, which)
        return
    long = sum(len(label) for label in labels) > _LEVEL_CHARACTERS
    turned: dict[str, Any] = {"rotation": 25, "ha": "right"} if long else {}
    panel.set_xticks(range(len(labels)), labels, **turned)
    panel.set_xlim(-0.5, len(labels) - 0.5)
