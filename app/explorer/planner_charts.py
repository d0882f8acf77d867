"""The charts of the planner, from the JSON that `mltwin search plan` writes. No Streamlit here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt

from mltwin import InputError
from mltwin.text import Table, show

from .theme import PALETTE

if TYPE_CHECKING:
    import pandas as pd

SET_UPS = ("colocated", "disaggregated")
_COLOURS = alt.Scale(domain=list(SET_UPS), range=[PALETTE[0], PALETTE[1]])
_LEGEND = alt.Legend(orient="top", direction="horizontal", offset=4)
_MOST_VALUES = 9
_BEYOND = 1.6  # times the higher goodput: rates beyond it tell nothing
_NEAR = 2.5  # times the answer's cost: pairs beyond are far from it


@dataclass(frozen=True)
class PlanView:
    """What was planned, in small.

    best: the cheaper set-up. answer: in words. figures: set-up to column to figure.
    pairs: prefill, decode, share, kept, best, GPUs, p99_ttft_ms, p99_tpot_ms: of each pair tried.
    sizes: set_up, GPUs, share, cluster: every cluster tried.
    curves: set_up, rate, per_gpu, share: how each answer carries a rising rate.
    """

    best: str
    answer: list[str]
    notes: list[str]
    figures: dict[str, dict[str, Any]]
    counts: dict[str, dict[str, int]]
    pairs: "pd.DataFrame"
    sizes: "pd.DataFrame"
    curves: "pd.DataFrame"
    scenario: dict[str, Any]

    def table(self) -> Table:
        """The set-ups side by side: one row a figure."""
        names = list(self.figures)
        rows: list[list[Any]] = [
            [label, *(show(self.figures[name][label]) for name in names)]
            for label in self.figures[names[0]]
            if any(self.figures[name][label] is not None for name in names)
        ]
        return Table(["", *names], rows)


@lru_cache(maxsize=8)
def view_of(folder: Path) -> PlanView:
    """The plan that `mltwin search plan --out` wrote into a folder.

    Raises InputError where there is none.
    """
    try:
        data = json.loads((folder / "found.json").read_text("utf-8"))
        return made_view(data)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("there is no plan", where="planner", mend="run it again") from None


def made_view(data: Mapping[str, Any]) -> PlanView:
    """The view of a plan's data (`Plan.data()`)."""
    import pandas as pd

    pairs = [
        {
            "prefill": t["values"][0],
            "decode": t["values"][1],
            "share": t["slo_attainment"],
            "kept": t["kept"],
            "best": t["values"] == _best(data["set_ups"]["disaggregated"]),
            "GPUs": t["cost"],
            "p99_ttft_ms": t.get("p99_ttft_ms"),
            "p99_tpot_ms": t.get("p99_tpot_ms"),
        }
        for t in data["set_ups"]["disaggregated"]["tried"]
    ]
    sizes = [
        {
            "set_up": name,
            "GPUs": t["cost"],
            "share": t["slo_attainment"],
            "cluster": " + ".join(
                f"{count} {field.split('.')[1]}"
                for field, count in zip(found["fields"], t["values"], strict=True)
            ),
        }
        for name, found in data["set_ups"].items()
        for t in found["tried"]
    ]
    curves = [
        {
            "set_up": name,
            "rate": point["rate"],
            "per_gpu": point["rate"] / found["gpus"],
            "share": point["value"],
        }
        for name, found in data["frontiers"].items()
        for point in found["points"]
    ]
    return PlanView(
        best=data["best"] or "",
        answer=list(data["answer"]),
        notes=list(data["notes"]),
        figures=data["figures"],
        counts={name: found["best"] or {} for name, found in data["set_ups"].items()},
        pairs=pd.DataFrame(pairs),
        sizes=pd.DataFrame(sizes),
        curves=pd.DataFrame(curves, columns=["set_up", "rate", "per_gpu", "share"]),
        scenario=dict(data["scenario"]),
    )


def near_pairs(view: PlanView) -> "pd.DataFrame":
    """The pairs worth a place on the map: about the answer, and not too many of each pool."""
    pairs = view.pairs
    if not pairs["best"].any():
        return pairs.tail(_MOST_VALUES**2)
    answer = pairs[pairs["best"]].iloc[0]
    near = pairs[pairs["GPUs"] <= _NEAR * answer["GPUs"]]
    for pool in ("prefill", "decode"):
        values = sorted(near[pool].unique(), key=lambda v: abs(v - answer[pool]))[:_MOST_VALUES]
        near = near[near[pool].isin(values)]
    return near


