"""The charts of the serving page, from what `serving_view` keeps of a run. No Streamlit here."""

from typing import TYPE_CHECKING, Any

import altair as alt

from mltwin.timelines.chart import inside_axis

from .serving_view import LATENCIES, RunView
from .theme import PALETTE

if TYPE_CHECKING:
    import pandas as pd

_COLOURS = alt.Scale(domain=list(LATENCIES), range=list(PALETTE[:3]))
_BELOW = alt.Axis(format="~s", tickCount=6, labelFlush=True)
_LEGEND = alt.Legend(orient="top", direction="horizontal", offset=4)


def _title(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, anchor="start", fontSize=13, offset=8)


def latency_chart(run: RunView, pinned: RunView | None = None) -> alt.TopLevelMixin:
    """Requests over time above, distributions below: what is brushed above is drawn thick below."""
    brush = alt.selection_interval(encodings=["x"], name="brush")
    above = _over_time(run, brush).properties(
        height=190, title=_title("Time to first token (ms) by arrival")
    )
    below = _distributions(run, pinned, brush).properties(
        height=270, title=_title("Share of requests that took no longer")
    )
    both = alt.vconcat(above, below, spacing=18).resolve_scale(color="independent")
    # Fifteen hundred dots are drawn several times faster as pixels than as elements of the page.
    return both.properties(usermeta={"embedOptions": {"renderer": "canvas"}})


def _over_time(run: RunView, brush: alt.Parameter) -> Any:
    time = alt.X("at_s:Q", title="arrival (simulated s)", scale=alt.Scale(nice=False))
    ms = alt.Y("TTFT:Q", scale=alt.Scale(type="log", nice=False), axis=inside_axis(ticks=5))
    dots = (
        alt.Chart(run.sample[["at_s", *LATENCIES, "prompt", "output"]])
        .mark_circle(size=14, clip=True)
        .encode(
            x=time,
            y=ms,
            opacity=alt.condition(brush, alt.value(0.45), alt.value(0.1)),
            color=alt.value(PALETTE[5]),
            tooltip=[
                alt.Tooltip("at_s:Q", title="arrival (s)", format=".2f"),
                *(alt.Tooltip(f"{n}:Q", title=f"{n} (ms)", format=",.1f") for n in LATENCIES),
                alt.Tooltip("prompt:Q", title="prompt tokens"),
                alt.Tooltip("output:Q", title="output tokens"),
            ],
        )
        .transform_filter("datum.TTFT > 0")
        .add_params(brush)
    )
    lines = (
        alt.Chart(run.windows)
        .mark_line(interpolate="monotone", strokeWidth=2)
        .encode(
            x="at_s:Q",
            y=alt.Y("ms:Q", scale=alt.Scale(type="log", nice=False), axis=inside_axis(ticks=5)),
            color=alt.Color(
                "statistic:N",
                title=None,
                scale=alt.Scale(domain=["p50", "p99"], range=[PALETTE[0], PALETTE[1]]),
                legend=_LEGEND,
            ),
        )
        .transform_filter("datum.ms > 0")
    )
    return alt.layer(dots, lines)


def _distributions(run: RunView, pinned: RunView | None, brush: alt.Parameter) -> Any:
    layers = [_curve(run.curves, [1, 0], 2.0)]
    if pinned is not None:
        layers.append(_curve(pinned.curves, [5, 4], 1.6))
    layers += [_brushed(run.sample, brush), *_limits(run)]
    return alt.layer(*layers)


def _curve(curves: "pd.DataFrame", dash: list[int], width: float) -> alt.Chart:
    return (
        alt.Chart(curves)
        .mark_line(strokeDash=dash, strokeWidth=width, clip=True)
        .encode(**_encoding("share:Q", "ms:Q"), order=alt.Order("share:Q"))
        .transform_filter("datum.ms > 0")
    )


