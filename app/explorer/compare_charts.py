"""The charts of the compare page. No Streamlit here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from mltwin.timelines.chart import inside_axis

from .compare_view import ComparedView, Quantity
from .theme import PALETTE

if TYPE_CHECKING:
    import pandas as pd

_LEGEND = alt.Legend(orient="top", direction="horizontal", offset=4, columns=2, labelLimit=280)
_WORDS = {"better": PALETTE[2], "worse": PALETTE[1], "not told apart": PALETTE[6]}


def linked_charts(view: ComparedView) -> alt.TopLevelMixin:
    """Distributions of each quantity; what is brushed in one is drawn thick in the others."""
    brushes = [
        alt.selection_interval(encodings=["x"], name=f"brush_{quantity.column}")
        for quantity in view.quantities
    ]
    parts = [
        _distribution(view, quantity, brush, [b for b in brushes if b is not brush])
        for quantity, brush in zip(view.quantities, brushes, strict=True)
    ]
    return alt.vconcat(*parts, spacing=14).resolve_scale(color="shared")


def _distribution(
    view: ComparedView,
    quantity: Quantity,
    brush: alt.Parameter,
    others: Sequence[alt.Parameter],
) -> Any:
    curves = view.curves[view.curves["quantity"] == quantity.title]
    wide = _is_wide(curves["value"])
    x = _x("value:Q", quantity, wide)
    exact = (
        alt.Chart(curves)
        .mark_line(strokeWidth=1.8, clip=True)
        .encode(x=x, y=_y(), color=_colour(view), order="share:Q", tooltip=_tips(quantity))
    )
    # Dots that nobody sees: the brush chooses among them, by the quantity's own column.
    dots = (
        alt.Chart(view.dots)
        .mark_point(opacity=0)
        .encode(x=_x(f"{quantity.column}:Q", quantity, wide))
        .add_params(brush)
    )
    layers: list[Any] = [dots, exact]
    if others:
        layers.append(_brushed(view, quantity, others, wide))
    if quantity.limit is not None:
        layers.append(_limit(quantity, wide))
    return alt.layer(*layers).properties(
        height=190, title=alt.TitleParams(quantity.title, anchor="start", fontSize=13, offset=6)
    )


def _brushed(
    view: ComparedView, quantity: Quantity, others: Sequence[alt.Parameter], wide: bool
) -> alt.Chart:
    """Distributions of the dots within the other charts' brushes; nothing while there is none."""
    within = [{"param": brush.name, "empty": True} for brush in others]
    any_set = {"or": [{"param": brush.name, "empty": False} for brush in others]}
    return (
        alt.Chart(view.dots)
        .mark_line(strokeWidth=4.5, opacity=0.5, interpolate="step-after", clip=True)
        .transform_filter({"and": [*within, any_set]})
        .transform_filter(f"isValid(datum.{quantity.column})")
        .transform_window(
            share="cume_dist()",
            sort=[alt.SortField(quantity.column)],
            groupby=["scenario"],
        )
        .encode(
            x=_x(f"{quantity.column}:Q", quantity, wide),
            y=_y(),
            color=_colour(view),
            order="share:Q",
        )
    )


def time_chart(view: ComparedView, title: str) -> alt.Chart | None:
    """The 99th percentile of a quantity over windows of simulated time; None without times."""
    rows = view.windows[view.windows["quantity"] == title]
    if rows.empty:
        return None
    unit = next(q.unit for q in view.quantities if q.title == title)
    return (
        alt.Chart(rows)
        .mark_line(strokeWidth=2, interpolate="monotone")
        .encode(
            x=alt.X("at_s:Q", title="simulated time (s)", scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=None),
            color=_colour(view),
            tooltip=[
                "scenario:N",
                alt.Tooltip("at_s:Q", title="time (s)", format=".1f"),
                alt.Tooltip("value:Q", title=f"p99 ({unit})" if unit else "p99", format=",.4~g"),
            ],
        )
        .properties(
            height=310,
            title=alt.TitleParams(
                f"p99 of {title}{f' ({unit})' if unit else ''} over time",
                anchor="start",
                fontSize=13,
            ),
        )
    )


