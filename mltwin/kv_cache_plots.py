"""The picture of a run of the system `kv-cache`."""

from typing import TYPE_CHECKING

import numpy as np

from .plots import COLOURS, draw_cdf, new_figure, number_axis, share_axis, tell_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .kv_cache_result import KvCacheResult

_WINDOWS = 40
_SOURCES = (
    ("hits_near", "first tier", COLOURS[0]),
    ("hits_second", "second tier", COLOURS[5]),
    ("hits_third", "third tier", COLOURS[2]),
    ("hits_peer", "other nodes", COLOURS[3]),
    ("hits_pool", "pool", COLOURS[4]),
)


def plot_kv_cache(result: "KvCacheResult") -> "Figure":
    """Where blocks were found over time, what each node computed, and how long requests took."""
    with new_figure(1, 3, (12.5, 3.9), result.label) as (figure, axes):
        left, middle, right = axes[0]
        if len(result.tables["requests"]["node"]):
            _over_time(left, result)
            _nodes(middle, result)
            _last(right, result)
    return figure


def _over_time(axes: "Axes", result: "KvCacheResult") -> None:
    rows = result.tables["requests"]
    timed = result.facts["timed"]
    at = rows["arrival"] / 6e10 if timed else np.arange(len(rows["node"]), dtype=float)
    edges = np.linspace(0, max(float(at.max()), 1e-9), _WINDOWS + 1)
    total = np.maximum(np.histogram(at, edges, weights=rows["blocks"])[0], 1)
    shown = [source for source in _SOURCES if rows[source[0]].any()]
    shares = [np.histogram(at, edges, weights=rows[name])[0] / total for name, _, _ in shown]
    middle = (edges[1:] + edges[:-1]) / 2
    if shown:
        axes.stackplot(
            middle,
            *shares,
            labels=[text for _, text, _ in shown],
            colors=[colour for _, _, colour in shown],
            alpha=0.85,
            linewidth=0,
        )
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    axes.set_title(f"Blocks found, {result.metrics['block_hit_ratio']:.1%} in all")
    axes.set_xlabel("simulated time, minutes" if timed else "requests")
    axes.set_xlim(middle[0], middle[-1])
    axes.set_ylim(0, 1)
    share_axis(axes)


def _nodes(axes: "Axes", result: "KvCacheResult") -> None:
    nodes = result.tables["nodes"]
    asked = nodes["prefilled_tokens"].astype(float) / 1e6
    axes.bar(nodes["node"], asked, color=COLOURS[0])
    axes.axhline(asked.mean(), color=COLOURS[6], linewidth=1, linestyle="--")
    if len(asked) <= 16:
        axes.set_xticks(nodes["node"])
    axes.grid(axis="x", visible=False)
    imbalance = result.metrics.get("imbalance")
    told = f", most {imbalance:.2f} x mean" if imbalance else ""
    axes.set_title(f"Tokens computed{told}")
    axes.set_xlabel("node")
    axes.set_ylabel("million tokens")


def _last(axes: "Axes", result: "KvCacheResult") -> None:
    rows = result.tables["requests"]
    if not result.facts["timed"]:
        draw_cdf(
            axes, rows["hits"] / np.maximum(rows["blocks"], 1), colour=COLOURS[0], label="requests"
        )
        axes.set_title("Hit ratio of each request")
        axes.set_xlabel("share of its blocks")
        share_axis(axes, "x")
    else:
        for text, ticks, colour in (
            ("TTFT", rows["end"] - rows["arrival"], COLOURS[0]),
            ("waiting", rows["start"] - rows["arrival"], COLOURS[1]),
            ("fetching", rows["fetched"], COLOURS[4]),
        ):
            values = ticks[ticks > 0] / 1e6
            if len(values):
                share = f" ({len(values) / len(ticks):.0%})" if len(values) < len(ticks) else ""
                draw_cdf(axes, values, colour=colour, label=f"{text}{share}")
        number_axis(axes)
        axes.set_title("TTFT and its parts, where above 0")
        axes.set_xlabel("ms")
        tell_apart(axes)
    axes.set_ylim(0, 1.02)
    share_axis(axes)
