"""The KV page: prefix caches of a cluster of prefill nodes, local or pooled, under any routing."""

from typing import Any

import streamlit as st

from mltwin import Result, choices
from mltwin.app.explorer.field_page import (
    Fields,
    choose,
    draw_fields,
    gathered,
    is_known,
    paths_of,
    report,
    run_and_report,
    usual_choices,
)
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.view import View
from mltwin.kv_cache import KvCacheScenario

SLUG = "kv_cache"
ABOUT = "KV prefix caches of a cluster: who finds what where, local or pooled, by router and size."
EVICTIONS = ("lru", "fifo", "lfu", "cost")
FIELDS: Fields = {
    "Requests": {
        "workload.requests": {"kind": "slider", "low": 200, "high": 6000, "step": 100,
                              "label": "Requests"},
        "workload.rate_scale": {"kind": "slider", "low": 0.1, "high": 5.0, "step": 0.1,
                                "label": "Times the trace's rate"},
    },
    "Nodes": {
        "nodes.count": {"kind": "slider", "low": 1, "high": 32, "label": "Prefill nodes"},
        "nodes.hbm_gb": {"kind": "slider", "low": 10.0, "high": 1000.0, "step": 10.0,
                         "label": "HBM for KV, each (GB)"},
        "nodes.dram_gb": {"kind": "slider", "low": 0.0, "high": 4000.0, "step": 50.0,
                          "label": "DRAM for KV, each (GB)"},
        "model.gpus": {"kind": "slider", "low": 1, "high": 16, "label": "GPUs of a node"},
    },
    "Pool": {
        "pool.gb": {"kind": "slider", "low": 0.0, "high": 20_000.0, "step": 500.0,
                    "label": "Pool that all read (GB)"},
        "network.gb_per_s": {"kind": "slider", "low": 1.0, "high": 400.0, "step": 1.0,
                             "label": "Link of a node (GB/s)"},
    },
    "Rules": {
        "routing.policy": {"label": "Routing"},
        "eviction.policy": {"kind": "select", "choices": EVICTIONS, "label": "Eviction"},
        "eviction.tail_first": {"label": "Tails of prompts go first"},
        "eviction.queue_informed": {"label": "Spare what waiting requests want"},
        "overlap": {"label": "Fetch and compute at once"},
    },
}  # fmt: skip
HEADS = ("token_hit_ratio", "mean_ttft_ms", "p99_ttft_ms", "busy_share", "imbalance",
         "network_gb")  # fmt: skip
USUAL = {
    "workload.requests": 1500,
    "workload.rate_scale": 1.0,
    "nodes.dram_gb": 1000.0,
}  # else the scenario's own


PATHS = paths_of(FIELDS)
DEFAULTS: dict[str, Any] = {
    "trace": "mooncake-conv-synthetic",
    "model": "llama-3.1-70b",
    **usual_choices(KvCacheScenario().changed(USUAL), FIELDS),
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        _controls(view)
    if not (
        is_known(view, "trace", _traces())
        and is_known(view, "model", choices.model_names())
        and is_known(view, "eviction.policy", EVICTIONS, "eviction")
    ):
        return
    data = gathered(view, PATHS, {"system": "kv-cache"})
    data["workload"]["trace"] = view.get("trace")
    data["model"]["name"] = view.get("model")
    run_and_report(view, data, "kv.toml", view.get("trace"), _report)


def _controls(view: View) -> None:
    choose(view, "trace", "Trace", _traces())
    choose(view, "model", "Model", choices.model_names())
    for title, fields in FIELDS.items():
        st.caption(title)
        draw_fields(view, KvCacheScenario, fields)


def _traces() -> tuple[str, ...]:
    """Those with prefix blocks that are here."""
    return tuple(name for name in choices.traces_here() if name.startswith("mooncake"))


def _report(result: Result) -> None:
    from mltwin.app.explorer import kv_charts as charts

    drawn = {"found": charts.found_chart, "ttft": charts.ttft_chart, "nodes": charts.node_chart}
    report(result, "kv", HEADS, drawn)


PAGE = Page(SLUG, "KV prefix caches", ":material/memory:", "Caches", ABOUT, page, order=30)
