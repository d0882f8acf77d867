"""Charts of semantic caches: what each category is served, and hits against false hits."""

from typing import TYPE_CHECKING, Any

from mltwin.timelines.chart import beside_axis, title

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

HEIGHT = 300
PARTS = {"right": "#4c8bd6", "stale": "#e3c34a", "false": "#e8833a", "by the LLM": "#b9bdc4"}


def served_frame(categories: "pd.DataFrame") -> "pd.DataFrame":
    """category, part, share_pct, rank: how the queries of each category were answered."""
    import pandas as pd

    rows = []
    for row in categories.to_dict("records"):
        got = row["hit_ratio"] + row["joined_ratio"]
        false = got * row["false_hit_ratio"]
        stale = got * row["stale_hit_ratio"]
        shares = (got - false - stale, stale, false, 1 - got)
        for rank, (part, share) in enumerate(zip(PARTS, shares, strict=True)):
            rows.append(
                {
                    "category": row["category"],
                    "part": part,
                    "share_pct": 100 * share,
                    "rank": rank,
                    "break_even_pct": 100 * min(row["break_even_hit_ratio"], 1.0),
                }
            )
    return pd.DataFrame(rows)


def served_chart(categories: "pd.DataFrame") -> "alt.LayerChart | alt.FacetChart":
    """A bar a category, in parts; a mark where the cache breaks even."""
    import altair as alt

    frame = served_frame(categories)
    names = list(categories["category"])
    y = alt.Y("category:N", sort=names, title=None)
    bars = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            y=y,
            x=alt.X("share_pct:Q", title=None, scale=alt.Scale(domain=[0, 100])),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())),
                legend=alt.Legend(orient="top", columns=4),
            ),
            order="rank:Q",
            tooltip=["category:N", "part:N", alt.Tooltip("share_pct:Q", format=".2f")],
        )
    )
    marks = (
        alt.Chart(frame[frame["rank"] == 0])
        .mark_tick(thickness=3, color="#111", size=30)
        .encode(
            y=y,
            x="break_even_pct:Q",
            tooltip=["category:N", alt.Tooltip("break_even_pct:Q", format=".2f")],
        )
    )
    return alt.layer(bars, marks).properties(
        height=56 * len(names) + 20, title=title("queries (%), tick: break-even")
    )


def curve_frame(found: dict[str, Any], names: tuple[str, ...]) -> "pd.DataFrame":
    """category, threshold, hit_pct, false_pct: of each run that `mltwin sweep` prints."""
    import pandas as pd

    rows = []
    for run in found["runs"]:
        level = float(next(iter(run["point"].values())))
        for name in ("all", *names):
            before = "" if name == "all" else f"{name}_"
            rows.append(
                {
                    "category": name,
                    "threshold": level,
                    "hit_pct": 100 * run["metrics"][f"{before}hit_ratio"],
                    "false_pct": 100 * run["metrics"][f"{before}false_hit_ratio"],
                }
            )
    return pd.DataFrame(rows)


def curve_chart(curve: "pd.DataFrame", now: "pd.DataFrame") -> "alt.LayerChart | alt.FacetChart":
    """Hits against false hits, a line a category over the thresholds; large dots: as chosen."""
    import altair as alt

    pick = alt.selection_point(fields=["category"], bind="legend", name="category")
    names = list(dict.fromkeys(["all", *curve["category"]]))
    colour = alt.Color(
        "category:N", title=None, sort=names, legend=alt.Legend(orient="top", columns=5)
    )
    tooltip: list[Any] = [
        "category:N",
        alt.Tooltip("threshold:Q", format=".2f"),
        alt.Tooltip("hit_pct:Q", title="hits (%)", format=".2f"),
        alt.Tooltip("false_pct:Q", title="false (%)", format=".2f"),
    ]
    x = alt.X("false_pct:Q", title="false, of the answers served (%)", scale=alt.Scale(type="sqrt"))
    base = alt.Chart(curve).encode(
        x=x,
        y=alt.Y("hit_pct:Q", axis=beside_axis()),
        color=colour,
        opacity=alt.condition(pick, alt.value(1.0), alt.value(0.12)),
        tooltip=tooltip,
    )
    lines = base.mark_line(point={"size": 24}, strokeWidth=1.8).encode(order="threshold:Q")
    dots = (
        alt.Chart(now)
        .mark_point(size=140, filled=True, stroke="white")
        .encode(x=x, y="hit_pct:Q", color=colour, tooltip=tooltip)
    )
    return alt.layer(lines.add_params(pick), dots).properties(
        height=HEIGHT, title=title("hits (%)")
    )


def chosen_frame(categories: "pd.DataFrame") -> "pd.DataFrame":
    """The same columns for the thresholds of a run."""
    found = categories[["category", "threshold"]].copy()
    found["hit_pct"] = 100 * categories["hit_ratio"]
    found["false_pct"] = 100 * categories["false_hit_ratio"]
    return found
