"""Charts of the network page, from the tables of a run."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.timelines.chart import beside_axis, title

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from mltwin import Result

POINTS = 200


def completion_chart(result: "Result") -> "tuple[alt.Chart, pd.DataFrame, str]":
    """Completion times of flows, as sent and alone; data and caption."""
    import altair as alt
    import pandas as pd

    flows = result.tables["flows"]
    shares = np.linspace(0, 1, min(POINTS, max(len(flows["end"]), 2)))
    parts = []
    for name, ticks in (("as sent", flows["end"] - flows["start"]), ("alone", flows["alone"])):
        ms = np.quantile(ticks / 1e9, shares) if len(ticks) else np.zeros(len(shares))
        parts.append(pd.DataFrame({"ms": np.maximum(ms, 1e-9), "flows": shares, "line": name}))
    frame = pd.concat(parts, ignore_index=True)
    chart = (
        alt.Chart(frame)
        .mark_line()
        .encode(
            x=alt.X("ms:Q", title=None, scale=alt.Scale(type="log", nice=False)),
            y=alt.Y("flows:Q", axis=beside_axis("%")),
            color=alt.Color(
                "line:N",
                title=None,
                scale=alt.Scale(domain=["as sent", "alone"], range=["#0072B2", "#D55E00"]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[alt.Tooltip("ms:Q", format=".4g"), alt.Tooltip("flows:Q", format=".0%")],
        )
        .properties(height=240, title=title("flows done within so many ms"))
    )
    slow = result.metrics.get("mean_slowdown", 1.0)
    caption = f"On average a flow takes {slow:.3g} times as long as it would alone."
    if result.facts.get("collective"):
        caption = "The flows of a collective share their ranks' links with each other."
    return chart, frame, caption


def links_chart(result: "Result") -> "tuple[alt.Chart, pd.DataFrame, str]":
    """Use of the links, busiest first; data and caption."""
    import altair as alt
    import pandas as pd

    links = result.tables["links"]
    span = max(result.metrics["makespan_ms"] / 1e3, 1e-300)
    used = links["bytes"] > 0
    share = np.sort(links["bytes"][used] / np.maximum(links["capacity"][used] * span, 1e-300))[::-1]
    keep = np.unique(np.linspace(0, max(len(share) - 1, 0), min(POINTS, len(share))).astype(int))
    frame = pd.DataFrame({"link": keep + 1, "used": share[keep]})
    chart = (
        alt.Chart(frame)
        .mark_area(interpolate="step-after", color="#0072B2", opacity=0.5)
        .encode(
            x=alt.X("link:Q", title=None, scale=alt.Scale(nice=False)),
            y=alt.Y("used:Q", axis=beside_axis("%")),
            tooltip=["link", alt.Tooltip("used:Q", format=".1%")],
        )
        .properties(height=240, title=title("share of what each link could carry, busiest first"))
    )
    busiest = result.facts["busiest"]
    caption = f"Busiest: {', '.join(busiest[:3])}." if busiest else "No link was used."
    return chart, frame, caption
