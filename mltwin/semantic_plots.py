"""Pictures of semantic caches: by category, and hits against false hits over thresholds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import COLOURS, FAINT, draw_cdf, log_where_wide, new_figure, share_axis, tell_apart
from .semantic_metrics import category_rows, latency_ms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .semantic_curves import ThresholdCurve
    from .semantic_result import SemanticResult

MOST = 12
"""Categories drawn, the ones with most queries."""


def plot_categories(result: "SemanticResult") -> "Figure":
    """What each category was served, beside its break-even; and the latency of its queries."""
    columns = result.tables["queries"]
    rows = [row for row in category_rows(columns, result.facts) if row["queries"]]
    most = sorted(rows, key=lambda row: -row["queries"])[:MOST]
    order = [row for row in rows if row in most]
    tall = max(3.2, 0.5 * len(order) + 1.6)
    with new_figure(1, 2, (9.6, tall), result.label) as (figure, axes):
        _served(axes[0, 0], order)
        panel = axes[0, 1]
        milliseconds = latency_ms(columns)
        codes = {name: c for c, name in enumerate(result.facts["categories"])}
        for i, row in enumerate(order[: len(COLOURS)]):
            mine = milliseconds[columns["category"] == codes[row["category"]]]
            draw_cdf(panel, mine, colour=COLOURS[i], label=row["category"])
        log_where_wide(panel, milliseconds)
        share_axis(panel)
        panel.set_xlabel("latency, ms")
        panel.set_title("Queries answered within")
        tell_apart(panel)
    return figure


def _served(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Stacked bars of right, stale, false and joined; a mark at break-even."""
    at = np.arange(len(rows))
    left = np.zeros(len(rows))
    for (label, colour), widths in zip(_PARTS, _parts(rows), strict=True):
        if widths.any():
            axes.barh(at, widths, left=left, height=0.62, color=colour, label=label)
            left += widths
    marks = [row["break_even_hit_ratio"] for row in rows]
    shown = [(y, m) for y, m in zip(at, marks, strict=True) if m <= 1]
    if shown:
        y, m = zip(*shown, strict=True)
        axes.plot(m, y, "|", color="#222222", markersize=16, markeredgewidth=1.6)
        axes.plot([], [], "|", color="#222222", label="break-even", markersize=9)
    axes.set_yticks(at, [row["category"] for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max(0.1, min(1.0, 1.15 * float(left.max()))))
    share_axis(axes, "x")
    axes.set_title("Queries served from the cache")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, loc="lower right")


_PARTS = (
    ("right", COLOURS[0]),
    ("stale", COLOURS[4]),
    ("false", COLOURS[1]),
    ("served", COLOURS[0]),
)


def _parts(rows: list[dict[str, Any]]) -> list[np.ndarray]:
    """Shares of queries served rightly, stale and falsely; or all in one where none tells."""
    got = np.array([row["hit_ratio"] + row["joined_ratio"] for row in rows])
    if "false_hit_ratio" not in rows[0]:
        return [np.zeros(len(rows))] * 3 + [got]
    stale = got * np.array([row.get("stale_hit_ratio", 0.0) for row in rows])
    false = got * np.array([row["false_hit_ratio"] for row in rows])
    return [got - stale - false, stale, false, np.zeros(len(rows))]


def plot_curve(curve: "ThresholdCurve") -> "Figure":
    """Hit ratio over the threshold, and against false hits, of each category and of all."""
    with new_figure(1, 2, (9.6, 3.8), curve.label) as (figure, axes):
        over, against = axes[0]
        for i, (name, part) in enumerate(curve.parts()):
            colour = FAINT if name == "all" else COLOURS[(i - 1) % len(COLOURS)]
            look: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3.5}
            look["linestyle"] = "--" if name == "all" else "-"
            over.plot(part["threshold"], part["hit_ratio"], label=name, **look)
            if "false_hit_ratio" in part:
                against.plot(part["false_hit_ratio"], part["hit_ratio"], label=name, **look)
        over.set_xlabel("threshold")
        over.set_ylabel("hit ratio")
        against.set_xlabel("false hits, share of answers served")
        for panel in (over, against):
            share_axis(panel)
        share_axis(against, "x")
        over.set_title("Hits by threshold")
        against.set_title("What hits cost in false answers")
        tell_apart(over)
    return figure
