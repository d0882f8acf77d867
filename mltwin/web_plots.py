"""The picture of a run of the system `web-cache`."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.web import cdn_tables as cdn
from mltwin.models.web.friends_tables import CUT, FRIEND, JOINED, LOCAL, ORIGIN

from .plots import COLOURS, draw_cdf, new_figure, number_axis, share_axis, tell_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .web_result import WebResult

_WINDOWS = 48
_KINDS = {
    "friends": (
        ("own browser", (LOCAL, JOINED), COLOURS[5]),
        ("friend", (FRIEND,), COLOURS[0]),
        ("origin, after a cut", (CUT,), COLOURS[4]),
        ("origin", (ORIGIN,), COLOURS[1]),
    ),
    "cdn": (
        ("edge", (cdn.EDGE_HIT,), COLOURS[5]),
        ("on its way", (cdn.EDGE_JOINED, cdn.PARENT_JOINED), COLOURS[4]),
        ("parent", (cdn.PARENT_HIT,), COLOURS[0]),
        ("origin", (cdn.FROM_ORIGIN,), COLOURS[1]),
    ),
}


def plot_web(result: "WebResult") -> "Figure":
    """Who served over time, latency by source, and the load of users or caches."""
    friends = result.facts["kind"] == "friends"
    rows = result.tables["views" if friends else "requests"]
    with new_figure(1, 3, (12.5, 3.9), result.label) as (figure, axes):
        left, middle, right = axes[0]
        if not len(rows["time"]):
            left.text(0.5, 0.5, "nothing was asked for", ha="center", transform=left.transAxes)
            return figure
        _over_time(left, rows, _KINDS[result.facts["kind"]])
        _latency(middle, rows, _KINDS[result.facts["kind"]])
        if friends:
            _uploads(right, result)
        else:
            _nodes(right, result)
    return figure


def _over_time(axes: "Axes", rows: "dict[str, np.ndarray]", kinds: tuple) -> None:
    hours = rows["time"] / 3.6e12
    scale, unit = (1.0, "hours") if hours.max() > 2 else (60.0, "minutes")
    edges = np.linspace(0, hours.max() * scale, _WINDOWS + 1)
    counts = [
        np.histogram(hours[np.isin(rows["source"], codes)] * scale, edges)[0]
        for _, codes, _ in kinds
    ]
    total = np.maximum(np.sum(counts, axis=0), 1)
    middle = (edges[1:] + edges[:-1]) / 2
    axes.stackplot(
        middle,
        *[count / total for count in counts],
        labels=[text for text, _, _ in kinds],
        colors=[colour for _, _, colour in kinds],
        alpha=0.85,
        linewidth=0,
    )
    axes.set_title("Who served")
    axes.set_xlabel(f"simulated time, {unit}")
    axes.set_xlim(middle[0], middle[-1])
    axes.set_ylim(0, 1)
    share_axis(axes)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _latency(axes: "Axes", rows: "dict[str, np.ndarray]", kinds: tuple) -> None:
    low = np.inf
    for text, codes, colour in kinds:
        values = rows["latency"][np.isin(rows["source"], codes)] / 1e6
        values = values[values > 0]
        if len(values):
            draw_cdf(axes, values, colour=colour, label=text)
            low = min(low, float(values.min()))
    if np.isfinite(low):
        number_axis(axes)
    axes.set_ylim(0, 1.02)
    share_axis(axes)
    axes.set_title("Latency by source")
    axes.set_xlabel("ms")
    tell_apart(axes)


def _uploads(axes: "Axes", result: "WebResult") -> None:
    uploaded = np.sort(result.tables["users"]["uploaded"])[::-1] / 1e6
    share = np.cumsum(uploaded) / max(uploaded.sum(), 1e-12)
    axes.plot(np.arange(1, len(share) + 1) / len(share), share, color=COLOURS[0])
    axes.plot([0, 1], [0, 1], color=COLOURS[6], linewidth=1, linestyle="--")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, 1)
    share_axis(axes)
    share_axis(axes, "x")
    axes.set_title(f"Who bears the uploads (most {uploaded[0]:,.0f} MB)")
    axes.set_xlabel("users, those that upload most first")
    axes.set_ylabel("uploaded bytes")


def _nodes(axes: "Axes", result: "WebResult") -> None:
    nodes = result.tables["nodes"]
    ratio = nodes["hits"] / np.maximum(nodes["requests"], 1)
    names = [f"{i}" for i in range(len(ratio) - 1)] + ["parent"]
    if not result.facts["parent"]:
        ratio, names = ratio[:-1], names[:-1]
    colours = [COLOURS[5]] * (len(ratio) - 1) + [COLOURS[0]]
    axes.bar(np.arange(len(ratio)), ratio, color=colours if result.facts["parent"] else COLOURS[5])
    if len(names) <= 12:
        axes.set_xticks(np.arange(len(names)), names)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1)
    share_axis(axes)
    axes.set_title("Hit ratio of each cache")
    axes.set_xlabel("edge")
