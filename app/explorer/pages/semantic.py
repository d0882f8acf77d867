"""The semantic-cache page: thresholds, TTLs and quotas in; hits, false hits and latency out."""

import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from mltwin import InputError, Result
from mltwin.app.explorer import jobs, show
from mltwin.app.explorer.controls import field
from mltwin.app.explorer.copies import toml_of
from mltwin.app.explorer.field_page import take_along
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.semantic_choices import (
    DEFAULTS,
    EXAMPLES,
    NAMES,
    curve_toml,
    scenario_of,
)
from mltwin.app.explorer.view import View
from mltwin.semantic import SemanticScenario

if TYPE_CHECKING:
    import pandas as pd

SLUG = "semantic"
CURVE = "semantic-curve"
ABOUT = "Serve answers again to similar queries: how many calls it saves, and how many are wrong."
_QUERIES = (1000, 2000, 5000, 10_000, 20_000)
_ENTRIES = (0, 100, 200, 500, 1000, 2000, 5000, 10_000)

# label -> (metric, unit, help)
FIGURES = {
    "Hits": ("hit_ratio", "%", "Queries that were served from the cache."),
    "False": ("false_hit_ratio", "%", "Of the answers served, those to another question."),
    "Stale": ("stale_hit_ratio", "%", "Of the answers served, those whose content has changed."),
    "Latency": ("mean_latency_ms", "ms", "From a query to its answer, the mean."),
    "Latency p99": ("p99_latency_ms", "ms", "What one query in 100 exceeds."),
    "No cache": ("uncached_latency_ms", "ms", "A call of the LLM that waits for nothing, mean."),
    "Calls": ("llm_calls", "", "Queries that the LLM answered."),
    "Saved": ("saved_dollars", "$", "Price of the calls that were not made."),
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    _sidebar(view)
    try:
        scenario = scenario_of(view.choices)
    except InputError as error:
        show.error(str(error))
        return
    toml = toml_of(scenario)
    argv = ["run", "{in}/cache.toml", "--out", "{out}", "--format", "json", "--progress-json"]
    job = run_panel(
        SLUG, argv, files={"cache.toml": toml}, title=f"{view.get('queries'):,} queries"
    )
    if job is not None:
        categories = _result(job)
        if view.get("curve"):
            _curve(curve_toml(scenario), categories)
    take_along(view, scenario, "cache.toml")


def _follow(view: View) -> None:
    """A link that stands for no scenario gives way to the defaults."""
    try:
        scenario_of(view.choices)
    except InputError as error:
        view.refuse(str(error))


def _sidebar(view: View) -> None:
    with st.sidebar:
        _example(view)
        for name in NAMES:
            with st.expander(name.capitalize(), expanded=name == NAMES[0]):
                view.set(**_category(view, name))
        with st.expander("Cache", expanded=True, icon=":material/database:"):
            view.set(**_cache(view))
        with st.expander("Traffic and model", icon=":material/timeline:"):
            view.set(**_around(view))


def _example(view: View) -> None:
    def take() -> None:
        chosen = st.session_state.get(key)
        if chosen in EXAMPLES:
            view.restart(**{**DEFAULTS, **EXAMPLES[chosen]})

    key = view.key("example")
    st.selectbox(
        "Start from",
        list(EXAMPLES),
        index=None,
        placeholder="an example",
        key=key,
        on_change=take,
        help="Sets all controls to an example; change them from there.",
    )


def _field(view: View, path: str, name: str, **options: Any) -> Any:
    return field(SemanticScenario, path, view.get(name), key=view.key(name), **options)


def _category(view: View, name: str) -> dict[str, Any]:
    path = f"categories.{name}"
    return {
        f"{name}_threshold": _field(
            view,
            f"{path}.threshold",
            f"{name}_threshold",
            kind="slider",
            low=0.5,
            high=1.0,
            step=0.01,
        ),
        f"{name}_ttl": _field(
            view, f"{path}.ttl_s", f"{name}_ttl", low=0.0, step=10.0, label="TTL (s); 0: none"
        ),
        f"{name}_quota": _field(
            view, f"{path}.quota", f"{name}_quota", step=50, label="Quota; 0: its share"
        ),
    }


def _cache(view: View) -> dict[str, Any]:
    entries = view.get("entries")
    return {
        "entries": st.select_slider(
            "Entries",
            sorted({*_ENTRIES, entries}),
            entries,
            format_func=lambda n: f"{n:,}",
            key=view.key("entries"),
            help="Answers at most, of all categories.",
        ),
        "eviction": _field(view, "cache.eviction", "eviction"),
        "coalesce": _field(
            view, "cache.coalesce", "coalesce", label="Wait for a similar query's call"
        ),
        "index": _field(view, "index.kind", "index", label="Index"),
        "curve": st.toggle(
            "Curve over thresholds",
            view.get("curve"),
            key=view.key("curve"),
            help="Runs the scenario at 13 thresholds more, one for all categories.",
        ),
    }


def _around(view: View) -> dict[str, Any]:
    queries = view.get("queries")
    return {
        "queries": st.select_slider(
            "Queries",
            sorted({*_QUERIES, queries}),
            queries,
            format_func=lambda n: f"{n:,}",
            key=view.key("queries"),
        ),
        "rate": _field(view, "workload.rate", "rate", low=0.1, step=5.0, label="Rate (queries/s)"),
        "servers": st.number_input(
            "LLM servers; 0: no limit",
            0,
            100_000,
            view.get("servers"),
            key=view.key("servers"),
            help="Calls at one time; others wait.",
        ),
        "fall": st.slider(
            "Thresholds fall under load by",
            0.0,
            0.3,
            view.get("fall"),
            0.01,
            key=view.key("fall"),
            help="At two calls per server; needs a number of servers.",
        ),
    }


def _result(job: jobs.Job) -> "pd.DataFrame":
    """Figures, the chart by category and its table; one row a category."""
    from mltwin.app.explorer import semantic_charts as charts
    from mltwin.semantic_result import SemanticResult

    result = Result.load(job.out)
    assert isinstance(result, SemanticResult)
    show.figures(
        {
            label: show.Figure(result.metrics[metric], metric, unit, about)
            for label, (metric, unit, about) in FIGURES.items()
            if metric in result.metrics
        }
    )
    for note in result.notes:
        st.info(show.escaped(note), icon=":material/info:")
    categories = result.categories
    show.chart(
        charts.served_chart(categories),
        name="semantic-served",
        data=charts.served_frame(categories),
        caption="A category whose hits end right of its tick is answered faster with the cache "
        "than without.",
    )
    for table in result.report()[1:]:
        show.table(table, "semantic-categories")
    return categories


def _curve(toml: str, categories: "pd.DataFrame") -> None:
    """Hits against false hits over thresholds, beside the chosen ones."""
    from mltwin.app.explorer import semantic_charts as charts

    argv = ["sweep", "{in}/thresholds.toml", "--out", "{out}", "--format", "json"]
    job = run_panel(
        CURVE, [*argv, "--progress-json"], files={"thresholds.toml": toml}, title="Thresholds"
    )
    if job is None:
        return
    curve = charts.curve_frame(json.loads(job.stdout()), NAMES)
    show.chart(
        charts.curve_chart(curve, charts.chosen_frame(categories)),
        name="semantic-curve",
        data=curve,
        caption="Lines: one threshold for all, from 0.5 (right) to 0.98 (left). Large dots: the "
        "thresholds chosen here. Hits that cost few false answers lie upper left.",
    )


PAGE = Page(SLUG, "Semantic cache", ":material/psychology_alt:", "Caches", ABOUT, page, 20)
