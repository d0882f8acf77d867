"""The web page: photos from friends' browsers, or a CDN before its origin."""

from typing import Any

import streamlit as st

from mltwin import Result
from mltwin.app.explorer.field_page import (
    Fields,
    choose,
    draw_fields,
    gathered,
    is_known,
    report,
    run_and_report,
    usual_choices,
)
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.view import View
from mltwin.web import WebScenario

SLUG = "web"
ABOUT = "Who spares the origin: viewers' own browsers (WebCloud), or the edges of a CDN."
KINDS = {"friends": "Browsers of friends", "cdn": "A CDN"}
GRAPHS = ["watts_strogatz", "barabasi_albert"]
FIELDS: Fields = {
    "friends": {
        "sessions.online_share": {"kind": "slider", "low": 0.02, "high": 1.0, "step": 0.02,
                                  "label": "Share of the time online"},
        "sessions.minutes": {"kind": "slider", "low": 1.0, "high": 240.0, "step": 1.0,
                             "label": "Length of a session (min)"},
        "graph.kind": {"kind": "select", "choices": GRAPHS, "label": "Graph"},
        "graph.users": {"kind": "slider", "low": 100, "high": 5000, "step": 100, "label": "Users"},
        "graph.degree": {"kind": "slider", "low": 2, "high": 80, "step": 2,
                         "label": "Friends of a user"},
        "activity.objects": {"kind": "slider", "low": 100, "high": 5000, "step": 100,
                             "label": "Photos in a day"},
        "activity.delay_minutes": {"kind": "slider", "low": 1.0, "high": 600.0, "step": 1.0,
                                   "label": "Until a friend looks (min)"},
        "browser.cache_mb": {"kind": "slider", "low": 0.0, "high": 100.0, "step": 0.5,
                             "label": "Cache of a browser (MB)"},
        "browser.upload_mbit_per_s": {"kind": "slider", "low": 0.1, "high": 50.0, "step": 0.1,
                                      "label": "Upload (Mbit/s)"},
        "browser.publisher_keeps": {"label": "The publisher's browser serves too"},
    },
    "cdn": {
        "cdn.policy": {"label": "Eviction"},
        "cdn.edges": {"kind": "slider", "low": 1, "high": 32, "label": "Edges"},
        "cdn.edge_gb": {"kind": "slider", "low": 0.05, "high": 5.0, "step": 0.05,
                        "label": "Cache of an edge (GB)"},
        "cdn.parent": {"label": "A regional parent"},
        "cdn.parent_gb": {"kind": "slider", "low": 0.1, "high": 20.0, "step": 0.1,
                          "label": "Cache of the parent (GB)"},
        "cdn.collapse": {"label": "Wait for what is on its way"},
        "requests.requests": {"kind": "slider", "low": 1000, "high": 200_000, "step": 1000,
                              "label": "Requests"},
        "requests.rate_per_s": {"kind": "slider", "low": 10.0, "high": 20_000.0, "step": 10.0,
                                "label": "Requests a second"},
        "requests.objects": {"kind": "slider", "low": 100, "high": 100_000, "step": 100,
                             "label": "Objects"},
        "requests.skew": {"kind": "slider", "low": 0.0, "high": 2.0, "step": 0.1,
                          "label": "Skew of popularity"},
    },
}  # fmt: skip
HEADS = {
    "friends": ("offload_ratio", "local_hit_ratio", "mean_latency_ms", "cut_loss",
                "mean_upload_mb", "top_1_percent_upload"),
    "cdn": ("offload_ratio", "edge_hit_ratio", "parent_hit_ratio", "mean_latency_ms",
            "p99_latency_ms", "origin_gb"),
}  # fmt: skip


DEFAULTS: dict[str, Any] = {"kind": "friends", **usual_choices(WebScenario(), FIELDS)}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        _controls(view)
    if not is_known(view, "kind", KINDS):
        return
    kind = view.get("kind")
    data = gathered(view, FIELDS[kind], {"system": "web-cache", "kind": kind})
    run_and_report(view, data, "web.toml", KINDS[kind], lambda result: _report(result, kind))


def _controls(view: View) -> None:
    kind = choose(
        view, "kind", "Question", list(KINDS), widget=st.radio,
        format_func=lambda name: KINDS.get(name, name),
    )  # fmt: skip
    draw_fields(view, WebScenario, FIELDS.get(kind, {}))


def _report(result: Result, kind: str) -> None:
    from mltwin.app.explorer import web_charts as charts

    drawn = {"served": charts.served_chart, "latency": charts.latency_chart}
    some = bool(result.metrics["requests"])
    report(result, f"web-{kind}", HEADS[kind], drawn if some else None)


PAGE = Page(SLUG, "Web caches", ":material/public:", "Caches", ABOUT, page, order=60)
