"""Pictures of what searches found."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.metrics import unit
from mltwin.plots import COLOURS, FAINT, INK, new_figure, number_axis, share_axis
from mltwin.text import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .effects import Sensitivity
    from .frontier import Frontier
    from .optimum import Optimum
    from .pareto import Front
    from .smallest import Smallest

_MOST_PANELS = 6


def frontier_figure(found: "Frontier") -> "Figure":
    """The metric over the rate: each seed faint, the mean, the limit, and the answer."""
    metric = found.limit.metric
    with new_figure(1, 1, (6.4, 3.8), found.title) as (figure, axes):
        panel = axes[0, 0]
        for i in range(len(found.seeds) if len(found.seeds) > 1 else 0):
            pairs = [(p.rate, p.rows[i].metrics.get(metric)) for p in found.points]
            _line(panel, pairs, color=COLOURS[5], linewidth=0.9, alpha=0.8)
        _line(panel, [(p.rate, p.mean(metric)) for p in found.points], color=COLOURS[0], marker="o")
        panel.axhline(found.limit.bound, color=FAINT, linestyle="--", linewidth=1)
        if found.rate is not None:
            panel.axvline(found.rate, color=COLOURS[1], linewidth=1.2)
            panel.annotate(
                show(found.rate),
                (found.rate, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -10),
                textcoords="offset points",
                color=COLOURS[1],
            )
        if (interval := found.interval) is not None:
            panel.axvspan(max(interval.low, 1e-12), interval.high, color=COLOURS[1], alpha=0.12)
        panel.set_xlabel(found.rate_field)
        axis_of(panel, metric)
        number_axis(panel)
    return figure


def cluster_figure(found: "Smallest") -> "Figure":
    """One field: the first limit's metric over it; two: a heat map with the staircase."""
    if len(found.fields) == 2:
        return _pairs_figure(found)
    limit = found.limits[0]
    with new_figure(1, 1, (6.4, 3.6), found.title) as (figure, axes):
        panel = axes[0, 0]
        if len(found.fields) == 1:
            places = [(float(t.values[0]), t) for t in found.tried if _is_number(t.values[0])]
            panel.set_xlabel(found.fields[0])
        else:
            places = [(t.cost, t) for t in found.tried]
            panel.set_xlabel(found.cost_name)
        known = [(x, y, t) for x, t in places if (y := t.mean(limit.metric)) is not None]
        for x, value, t in known:
            panel.plot(x, value, "o", color=COLOURS[2 if t.does else 1])
            if t is found.best:
                _ring(panel, x, value)
        panel.axhline(limit.bound, color=FAINT, linestyle="--", linewidth=1)
        axis_of(panel, limit.metric)
        if known:
            number_axis(panel)
    return figure


def _pairs_figure(found: "Smallest") -> "Figure":
    """Every pair that was tried, coloured by the first limit's metric; the answer ringed."""
    from .smallest import short_name

    limit = found.limits[0]
    shown = near_answer(found)
    rows = sorted({t.values[0] for t in shown}), sorted({t.values[1] for t in shown})
    grid = np.full((len(rows[0]), len(rows[1])), np.nan)
    for t in shown:
        value = t.mean(limit.metric)
        if value is not None:
            grid[rows[0].index(t.values[0]), rows[1].index(t.values[1])] = value
    size = (1.9 + 0.62 * len(rows[1]), 1.4 + 0.46 * len(rows[0]))
    with new_figure(1, 1, (max(4.6, size[0]), max(3.2, size[1])), found.title) as (figure, axes):
        panel = axes[0, 0]
        share = unit(limit.metric) == "share"
        image = panel.imshow(
            grid,
            origin="lower",
            aspect="auto",
            cmap="viridis",
            **({"vmin": 0, "vmax": 1} if share else {}),
        )
        figure.colorbar(image, ax=panel, label=limit.metric)
        for t in shown:
            x, y = rows[1].index(t.values[1]), rows[0].index(t.values[0])
            value = t.mean(limit.metric)
            text = "-" if value is None else f"{100 * value:.0f} %" if share else show(value)
            bright = value is None or (share and value > 0.6)
            panel.annotate(
                f"{text}{' ✓' if t.does else ''}",
                (x, y),
                ha="center",
                va="center",
                fontsize=7,
                color=INK if bright else "white",
            )
            if t is found.best:
                _ring(panel, x, y, square=True)
        panel.set_xticks(range(len(rows[1])), [str(v) for v in rows[1]])
        panel.set_yticks(range(len(rows[0])), [str(v) for v in rows[0]])
        panel.set_xlabel(short_name(found.fields[1]))
        panel.set_ylabel(short_name(found.fields[0]))
        panel.grid(visible=False)
    return figure


