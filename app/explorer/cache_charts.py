"""Charts of caches, from the data that `mltwin cache curve --format json` prints."""

from typing import TYPE_CHECKING, Any

from mltwin.timelines.chart import beside_axis, title

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

HEIGHT = 300


def curve_frame(data: dict[str, Any]) -> "pd.DataFrame":
    """policy, capacity, miss_pct, low_pct, high_pct (two standard errors), byte_miss_pct."""
    import pandas as pd

    rows = []
    for curve in data["curves"]:
        errors = curve["error"] or [0.0] * len(curve["capacities"])
        sized = curve["byte_miss_ratio"] or [None] * len(curve["capacities"])
        for capacity, miss, error, byte in zip(
            curve["capacities"], curve["miss_ratio"], errors, sized, strict=True
        ):
            rows.append(
                {
                    "policy": curve["policy"],
                    "capacity": capacity,
                    "miss_pct": 100 * miss,
                    "low_pct": 100 * max(0.0, miss - 2 * error),
                    "high_pct": 100 * min(1.0, miss + 2 * error),
                    "byte_miss_pct": None if byte is None else 100 * byte,
                }
            )
    return pd.DataFrame(rows)


def curve_chart(data: dict[str, Any]) -> "alt.LayerChart | alt.FacetChart":
    """Misses over capacity, a line each; bands of two standard errors where there are some."""
    import altair as alt

    frame = curve_frame(data)
    pick = alt.selection_point(fields=["policy"], bind="legend", name="policy")
    base = alt.Chart(frame).encode(
        x=_capacity(data["unit"]),
        color=alt.Color("policy:N", title=None, legend=alt.Legend(orient="top", columns=4)),
        opacity=alt.condition(pick, alt.value(1.0), alt.value(0.12)),
    )
    lines = base.mark_line(point={"size": 24}, strokeWidth=1.8).encode(
        y=alt.Y("miss_pct:Q", axis=beside_axis(), scale=alt.Scale(zero=True)),
        tooltip=[
            "policy:N",
            alt.Tooltip("capacity:Q", title=f"capacity ({data['unit']})", format=",.4~g"),
            alt.Tooltip("miss_pct:Q", title="misses (%)", format=".3~f"),
        ],
    )
    layers: list[Any] = [lines.add_params(pick)]
    if any(curve["error"] for curve in data["curves"]):
        bands = base.mark_area(opacity=0.15).encode(y="low_pct:Q", y2="high_pct:Q")
        layers.insert(0, bands)
    return alt.layer(*layers).properties(height=HEIGHT, title=title("misses (%)"))


def cost_frame(data: dict[str, Any], *, unit_dollars: float, miss_dollars: float) -> "pd.DataFrame":
    """policy, capacity, capacity_dollars, miss_dollars, dollars: of the whole trace."""
    import pandas as pd

    rows = [
        {
            "policy": curve["policy"],
            "capacity": capacity,
            "capacity_dollars": capacity * unit_dollars,
            "miss_dollars": miss * data["requests"] * miss_dollars,
        }
        for curve in data["curves"]
        for capacity, miss in zip(curve["capacities"], curve["miss_ratio"], strict=True)
    ]
    frame = pd.DataFrame(rows)
    frame["dollars"] = frame["capacity_dollars"] + frame["miss_dollars"]
    return frame


def cost_chart(frame: "pd.DataFrame", unit: str) -> "alt.LayerChart | alt.FacetChart":
    """Capacity and misses together over capacity, the cheapest of each policy marked."""
    import altair as alt

    best = frame.loc[frame.groupby("policy")["dollars"].idxmin()]
    tips = [
        "policy:N",
        alt.Tooltip("capacity:Q", title=f"capacity ({unit})", format=",.4~g"),
        alt.Tooltip("capacity_dollars:Q", title="capacity ($)", format=",.4~g"),
        alt.Tooltip("miss_dollars:Q", title="misses ($)", format=",.4~g"),
        alt.Tooltip("dollars:Q", title="together ($)", format=",.4~g"),
    ]
    colour = alt.Color("policy:N", title=None, legend=alt.Legend(orient="top", columns=4))
    y = alt.Y("dollars:Q", axis=beside_axis(), scale=alt.Scale(zero=True))
    lines = (
        alt.Chart(frame)
        .mark_line(strokeWidth=1.8)
        .encode(x=_capacity(unit), y=y, color=colour, tooltip=tips)
    )
    marks = (
        alt.Chart(best)
        .mark_point(size=90, filled=True)
        .encode(x=_capacity(unit), y=y, color=colour, tooltip=tips)
    )
    return alt.layer(lines, marks).properties(
        height=HEIGHT, title=title("capacity and misses together ($)")
    )


def _capacity(unit: str) -> "alt.X":
    import altair as alt

    return alt.X(
        "capacity:Q",
        title=f"capacity ({unit})",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~s", tickCount=5, grid=False, labelOverlap=True),
    )
