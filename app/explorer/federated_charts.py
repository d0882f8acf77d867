"""The charts of the federated page. No Streamlit here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from mltwin.timelines.chart import beside_axis, title

from .federated_view import AXIS_TITLES, LAST_RANK, FederatedView
from .theme import PALETTE

if TYPE_CHECKING:
    import pandas as pd

_NARROW = 9  # letters of a name of which three go beside each other in half a small page
_SHORT = "format(datum.value, '~s')"
_BELOW = alt.Axis(labelExpr=_SHORT, tickCount=5, labelFlush=True)
_GRADIENT = alt.ExprRef("min(160, width - 30)")
_ROWS = {"availability": ("rarely there", "often there"), "samples": ("little data", "much data")}


def curve_chart(view: FederatedView, axis: str) -> alt.TopLevelMixin:
    """Learning curves of all methods along an axis; bands from the least to the greatest seed."""
    frame = view.shown(axis)
    metric = str(view.metric)
    x = alt.X("x:Q", title=None, scale=alt.Scale(nice=False), axis=_BELOW)
    band = (
        alt.Chart(frame)
        .mark_area(opacity=0.18, interpolate="step-after")
        .encode(x=x, y=_good("low:Q", metric), y2="high:Q", color=_colour(view.names))
    )
    line = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2, interpolate="step-after")
        .encode(
            x=x,
            y=_good("mean:Q", metric),
            color=_colour(view.names),
            tooltip=[
                alt.Tooltip("method:N"),
                alt.Tooltip("x:Q", title=AXIS_TITLES[axis], format=".4~s"),
                alt.Tooltip("mean:Q", title=f"{metric}, mean of seeds", format=".3f"),
                alt.Tooltip("low:Q", title="least", format=".3f"),
                alt.Tooltip("high:Q", title="greatest", format=".3f"),
            ],
        )
    )
    layers: list[Any] = [line] if view.seeds == 1 else [band, line]
    if view.target is not None:
        layers.append(_target(view.target))
    return alt.layer(*layers).properties(
        height=290, title=title(f"{metric} by {AXIS_TITLES[axis]}")
    )


def _good(field: str, metric: str) -> alt.Y:
    form = ".0%" if metric == "accuracy" else "~g"
    return alt.Y(field, title=None, scale=alt.Scale(zero=False), axis=beside_axis(form, ticks=5))


def _colour(names: Sequence[str]) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=list(PALETTE[: len(names)]))
    columns = 3 if max(len(name) for name in names) <= _NARROW else 2
    legend = alt.Legend(
        orient="top", direction="horizontal", offset=4, columns=columns, labelLimit=110,
        symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3,
    )  # fmt: skip
    return alt.Color("method:N", title=None, scale=scale, legend=legend)


def _target(target: float) -> alt.Chart:
    import pandas as pd

    return (
        alt.Chart(pd.DataFrame({"target": [target]}))
        .mark_rule(strokeDash=[5, 4], color=PALETTE[6])
        .encode(y="target:Q")
    )


def work_chart(view: FederatedView) -> alt.TopLevelMixin:
    """Updates used by virtual time: what there is to see where nothing is learned."""
    return (
        alt.Chart(view.work)
        .mark_line(strokeWidth=2, interpolate="step-after")
        .encode(
            x=alt.X("time_s:Q", title=None, scale=alt.Scale(nice=False), axis=_BELOW),
            y=alt.Y("used:Q", title=None, axis=alt.Axis(labelExpr=_SHORT, tickCount=5)),
            color=_colour(view.names),
            tooltip=["method:N", alt.Tooltip("time_s:Q", title="s", format=".4~s"),
                     alt.Tooltip("used:Q", title="updates used", format=",.0f")],
        )
        .properties(height=290, title=title("updates used by virtual time (s)"))
    )  # fmt: skip


def staleness_chart(view: FederatedView, name: str) -> alt.TopLevelMixin:
    """How stale the used updates of a method were."""
    rows = view.staleness[view.staleness["method"] == name]
    gap = 0.05 * float((rows["last"] - rows["staleness"] + 1).iloc[0])
    bars = rows.assign(left=rows["staleness"] - 0.5 + gap, right=rows["last"] + 0.5 - gap, base=0)
    axis = alt.Axis(format="d", tickMinStep=1, tickCount=6)
    scale = alt.Scale(domain=[-0.5, max(int(rows["last"].max()), 3) + 0.5], nice=False)
    return (
        alt.Chart(bars)
        .mark_rect(color=PALETTE[view.names.index(name)])
        .encode(
            x=alt.X("left:Q", title=None, scale=scale, axis=axis),
            x2="right:Q",
            y=alt.Y("base:Q", title=None, axis=beside_axis("~%", ticks=4)),
            y2="share:Q",
            tooltip=[
                alt.Tooltip("staleness:Q", title="versions, from"),
                alt.Tooltip("last:Q", title="to"),
                alt.Tooltip("share:Q", title="of the used updates", format=".1%"),
            ],
        )
        .properties(height=190, title=title("staleness (versions)"))
    )


def participation_chart(view: FederatedView, name: str) -> alt.TopLevelMixin:
    """Mean used updates of a client by its ranks of speed and of availability (or of data)."""
    rows = view.participation[view.participation["method"] == name]
    most = max(float(view.participation["used"].max()), 1e-9)
    few, many = _ROWS[view.rows_are[name]]
    return (
        alt.Chart(rows)
        .mark_rect()
        .encode(
            x=_rank(rows["speed"], "fast", "slow", "ascending"),
            y=_rank(rows["row"], few, many, "descending"),
            color=alt.Color(
                "used:Q",
                title=None,
                scale=alt.Scale(scheme="viridis", domain=[0, most]),
                legend=alt.Legend(
                    orient="top", format="~s", gradientLength=_GRADIENT, tickCount=4, offset=2
                ),
            ),
            tooltip=[
                alt.Tooltip("speed:O", title="rank, fast to slow"),
                alt.Tooltip("row:O", title=f"rank, {few} to {many}"),
                alt.Tooltip("used:Q", title="used updates a client", format=".2f"),
            ],
        )
        .properties(height=290, title=title("used updates of a client"))
    )


def _rank(ranks: "pd.Series[int]", first: str, last: str, sort: Any) -> Any:
    """An axis of ranks with words at its ends; clients that are all alike share one rank, and there
    is nothing to say of it."""
    encode = alt.X if ranks.name == "speed" else alt.Y
    if ranks.nunique() == 1:
        return encode(f"{ranks.name}:O", axis=None)
    words = f"datum.value == 0 ? '{first}' : datum.value == {LAST_RANK} ? '{last}' : ''"
    domain = list(range(LAST_RANK + 1))
    axis = alt.Axis(labelExpr=words, labelAngle=0, ticks=False, domain=False, title=None,
                    labelOverlap=False, labelLimit=90)  # fmt: skip
    return encode(f"{ranks.name}:O", sort=sort, scale=alt.Scale(domain=domain), axis=axis)
