"""The one-page picture of a serving run."""

from typing import TYPE_CHECKING

import numpy as np

from .plots import COLOURS, FAINT, INK, draw_cdf, new_figure, number_axis, share_axis
from .text import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .serving_result import ServingResult

_MOST_BARS = 48
_POINTS = 400


def plot_run(result: "ServingResult") -> "Figure":
    """TTFT and TPOT distributions, requests over time, load of each replica."""
    with new_figure(2, 2, (10.5, 6.6), result.label) as (figure, axes):
        _latency(axes[0, 0], result, "ttft", "Time to first token")
        _latency(axes[0, 1], result, "tpot", "Time per output token")
        _over_time(axes[1, 0], result)
        _replicas(axes[1, 1], result)
    return figure


def _latency(axes: "Axes", result: "ServingResult", name: str, title: str) -> None:
    values = result.latencies[name]
    values = values[np.isfinite(values)]
    axes.set_title(title)
    if not len(values):
        axes.text(0.5, 0.5, "no request completed", ha="center", transform=axes.transAxes)
        return
    draw_cdf(axes, values, colour=COLOURS[0])
    for level, stat in ((0.5, "p50"), (0.99, "p99")):
        at = result.metrics[f"{stat}_{name}_ms"]
        axes.plot(at, level, "o", color=COLOURS[0], markersize=5)
        axes.annotate(
            f"{stat} {show(at, 3)} ms",
            (at, level),
            xytext=(7, -12),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )
    limit = result.limits.get(name)
    if limit is not None:
        axes.axvline(limit, color=COLOURS[1], linewidth=1.2, linestyle="--")
        axes.annotate(
            f"SLO {show(limit)} ms",
            (limit, 0.02),
            xytext=(4, 0) if limit < values.max() else (-4, 0),
            textcoords="offset points",
            ha="left" if limit < values.max() else "right",
            fontsize=8,
            color=COLOURS[1],
        )
    if values.min() > 0 and values.max() / values.min() > 20:
        number_axis(axes)
    axes.set_ylim(0, 1.02)
    share_axis(axes)
    axes.set_xlabel("ms")
    axes.set_ylabel("requests")


def _over_time(axes: "Axes", result: "ServingResult") -> None:
    """Requests waiting and in service, stacked, over the run."""
    columns = result.tables["requests"]
    ended = columns["finish"][columns["finish"] >= 0]
    end = max(int(ended.max(initial=0)), int(columns["arrival"].max(initial=1)), 1)
    grid = np.linspace(0, end, _POINTS)
    admitted = columns["scheduled"][columns["scheduled"] >= 0]
    left_queue = (columns["finish"] >= 0) & (columns["scheduled"] < 0)  # never admitted
    arrived = _by(columns["arrival"], grid)
    started = _by(admitted, grid) + _by(columns["finish"][left_queue], grid)
    finished = _by(ended, grid)
    time = grid / 1e12
    running, waiting = started - finished, arrived - started
    axes.fill_between(time, 0, running, color=COLOURS[5], alpha=0.75, linewidth=0, label="admitted")
    axes.fill_between(
        time, running, running + waiting, color=COLOURS[1], alpha=0.75, linewidth=0, label="waiting"
    )
    axes.set_title("Requests in the system")
    axes.set_xlabel("simulated time (s)")
    axes.set_ylabel("requests")
    axes.set_xlim(0, time[-1])
    axes.set_ylim(0, 1.15 * max(1, int((running + waiting).max())))
    axes.legend(loc="upper left", ncols=2)


def _by(times: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """How many of times are at or before each instant of grid."""
    return np.searchsorted(np.sort(times), grid, side="right")


def _replicas(axes: "Axes", result: "ServingResult") -> None:
    """Share of its up time that each replica spent in prefill (or mixed) and decode iterations."""
    columns, pools = result.tables["replicas"], result.facts["pools"]
    up = np.maximum(columns["up_ticks"], 1)
    prefill, decode = columns["busy_prefill"] / up, columns["busy_decode"] / up
    count = min(len(up), _MOST_BARS)
    axes.set_title("Load of the replicas")
    places = np.arange(count)
    axes.bar(places, prefill[:count], color=COLOURS[0], width=0.8, label="iterations with prefill")
    axes.bar(
        places,
        decode[:count],
        bottom=prefill[:count],
        color=COLOURS[2],
        width=0.8,
        label="decode only",
    )
    start = 0
    for pool in pools:
        stop = min(start + pool["replicas"], count)
        if start:
            axes.axvline(start - 0.5, color=FAINT, linewidth=0.8)
        if stop > start:
            middle = (start + stop - 1) / 2
            axes.text(middle, 1.01, pool["name"], ha="center", va="bottom", fontsize=8, color=INK)
        start += pool["replicas"]
    left_out = f" (first {count} of {len(up)})" if count < len(up) else ""
    axes.set_xlabel(f"replica{left_out}")
    axes.set_ylabel("share of up time busy")
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_ylim(0, 1.1)
    if count <= 16:
        axes.set_xticks(places)
    axes.grid(axis="x", visible=False)
    share_axis(axes)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
