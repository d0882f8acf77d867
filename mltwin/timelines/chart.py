"""The replay view as an Altair chart: what each lane did when, counters below, one time axis.

An overview at the bottom holds a brush; everything above shows the time it covers.
"""

from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

from .timeline import Window

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from .replay import Replay

IDLE = "idle"
IDLE_COLOUR = "#8883"
_LANE_HEIGHT, _LEAST_HEIGHT, _MOST_HEIGHT, _LABEL_HEIGHT = 22, 5, 560, 13
_COUNTER_HEIGHT, _WIDTH = 80, 700


def replay_chart(replay: "Replay") -> "alt.VConcatChart":
    """See `Replay.chart`."""
    try:
        import altair as alt
    except ImportError:
        raise InputError("altair is not installed", mend="pip install altair") from None
    if replay.slices.empty:
        raise InputError("nothing happened", where="window_s", mend="choose another window")
    brush = alt.selection_interval(encodings=["x"], name="time")
    shown = alt.Scale(domain=brush, nice=False)
    parts: list[alt.Chart | alt.LayerChart] = [_lanes(replay, shown)]
    for unit in dict.fromkeys(replay.counters["unit"]):
        parts.append(_counter(replay, unit, shown))
    parts.append(_overview(replay).add_params(brush))
    return alt.vconcat(*parts, spacing=6).resolve_scale(color="independent")


def beside_axis(form: str = "~s", ticks: int = 3) -> "alt.Axis":
    """A vertical axis beside a chart of one view: bars and areas would hide labels within."""
    import altair as alt

    return alt.Axis(format=form, tickCount=ticks, title=None, ticks=False, domain=False)


def inside_axis(form: str = "~s", ticks: int = 3) -> "alt.Axis":
    """A vertical axis whose labels stand within the plot.

    Explorers that stretch each view of a chart to the width of the page would cut off an axis
    beside it, and so plots that share a time axis stay aligned.
    """
    import altair as alt

    return alt.Axis(
        format=form,
        tickCount=ticks,
        title=None,
        ticks=False,
        domain=False,
        labelAlign="left",
        labelBaseline="bottom",
        labelPadding=-4,
        minExtent=0,
        maxExtent=0,
        zindex=1,
    )


