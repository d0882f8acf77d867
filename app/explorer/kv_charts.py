"""Charts of the KV page, from the tables of a run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.timelines.chart import beside_axis, title

if TYPE_CHECKING:
    from mltwin import Result

SOURCES = {
    "hits_near": "first tier",
    "hits_second": "second tier",
    "hits_third": "third tier",
    "hits_peer": "other nodes",
    "hits_pool": "pool",
}
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00")
WINDOWS = 60
POINTS = 200


def found_chart(result: "Result") -> Any:
    """Share of the blocks asked for that were found, by where, over time; data and caption."""
    import altair as alt
    import pandas as pd

    rows = result.tables["requests"]
    minutes = rows["arrival"] / 6e10
    edges = np.linspace(0, max(float(minutes.max(initial=0)), 1e-9), WINDOWS + 1)
    asked = np.maximum(np.histogram(minutes, edges, weights=rows["blocks"])[0], 1)
    here = [name for name in SOURCES if rows[name].any()] or ["hits_near"]
    frame = pd.DataFrame({"minute": (edges[1:] + edges[:-1]) / 2})
    for name in here:
        frame[SOURCES[name]] = np.histogram(minutes, edges, weights=rows[name])[0] / asked
    long = frame.melt("minute", var_name="found in", value_name="share")
    chart = (
        alt.Chart(long)
        .mark_area()
        .encode(
            x=alt.X("minute:Q", title=None),
            y=alt.Y("share:Q", axis=beside_axis("%")),
            color=alt.Color(
                "found in:N",
                title=None,
                sort=list(SOURCES.values()),
                scale=alt.Scale(domain=list(SOURCES.values()), range=list(COLOURS)),
                legend=alt.Legend(orient="top", values=[SOURCES[name] for name in here]),
            ),
            tooltip=[
                alt.Tooltip("minute:Q", format=".1f"),
                "found in",
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .properties(height=220, title=title("share of the blocks found, by simulated minute"))
    )
    return chart, frame, ""


def ttft_chart(result: "Result") -> Any:
    """How many requests have their first token within a time; data and caption."""
    import altair as alt
    import pandas as pd

    rows = result.tables["requests"]
    seconds = np.sort((rows["end"] - rows["arrival"]) / 1e9)
    share = np.linspace(0, 1, min(POINTS, len(seconds)))
    frame = pd.DataFrame({"seconds": np.quantile(seconds, share), "share": share})
    wide = seconds[0] > 0 and seconds[-1] / seconds[0] > 20
    chart = (
        alt.Chart(frame)
        .mark_line(color=COLOURS[0])
        .encode(
            x=alt.X("seconds:Q", title=None, scale=alt.Scale(type="log" if wide else "linear")),
            y=alt.Y("share:Q", axis=beside_axis("%")),
            tooltip=[
                alt.Tooltip("seconds:Q", format=",.3~g"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .properties(height=220, title=title("requests with a TTFT of at most so many seconds"))
    )
    return chart, frame, ""


def node_chart(result: "Result") -> Any:
    """Tokens that each node computed; data and caption."""
    import altair as alt

    frame = result.frame("nodes")
    chart = (
        alt.Chart(frame)
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X("node:O", title=None, axis=alt.Axis(labelOverlap=True, labelAngle=0)),
            y=alt.Y("prefilled_tokens:Q", axis=beside_axis("~s")),
            tooltip=["node", "requests", alt.Tooltip("prefilled_tokens:Q", format=",")],
        )
        .properties(height=180, title=title("tokens computed by each node"))
    )
    return chart, frame, ""
