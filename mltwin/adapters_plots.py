"""Pictures of the adapter system, one for each mode."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.adapters import TICKS_PER_S

from .plots import COLOURS, FAINT, draw_cdf, new_figure, number_axis, share_axis, tell_apart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .adapters_result import AdapterResult

_FOUND = ("adapter in memory", "adapter on its way", "adapter paged in")
_MOST_BARS = 60


def plot_adapters(result: "AdapterResult") -> "Figure":
    """The picture of a run's mode."""
    draw = {
        "serving": _serving,
        "routing": _routing,
        "agents": _agents,
        "memory": _memory,
    }[result.mode]
    return draw(result)


def _serving(result: "AdapterResult") -> "Figure":
    requests, adapters = result.tables["requests"], result.tables["adapters"]
    with new_figure(1, 2, (8.4, 3.3), result.label) as (figure, axes):
        left, right = axes[0]
        first = requests["start"] - requests["arrival"] + requests["prefill"]
        ttft = first / (TICKS_PER_S / 1000)
        for kind, name in enumerate(_FOUND):
            mine = ttft[requests["found"] == kind]
            if len(mine):
                draw_cdf(left, mine, colour=COLOURS[kind], label=f"{name} ({len(mine):,})")
        number_axis(left)
        share_axis(left)
        left.set_xlabel("TTFT, ms")
        left.set_title("Requests by how they found their adapter")
        tell_apart(left)
        order = np.argsort(-adapters["requests"], kind="stable")[:_MOST_BARS]
        rank = np.arange(1, len(order) + 1)
        right.bar(rank, adapters["requests"][order], color=COLOURS[1], width=0.9)
        right.bar(rank, adapters["hits"][order], color=COLOURS[0], width=0.9)
        right.set_xlabel(f"adapters by popularity (first {len(order)})")
        right.set_title("Requests of each adapter")
        right.annotate("found in memory", (0.97, 0.9), color=COLOURS[0], **_corner)
        right.annotate("not", (0.97, 0.8), color=COLOURS[1], **_corner)
    return figure


_corner: Any = {"xycoords": "axes fraction", "ha": "right", "fontsize": 8}


def _routing(result: "AdapterResult") -> "Figure":
    curve, requests = result.tables["regret"], result.tables["requests"]
    with new_figure(1, 2, (8.4, 3.3), result.label) as (figure, axes):
        left, right = axes[0]
        at, regret = curve["request"], curve["regret"]
        shown = regret > 0
        left.plot(at[shown], regret[shown], color=COLOURS[0])
        if shown.any():
            number_axis(left)
            number_axis(left, "y")
            root = regret[-1] * np.sqrt(at / at[-1])
            left.plot(at, root, color=FAINT, linewidth=1, linestyle="--", label="root of t")
            left.legend(loc="lower right")
        left.set_xlabel("requests")
        left.set_title("Regret against the best residents")
        used = np.bincount(requests["adapter"], minlength=len(result.facts["cost"])) / len(
            requests["adapter"]
        )
        held = np.isin(np.arange(len(used)), result.facts["resident"])
        right.bar(np.arange(len(used)), used, color=[COLOURS[0] if h else COLOURS[1] for h in held])
        share_axis(right)
        right.set_xlabel("adapter")
        right.set_title("Requests routed to each adapter")
        right.annotate("in memory at the end", (0.97, 0.9), color=COLOURS[0], **_corner)
        right.annotate("not", (0.97, 0.8), color=COLOURS[1], **_corner)
    return figure


def _agents(result: "AdapterResult") -> "Figure":
    schemes, names = result.tables["schemes"], result.facts["schemes_names"]
    chosen = result.facts["scheme"]
    colours = [COLOURS[0] if name == chosen else COLOURS[5] for name in names]
    panels = {
        "kb_per_token": "KV of a token for all agents, kB",
        "capacity_tokens": "context tokens that fit",
        "prefilled_tokens": "tokens that pass the model",
    }
    with new_figure(1, 3, (9.6, 2.6), result.label) as (figure, axes):
        for number, (panel, (column, title)) in enumerate(
            zip(axes[0], panels.items(), strict=True)
        ):
            panel.barh(range(len(names)), schemes[column], color=colours)
            labels = (
                [name.replace("_", " ") for name in names] if number == 0 else [""] * len(names)
            )
            panel.set_yticks(range(len(names)), labels)
            panel.invert_yaxis()
            panel.grid(axis="y", visible=False)
            panel.set_title(title, fontsize=9)
            panel.xaxis.set_major_locator(_few())
            panel.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
    return figure


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _memory(result: "AdapterResult") -> "Figure":
    shares, names = result.tables["shares"], result.facts["classes_names"]
    classes = result.tables["classes"]
    with new_figure(1, 2, (8.4, 3.1), result.label) as (figure, axes):
        left, right = axes[0]
        held = [shares[f"{name}_gb"] for name in names]
        left.stackplot(shares["request"], held, colors=COLOURS[: len(names)], alpha=0.85)
        left.set_xlabel("requests")
        left.xaxis.set_major_locator(_few())
        left.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
        left.set_title("Bytes held, GB")
        places = np.arange(len(names))
        right.bar(places, classes["hit_ratio"], color=COLOURS[: len(names)])
        right.set_xticks(places, names)
        right.set_ylim(0, 1)
        right.grid(axis="x", visible=False)
        share_axis(right)
        right.set_title("Hits of each kind")
    return figure
