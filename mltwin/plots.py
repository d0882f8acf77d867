"""How our figures look, and the ones that any system has.

Figures are made with the object interface, without pyplot. The style is set for the time of drawing
only, under a lock, as Matplotlib keeps it in global state.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .comparison import Comparison

# Okabe and Ito's palette (distinct for colour-blind readers), blue first, without yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
INK, FAINT, GRID = "#222222", "#767676", "#E4E4E4"

STYLE: dict[str, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "svg.hashsalt": "mltwin",
    "text.parse_math": False,  # a scenario's name may hold a $
}


_drawing = threading.RLock()


@contextmanager
def _our_style() -> Iterator[None]:
    import matplotlib

    with _drawing, matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


@contextmanager
def new_figure(
    rows: int, columns: int, size: tuple[float, float], title: str = ""
) -> Iterator[tuple["Figure", Any]]:
    """A figure in our style and its (rows, columns) array of axes; drawn on inside the block."""
    from matplotlib.figure import Figure

    with _our_style():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
        yield figure, axes


def save_figure(figure: "Figure", path: str | Path | None) -> "Figure":
    """Write a figure if a path is given (PNG, SVG or PDF by its ending); the figure.

    Raises InputError for an ending or a place that cannot be written.
    """
    if path is None:
        return figure
    target = Path(path)
    known = figure.canvas.get_supported_filetypes()
    if target.suffix[1:].lower() not in known:
        raise InputError(
            f"cannot draw to {target.suffix or 'a file without an ending'}",
            where=str(target),
            mend="use .png, .svg or .pdf",
        )
    svg = target.suffix.lower() in (".svg", ".svgz")
    options: dict[str, Any] = {"metadata": {"Date": None}} if svg else {}
    try:
        with _our_style():
            figure.savefig(target, **options)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return figure


def figure_bytes(figure: "Figure", kind: str) -> bytes:
    """A figure as the content of a file: `png`, `svg` or `pdf`. Equal figures give equal bytes."""
    from io import BytesIO

    buffer = BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with _our_style():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def draw_cdf(
    axes: "Axes",
    values: np.ndarray,
    *,
    colour: str,
    label: str | None = None,
    points: int = 2000,
    faint: bool = False,
) -> None:
    """The empirical distribution of values; thinned evenly in rank, both ends kept."""
    ordered = np.sort(values)
    n = len(ordered)
    if not n:
        return
    rank = np.unique(np.linspace(0, n - 1, min(n, points)).astype(np.int64))
    look: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.7} if faint else {}
    heights = (rank + 1) / n
    axes.plot(ordered[rank], heights, color=colour, label=label, drawstyle="steps-post", **look)


def draw_limit(axes: "Axes", limit: float | None, name: str) -> None:
    """A dashed upright line at a limit, told above the frame; nothing for None."""
    if limit is None:
        return
    axes.axvline(limit, color=FAINT, linewidth=1.2, linestyle="--")
    look: dict[str, Any] = {"fontsize": 8, "fontweight": "normal", "color": FAINT}
    axes.set_title(f"dashed: {name} {limit:g}", loc="right", **look)


def tell_apart(axes: "Axes") -> None:
    """A legend where there is more than one line; any name is shown as it is."""
    named = {line: str(line.get_label()) for line in axes.get_lines()}
    shown = {line: text for line, text in named.items() if not text.startswith("_child")}
    if len(shown) > 1:
        # A legend hides labels that begin with an underscore.
        texts = [f" {text}" if text.startswith("_") else text for text in shown.values()]
        axes.legend(list(shown), texts, loc="best", frameon=True, framealpha=0.8, edgecolor="none")


def log_where_wide(axes: "Axes", values: "np.typing.ArrayLike", which: str = "x") -> None:
    """A logarithmic axis where positive values differ by more than a factor of 20."""
    found = np.asarray(values, float)
    found = found[np.isfinite(found)]
    if len(found) and found.min() > 0 and found.max() / found.min() > 20:
        number_axis(axes, which)


def share_axis(axes: "Axes", which: str = "y") -> None:
    """An axis from 0 to 1, in per cent."""
    from matplotlib.ticker import PercentFormatter

    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(PercentFormatter(1.0))


def number_axis(axes: "Axes", which: str = "x") -> None:
    """A logarithmic axis with plain numbers (0.1, 10, 1,000); call it when the data is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    reach = high / max(low, 1e-12)
    steps = (1, 2, 5) if reach < 50 else (1, 3) if reach < 500 else (1,)
    axis.set_major_locator(LogLocator(10, subs=steps, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def byte_axis(axes: "Axes", which: str = "x") -> None:
    """Bytes in powers of 1000 (500 kB, 2 GB) on an axis whose scale is set."""
    from matplotlib.ticker import FuncFormatter

    def told(value: float, _: int) -> str:
        step = min(4, max(0, int(np.log10(max(value, 1)) / 3 + 1e-9)))
        return f"{value / 1000**step:g} {('B', 'kB', 'MB', 'GB', 'TB')[step]}"

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(told))


def plot_columns(columns: Mapping[str, Any], title: str, most: int = 6) -> "Figure":
    """The distribution of each column, `most` at the utmost."""
    shown = list(columns.items())[:most]
    wide = min(3, max(1, len(shown)))
    tall = max(1, -(-len(shown) // wide))
    with new_figure(tall, wide, (3.4 * wide, 2.6 * tall + 0.4), title) as (figure, axes):
        for panel, (name, values) in zip(axes.flat, shown, strict=False):
            draw_cdf(panel, np.asarray(values, float), colour=COLOURS[0])
            panel.set_xlabel(name)
            share_axis(panel)
        for panel in list(axes.flat)[len(shown) :]:
            panel.set_axis_off()
    return figure


def plot_comparison(comparison: "Comparison", metrics: Sequence[str]) -> "Figure":
    """One panel a metric: a dot for each scenario (mean), a bar for its spread over seeds."""
    from .metrics import unit

    names = comparison.names
    wide = min(3, len(metrics))
    tall = -(-len(metrics) // wide)
    size = (3.9 * wide, tall * (0.34 * len(names) + 1.2) + 0.4)
    with new_figure(tall, wide, size) as (figure, axes):
        for number, metric in enumerate(metrics):
            panel = axes.flat[number]
            for i, name in enumerate(names):
                values = comparison.values(name, metric)
                if not len(values):
                    continue
                colour = COLOURS[i % len(COLOURS)]
                panel.plot([values.min(), values.max()], [i, i], color=colour, alpha=0.5)
                panel.plot(values.mean(), i, "o", color=colour, markersize=7)
            panel.set_yticks(range(len(names)), names if number % wide == 0 else [""] * len(names))
            panel.set_ylim(len(names) - 0.5, -0.5)
            panel.grid(axis="y", visible=False)
            panel.set_title(metric)
            panel.set_xlabel(unit(metric))
            panel.margins(x=0.15)
            panel.locator_params(axis="x", nbins=5)
        for panel in list(axes.flat)[len(metrics) :]:
            panel.set_axis_off()
    return figure
