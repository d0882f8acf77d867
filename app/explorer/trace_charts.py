"""Charts of a trace, from the data that `mltwin traces inspect --format json` prints."""

from typing import TYPE_CHECKING, Any

from mltwin.timelines.chart import inside_axis, title

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

HEIGHT = 300


def _log() -> "alt.Scale":
    import altair as alt

    return alt.Scale(type="log", nice=False)


def _log_axis() -> "alt.Axis":
    """Few labels, no lines between them."""
    import altair as alt

    return alt.Axis(format="~g", tickCount=5, grid=False, labelOverlap=True)


def rate_frame(pictures: dict[str, Any]) -> "pd.DataFrame":
    """start_s, and per second: requests, prompt tokens, output tokens."""
    import pandas as pd

    rate = pictures["rate"]
    names = ("start_s", "rate_per_s", "prompt_per_s", "output_per_s")
    return pd.DataFrame({name: rate.get(name, []) for name in names})


def rate_chart(pictures: dict[str, Any]) -> "alt.VConcatChart":
    """Requests a second over tokens a second; drag over the upper one to look closer below."""
    import altair as alt

    frame = rate_frame(pictures)
    brush = alt.selection_interval(encodings=["x"], name="time")
    x = alt.X("start_s:Q", title=None, scale=alt.Scale(nice=False))
    upper = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after", strokeWidth=1.5)
        .encode(
            x=x,
            y=alt.Y("rate_per_s:Q", axis=inside_axis()),
            tooltip=[
                alt.Tooltip("start_s:Q", title="from (s)", format=",.6~g"),
                alt.Tooltip("rate_per_s:Q", title="requests/s", format=",.4~g"),
            ],
        )
        .properties(height=150, title=title("requests a second"))
        .add_params(brush)
    )
    long = frame.melt("start_s", ["prompt_per_s", "output_per_s"], "tokens", "per_s")
    long["tokens"] = long["tokens"].str.removesuffix("_per_s")
    lower = (
        alt.Chart(long)
        .mark_line(interpolate="step-after", strokeWidth=1.5, clip=True)
        .encode(
            x=alt.X(
                "start_s:Q",
                title="seconds of the trace",
                scale=alt.Scale(domain=brush, nice=False),
            ),
            y=alt.Y("per_s:Q", axis=inside_axis()),
            color=alt.Color("tokens:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["tokens:N", alt.Tooltip("per_s:Q", title="tokens/s", format=",.4~g")],
        )
        .properties(height=150, title=title("tokens a second"))
    )
    both = alt.vconcat(upper, lower, spacing=8)
    return both.resolve_scale(color="independent").resolve_legend(color="independent")


def gaps_frame(pictures: dict[str, Any]) -> "pd.DataFrame":
    """Distribution of seconds between requests, and of a Poisson stream's: stream, gap_s, share."""
    import numpy as np
    import pandas as pd

    gaps = pictures["gaps"]
    found = pd.DataFrame({"gap_s": gaps["value"], "share": gaps["share"], "stream": "trace"})
    found = found[found["gap_s"] > 0]
    if found.empty:
        return found
    grid = np.geomspace(found["gap_s"].min(), found["gap_s"].max(), 120)
    share = 1 - np.exp(-grid / gaps["mean"])
    return pd.concat(
        [found, pd.DataFrame({"gap_s": grid, "share": share, "stream": "Poisson"})],
        ignore_index=True,
    )


def gaps_chart(pictures: dict[str, Any]) -> "alt.Chart":
    """The distribution of gaps beside that of a Poisson stream of the same rate."""
    import altair as alt

    dash = alt.Scale(domain=["trace", "Poisson"], range=[[1, 0], [4, 4]])
    return (
        alt.Chart(gaps_frame(pictures))
        .mark_line()
        .encode(
            x=alt.X("gap_s:Q", title="seconds between requests", scale=_log(), axis=_log_axis()),
            y=alt.Y("share:Q", title="share of gaps", axis=alt.Axis(format="%")),
            color=alt.Color("stream:N", title=None, legend=alt.Legend(orient="top"), sort=None),
            strokeDash=alt.StrokeDash("stream:N", title=None, scale=dash, legend=None),
            tooltip=["stream:N", alt.Tooltip("gap_s:Q", format=",.4~g"), "share:Q"],
        )
        .properties(height=HEIGHT)
    )


def dispersion_frame(pictures: dict[str, Any]) -> "pd.DataFrame":
    """window_s, index: burstiness by length of the window."""
    import pandas as pd

    return pd.DataFrame(pictures["dispersion"])


def dispersion_chart(pictures: dict[str, Any]) -> "alt.LayerChart":
    """Index of dispersion over the windows' length, with Poisson's 1 dashed."""
    import altair as alt
    import pandas as pd

    frame = dispersion_frame(pictures)
    line = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "window_s:Q",
                title="length of the windows (s)",
                scale=_log(),
                axis=_log_axis(),
            ),
            y=alt.Y("index:Q", title="variance / mean of counts", scale=_log(), axis=_log_axis()),
            tooltip=[
                alt.Tooltip("window_s:Q", title="window (s)"),
                alt.Tooltip("index:Q", title="index of dispersion", format=",.4~g"),
            ],
        )
    )
    one = alt.Chart(pd.DataFrame({"index": [1.0]})).mark_rule(strokeDash=[4, 4], color="#888")
    one = one.encode(y="index:Q")
    return alt.LayerChart(layer=[line, one], height=HEIGHT)


