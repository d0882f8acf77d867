"""The pictures of a trace: rate over time, gaps, lengths, how they go together, burstiness."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import COLOURS, FAINT, new_figure, number_axis, share_axis, tell_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_trace(title: str, pictures: dict[str, Any]) -> "Figure":
    """One page of the data that `TraceReport.pictures` gives."""
    with new_figure(3, 2, (9.0, 9.0), title) as (figure, axes):
        _rate(axes[0, 0], pictures["rate"])
        _tokens(axes[0, 1], pictures["rate"])
        _gaps(axes[1, 0], pictures["gaps"])
        _dispersion(axes[1, 1], pictures["dispersion"])
        _lengths(axes[2, 0], pictures)
        _joint(axes[2, 1], pictures["joint"])
    return figure


def _rate(axes: "Axes", rate: dict[str, Any]) -> None:
    axes.set_title("Arrivals")
    axes.step(rate["start_s"], rate["rate_per_s"], where="post", color=COLOURS[0])
    axes.set(xlabel="seconds", ylabel="requests a second", ylim=(0, None))


def _tokens(axes: "Axes", rate: dict[str, Any]) -> None:
    axes.set_title("Tokens asked for")
    for name, colour in (("prompt", COLOURS[1]), ("output", COLOURS[2])):
        axes.step(rate["start_s"], rate[f"{name}_per_s"], where="post", color=colour, label=name)
    axes.set(xlabel="seconds", ylabel="tokens a second", ylim=(0, None))
    tell_apart(axes)


def _gaps(axes: "Axes", gaps: dict[str, Any]) -> None:
    """The gaps, and what they were if a Poisson stream had their mean."""
    axes.set_title("Time between requests")
    values, share = np.array(gaps["value"]), np.array(gaps["share"])
    positive = values > 0
    if not positive.any():
        axes.text(0.5, 0.5, "all at one instant", transform=axes.transAxes, ha="center")
        return
    axes.plot(values[positive], share[positive], color=COLOURS[0], label="trace")
    grid = np.geomspace(values[positive].min(), values.max(), 200)
    poisson = 1 - np.exp(-grid / gaps["mean"])
    axes.plot(grid, poisson, color=FAINT, linestyle="--", label="Poisson")
    axes.set(xlabel="seconds", ylabel="share of gaps", ylim=(0, 1))
    number_axis(axes)
    share_axis(axes)
    tell_apart(axes)


def _dispersion(axes: "Axes", dispersion: dict[str, Any]) -> None:
    axes.set_title("Burstiness: variance over mean of counts")
    if not dispersion["window_s"]:
        axes.text(0.5, 0.5, "too short to tell", transform=axes.transAxes, ha="center")
        return
    axes.plot(dispersion["window_s"], dispersion["index"], "o-", color=COLOURS[0], markersize=4)
    axes.axhline(1.0, color=FAINT, linestyle="--")
    axes.set(xlabel="length of the windows (s)", ylabel="index of dispersion")
    number_axis(axes)
    number_axis(axes, "y")


def _lengths(axes: "Axes", pictures: dict[str, Any]) -> None:
    axes.set_title("Lengths")
    for name, colour in (("prompt", COLOURS[1]), ("output", COLOURS[2])):
        part = pictures[name]
        axes.plot(part["value"], part["share"], color=colour, label=name)
    axes.set(xlabel="tokens", ylabel="share of requests", ylim=(0, 1))
    number_axis(axes)
    share_axis(axes)
    tell_apart(axes)


def _joint(axes: "Axes", joint: dict[str, Any]) -> None:
    axes.set_title("Prompt and output together")
    count = np.array(joint["count"], float).T
    shown = np.ma.masked_less(count, 1)
    axes.grid(visible=False)
    axes.pcolormesh(joint["prompt_edges"], joint["output_edges"], np.sqrt(shown), cmap="Blues")
    axes.set(xlabel="prompt tokens", ylabel="output tokens")
    number_axis(axes)
    number_axis(axes, "y")
