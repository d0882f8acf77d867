"""A picture of any topology, its links coloured by load."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mltwin.models.network.topology import GPU, HOST, NIC, SITE, SWITCH, Topology
from mltwin.sim.errors import InputError

from .plots import COLOURS, FAINT, INK, new_figure, save_figure
from .topology_layout import MOST_NODES, Layout, lay_out, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {
    GPU: ("s", COLOURS[0], 30, "GPU"),
    HOST: ("s", COLOURS[2], 30, "host"),
    NIC: ("D", COLOURS[5], 22, "NIC"),
    SWITCH: ("o", COLOURS[6], 46, "switch"),
    SITE: ("h", COLOURS[3], 110, "site"),
}
_SCALE = ("#D9D9D9", "#F0C27B", "#E8853B", "#C8311E", "#6E0A1E")
_PLAIN = "#B5B5B5"
_SMALL = 6


def draw_topology(
    topology: Topology,
    loads: npt.ArrayLike | None = None,
    path: str | Path | None = None,
    *,
    label: str = "share of bandwidth used",
    title: str | None = None,
    most_nodes: int = MOST_NODES,
) -> "Figure":
    """Draw nodes and links; one line stands for all links between two nodes, both directions.

    Args:
        topology: what to draw.
        loads: float64[L], 0 or more: what colours and widens each link, e.g. from `link_loads`.
            Where several links are one line, the largest counts. The three busiest are named.
        path: .png, .svg or .pdf to write to.
        label: what `loads` are; a "share" is shown in per cent.
        title: None: the topology's name.
        most_nodes: above it islands, then nodes with equal neighbours, are folded to one box each.

    Raises:
        InputError: loads of another length than links, negative or none.
    """
    values = _checked(topology, loads)
    layout = lay_out(topology, most_nodes)
    size = _size(layout)
    with new_figure(1, 1, size, topology.name if title is None else title) as (figure, axes):
        panel = axes[0, 0]
        panel.set_axis_off()
        if not layout.layered:
            panel.set_aspect("equal")
        _draw_frames(panel, layout)
        _draw_links(figure, panel, topology, layout, values, label)
        _draw_nodes(panel, layout)
        _draw_texts(panel, topology, layout, size[0])
        if values is not None:
            _name_busiest(panel, topology, layout, values, label)
        panel.margins(0.03, 0.06)
    return save_figure(figure, path)


def link_loads(
    topology: Topology, link_bytes: npt.ArrayLike, seconds: float
) -> npt.NDArray[np.float64]:
    """float64[L]: mean share of each link's bandwidth that so many bytes in that time use.

    Broken links count as 0. Raises InputError where `seconds` is not above 0.
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds is {seconds}", where="link_loads", mend="give more than 0")
    moved = np.asarray(link_bytes, float)
    able = topology.bytes_per_s * seconds
    return np.divide(moved, able, out=np.zeros(len(able)), where=able > 0)


def _checked(t: Topology, loads: Any) -> npt.NDArray[np.float64] | None:
    if loads is None:
        return None
    values = np.asarray(loads, float)
    if values.shape != t.source.shape:
        raise InputError(
            f"{values.size} loads for {len(t.source)} links", where=f"picture of {t.name!r}"
        )
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        link = int(wrong[0])
        raise InputError(
            f"load of {t.link_name(link)} is {values[link]}",
            where=f"picture of {t.name!r}",
            mend="give 0 or more",
        )
    return values


def _size(layout: Layout) -> tuple[float, float]:
    wide, tall = float(np.ptp(layout.x)), float(np.ptp(layout.y))
    if layout.layered:
        width = min(17.0, max(6.5, 0.17 * wide + 2.5))
        return width, 1.35 + min(2.0, max(1.3, width / 8)) * max(1.0, tall)
    scale = min(0.85, 7.5 / max(wide, tall, 1e-9))
    return max(5.0, scale * wide + 2.0), max(4.4, scale * tall + 1.4)