def _encoding(share: str, ms: str) -> dict[str, Any]:
    return {
        "x": alt.X(ms, title="latency (ms)", scale=alt.Scale(type="log", nice=False), axis=_BELOW),
        "y": alt.Y(
            share,
            title="share of requests",
            scale=alt.Scale(domain=[0, 1]),
            axis=inside_axis("%", ticks=5),
        ),
        "color": alt.Color(
            "latency:N",
            title=None,
            scale=_COLOURS,
            legend=_LEGEND,
        ),
        "tooltip": [
            alt.Tooltip("latency:N"),
            alt.Tooltip(share, title="share", format=".1%"),
            alt.Tooltip(ms, title="ms", format=",.1f"),
        ],
    }


def _brushed(sample: "pd.DataFrame", brush: alt.Parameter) -> alt.Chart:
    """Distributions of the sampled requests within the brush; nothing while there is none."""
    return (
        alt.Chart(sample)
        .mark_line(strokeWidth=4.5, opacity=0.55, interpolate="step-after", clip=True)
        .transform_filter(alt.param(brush.name, empty=False))
        .transform_fold(list(LATENCIES), as_=["latency", "ms"])
        .transform_filter("isValid(datum.ms) && datum.ms > 0")
        .transform_window(share="cume_dist()", sort=[alt.SortField("ms")], groupby=["latency"])
        .encode(**_encoding("share:Q", "ms:Q"), order=alt.Order("share:Q"))
    )


def _limits(run: RunView) -> list[alt.Chart]:
    """A dashed line at each limit of the SLO, in the colour of its latency."""
    import pandas as pd

    known = [(n, run.limits_ms[n.lower()]) for n in LATENCIES if n.lower() in run.limits_ms]
    if not known:
        return []
    frame = pd.DataFrame(known, columns=["latency", "ms"])
    return [
        alt.Chart(frame)
        .mark_rule(strokeDash=[2, 3], strokeWidth=1.5)
        .encode(
            x=alt.X("ms:Q", scale=alt.Scale(type="log", nice=False), axis=_BELOW),
            color=alt.Color("latency:N", scale=_COLOURS, title=None),
            tooltip=[
                alt.Tooltip("latency:N", title="limit of"),
                alt.Tooltip("ms:Q", title="ms", format=",.0f"),
            ],
        )
    ]


def system_chart(run: RunView) -> alt.Chart:
    """Requests in the system over time, waiting on top of admitted."""
    return (
        alt.Chart(run.system)
        .mark_area(opacity=0.8, interpolate="step-after")
        .encode(
            x=alt.X("at_s:Q", title="simulated time (s)", scale=alt.Scale(nice=False)),
            y=alt.Y("requests:Q", title=None, stack=True),
            color=alt.Color(
                "state:N",
                title=None,
                scale=alt.Scale(domain=["admitted", "waiting"], range=[PALETTE[5], PALETTE[1]]),
                legend=_LEGEND,
            ),
            order=alt.Order("state:N"),
            tooltip=[
                alt.Tooltip("at_s:Q", title="time (s)", format=".1f"),
                "state:N",
                "requests:Q",
            ],
        )
        .properties(height=300, title=_title("Requests in the system"))
    )


def replica_chart(run: RunView) -> alt.Chart:
    """Share of its time that each replica worked, by kind of iteration."""
    count = run.replicas["index"].nunique()
    few = count <= 8
    ticks = alt.Axis(labels=few, ticks=few, labelAngle=0, labelLimit=70)
    return (
        alt.Chart(run.replicas)
        .mark_bar()
        .encode(
            x=alt.X("replica:N", title=f"{count} replicas", sort=None, axis=ticks),
            y=alt.Y(
                "share:Q",
                title=None,
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%"),
            ),
            color=alt.Color(
                "iterations:N",
                title=None,
                scale=alt.Scale(
                    domain=["with prefill", "decode only"], range=[PALETTE[0], PALETTE[2]]
                ),
                legend=_LEGEND,
            ),
            tooltip=[
                "replica:N",
                "iterations:N",
                alt.Tooltip("share:Q", title="busy", format=".1%"),
            ],
        )
        .properties(height=300, title=_title("Share of time that replicas work"))
    )
