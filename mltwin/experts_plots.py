"""The picture of a run with a cache of experts."""

from typing import TYPE_CHECKING

import numpy as np

from .plots import COLOURS, new_figure, share_axis
from .text import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .experts_result import ExpertResult


def plot_experts(result: "ExpertResult") -> "Figure":
    """Where the time of a step goes, what the gates found by layer, and both over time."""
    with new_figure(2, 2, (10.5, 6.4), result.label) as (figure, axes):
        _time(axes[0, 0], result)
        _layers(axes[0, 1], result)
        _steps(axes[1, 0], result)
        _hits(axes[1, 1], result)
    return figure


def _time(axes: "Axes", result: "ExpertResult") -> None:
    facts = result.facts
    steps = len(result.tables["steps"]["begin"])
    parts = {
        "experts computed": facts["expert_ticks"],
        "other layers": facts["dense_ticks"],
        "predictor": facts["predictor_ticks"],
        "stalled, waiting for loads": facts["totals"]["stalled"],
    }
    values = [ticks / 1e6 / steps for ticks in parts.values()]
    colours = (COLOURS[0], COLOURS[5], COLOURS[6], COLOURS[1])
    places = np.arange(len(parts))
    axes.barh(places, values, color=colours)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{show(value, 3)} ms",
            (value, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(places, list(parts))
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.18)
    axes.set_title("Where a step's time goes")
    axes.set_xlabel("ms, mean over the steps")


def _layers(axes: "Axes", result: "ExpertResult") -> None:
    layers = result.tables["layers"]
    total = np.maximum(layers["activations"], 1)
    places = layers["layer"]
    below = np.zeros(len(places))
    for name, text, colour in (
        ("hits", "resident", COLOURS[0]),
        ("late", "predicted, too late", COLOURS[4]),
        ("misses", "not predicted", COLOURS[1]),
    ):
        share = layers[name] / total
        axes.bar(places, share, bottom=below, width=0.9, color=colour, label=text)
        below += share
    axes.set_title("What each layer's gate found")
    axes.set_xlabel("layer")
    axes.set_ylabel("activations")
    axes.set_ylim(0, 1)
    share_axis(axes)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _steps(axes: "Axes", result: "ExpertResult") -> None:
    steps = result.tables["steps"]
    number = np.arange(len(steps["begin"]))
    length = (steps["end"] - steps["begin"]) / 1e6
    axes.plot(number, length, color=COLOURS[0], linewidth=1, label="step")
    axes.plot(number, steps["stall"] / 1e6, color=COLOURS[1], linewidth=1, label="of it stalled")
    axes.set_ylim(0)
    axes.set_title("Time of each step")
    axes.set_xlabel("step")
    axes.set_ylabel("ms")
    axes.legend(loc="best")


def _hits(axes: "Axes", result: "ExpertResult") -> None:
    steps = result.tables["steps"]
    ratio = steps["hits"] / np.maximum(steps["activations"], 1)
    axes.plot(np.arange(len(ratio)), ratio, color=COLOURS[0], linewidth=1)
    axes.axhline(result.metrics.get("hit_ratio", 0), color=COLOURS[6], linewidth=1, linestyle="--")
    axes.set_ylim(0, 1.02)
    share_axis(axes)
    axes.set_title(f"Hit ratio of each step, mean {result.metrics.get('hit_ratio', 0):.1%}")
    axes.set_xlabel("step")
    axes.set_ylabel("activations found resident")