def _draw_frames(panel: "Axes", layout: Layout) -> None:
    from matplotlib.patches import Ellipse, Rectangle

    look: dict[str, Any] = {"facecolor": "#F4F6F8", "edgecolor": "#C9D1D9", "linewidth": 0.8}
    for left, bottom, right, top, text in layout.frames:
        wide, tall = right - left, top - bottom
        if layout.layered:
            panel.add_patch(Rectangle((left + 0.1, bottom), wide - 0.2, tall, zorder=0, **look))
        else:
            centre = ((left + right) / 2, (bottom + top) / 2)
            panel.add_patch(Ellipse(centre, wide, tall, zorder=0, **look))
        if len(layout.frames) <= 40:
            across = (left + right) / 2
            if layout.layered:
                panel.text(across, bottom - 0.05, text, ha="center", va="top", fontsize=7)
                continue
            panel.text(
                across,
                (bottom + top) / 2,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color=FAINT,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 0.5},
                zorder=4,
            )


def _draw_links(
    figure: "Figure",
    panel: "Axes",
    t: Topology,
    layout: Layout,
    values: npt.NDArray[np.float64] | None,
    label: str,
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    lines, load = _lines(t, layout, values)
    if not lines:
        return
    if values is None:
        thin = 0.9 if len(lines) < 150 else 0.6 if len(lines) < 600 else 0.4
        panel.add_collection(LineCollection(lines, colors=_PLAIN, linewidths=thin, zorder=1))
        return
    order = np.argsort(load, kind="stable")  # the busiest on top
    most = float(load.max())
    top = most if most > 0 else 1.0
    thick = 0.5 + 2.4 * load[order] / top
    colours = LinearSegmentedColormap.from_list("load", _SCALE)
    drawn = LineCollection(
        [lines[k] for k in order],
        array=load[order],
        cmap=colours,
        norm=Normalize(0.0, top),
        linewidths=thick.tolist(),
        zorder=1,
    )
    panel.add_collection(drawn)
    bar = figure.colorbar(drawn, ax=panel, shrink=0.7, pad=0.01, aspect=24)
    bar.set_label(label)
    bar.outline.set_visible(False)
    if "share" in label:
        from matplotlib.ticker import PercentFormatter

        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def _lines(
    t: Topology, layout: Layout, values: npt.NDArray[np.float64] | None
) -> tuple[list[Any], npt.NDArray[np.float64]]:
    """Line segments between boxes and the largest load of each; wrapped links have two stubs."""
    a, b = layout.box[t.source], layout.box[t.target]
    load = np.zeros(len(a)) if values is None else values
    wrapped = np.zeros(len(a), bool)
    wrapped[list(layout.stubs)] = True
    chosen = (a != b) & ~wrapped
    pair = np.stack((np.minimum(a, b), np.maximum(a, b)), axis=1)[chosen]
    pairs, which = np.unique(pair, axis=0, return_inverse=True)
    most = np.zeros(len(pairs))
    np.maximum.at(most, which.ravel(), load[chosen])
    x, y = layout.x, layout.y
    lines: list[Any] = [[(x[i], y[i]), (x[j], y[j])] for i, j in pairs]
    extra = []
    for link, (dx, dy) in layout.stubs.items():
        i, j = int(a[link]), int(b[link])
        lines += [[(x[i], y[i]), (x[i] + dx, y[i] + dy)], [(x[j], y[j]), (x[j] - dx, y[j] - dy)]]
        extra += [load[link]] * 2
    return lines, np.concatenate((most, np.array(extra)))


def _draw_nodes(panel: "Axes", layout: Layout) -> None:
    crowd = len(layout.labels)
    factor = 1.0 if crowd <= 120 else 0.6 if crowd <= 260 else 0.4
    for kind, (marker, colour, size, name) in _LOOKS.items():
        for several in (False, True):
            here = (layout.kind == kind) & ((layout.size > 1) == several)
            if not np.any(here):
                continue
            panel.scatter(
                layout.x[here],
                layout.y[here],
                s=size * (3.2 if several else factor),
                marker=marker,
                color=colour,
                edgecolors="white",
                linewidths=0.6,
                zorder=3,
                label=f"several {name} nodes" if several else name,
            )
    panel.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=6,
        handletextpad=0.2,
        columnspacing=1.2,
    )


