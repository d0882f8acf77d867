"""Pictures of a run of the system `network`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.errors import InputError

from .plots import COLOURS, draw_cdf, log_where_wide, new_figure, number_axis, share_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .network_result import NetworkResult

_DOTS = 4000
_BINS = 12


def plot_network(result: "NetworkResult") -> "Figure":
    """Completion times, slowdown by size, and how evenly links are loaded."""
    flows = result.tables["flows"]
    with new_figure(1, 3, (12.5, 3.7), result.label) as (figure, axes):
        left, middle, right = axes[0]
        if not len(flows["time"]):
            left.text(0.5, 0.5, "nothing was sent", ha="center", transform=left.transAxes)
            return figure
        _completion(left, result)
        _slowdown(middle, result)
        _loads(right, result)
    return figure


def _completion(axes: "Axes", result: "NetworkResult") -> None:
    flows = result.tables["flows"]
    took = (flows["end"] - flows["start"]) / 1e9
    draw_cdf(axes, took, colour=COLOURS[0], label="as sent")
    draw_cdf(axes, flows["alone"] / 1e9, colour=COLOURS[1], label="alone")
    number_axis(axes)
    log_where_wide(axes, took)
    share_axis(axes)
    axes.set_ylim(0, 1.02)
    axes.set_title("Flow completion time")
    axes.set_xlabel("ms")
    axes.set_ylabel("flows")
    axes.legend(loc="lower right")


def _slowdown(axes: "Axes", result: "NetworkResult") -> None:
    flows = result.tables["flows"]
    size = flows["bytes"] / 1e6
    slow = (flows["end"] - flows["start"]) / np.maximum(flows["alone"], 1)
    step = max(1, len(size) // _DOTS)
    axes.scatter(size[::step], slow[::step], s=6, color=COLOURS[0], alpha=0.35, linewidths=0)
    if len(np.unique(size)) > _BINS:
        edges = np.quantile(size, np.linspace(0, 1, _BINS + 1))
        bins = np.clip(np.searchsorted(edges, size, "right") - 1, 0, _BINS - 1)
        middle = [np.median(size[bins == k]) for k in range(_BINS)]
        typical = [np.median(slow[bins == k]) for k in range(_BINS)]
        axes.plot(middle, typical, color=COLOURS[1], label="median")
        axes.legend(loc="upper right")
    log_where_wide(axes, size)
    log_where_wide(axes, slow, "y")
    axes.set_title("Slowdown against running alone")
    axes.set_xlabel("MB")
    axes.set_ylabel("times")


def _loads(axes: "Axes", result: "NetworkResult") -> None:
    links = result.tables["links"]
    span = result.metrics["makespan_ms"] / 1e3
    used = links["bytes"] > 0
    if span <= 0 or not used.any():
        axes.text(0.5, 0.5, "no link was used", ha="center", transform=axes.transAxes)
        return
    share = np.sort(links["bytes"][used] / np.maximum(links["capacity"][used] * span, 1e-300))[::-1]
    axes.fill_between(np.arange(len(share)), share, step="post", color=COLOURS[0], alpha=0.3)
    axes.step(np.arange(len(share)), share, where="post", color=COLOURS[0])
    axes.set_ylim(0, max(1.02, float(share[0]) * 1.02))
    axes.set_xlim(0, max(len(share) - 1, 1))
    share_axis(axes)
    axes.set_title(f"Use of the {len(share)} links, busiest first")
    axes.set_xlabel("link")
    axes.set_ylabel("of what it could carry")


def draw_links(result: "NetworkResult", path: str | Path | None = None) -> "Figure":
    """The topology of a result with the use of every link."""
    from .network_run import topology_of
    from .topology_plot import draw_topology

    if result.scenario is None:
        raise InputError("the result has no scenario", mend="run one, or load a stored run")
    links = result.tables["links"]
    span = max(result.metrics["makespan_ms"] / 1e3, 1e-300)
    share = links["bytes"] / np.maximum(links["capacity"] * span, 1e-300)
    return draw_topology(topology_of(result.scenario), loads=share, path=path)  # type: ignore[arg-type]