def map_chart(view: PlanView) -> alt.TopLevelMixin:
    """Prefill against decode replicas: the share within the limits; the answer is framed, and a
    thick line parts the pairs that do from those that do not."""
    near = near_pairs(view)
    x = alt.X("decode:O", title="decode replicas", axis=alt.Axis(labelAngle=0))
    y = alt.Y("prefill:O", title="prefill replicas", sort="descending")
    base = alt.Chart(near).encode(x=x, y=y)
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color(
            "share:Q",
            title="within limits",
            scale=alt.Scale(scheme="blues", domain=[0, 1]),
            legend=alt.Legend(format="%", orient="top", direction="horizontal", gradientLength=160),
        ),
        tooltip=[
            alt.Tooltip("prefill:O", title="prefill replicas"),
            alt.Tooltip("decode:O", title="decode replicas"),
            alt.Tooltip("GPUs:Q", title="GPUs"),
            alt.Tooltip("share:Q", title="within limits", format=".1%"),
            alt.Tooltip("p99_ttft_ms:Q", title="p99 TTFT (ms)", format=",.0f"),
            alt.Tooltip("p99_tpot_ms:Q", title="p99 TPOT (ms)", format=",.1f"),
        ],
    )
    text = (
        base.transform_calculate(label="format(datum.share, '.0%') + (datum.kept ? ' ✓' : '')")
        .mark_text(fontSize=11)
        .encode(
            text="label:N",
            color=alt.condition("datum.share > 0.55", alt.value("white"), alt.value("#1B2733")),
        )
    )
    frame = base.transform_filter("datum.best").mark_rect(
        filled=False, stroke=PALETTE[1], strokeWidth=3, cornerRadius=3
    )
    rows = near["prefill"].nunique()
    return alt.layer(cells, text, frame).properties(height=max(240, 52 * rows + 110))


def size_chart(view: PlanView, share: float) -> alt.TopLevelMixin:
    """Share within the limits over GPUs, both set-ups."""
    dots = (
        alt.Chart(view.sizes)
        .mark_circle(size=70, opacity=0.85)
        .encode(
            x=alt.X("GPUs:Q", scale=alt.Scale(type="log", nice=False, padding=12)),
            y=alt.Y("share:Q", title="within limits", axis=alt.Axis(format="%")),
            color=alt.Color("set_up:N", title=None, scale=_COLOURS, legend=_LEGEND),
            tooltip=[
                alt.Tooltip("set_up:N", title="set-up"),
                alt.Tooltip("cluster:N"),
                alt.Tooltip("GPUs:Q"),
                alt.Tooltip("share:Q", title="within limits", format=".1%"),
            ],
        )
    )
    return alt.layer(dots, _limit(share)).properties(height=260)


def curve_chart(view: PlanView, share: float) -> alt.TopLevelMixin:
    """How the answers carry a rising rate, for each GPU (DistServe, OSDI 2024, draws it so)."""
    rates = alt.X("per_gpu:Q", title="requests/s for each GPU", scale=alt.Scale(zero=True))
    top = max(view.figures[name].get("per GPU") or 0.0 for name in view.figures)
    shown = view.curves[view.curves["per_gpu"] <= _BEYOND * top]
    lines = (
        alt.Chart(shown)
        .mark_line(point=alt.OverlayMarkDef(size=28), strokeWidth=2)
        .encode(
            x=rates,
            y=alt.Y("share:Q", title="within limits", axis=alt.Axis(format="%")),
            color=alt.Color("set_up:N", title=None, scale=_COLOURS, legend=_LEGEND),
            tooltip=[
                alt.Tooltip("set_up:N", title="set-up"),
                alt.Tooltip("rate:Q", title="requests/s", format=".2f"),
                alt.Tooltip("per_gpu:Q", title="for each GPU", format=".3f"),
                alt.Tooltip("share:Q", title="within limits", format=".1%"),
            ],
        )
    )
    return alt.layer(lines, _limit(share)).properties(height=260)


def _limit(share: float) -> alt.Chart:
    """A dashed line at the share that has to be kept."""
    import pandas as pd

    return (
        alt.Chart(pd.DataFrame({"share": [share]}))
        .mark_rule(strokeDash=[5, 4], color=PALETTE[6])
        .encode(y="share:Q")
    )


def _best(found: Mapping[str, Any]) -> list[Any]:
    """The values of the answer; [] without one."""
    return list((found["best"] or {}).values())