def _draw_texts(panel: "Axes", t: Topology, layout: Layout, width_inches: float) -> None:
    for x, y, text in layout.captions:
        panel.text(x, y, text, ha="right", va="center", fontsize=8, color=INK, fontweight="bold")
    top = layout.y.max()
    texts = [short(x) if n == 1 else x for x, n in zip(layout.labels, layout.size, strict=True)]
    whole = [x if n == 1 else y for x, n, y in zip(layout.labels, layout.size, texts, strict=True)]
    for g in np.flatnonzero(_has_room(layout, whole, width_inches)):
        texts[g] = whole[g]  # nodes of one name in many servers are told apart where there is room
    shown = _has_room(layout, texts, width_inches) & (not layout.quiet)
    for g in np.flatnonzero(shown):
        above = layout.layered and layout.y[g] >= top and top > 0
        panel.annotate(
            texts[g],
            (layout.x[g], layout.y[g]),
            xytext=(0, 7 if above else -7),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=_SMALL,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
            zorder=4,
        )
    if layout.layered:
        _draw_speeds(panel, t, layout)


def _has_room(layout: Layout, texts: list[str], width_inches: float) -> npt.NDArray[np.bool_]:
    """bool[G]: whether a label fits beside those of the nearest boxes at its height."""
    points = 72 * (width_inches - 1.6) / max(float(np.ptp(layout.x)), 1.0)
    fits = np.zeros(len(texts), bool)
    for y in np.unique(np.round(layout.y, 6)):
        row = np.flatnonzero(np.abs(layout.y - y) < 0.2)
        gaps = np.diff(np.sort(layout.x[row]))
        space = points * float(gaps[gaps > 1e-9].min()) if np.any(gaps > 1e-9) else np.inf
        longest = max(len(texts[g]) for g in row)
        at = np.abs(layout.y - y) < 1e-6
        fits[at] = space > 0.62 * _SMALL * longest
    return fits


def _draw_speeds(panel: "Axes", t: Topology, layout: Layout) -> None:
    """The rate of the links between two layers, at the left between them."""
    ya, yb = layout.y[layout.box[t.source]], layout.y[layout.box[t.target]]
    low, high = np.minimum(ya, yb), np.maximum(ya, yb)
    left = float(layout.x.min()) - 1.2
    for bottom, top in sorted({*zip(low.tolist(), high.tolist(), strict=True)}):
        if bottom == top:
            continue
        rates = np.unique(t.bytes_per_s[(low == bottom) & (high == top)])
        text = " to ".join(rate_text(r) for r in ((rates[0], rates[-1])[: min(2, len(rates))]))
        panel.text(left, (bottom + top) / 2, text, ha="right", va="center", fontsize=7, color=FAINT)


def rate_text(bytes_per_s: float) -> str:
    """A rate for people: "50 GB/s", "1.2 MB/s", "broken" for 0."""
    if bytes_per_s <= 0:
        return "broken"
    for unit, scale in (("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if bytes_per_s >= scale:
            return f"{bytes_per_s / scale:.3g} {unit}"
    return f"{bytes_per_s:.3g} B/s"


def _name_busiest(
    panel: "Axes", t: Topology, layout: Layout, values: npt.NDArray[np.float64], label: str
) -> None:
    order = np.argsort(-values, kind="stable")[:3]
    order = order[values[order] > 0]
    if not len(order):
        return
    share = "share" in label
    told = [
        f"{t.link_name(int(k))}: {f'{values[k]:.0%}' if share else f'{values[k]:.3g}'}"
        for k in order
    ]
    panel.set_title("busiest  " + ";  ".join(told), fontsize=8, fontweight="normal", color=INK)