def lengths_frame(pictures: dict[str, Any]) -> "pd.DataFrame":
    """Distribution of prompt and output tokens: which, tokens, share."""
    import pandas as pd

    parts = [
        pd.DataFrame({"which": n, "tokens": pictures[n]["value"], "share": pictures[n]["share"]})
        for n in ("prompt", "output")
    ]
    return pd.concat(parts, ignore_index=True)


def lengths_chart(pictures: dict[str, Any]) -> "alt.Chart":
    """The two distributions on one logarithmic axis."""
    import altair as alt

    return (
        alt.Chart(lengths_frame(pictures))
        .mark_line()
        .encode(
            x=alt.X("tokens:Q", title="tokens", scale=_log(), axis=_log_axis()),
            y=alt.Y("share:Q", title="share of requests", axis=alt.Axis(format="%")),
            color=alt.Color("which:N", title=None, legend=alt.Legend(orient="top"), sort=None),
            tooltip=["which:N", alt.Tooltip("tokens:Q", format=",.0f"), "share:Q"],
        )
        .properties(height=HEIGHT)
    )


def joint_frame(pictures: dict[str, Any]) -> "pd.DataFrame":
    """Cells with requests: edges of prompt and output tokens, count."""
    import pandas as pd

    joint = pictures["joint"]
    prompts, outputs = joint["prompt_edges"], joint["output_edges"]
    rows = [
        (prompts[i], prompts[i + 1], outputs[j], outputs[j + 1], count)
        for i, row in enumerate(joint["count"])
        for j, count in enumerate(row)
        if count
    ]
    columns = ["prompt_from", "prompt_to", "output_from", "output_to", "requests"]
    return pd.DataFrame(rows, columns=columns)


def joint_chart(pictures: dict[str, Any]) -> "alt.Chart":
    """A heat map of prompt and output tokens."""
    import altair as alt

    colour = alt.Color(
        "requests:Q",
        title="requests",
        scale=alt.Scale(type="sqrt", scheme="blues"),
        legend=alt.Legend(orient="top", gradientLength=120, format=",d", tickMinStep=1),
    )
    tooltip = [
        alt.Tooltip(f"{name}:Q", format=",.0f")
        for name in ("prompt_from", "prompt_to", "output_from", "output_to", "requests")
    ]
    return (
        alt.Chart(joint_frame(pictures))
        .mark_rect()
        .encode(
            x=alt.X("prompt_from:Q", title="prompt tokens", scale=_log(), axis=_log_axis()),
            x2="prompt_to:Q",
            y=alt.Y("output_from:Q", title="output tokens", scale=_log(), axis=_log_axis()),
            y2="output_to:Q",
            color=colour,
            tooltip=tooltip,
        )
        .properties(height=HEIGHT)
    )
