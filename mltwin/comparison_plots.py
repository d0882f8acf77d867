"""Pictures of a comparison: distributions, courses over time and differences with intervals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.errors import InputError

from .differences import Difference, Differences
from .metrics import unit
from .plots import (
    COLOURS,
    FAINT,
    INK,
    draw_cdf,
    draw_limit,
    log_where_wide,
    new_figure,
    share_axis,
    tell_apart,
)
from .samples import Sample, pooled, sample_of, windowed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .comparison import Comparison

ONE_PANEL = (4.0, 2.9)
WINDOWS = 40
_MOST_SEED_LINES = 20
_GOOD, _BAD, _NEUTRAL = COLOURS[2], COLOURS[1], FAINT


def plot_cdfs(
    compared: "Comparison", column: str, size: tuple[float, float] = ONE_PANEL
) -> "Figure":
    """The distribution of a quantity in each scenario: all seeds together, and each faintly.

    Raises InputError for a column that a run lacks.
    """
    samples = _samples(compared, column)
    with new_figure(1, 1, size) as (figure, axes):
        panel = axes[0, 0]
        first = _first(samples)
        for (name, group), colour in zip(samples.items(), _colours(samples), strict=True):
            if 1 < len(group) <= _MOST_SEED_LINES:
                for sample in group:
                    draw_cdf(panel, sample.values, colour=colour, points=100, faint=True)
            draw_cdf(panel, pooled(group).values, colour=colour, label=name, points=300)
        log_where_wide(panel, np.concatenate([s.values for g in samples.values() for s in g]))
        draw_limit(panel, first.limit, "SLO")
        panel.set_ylim(0, 1.02)
        share_axis(panel)
        panel.set_title(_heading(first, column))
        panel.set_xlabel(first.unit or first.title)
        tell_apart(panel)
    return figure


def plot_over_time(
    compared: "Comparison",
    column: str,
    statistic: str = "p99",
    size: tuple[float, float] = ONE_PANEL,
) -> "Figure":
    """A statistic of a quantity in each of `WINDOWS` windows of simulated time.

    The line is the mean over seeds, the band reaches from the least to the greatest.
    Raises InputError for a column that a run lacks or that has no times.
    """
    from matplotlib.ticker import StrMethodFormatter

    samples = _samples(compared, column)
    edges = _edges(samples, column)
    middle = (edges[:-1] + edges[1:]) / 2
    with new_figure(1, 1, size) as (figure, axes):
        panel = axes[0, 0]
        first = _first(samples)
        for (name, group), colour in zip(samples.items(), _colours(samples), strict=True):
            found = np.array([windowed(sample, edges, statistic) for sample in group])
            known = np.isfinite(found).any(axis=0)
            part = found[:, known]
            panel.plot(middle[known], np.nanmean(part, axis=0), color=colour, label=name)
            if len(group) > 1:
                low, high = np.nanmin(part, axis=0), np.nanmax(part, axis=0)
                panel.fill_between(middle[known], low, high, color=colour, alpha=0.18, linewidth=0)
        panel.set_title(f"{statistic} of {_heading(first, column)} over time")
        panel.set_xlabel("simulated time (s)")
        panel.set_ylabel(_unit_of(statistic, first))
        panel.set_xlim(edges[0], edges[-1])
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        tell_apart(panel)
    return figure


def plot_forest(differences: Differences, width: float = ONE_PANEL[0]) -> "Figure":
    """Each relative difference as a dot with its intervals: thick alone, thin all together.

    One panel a scenario; green is better, red worse, grey not told from none. Differences that
    have no relative size are left out.
    """
    names = list(dict.fromkeys(row.name for row in differences.rows))
    shown = {n: [r for r in differences.rows if r.name == n and _has_place(r)] for n in names}
    shown = {name: rows for name, rows in shown.items() if rows} or {"": []}
    tallest = max(len(rows) for rows in shown.values())
    size = (width, len(shown) * (0.24 * max(tallest, 2) + 0.95))
    with new_figure(len(shown), 1, size) as (figure, axes):
        for panel, (name, rows) in zip(axes.flat, shown.items(), strict=True):
            _forest(panel, rows)
            panel.set_title(f"{name} against {differences.base}" if name else "no differences")
    return figure


def _forest(panel: "Axes", rows: Sequence[Difference]) -> None:
    for i, row in enumerate(rows):
        colour = _verdict_colour(row)
        for bounds, wide in ((row.together, 1.0), (row.interval, 3.0)):
            if bounds is not None:
                panel.plot([100 * b for b in bounds], [i, i], color=colour, linewidth=wide)
        panel.plot(100 * (row.change or 0.0), i, "o", color=colour, markersize=5)
    panel.axvline(0, color=INK, linewidth=0.8)
    panel.set_yticks(range(len(rows)), [row.metric for row in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("difference")
    _change_axis(panel, rows)


def _change_axis(panel: "Axes", rows: Sequence[Difference]) -> None:
    """A per cent axis; logarithmic away from 0 where one row would hide the others."""
    from matplotlib.ticker import FuncFormatter

    bounds = [row.together or row.interval or (row.change or 0.0,) for row in rows]
    largest = [abs(100 * bound) for one in bounds for bound in one if bound]
    if largest and max(largest) > 30 * float(np.median(largest)):
        panel.set_xscale("symlog", linthresh=max(1.0, float(np.median(largest))))
    else:
        panel.locator_params(axis="x", nbins=5)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g} %" if v else "0"))


def _has_place(row: Difference) -> bool:
    return row.relative and row.change is not None


def _verdict_colour(row: Difference) -> str:
    word = row.verdict.partition(" ")[0].rstrip(",")
    return {"better": _GOOD, "worse": _BAD, "higher": COLOURS[0], "lower": COLOURS[0]}.get(
        word, _NEUTRAL
    )


def _samples(compared: "Comparison", column: str) -> dict[str, list[Sample]]:
    """The samples of each scenario's runs that hold a value."""
    found = {n: [sample_of(r, column) for r in group] for n, group in compared.runs.items()}
    kept = {name: [s for s in group if len(s.values)] for name, group in found.items()}
    kept = {name: group for name, group in kept.items() if group}
    if not kept:
        raise InputError(f"{column} has no values", mend="choose another column")
    return kept


def _edges(samples: dict[str, list[Sample]], column: str) -> np.ndarray:
    times = [s.at_s for group in samples.values() for s in group]
    known = [t for t in times if t is not None]
    if len(known) < len(times):
        raise InputError(f"{column} has no times", mend="choose another column")
    low, high = min(t.min() for t in known), max(t.max() for t in known)
    low = 0.0 if 0 <= low < 0.5 * high else low
    return np.linspace(low, high if high > low else low + 1.0, WINDOWS + 1)


def _unit_of(statistic: str, sample: Sample) -> str:
    if statistic == "count":
        return "number"
    return "per second" if statistic == "rate" else sample.unit or unit(sample.title)


def _heading(sample: Sample, column: str) -> str:
    """A sample's title, or the column's name, with a capital."""
    text = sample.title or column
    return text[:1].upper() + text[1:]


def _first(samples: dict[str, list[Sample]]) -> Sample:
    return next(iter(samples.values()))[0]


def _colours(samples: dict[str, list[Sample]]) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(samples))]
