"""Charts of calibration: errors of fitted operators, and measured against predicted."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_BAR = 15


def _names(limit: int) -> "alt.Axis":
    """An axis of all names, each at its row; by itself Vega moves the first and the last in."""
    import altair as alt

    return alt.Axis(labelLimit=limit, labelOverlap=False, labelFlush=False)


def errors_chart(errors: "pd.DataFrame") -> "alt.LayerChart":
    """A bar to the median error of each operator, a line on to its 95th percentile."""
    import altair as alt

    order = list(errors["operator"])
    y = alt.Y("operator:N", title=None, sort=order, axis=_names(170))
    scale = alt.Scale(type="symlog", constant=2)
    ticks = alt.Axis(values=[0, 1, 2, 5, 10, 20, 50, 100, 200])
    x = alt.X("median_pct:Q", title="error on held-out rows (%)", scale=scale, axis=ticks)
    # One column: beside the operators' names a phone has no room for more.
    colour = alt.Color(
        "family:N", title=None, sort=None, legend=alt.Legend(orient="top", columns=1)
    )
    tooltip = [
        alt.Tooltip("operator:N"),
        alt.Tooltip("median_pct:Q", title="median (%)", format=".2f"),
        alt.Tooltip("p95_pct:Q", title="p95 (%)", format=".1f"),
        alt.Tooltip("bias_pct:Q", title="bias (%)", format="+.2f"),
        alt.Tooltip("sigma_pct:Q", title="kept by a shape, sigma (%)", format=".2f"),
        alt.Tooltip("held_rows:Q", title="held-out rows", format=","),
    ]
    shown = errors[[t.shorthand.partition(":")[0] for t in tooltip] + ["family"]]
    base = alt.Chart(shown)
    bars = base.mark_bar().encode(x=x, y=y, color=colour, tooltip=tooltip)
    lines = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("median_pct:Q", scale=scale), x2="p95_pct:Q", y=y, color=colour, tooltip=tooltip
    )
    return alt.LayerChart(layer=[bars, lines], height=alt.Step(_BAR))


def overview_chart(overview: "pd.DataFrame") -> "alt.Chart":
    """Median error by GPU and family of operators, a heat map."""
    import altair as alt

    return (
        alt.Chart(overview)
        .mark_rect()
        .encode(
            x=alt.X("gpu:N", title=None, axis=alt.Axis(labelAngle=-30)),
            y=alt.Y("family:N", title=None, sort=None, axis=_names(150)),
            color=alt.Color(
                "median_pct:Q",
                title="median error (%)",
                scale=alt.Scale(scheme="blues", domainMin=0),
                legend=alt.Legend(orient="top", gradientLength=140),
            ),
            tooltip=[
                "gpu:N",
                "family:N",
                alt.Tooltip("median_pct:Q", title="median (%)", format=".2f"),
                alt.Tooltip("p95_pct:Q", title="p95 (%)", format=".1f"),
            ],
        )
        .properties(height=alt.Step(26))
    )


def pairs_frame(report: dict[str, Any]) -> "pd.DataFrame":
    """Answered pairs of a report: what was measured, what was predicted, the error in %."""
    import pandas as pd

    columns = ["quantity", "metric", "source", "gpu", "engine", "model", "load_bin"]
    frame = pd.DataFrame(report["points"])
    if frame.empty:
        return pd.DataFrame(columns=[*columns, "measured", "predicted", "error_pct"])
    frame["quantity"] = (
        frame["metric"]
        .str.rpartition("_")[0]
        .where(frame["metric"].str.contains("_"), frame["metric"])
    )
    return frame[[*columns, "measured", "predicted", "error_pct"]]


def pairs_chart(frame: "pd.DataFrame") -> "alt.LayerChart":
    """Predicted against measured on logarithmic axes; the line is where they agree."""
    import altair as alt
    import pandas as pd

    shown = frame[(frame["predicted"] > 0) & (frame["measured"] > 0)]
    low = float(min(shown["measured"].min(), shown["predicted"].min()))
    high = float(max(shown["measured"].max(), shown["predicted"].max()))
    line = pd.DataFrame({"measured": [low, high], "predicted": [low, high]})
    log = alt.Scale(type="log", domain=[low * 0.9, high * 1.1], nice=False)
    axis = alt.Axis(format="~g", tickCount=6, grid=False, labelOverlap=True)
    x = alt.X("measured:Q", title="measured (SI units)", scale=log, axis=axis)
    y = alt.Y("predicted:Q", title="predicted", scale=log, axis=axis)
    dots = (
        alt.Chart(shown)
        .mark_circle(size=28, opacity=0.55)
        .encode(
            x=x,
            y=y,
            color=alt.Color("quantity:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=[
                *("source:N", "gpu:N", "engine:N", "model:N", "metric:N", "load_bin:N"),
                alt.Tooltip("measured:Q", format=",.4~g"),
                alt.Tooltip("predicted:Q", format=",.4~g"),
                alt.Tooltip("error_pct:Q", title="error (%)", format="+.1f"),
            ],
        )
    )
    same = alt.Chart(line).mark_line(strokeDash=[4, 4], color="#888").encode(x=x, y=y)
    return alt.LayerChart(layer=[same, dots], height=320)


def scores_frame(report: dict[str, Any], by: str) -> "pd.DataFrame":
    """Scores of a report by a grouping (`all`, `source`, `gpu`, ...), answered ones only."""
    import pandas as pd

    rows = [row for row in report["scores"][by] if row["answered"]]
    columns = ["group", "metric", "rows", "answered", "median_abs", "median_low", "median_high"]
    return pd.DataFrame(rows, columns=[*columns, "p95_abs", "median_signed"])


def scores_chart(scores: "pd.DataFrame") -> "alt.LayerChart":
    """Median absolute error of each metric with its 95 % interval."""
    import altair as alt

    y = alt.Y("metric:N", title=None, sort=None, axis=_names(170))
    offset = alt.YOffset("group:N")
    colour = alt.Color("group:N", title=None, legend=alt.Legend(orient="top", columns=1))
    tooltip = [
        *("group:N", "metric:N", "answered:Q"),
        alt.Tooltip("median_abs:Q", title="median (%)", format=".1f"),
        alt.Tooltip("median_low:Q", title="from (%)", format=".1f"),
        alt.Tooltip("median_high:Q", title="to (%)", format=".1f"),
        alt.Tooltip("p95_abs:Q", title="p95 (%)", format=".1f"),
    ]
    base = alt.Chart(scores)
    dots = base.mark_point(filled=True, size=50).encode(
        x=alt.X("median_abs:Q", title="median absolute error and 95 % interval (%)"),
        y=y,
        yOffset=offset,
        color=colour,
        tooltip=tooltip,
    )
    bars = base.mark_rule().encode(
        x="median_low:Q", x2="median_high:Q", y=y, yOffset=offset, color=colour
    )
    return alt.LayerChart(layer=[bars, dots], height=alt.Step(22))


def groups_frame(report: dict[str, Any]) -> "pd.DataFrame":
    """Errors of kernels in % by task, GPU, operator and predictor, with the median's interval."""
    import pandas as pd

    return pd.DataFrame(report["rows"]).rename(
        columns={"median_low_pct": "low_pct", "median_high_pct": "high_pct"}
    )


