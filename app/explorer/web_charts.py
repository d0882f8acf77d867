"""Charts of the web page, from the tables of a run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.timelines.chart import beside_axis, title

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from mltwin import Result

# Names of the sources of a run, and how they are called and coloured here.
KINDS = {
    "friends": {
        "own browser": (("local", "joined"), "#56B4E9"),
        "friend": (("friend",), "#0072B2"),
        "origin, after a cut": (("cut",), "#E69F00"),
        "origin": (("origin",), "#D55E00"),
    },
    "cdn": {
        "edge": (("edge",), "#56B4E9"),
        "on its way": (("edge_joined", "parent_joined"), "#E69F00"),
        "parent": (("parent",), "#0072B2"),
        "origin": (("origin",), "#D55E00"),
    },
}
TABLES = {"friends": "views", "cdn": "requests"}
WINDOWS, POINTS = 60, 200


def _rows(result: "Result") -> Any:
    """Times, latencies in ms and the name of who served, for each view or request."""
    from mltwin.web_result import WebResult

    assert isinstance(result, WebResult)
    kinds = KINDS[result.facts["kind"]]
    rows = result.tables[TABLES[result.facts["kind"]]]
    served = np.full(len(result.sources), "", object)
    for name, (sources, _) in kinds.items():
        for source in sources:
            served[result.sources.index(source)] = name
    return rows["time"] / 1e9, rows["latency"] / 1e6, served[rows["source"]]


def _colour(result: "Result") -> "alt.Color":
    import altair as alt

    kinds = KINDS[result.facts["kind"]]
    return alt.Color(
        "served by:N",
        title=None,
        sort=list(kinds),
        scale=alt.Scale(domain=list(kinds), range=[colour for _, colour in kinds.values()]),
        legend=alt.Legend(orient="top", columns=2),
    )


def served_chart(result: "Result") -> "tuple[alt.Chart, pd.DataFrame, str]":
    """Who served, by simulated time; data and caption."""
    import altair as alt
    import pandas as pd

    time_s, _, served = _rows(result)
    unit, length = ("hours", 3600) if time_s.max() > 7200 else ("minutes", 60)
    time = time_s / length
    edges = np.linspace(0, max(float(time.max()), 1e-9), WINDOWS + 1)
    parts = [
        pd.DataFrame(
            {
                unit: (edges[1:] + edges[:-1]) / 2,
                "served by": name,
                "views": np.histogram(time[served == name], edges)[0],
            }
        )
        for name in KINDS[result.facts["kind"]]
    ]
    frame = pd.concat(parts, ignore_index=True)
    chart = (
        alt.Chart(frame)
        .mark_area()
        .encode(
            x=alt.X(f"{unit}:Q", title=None, scale=alt.Scale(nice=False)),
            y=alt.Y("views:Q", stack="normalize", axis=beside_axis("%")),
            color=_colour(result),
            tooltip=[alt.Tooltip(f"{unit}:Q", format=",.2~f"), "served by", "views"],
        )
        .properties(height=260, title=title(f"who served, by simulated {unit}"))
    )
    return chart, frame, ""


def latency_chart(result: "Result") -> "tuple[alt.Chart, pd.DataFrame, str]":
    """The distribution of latency for each source; data and caption."""
    import altair as alt
    import pandas as pd

    _, latency, served = _rows(result)
    parts = []
    for name in KINDS[result.facts["kind"]]:
        values = latency[(served == name) & (latency > 0)]
        if len(values):
            share = np.linspace(0, 1, min(POINTS, len(values)))
            parts.append(
                pd.DataFrame({"ms": np.quantile(values, share), "served by": name, "share": share})
            )
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(
        {"ms": [], "served by": [], "share": []}
    )  # fmt: skip
    chart = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("ms:Q", title=None, scale=alt.Scale(type="log", nice=False)),
            y=alt.Y("share:Q", axis=beside_axis("%")),
            color=_colour(result),
            tooltip=[alt.Tooltip("ms:Q", format=",.4~g"), "served by",
                     alt.Tooltip("share:Q", format=".0%")],
        )
        .properties(height=260, title=title("latency in ms: share served within"))
    )  # fmt: skip
    friends = result.facts["kind"] == "friends"
    caption = "Views from one's own browser take no time and are left out." if friends else ""
    return chart, frame, caption
