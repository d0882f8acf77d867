"""Charts of the expert page, from the tables of a run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.timelines.chart import beside_axis, title

if TYPE_CHECKING:
    from mltwin import Result

FOUND = {"hits": "resident", "late": "predicted, too late", "misses": "not predicted"}
COLOURS = ("#0072B2", "#E69F00", "#D55E00")
MOST_STEPS = 500


def time_chart(result: "Result") -> Any:
    """Each step's time, and what of it was stalled; data and caption."""
    import altair as alt
    import pandas as pd

    steps = result.tables["steps"]
    length = (steps["end"] - steps["begin"]) / 1e6
    stalled = steps["stall"] / 1e6
    every = max(1, -(-len(length) // MOST_STEPS))
    frame = pd.DataFrame(
        {
            "step": np.arange(len(length))[::every],
            "computing": (length - stalled)[::every],
            "waiting for experts": stalled[::every],
        }
    )
    long = frame.melt("step", var_name="the GPU is", value_name="ms")
    chart = (
        alt.Chart(long)
        .mark_area()
        .encode(
            x=alt.X("step:Q", title=None),
            y=alt.Y("ms:Q", axis=beside_axis()),
            color=alt.Color(
                "the GPU is:N",
                title=None,
                scale=alt.Scale(
                    domain=["computing", "waiting for experts"], range=["#0072B2", "#D55E00"]
                ),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["step", "the GPU is", alt.Tooltip("ms:Q", format=",.4~g")],
        )
        .properties(height=240, title=title("ms of each step"))
    )
    caption = "" if every == 1 else f"Every {every} steps."
    return chart, frame, caption


def layer_chart(result: "Result") -> Any:
    """What each layer's gate found; data and caption."""
    import altair as alt

    frame = result.frame("layers")
    gates = frame[["layer", *FOUND]]
    long = gates.melt("layer", var_name="found", value_name="activations")
    long["found"] = long["found"].map(FOUND)
    chart = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("layer:O", title=None, axis=alt.Axis(labelOverlap=True)),
            y=alt.Y("activations:Q", stack="normalize", axis=beside_axis("%")),
            color=alt.Color(
                "found:N",
                title=None,
                sort=list(FOUND.values()),
                scale=alt.Scale(domain=list(FOUND.values()), range=list(COLOURS)),
                legend=alt.Legend(orient="top", columns=2),
            ),
            tooltip=["layer", "found", alt.Tooltip("activations:Q", format=",")],
        )
        .properties(height=240, title=title("what each layer's gate found"))
    )
    return chart, frame, "Activations of experts, by layer."
