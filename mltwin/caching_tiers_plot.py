"""The picture and the table of a run through tiers of caches."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import COLOURS, draw_cdf, new_figure, number_axis, share_axis, tell_apart
from .text import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .caching_result import CachingResult

_TIERS = (COLOURS[5], COLOURS[0], COLOURS[2], COLOURS[3])
_ORIGIN, _DELAYED = COLOURS[1], COLOURS[4]


def tiers_table(result: "CachingResult") -> Table:
    """A row a tier, and the origin."""
    rows, names = result.tables["tiers"], result.facts["tiers"]
    requests = max(1, int(rows["served"].sum() + rows["delayed"].sum()))
    sized = result.facts["unit"] == "bytes"
    lines: list[list[Any]] = []
    for k, name in enumerate(names):
        asked, last = int(rows["asked"][k]), k == len(names) - 1
        lines.append(
            [
                str(name),
                None if last else int(rows["capacity"][k]),
                None if last else float(rows["hits"][k]) / max(1, asked),
                float(rows["served"][k]) / requests,
                float(rows["delayed"][k]) / requests,
                int(rows["evicted"][k]) if not last else None,
                *([rows["read_bytes"][k] / 1e9, rows["write_bytes"][k] / 1e9] if sized else []),
                float(rows["busy"][k]) if result.facts["timed"] else None,
            ]
        )
    columns = ["tier", "capacity", "hit ratio", "served", "delayed", "evictions"]
    columns += ["out GB", "in GB"] if sized else []
    return Table([*columns, "busy"], lines, title="Tiers")


def plot_tiers(result: "CachingResult") -> "Figure":
    """Who served over the trace, and in time the latencies by tier."""
    timed = "latencies" in result.tables
    with new_figure(1, 1 + timed, (5.5 + 4.5 * timed, 3.6), result.label) as (figure, axes):
        _over_trace(axes[0][0], result)
        if timed:
            _latency(axes[0][1], result)
    return figure


def _over_trace(axes: "Axes", result: "CachingResult") -> None:
    windows, names = result.tables["windows"], result.facts["tiers"]
    total = np.maximum(1, windows["requests"])
    served = [
        (name, windows[f"level_{k}"], _ORIGIN if k == len(names) - 1 else _TIERS[k])
        for k, name in enumerate(names)
    ]
    if windows["delayed"].any():
        served.insert(len(names) - 1, ("delayed hits", windows["delayed"], _DELAYED))
    labels, counts, colours = zip(*served, strict=True)
    # Windows are drawn as steps, so that the first and the last are as wide as the others.
    edges = np.concatenate([[0], np.cumsum(windows["requests"])]) / 1e3
    axes.stackplot(
        edges,
        *[np.append(count / total, count[-1] / total[-1]) for count in counts],
        labels=labels,
        colors=colours,
        alpha=0.85,
        linewidth=0,
        step="post",
    )
    axes.set_title("Who served")
    axes.set_xlabel("requests (1,000)")
    axes.set_xlim(0, max(edges[-1], 1e-3))
    axes.set_ylim(0, 1)
    share_axis(axes)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(labels))


def _latency(axes: "Axes", result: "CachingResult") -> None:
    rows, names = result.tables["latencies"], result.facts["tiers"]
    drawn = False
    for k, name in enumerate(names):
        colour = _ORIGIN if k == len(names) - 1 else _TIERS[k]
        drawn |= _line(
            axes, rows["latency"][(rows["level"] == k) & (rows["delayed"] == 0)], colour, name
        )
    drawn |= _line(axes, rows["latency"][rows["delayed"] == 1], _DELAYED, "delayed hits")
    if drawn:
        number_axis(axes)
    axes.set_ylim(0, 1.02)
    share_axis(axes)
    axes.set_title("Latency by tier")
    axes.set_xlabel("ms")
    tell_apart(axes)


def _line(axes: "Axes", latency: np.ndarray, colour: str, name: str) -> bool:
    values = latency[latency > 0] / 1e6
    draw_cdf(axes, values, colour=colour, label=str(name))
    return bool(len(values))
