"""The charts of the sweep page. No Streamlit here."""

from typing import TYPE_CHECKING, Any

import altair as alt

from mltwin.metrics import unit
from mltwin.sweeps.plots import form, is_numeric
from mltwin.sweeps.sweep import Sweep

from .theme import PALETTE

if TYPE_CHECKING:
    import pandas as pd

_LEGEND = alt.Legend(
    orient="top", direction="horizontal", columns=3, labelLimit=260, symbolOpacity=1
)
_WIDE = 20


def sweep_chart(sweep: Sweep, metric: str) -> tuple[alt.TopLevelMixin, "pd.DataFrame"]:
    """A chart of a metric over the varied fields, and the means it shows.

    Curves with 95 % bands over one field, a heat map over two, else the points over each field.
    """
    means = sweep.means([metric])
    kind, fields = form(means, list(sweep.field_names().values()))
    draw = {"curves": _curves, "heat": _heat, "scatter": _scatter}[kind]
    return draw(means, fields, metric), means


def _curves(means: "pd.DataFrame", fields: list[str], metric: str) -> alt.TopLevelMixin:
    data = _plain(means, fields, metric)
    numeric = is_numeric(means[fields[0]])
    x = _axis("x", fields[0], data["x"], numeric)
    y = alt.Y("mean:Q", title=_title(metric), scale=alt.Scale(zero=False))
    encoded: dict[str, Any] = {"x": x, "tooltip": _tips(fields, metric)}
    if len(fields) > 1:
        encoded["color"] = alt.Color("series:N", title=fields[1], legend=_LEGEND, sort=None)
    else:
        encoded["color"] = alt.value(PALETTE[0])
    base = alt.Chart(data).encode(**encoded)
    dots = base.mark_circle(size=55, opacity=1).encode(y=y)
    spread = {"y": alt.Y("low:Q", title=_title(metric)), "y2": "high:Q"}
    if not numeric:
        return alt.layer(base.mark_rule(strokeWidth=2).encode(**spread), dots).properties(
            height=320
        )
    band = base.mark_area(opacity=0.18).encode(**spread)
    return alt.layer(band, base.mark_line().encode(y=y), dots).properties(height=320)


def _heat(means: "pd.DataFrame", fields: list[str], metric: str) -> alt.TopLevelMixin:
    data = _plain(means, fields, metric)
    kind: Any = "log" if _is_wide(data["mean"]) else "linear"
    colours = alt.Scale(type=kind, scheme="cividis")
    return (
        alt.Chart(data)
        .mark_rect()
        .encode(
            x=alt.X("x:O", title=fields[0], axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("y:O", title=fields[1], sort="descending"),
            color=alt.Color("mean:Q", title=_title(metric), scale=colours),
            tooltip=_tips(fields, metric),
        )
        .properties(height=340)
    )


def _scatter(means: "pd.DataFrame", fields: list[str], metric: str) -> alt.TopLevelMixin:
    parts = []
    for field in fields:
        data = _plain(means, [field], metric)
        numeric = is_numeric(means[field])
        base = alt.Chart(data).encode(
            x=_axis("x", field, data["x"], numeric),
            color=alt.value(PALETTE[0]),
            tooltip=_tips([field], metric),
        )
        y = alt.Y("mean:Q", title=_title(metric), scale=alt.Scale(zero=False))
        rule = base.mark_rule(opacity=0.5).encode(
            y=alt.Y("low:Q", title=_title(metric)), y2="high:Q"
        )
        parts.append(alt.layer(rule, base.mark_circle(size=45).encode(y=y)).properties(height=220))
    return alt.vconcat(*parts)


def _plain(means: "pd.DataFrame", fields: list[str], metric: str) -> "pd.DataFrame":
    """Columns with plain names (Vega reads dots as steps): x, y, series, mean, low, high."""
    import pandas as pd

    data = pd.DataFrame({"x": means[fields[0]], "mean": means[metric]})
    half = means[f"{metric} ±"].fillna(0.0)
    data["low"], data["high"] = means[metric] - half, means[metric] + half
    if len(fields) > 1:
        data["y"], data["series"] = means[fields[1]], means[fields[1]].astype(str)
    return data.dropna(subset=["mean"])


def _axis(which: str, field: str, values: "pd.Series[Any]", numeric: bool) -> alt.X:
    if not numeric:
        return alt.X(f"{which}:N", title=field, sort=None, axis=alt.Axis(labelAngle=0))
    wide = _is_wide(values.astype(float))
    scale = alt.Scale(type="log") if wide else alt.Scale(zero=False, nice=False, padding=12)
    return alt.X(f"{which}:Q", title=field, scale=scale)


def _is_wide(numbers: "pd.Series[Any]") -> bool:
    """Whether positive numbers differ by more than a factor of 20."""
    return bool(len(numbers) and numbers.min() > 0 and numbers.max() / numbers.min() > _WIDE)


def _tips(fields: list[str], metric: str) -> list[alt.Tooltip]:
    names = [alt.Tooltip("x", title=fields[0])]
    if len(fields) > 1:
        names.append(alt.Tooltip("series", title=fields[1]))
    return [
        *names,
        alt.Tooltip("mean:Q", title=metric, format=",.4~g"),
        alt.Tooltip("low:Q", title="95 % from", format=",.4~g"),
        alt.Tooltip("high:Q", title="to", format=",.4~g"),
    ]


def _title(metric: str) -> str:
    return f"{metric} ({unit(metric)})" if unit(metric) else metric
