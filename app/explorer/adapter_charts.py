"""Charts of the adapter page, from the tables of a run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.timelines.chart import beside_axis, title

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from mltwin import Result

HEIGHT = 320
MOST_ADAPTERS = 60
_FROM = 10  # the first requests of a regret curve are noise on a logarithmic scale


def chart_of(result: "Result", mode: str) -> "tuple[alt.Chart, pd.DataFrame, str]":
    """The chart of a mode, its data, and what it shows."""
    draw = {"serving": _serving, "routing": _routing, "agents": _agents, "memory": _memory}[mode]
    return draw(result)


def _serving(result: "Result") -> Any:
    import altair as alt
    import pandas as pd

    columns = result.tables["adapters"]
    order = np.argsort(-columns["requests"], kind="stable")[:MOST_ADAPTERS]
    frame = pd.DataFrame(
        {
            "rank": np.arange(1, len(order) + 1),
            "adapter": order,
            "megabytes": columns["bytes"][order] / 1e6,
            "in memory": columns["hits"][order],
            "paged in or on its way": (columns["requests"] - columns["hits"])[order],
        }
    )
    long = frame.melt(["rank", "adapter", "megabytes"], var_name="found", value_name="requests")
    chart = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("rank:O", title=None, axis=alt.Axis(labelOverlap=True)),
            y=alt.Y("requests:Q", axis=beside_axis()),
            color=alt.Color("found:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["adapter", alt.Tooltip("megabytes", format=",.0f"), "found", "requests"],
        )
        .properties(height=HEIGHT, title=title("requests of each adapter, by popularity"))
    )
    return chart, frame, f"The {len(frame)} most popular adapters."


def _routing(result: "Result") -> Any:
    import altair as alt
    import pandas as pd

    columns = result.tables["regret"]
    late = (columns["request"] >= _FROM) & (columns["regret"] > 0)
    frame = pd.DataFrame({name: column[late] for name, column in columns.items()})
    scale = alt.Scale(type="log", nice=False)
    lines = [frame.assign(line="regret")]
    if len(frame):
        last = frame.iloc[-1]
        root = last["regret"] * np.sqrt(frame["request"] / last["request"])
        lines.append(frame.assign(regret=root, line="root of t"))
    chart = (
        alt.Chart(pd.concat(lines))
        .mark_line()
        .encode(
            x=alt.X("request:Q", title=None, scale=scale, axis=alt.Axis(format="~s", tickCount=5)),
            y=alt.Y("regret:Q", scale=scale, axis=beside_axis()),
            color=alt.Color("line:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=[
                alt.Tooltip("request:Q", format=","),
                alt.Tooltip("regret:Q", format=",.4~g"),
                "line",
            ],
        )
        .properties(height=HEIGHT, title=title("regret so far, by requests"))
    )
    return chart, frame, "Against the best fixed residents with known rewards. Both axes log."


def _agents(result: "Result") -> Any:
    import altair as alt

    frame = result.frame("schemes")
    frame.insert(0, "scheme", result.facts["schemes_names"])
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("kb_per_token:Q", title=None, axis=alt.Axis(format="~s")),
            y=alt.Y("scheme:N", title=None, sort=None),
            color=alt.condition(
                alt.datum.scheme == result.facts["scheme"],
                alt.value("#0072B2"),
                alt.value("#9CC7E3"),
            ),
            tooltip=[alt.Tooltip(name, format=",.6~g") for name in frame.columns[1:]],
        )
        .properties(height=180, title=title("kB of KV for a token, all agents together"))
    )
    return chart, frame, "By formula; what the replay found stands below."


def _memory(result: "Result") -> Any:
    import altair as alt

    frame = result.frame("shares").rename(columns=lambda name: name.removesuffix("_gb"))
    long = frame.melt("request", var_name="kind", value_name="GB")
    chart = (
        alt.Chart(long)
        .mark_area()
        .encode(
            x=alt.X("request:Q", title=None, axis=alt.Axis(format="~s")),
            y=alt.Y("GB:Q", axis=beside_axis()),
            color=alt.Color("kind:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=[
                "kind",
                alt.Tooltip("request:Q", format=","),
                alt.Tooltip("GB:Q", format=".3f"),
            ],
        )
        .properties(height=HEIGHT, title=title("GB held, by requests"))
    )
    return chart, frame, ""
