"""Charts of the page of long training runs."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.timelines.chart import title

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from mltwin import Result

POINTS = 1000


def parts_chart(result: "Result") -> "tuple[alt.Chart, pd.DataFrame, str]":
    """Shares of the time that does not do useful steps; data and caption."""
    import altair as alt
    import pandas as pd

    from mltwin.reliability_plots import PART_TEXTS
    from mltwin.reliability_result import TrainingRunResult

    assert isinstance(result, TrainingRunResult)
    end = max(result.facts["end"], 1)
    parts = {PART_TEXTS[name]: ticks / end for name, ticks in result.parts.items()}
    shown = {text: share for (text, _), share in parts.items() if text != "useful steps"}
    frame = pd.DataFrame({"part": list(shown), "share": list(shown.values())})
    colours = [colour for text, colour in parts if text != "useful steps"]
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title=None, axis=alt.Axis(format=".1%", tickCount=6)),
            y=alt.Y("part:N", title=None, sort=list(shown)),
            color=alt.Color(
                "part:N", scale=alt.Scale(domain=list(shown), range=colours), legend=None
            ),
            tooltip=["part", alt.Tooltip("share:Q", format=".3%")],
        )
        .properties(height=240, title=title("share of the time that is no useful step"))
    )
    caption = f"Useful steps are the other {result.metrics['goodput_ratio']:.1%}."
    return chart, frame, caption


def steps_chart(result: "Result") -> "tuple[alt.Chart, pd.DataFrame, str]":
    """Steps behind an undisturbed run, over days; data and caption."""
    import altair as alt
    import pandas as pd

    from mltwin.reliability_plots import progress
    from mltwin.reliability_result import TrainingRunResult

    assert isinstance(result, TrainingRunResult)
    days, steps = progress(result)
    ideal = days * 8.64e13 / result.facts["step_ticks"]
    keep = np.unique(np.linspace(0, len(days) - 1, min(POINTS, len(days))).astype(int))
    frame = pd.DataFrame({"day": days[keep], "steps behind": (ideal - steps)[keep]})
    chart = (
        alt.Chart(frame)
        .mark_line(interpolate="linear", color="#0072B2")
        .encode(
            x=alt.X("day:Q", title=None, scale=alt.Scale(nice=False)),
            y=alt.Y("steps behind:Q", title=None, axis=alt.Axis(format="~s")),
            tooltip=[alt.Tooltip("day:Q", format=".2f"),
                     alt.Tooltip("steps behind:Q", format=",.0f")],
        )
        .properties(height=240, title=title("steps behind an undisturbed run, by day"))
    )  # fmt: skip
    return chart, frame, "Each jump is a failure: lost steps, and the time until it trains again."
