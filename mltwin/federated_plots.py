"""Pictures of federations: learning curves with bands over seeds, staleness, who took part."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mltwin.sim.errors import InputError

from .federated_metrics import first_beyond
from .fields import close_to
from .plots import COLOURS, FAINT, byte_axis, new_figure, share_axis, tell_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .federated_result import FederatedResult

POINTS = 200
BINS = 8


class Axis(NamedTuple):
    """What a learning curve is drawn against: a label, columns to add up, a divisor."""

    label: str
    columns: tuple[str, ...]
    unit: float


AXES: Mapping[str, Axis] = {
    "time": Axis("virtual time (s)", ("time_s",), 1.0),
    "rounds": Axis("server versions", ("version",), 1.0),
    "updates": Axis("updates arrived", ("updates",), 1.0),
    "bytes": Axis("bytes sent", ("down_bytes", "up_bytes"), 1.0),
    "joules": Axis("energy of clients (kJ)", ("joules",), 1e3),
}
"""What learning curves may be drawn against, by name."""


class Band(NamedTuple):
    """A curve over several seeds on one grid: float64[...] each; low and high are least and
    greatest over the seeds."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve(result: "FederatedResult", against: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """One run's learning curve: what was spent, and the metric, finite values only.

    Raises InputError: an unknown axis, or a metric that the model was not evaluated by.
    """
    if against not in AXES:
        raise InputError(f"no axis {against!r}", where="against", mend=close_to(against, AXES))
    table = result.tables["evaluations"]
    if metric not in table:
        mend = close_to(metric, table)
        raise InputError(f"no metric {metric!r}", where=result.label, mend=mend)
    axis = AXES[against]
    x = sum(np.asarray(table[name], float) for name in axis.columns) / axis.unit
    y = np.asarray(table[metric], float)
    known = np.isfinite(y)
    return np.asarray(x)[known], y[known]


def band(
    results: Sequence["FederatedResult"], against: str, metric: str, points: int = POINTS
) -> Band:
    """Curves of several seeds on a common grid, up to where the first of them ends.

    Between evaluations a curve keeps its last value: a model is as good as it was last known to
    be. The grid begins where all have a value.
    Raises InputError: as `curve`; runs that share no part of the axis.
    """
    curves = [curve(result, against, metric) for result in results]
    curves = [(x, y) for x, y in curves if len(x)]
    if not curves:
        raise InputError(f"{metric} has no value", where=results[0].label)
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if len(curves) == 1:
        x, y = curves[0]
        return Band(x, y, y, y)
    grid = np.linspace(low, max(high, low), points)
    rows = [y[np.maximum(np.searchsorted(x, grid, side="right") - 1, 0)] for x, y in curves]
    values = np.array(rows)
    return Band(grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def draw_curves(
    axes: "Axes",
    groups: Mapping[str, Sequence["FederatedResult"]],
    against: str,
    metric: str,
    target: float | None = None,
) -> None:
    """Learning curves of each group, with bands from the least to the greatest over its seeds."""
    for number, (name, results) in enumerate(groups.items()):
        colour = COLOURS[number % len(COLOURS)]
        found = band(results, against, metric)
        axes.plot(found.x, found.mean, color=colour, label=name, linewidth=1.5)
        if len(results) > 1:
            axes.fill_between(found.x, found.low, found.high, color=colour, alpha=0.18, linewidth=0)
    if target is not None:
        axes.axhline(target, color=FAINT, linewidth=1.0, linestyle="--")
    axes.set_xlabel(AXES[against].label)
    axes.set_title(f"{metric.capitalize()} by {against}")
    axes.set_xlim(left=0)
    if against == "bytes":
        byte_axis(axes)
        axes.locator_params(axis="x", nbins=4)


def plot_curves(
    groups: Mapping[str, Sequence["FederatedResult"]],
    metric: str,
    against: Sequence[str] = ("time", "rounds", "bytes", "joules"),
    target: float | None = None,
) -> "Figure":
    """Learning curves of several methods, a panel for each axis.

    Raises InputError: as `curve`.
    """
    shown = [name for name in against if _has_spread(groups, name)] or list(against)[:1]
    with new_figure(1, len(shown), (4.1 * len(shown), 3.4)) as (figure, axes):
        for panel, name in zip(axes[0], shown, strict=True):
            draw_curves(panel, groups, name, metric, target)
        tell_apart(axes[0, 0])
    return figure


def _has_spread(groups: Mapping[str, Sequence["FederatedResult"]], against: str) -> bool:
    """Whether any run moves along an axis (clients without watts spend no joules)."""
    if against not in AXES:
        raise InputError(f"no axis {against!r}", where="against", mend=close_to(against, AXES))
    tables = [run.tables["evaluations"] for group in groups.values() for run in group]
    return any(np.any(table[name]) for table in tables for name in AXES[against].columns)


def plot_run(result: "FederatedResult") -> "Figure":
    """Learning against time, rounds, bytes and joules; staleness; who took part."""
    with new_figure(2, 3, (12.5, 6.4), result.label) as (figure, axes):
        _learning(axes, result)
        _staleness(axes[1, 1], result)
        _participation(figure, axes[1, 2], result)
    return figure


def _learning(axes: Any, result: "FederatedResult") -> None:
    metric = result.curve_metric
    panels = (axes[0, 0], axes[0, 1], axes[0, 2], axes[1, 0])
    groups = {result.label: [result]}
    if metric is None:
        _updates(panels[0], result)
        for panel in panels[1:]:
            panel.set_axis_off()
        return
    target = result.facts["targets"].get(metric)
    for panel, against in zip(panels, ("time", "rounds", "bytes", "joules"), strict=True):
        if _has_spread(groups, against):
            draw_curves(panel, groups, against, metric, target)
        elif against == "joules":
            _updates(panel, result)
        else:
            panel.set_axis_off()
    _mark_target(panels[0], result, metric)


def _updates(panel: "Axes", result: "FederatedResult") -> None:
    versions = result.tables["versions"]
    panel.plot(versions["time_s"], np.cumsum(versions["used"]), color=COLOURS[0])
    panel.set_title("Updates used")
    panel.set_xlabel(AXES["time"].label)


def _mark_target(panel: "Axes", result: "FederatedResult", metric: str) -> None:
    """A dot where the target is reached."""
    table, target = result.tables["evaluations"], result.facts["targets"].get(metric)
    row = None if target is None else first_beyond(table, metric, target)
    if row is not None:
        panel.plot(table["time_s"][row], table[metric][row], "o", color=COLOURS[1], markersize=5)


def _staleness(panel: "Axes", result: "FederatedResult") -> None:
    table = result.tables["staleness"]
    total = max(int(table["updates"].sum()), 1)
    counts, staleness = table["updates"], table["staleness"]
    if len(counts) > 2 * POINTS:  # bars of a pixel would say nothing
        width = -(-len(counts) // POINTS)
        cut = np.arange(0, len(counts), width)
        counts, staleness = np.add.reduceat(counts, cut), staleness[cut]
    panel.bar(staleness, counts / total, width=0.9 * max(np.diff(staleness, append=1).max(), 1),
              align="edge" if len(counts) != len(table["updates"]) else "center",
              color=COLOURS[0])  # fmt: skip
    panel.grid(axis="x", visible=False)
    share_axis(panel)
    panel.set_title("Staleness of used updates")
    panel.set_xlabel("server versions")
    if staleness[-1] == 0:
        panel.set_xticks([0])
    else:
        panel.locator_params(axis="x", integer=True)


def participation_map(result: "FederatedResult") -> tuple[np.ndarray, str]:
    """float64[BINS, BINS]: mean used updates of clients by their ranks, NaN where none is; and
    what the rows are.

    Columns: from the fastest to the slowest clients; rows: from the least to the most available
    (where all are alike: by data). Equal values share a rank's mean.
    """
    clients = result.tables["clients"]
    there = clients["there_share"]
    rows_are = "availability" if np.ptp(there) > 0 else "samples"
    across = _bins(clients["s_per_sample"])
    up = _bins(there if rows_are == "availability" else clients["samples"])
    cell = up * BINS + across
    count = np.bincount(cell, minlength=BINS * BINS)
    total = np.bincount(cell, clients["used"], minlength=BINS * BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / count).reshape(BINS, BINS), rows_are


def _bins(values: np.ndarray) -> np.ndarray:
    """Which of `BINS` equal parts of the ranks each value is in; equal values in one."""
    distinct, place = np.unique(np.asarray(values, float), return_inverse=True)
    counts = np.bincount(place, minlength=len(distinct))
    middle = np.cumsum(counts) - counts / 2
    return np.minimum((middle / len(place) * BINS).astype(np.int64), BINS - 1)[place]


def _participation(figure: "Figure", panel: "Axes", result: "FederatedResult") -> None:
    found, rows_are = participation_map(result)
    mesh = panel.pcolormesh(np.ma.masked_invalid(found), cmap="viridis", vmin=0)
    panel.grid(visible=False)
    places = [0.18 * BINS, 0.82 * BINS]
    panel.set_xticks(places, ["fast", "slow"])
    labels = {"availability": ["rarely there", "often there"], "samples": ["few", "many samples"]}
    panel.set_yticks(places, labels[rows_are], rotation=90, va="center")
    panel.tick_params(length=0)
    panel.set_title("Used updates a client")
    figure.colorbar(mesh, ax=panel, fraction=0.05)


def target_of(results: Sequence["FederatedResult"], metric: str) -> float | None:
    """The target that all runs share, if they do."""
    targets = {result.facts["targets"].get(metric) for result in results}
    return targets.pop() if len(targets) == 1 else None