def _lanes(replay: "Replay", shown: "alt.Scale") -> "alt.LayerChart":
    """The Gantt chart: idle lanes as a pale bar below the slices, names within."""
    import altair as alt
    import pandas as pd

    low, high = replay.window_s
    kinds = [kind for kind in replay.colours if kind in set(replay.slices["kind"])]
    scale = alt.Scale(
        domain=[*kinds, IDLE], range=[*(replay.colours[kind] for kind in kinds), IDLE_COLOUR]
    )
    idle = pd.DataFrame({"row": replay.lanes, "start_s": low, "end_s": high, "kind": IDLE})
    step = max(_LEAST_HEIGHT, min(_LANE_HEIGHT, _MOST_HEIGHT // len(replay.lanes)))
    x = alt.X("start_s:Q", title=None, scale=shown)
    y = alt.Y("row:N", title=None, sort=replay.lanes, axis=None)
    colour = alt.Color("kind:N", title=None, scale=scale, legend=_legend(4))
    tooltip = [
        alt.Tooltip("row:N", title="lane"),
        alt.Tooltip("text:N", title="what"),
        alt.Tooltip("start_s:Q", title="from (s)", format=",.4f"),
        alt.Tooltip("end_s:Q", title="to (s)", format=",.4f"),
        alt.Tooltip("count:Q", title="slices"),
    ]
    columns = ["row", "start_s", "end_s", "kind", "text", "count"]
    slices = replay.slices[columns].assign(
        start_s=replay.slices["start_s"].clip(low), end_s=replay.slices["end_s"].clip(upper=high)
    )
    said: dict[str, Any] = {"tooltip": tooltip}
    layers = [
        alt.Chart(frame)
        .mark_bar(clip=True, height=alt.RelativeBandSize(0.8))
        .encode(x=x, x2="end_s:Q", y=y, color=colour, **more)
        for frame, more in ((idle, {}), (slices, said))
    ]
    names = alt.Chart(idle.iloc[:: max(1, -(-_LABEL_HEIGHT // step))])
    for look in ({"stroke": "white", "strokeWidth": 3, "opacity": 0.9}, {"color": "#1B2733"}):
        text = names.mark_text(align="left", dx=4, fontSize=11, **look)
        layers.append(text.encode(x=alt.value(0), y=y, text="row:N"))
    return alt.LayerChart(layer=layers, height=alt.Step(step), width=_WIDTH)


def _counter(replay: "Replay", unit: str, shown: "alt.Scale") -> "alt.Chart":
    import altair as alt

    counters = replay.counters
    frame = framed(counters.loc[counters["unit"] == unit], replay.window_s)
    tooltip = [
        alt.Tooltip("counter:N", title="counter"),
        alt.Tooltip("time_s:Q", title="from (s)", format=",.4f"),
        alt.Tooltip("value:Q", title=unit or "value", format=",.6~g"),
    ]
    return (
        alt.Chart(frame)
        .mark_line(interpolate="step-after", clip=True, strokeWidth=1.2)
        .encode(
            x=alt.X("time_s:Q", title=None, scale=shown),
            y=alt.Y("value:Q", axis=inside_axis()),
            color=alt.Color("counter:N", title=None, legend=_legend(2)),
            tooltip=tooltip,
        )
        .properties(height=_COUNTER_HEIGHT, width=_WIDTH, title=title(unit))
    )


def framed(counters: "pd.DataFrame", window_s: Window) -> "pd.DataFrame":
    """Samples (counter, time_s, value) with one at each edge of the window, so that all charts of
    it span the same time."""
    import pandas as pd

    low, high = window_s
    frame = counters[["counter", "time_s", "value"]]
    by_name = frame.groupby("counter", sort=False)
    first, last = by_name.first().reset_index(), by_name.last().reset_index()
    late = first[first["time_s"] > low].assign(time_s=low, value=0.0)
    return pd.concat([late, frame, last.assign(time_s=high)], ignore_index=True)


def title(text: str) -> "alt.TitleParams":
    """A small title at the left, in place of an axis title."""
    import altair as alt

    return alt.TitleParams(text, anchor="start", fontSize=12, offset=4)


def _legend(columns: int) -> "alt.Legend":
    import altair as alt

    return alt.Legend(orient="top", columns=columns, labelLimit=180)


def _overview(replay: "Replay") -> "alt.Chart":
    """The whole window, small: the first counter, or how many lanes are busy."""
    import altair as alt

    counters = replay.counters
    if counters.empty:
        first = load_frame(replay.slices, replay.window_s)
    else:
        first = counters.loc[counters["counter"] == counters["counter"].iloc[0]]
    domain = alt.Scale(domain=list(replay.window_s), nice=False)
    hint = "seconds of the run; drag here to look closer"
    return (
        alt.Chart(first[["time_s", "value"]])
        .mark_area(interpolate="step-after", opacity=0.5)
        .encode(
            x=alt.X("time_s:Q", title=hint, scale=domain),
            y=alt.Y("value:Q", axis=None),
        )
        .properties(height=40, width=_WIDTH)
    )


def load_frame(work: "pd.DataFrame", window_s: Window, bins: int = 200) -> "pd.DataFrame":
    """Lanes busy on average in each of some bins of a window: time_s (its start), value."""
    import numpy as np
    import pandas as pd

    edges = np.linspace(*window_s, bins + 1)
    start = np.clip(work["start_s"].to_numpy(), *window_s)
    end = np.clip(work["end_s"].to_numpy(), *window_s)
    # The time worked before each edge, of all slices: sum of min(end, edge) - min(start, edge).
    before = np.array([(np.minimum(end, e) - np.minimum(start, e)).sum() for e in edges])
    width = max((window_s[1] - window_s[0]) / bins, 1e-12)
    return pd.DataFrame({"time_s": edges[:-1], "value": np.diff(before) / width})
