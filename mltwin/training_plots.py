"""Pictures of a run of the system `training`."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.training.tables import CATEGORIES

from .plots import COLOURS, new_figure
from .training_trace import stream_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .training_result import TrainingResult

_MOST_LANES = 24
_MOST_TASKS = 20_000
_COLOUR = {
    "forward": COLOURS[0],
    "backward": COLOURS[2],
    "recompute": COLOURS[4],
    "optimizer": COLOURS[3],
    "loss": "#999933",
    "dp": COLOURS[1],
    "tp": "#56B4E9",
    "pp": "#882255",
    "cp": "#AA4499",
    "ep": "#DDCC77",
    "host": "#666666",
}
_REST = "#BBBBBB"
GIB = 2**30


def plot_training(result: "TrainingResult") -> "Figure":
    """Streams over time; the critical path by category; memory of a GPU."""
    memory = result.facts.get("memory_bytes")
    with new_figure(1, 2, (12.5, 4.6), result.label) as (figure, axes):
        left, right = axes[0]
        left.get_gridspec().set_width_ratios([3, 1])
        _streams(left, result)
        _bars(right, result, memory)
    return figure


def category_colour(name: str) -> str:
    """The colour of a category of task in all pictures."""
    return _COLOUR.get(name, _REST)


def _streams(axes: "Axes", result: "TrainingResult") -> None:
    tasks, streams = result.tables["tasks"], result.tables["streams"]
    order = np.lexsort((streams["stream"], streams["device"]))[:_MOST_LANES]
    lanes = list(zip(streams["device"][order], streams["stream"][order], strict=True))
    drawn: set[str] = set()
    texts = []
    for row, (device, stream) in enumerate(lanes):
        on = (tasks["device"] == device) & (tasks["stream"] == stream)
        texts.append(f"{device} {stream_name(stream, tasks['category'][on])}")
        mine = np.flatnonzero(on & (tasks["end"] > tasks["start"]))
        if len(mine) > _MOST_TASKS:  # the longest ones; the others are thinner than a line
            took = tasks["end"][mine] - tasks["start"][mine]
            mine = np.sort(mine[np.argsort(-took, kind="stable")[:_MOST_TASKS]])
        for code in np.unique(tasks["category"][mine]).tolist():
            part = mine[tasks["category"][mine] == code]
            start = tasks["start"][part] / 1e9
            width = tasks["end"][part] / 1e9 - start
            name = CATEGORIES[code]
            look: dict[str, Any] = {} if name in drawn else {"label": name}
            drawn.add(name)
            axes.broken_barh(
                list(zip(start, width, strict=True)),
                (row - 0.4, 0.8),
                color=category_colour(name),
                linewidth=0,
                **look,
            )
    axes.set_yticks(range(len(lanes)), texts)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    more = len(streams["device"]) - len(lanes)
    axes.set_ylabel("device and stream")
    axes.set_title("What each stream does" + (f" ({more} more not drawn)" if more else ""))
    axes.set_xlabel("ms")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=8)


def _bars(axes: "Axes", result: "TrainingResult", memory: dict[str, float] | None) -> None:
    """The critical path and, beside it, memory: each as one column of parts."""
    parts = [
        (name.removeprefix("critical_").removesuffix("_ms"), value)
        for name, value in result.metrics.items()
        if name.startswith("critical_")
    ]
    total = max(sum(value for _, value in parts), 1e-12)
    at = 0.0
    for name, value in sorted(parts, key=lambda part: -part[1]):
        axes.bar(0, value / total, bottom=at, width=0.7, color=category_colour(name))
        if value > 0.05 * total:
            axes.text(0, at + value / total / 2, name, ha="center", va="center", fontsize=8)
        at += value / total
    texts = [f"critical path\n{total:,.4g} ms"]
    if memory:
        whole = result.facts["usable_bytes"]
        at = 0.0
        for k, (name, size) in enumerate(sorted(memory.items(), key=lambda part: -part[1])):
            axes.bar(1, size / whole, bottom=at, width=0.7, color=COLOURS[k % len(COLOURS)],
                     alpha=0.6)  # fmt: skip
            if size > 0.04 * whole:
                axes.text(1, at + size / whole / 2, f"{name} {size / GIB:.1f}", ha="center",
                          va="center", fontsize=8)  # fmt: skip
            at += size / whole
        axes.axhline(1, color="#444444", linewidth=1, linestyle="--")
        texts.append(f"memory, GiB\n{whole / GIB:.0f} usable")
    axes.set_xticks(range(len(texts)), texts)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_title("What it is made of")