def kinds_of(frame: "pd.DataFrame") -> list[tuple[str, str]]:
    """What was scored, on which GPU: the shipped profile on new shapes first, noise last."""
    from mltwin.validation.kernel_report import TASKS

    found = dict.fromkeys(zip(frame["task"], frame["gpu"], strict=True))
    first = ("shipped profile, new shapes", *TASKS)
    return sorted(found, key=lambda kind: (first.index(kind[0]), kind[1]))


def groups_chart(frame: "pd.DataFrame") -> "alt.LayerChart":
    """Median error of each operator by predictor, one task and GPU."""
    import altair as alt

    y = alt.Y("operator:N", title=None, sort=None, axis=_names(170))
    colour = alt.Color("predictor:N", title=None, sort=None, legend=alt.Legend(orient="top"))
    scale = alt.Scale(type="symlog", constant=2)
    tooltip = [
        *("operator:N", "predictor:N", "basis:N", "rows:Q", "shapes:Q"),
        alt.Tooltip("median_pct:Q", format=".2f"),
        alt.Tooltip("p95_pct:Q", format=".1f"),
        alt.Tooltip("bias_pct:Q", format="+.2f"),
    ]
    base = alt.Chart(frame)
    dots = base.mark_point(filled=True, size=45).encode(
        x=alt.X("median_pct:Q", title="median error, line to p95 (%)", scale=scale),
        y=y,
        yOffset=alt.YOffset("predictor:N"),
        color=colour,
        tooltip=tooltip,
    )
    lines = base.mark_rule().encode(
        x=alt.X("median_pct:Q", scale=scale),
        x2="p95_pct:Q",
        y=y,
        yOffset=alt.YOffset("predictor:N"),
        color=colour,
    )
    return alt.LayerChart(layer=[lines, dots], height=alt.Step(14))