def near_answer(found: "Smallest", factor: float = 2.5, most: int = 10) -> list[Any]:
    """The points worth a place in a heat map: about the answer's cost, and not too many values."""
    if found.best is None:
        return found.tried[-most * most :]
    best = found.best
    near = [t for t in found.tried if t.cost <= factor * best.cost]
    for direction, own in enumerate(best.values):
        values = sorted({t.values[direction] for t in near}, key=lambda v: _distance(v, own))
        near = [t for t in near if t.values[direction] in values[:most]]
    return near


def _distance(value: Any, own: Any) -> float:
    return abs(value - own) if _is_number(value) and _is_number(own) else 0.0


def pareto_figure(found: "Front") -> "Figure":
    """All points faint, the front joined; one panel for each pair of objectives."""
    names = list(found.objectives)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]] or [(names[0], names[0])]
    pairs = pairs[:_MOST_PANELS]
    wide = min(3, len(pairs))
    tall = -(-len(pairs) // wide)
    front = found.front
    with new_figure(tall, wide, (4.6 * wide, 3.4 * tall + 0.3), found.title) as (figure, axes):
        for panel, (x, y) in zip(axes.flat, pairs, strict=False):
            rest = found.points[~found.points["front"]]
            panel.plot(rest[x], rest[y], "o", color=COLOURS[5], alpha=0.45, markersize=4)
            joined = front.sort_values(x, kind="stable")
            style = "o-" if len(names) == 2 else "o"
            panel.plot(joined[x], joined[y], style, color=COLOURS[1], markersize=5, linewidth=1.2)
            axis_of(panel, x, "x")
            axis_of(panel, y, "y")
        for panel in list(axes.flat)[len(pairs) :]:
            panel.set_axis_off()
    return figure


def optimum_figure(found: "Optimum") -> "Figure":
    """One objective: each trial and the best so far; several: the front among the trials."""
    if len(found.objectives) > 1:
        return pareto_figure(found.front())
    metric = next(iter(found.objectives))
    with new_figure(1, 1, (6.4, 3.6), found.title) as (figure, axes):
        panel = axes[0, 0]
        groups = (
            ("keeps all limits", COLOURS[0], lambda t: t.whole and t.feasible),
            ("misses a limit", COLOURS[1], lambda t: t.whole and not t.feasible),
            ("stopped early", COLOURS[5], lambda t: t.pruned),
        )
        for label, colour, chosen in groups:
            mine = [
                (t.number, t.means[metric]) for t in found.trials if chosen(t) and metric in t.means
            ]
            if mine:
                panel.plot(*np.array(mine, float).T, "o", color=colour, markersize=4, label=label)
        course = found.course()
        if course:
            panel.step(*np.array(course, float).T, where="post", color=COLOURS[2], label="best")
        panel.set_xlabel("trial")
        axis_of(panel, metric)
        panel.legend()
    return figure


def sensitivity_figure(found: "Sensitivity") -> "Figure":
    """A bar for each field and quantity, with its interval; the most important on top."""
    shown = found.quantities
    tall = 0.42 * len(found.effects) + 1.2
    with new_figure(1, len(shown), (4.4 * len(shown), tall), found.title) as (figure, axes):
        for number, name in enumerate(shown):
            panel = axes[0, number]
            for i, effect in enumerate(found.effects):
                value = effect.values.get(name)
                if value is None:
                    continue
                panel.barh(i, value.estimate, color=COLOURS[number], height=0.6, alpha=0.85)
                if np.isfinite([value.low, value.high]).all():
                    panel.plot([value.low, value.high], [i, i], color=INK, linewidth=1.2)
            labels = [effect.label for effect in found.effects]
            panel.set_yticks(range(len(labels)), labels if number == 0 else [""] * len(labels))
            panel.set_ylim(len(labels) - 0.5, -0.5)
            panel.axvline(0, color=FAINT, linewidth=0.8)
            panel.grid(axis="y", visible=False)
            panel.set_title(name)
    return figure


def _ring(panel: "Axes", x: float, y: float, *, square: bool = False) -> None:
    """A ring about a point, or the frame of a cell of a heat map, whatever its size."""
    if not square:
        panel.plot(x, y, "o", markersize=14, markerfacecolor="none", color=COLOURS[1], mew=2)
        return
    from matplotlib.patches import Rectangle

    frame = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2.5)
    frame.set_clip_on(False)
    panel.add_patch(frame)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def axis_of(panel: "Axes", metric: str, which: str = "y") -> None:
    """Name an axis after a metric; shares in per cent."""
    shown = unit(metric)
    (panel.set_ylabel if which == "y" else panel.set_xlabel)(
        f"{metric} ({shown})" if shown and not metric.endswith(f"_{shown}") else metric
    )
    if shown == "share":
        share_axis(panel, which)


def _line(panel: "Axes", pairs: list[tuple[float, float | None]], **style: Any) -> None:
    known = [(x, y) for x, y in pairs if y is not None]
    if known:
        panel.plot(*np.array(known, float).T, **style)
