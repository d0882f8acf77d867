"""The picture of a run of the system `training-run`."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.training.reliability_tables import (
    E_COPIED,
    E_DONE,
    E_FAILED,
    E_LOST,
    E_REMOVED,
    E_RUNNING,
    TICKS_PER_S,
)

from .plots import COLOURS, new_figure, share_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .reliability_result import TrainingRunResult

PART_TEXTS = {
    "useful": ("useful steps", COLOURS[2]),
    "straggling": ("stragglers", COLOURS[5]),
    "shrunk": ("fewer nodes", COLOURS[0]),
    "stall": ("checkpoints", COLOURS[4]),
    "lost": ("lost steps", COLOURS[1]),
    "restarting": ("restarts", COLOURS[3]),
    "resharding": ("remaps", "#9467BD"),
    "waiting": ("waiting", COLOURS[6]),
}
_DAY = TICKS_PER_S * 86400


def plot_run(result: "TrainingRunResult") -> "Figure":
    """Where the time went; steps done and nodes over time."""
    with new_figure(1, 3, (12.5, 3.7), result.label) as (figure, axes):
        left, middle, right = axes[0]
        _parts(left, result)
        _progress(middle, result)
        _nodes(right, result)
    return figure


def _parts(axes: "Axes", result: "TrainingRunResult") -> None:
    end = max(result.facts["end"], 1)
    parts = {name: ticks for name, ticks in result.parts.items() if ticks}
    places = np.arange(len(parts))[::-1]
    for place, (name, ticks) in zip(places, parts.items(), strict=True):
        share = ticks / end
        axes.barh(place, share, color=PART_TEXTS[name][1])
        axes.text(max(share, 0) + 0.01, place, f"{share:.2%}", va="center", fontsize=8)
    axes.set_yticks(places, [PART_TEXTS[name][0] for name in parts])
    axes.grid(axis="y", visible=False)
    axes.set_xlim(min(0, *(ticks / end for ticks in parts.values())), 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    share_axis(axes, "x")
    axes.set_title(f"Where {result.metrics['makespan_days']:,.1f} days went")


def progress(result: "TrainingRunResult") -> tuple[np.ndarray, np.ndarray]:
    """Days and steps done at checkpoints, losses (before and after) and the end."""
    events = result.tables["events"]
    kind, time, entity = events["kind"], events["time"], events["entity"]
    step = result.facts["step_ticks"]
    days, steps = [0.0], [0.0]
    for row in np.flatnonzero(np.isin(kind, (E_COPIED, E_LOST, E_DONE))):
        at = float(time[row]) / _DAY
        done = float(events["value"][row] if kind[row] == E_DONE else entity[row])
        if kind[row] == E_LOST:
            days.append(at)
            steps.append(max(done + float(events["value"][row]) / step, 0.0))
        days.append(at)
        steps.append(done)
    return np.array(days), np.array(steps)


def _progress(axes: "Axes", result: "TrainingRunResult") -> None:
    days, steps = progress(result)
    axes.plot(days, steps, color=COLOURS[0], linewidth=1.2)
    events = result.tables["events"]
    gone = events["time"][np.isin(events["kind"], (E_FAILED, E_REMOVED)) & (events["value"] >= 0)]
    if len(gone):
        axes.plot(
            gone / _DAY, np.interp(gone / _DAY, days, steps), ".", color=COLOURS[1], markersize=5,
            label="a node of the job goes",
        )  # fmt: skip
        axes.legend(loc="upper left")
    axes.set_ylim(bottom=0)
    axes.set_title("Steps done")
    axes.set_xlabel("days")


def _nodes(axes: "Axes", result: "TrainingRunResult") -> None:
    events = result.tables["events"]
    running = events["kind"] == E_RUNNING
    days = np.append(events["time"][running], result.facts["end"]) / _DAY
    nodes = events["entity"][running]
    if len(nodes):
        axes.stairs(nodes, days, color=COLOURS[2], linewidth=1.6, baseline=None)
    axes.set_ylim(0, result.facts["nodes"] * 1.08)
    axes.set_title("Nodes that train")
    axes.set_xlabel("days")