def forest_rows(view: ComparedView) -> "pd.DataFrame":
    """The relative differences in per cent, one row each, with what became of them."""
    frame = view.differences.frame()
    rows = frame[frame["relative"].astype(bool) & frame["change"].notna()].copy()
    for column in ("change", "low", "high", "together_low", "together_high"):
        rows[column] = 100 * rows[column].astype(float)
    first = rows["verdict"].str.split(" ").str[0].str.rstrip(",")
    rows["found"] = first.where(first.isin(["better", "worse"]), "not told apart")
    several = rows["scenario"].nunique() > 1
    rows["row"] = rows["metric"] + (" · " + rows["scenario"] if several else "")
    return rows


def forest_chart(view: ComparedView) -> alt.TopLevelMixin | None:
    """Each difference as a dot with its intervals: thick alone, thin all together."""
    rows = forest_rows(view)
    if rows.empty:
        return None
    colour = alt.Color(
        "found:N",
        title=None,
        scale=alt.Scale(domain=list(_WORDS), range=list(_WORDS.values())),
        legend=alt.Legend(orient="top", direction="horizontal", columns=2),
    )
    place = alt.Y("row:N", title=None, sort=None, axis=alt.Axis(labelLimit=180, labelFlush=False))
    tips: list[Any] = ["metric:N", "scenario:N", "verdict:N"]
    tips += [alt.Tooltip(f"{c}:Q", format="+.2f") for c in ("change", "low", "high")]
    base = alt.Chart(rows).encode(y=place, color=colour, tooltip=tips)
    per_cent = alt.X("change:Q", title=f"difference to {view.names[0]} (%)")
    return alt.layer(
        base.mark_rule(strokeWidth=1).encode(x="together_low:Q", x2="together_high:Q"),
        base.mark_rule(strokeWidth=4).encode(x="low:Q", x2="high:Q"),
        base.mark_circle(size=70, opacity=1).encode(x=per_cent),
        alt.Chart(rows.head(1)).mark_rule(strokeDash=[2, 2]).encode(x=alt.datum(0)),
    ).properties(height=110 + 26 * len(rows))


def _x(field: str, quantity: Quantity, wide: bool) -> alt.X:
    scale = alt.Scale(type="log", nice=False) if wide else alt.Scale(nice=False, zero=False)
    axis = alt.Axis(format="~s", tickCount=6, labelFlush=True)
    return alt.X(field, title=quantity.unit or None, scale=scale, axis=axis)


def _y() -> alt.Y:
    axis = inside_axis("%", ticks=4)
    return alt.Y("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=axis)


def _colour(view: ComparedView) -> alt.Color:
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(view.names))]
    scale = alt.Scale(domain=view.names, range=colours)
    return alt.Color("scenario:N", title=None, scale=scale, legend=_LEGEND)


def _tips(quantity: Quantity) -> list[Any]:
    return [
        "scenario:N",
        alt.Tooltip("share:Q", title="share", format=".1%"),
        alt.Tooltip("value:Q", title=quantity.axis, format=",.4~g"),
    ]


def _limit(quantity: Quantity, wide: bool) -> alt.Chart:
    import pandas as pd

    frame = pd.DataFrame({"value": [quantity.limit]})
    return (
        alt.Chart(frame)
        .mark_rule(strokeDash=[3, 3], color=PALETTE[6])
        .encode(
            x=_x("value:Q", quantity, wide),
            tooltip=[alt.Tooltip("value:Q", title="limit", format=",.4~g")],
        )
    )


def _is_wide(values: "pd.Series") -> bool:
    """Whether a logarithmic axis tells more: positive values that differ by a factor of 20."""
    return bool(values.min() > 0 and values.max() / values.min() > 20)
