"""The adapter page: LoRA adapters in a GPU's memory, in the four modes of their system."""

from typing import Any

import streamlit as st

from mltwin import Result, choices
from mltwin.adapters import AdapterScenario
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

SLUG = "adapters"
ABOUT = "LoRA adapters in a GPU's memory: page them, learn where to route, share KV across agents."
MODES = {
    "serving": "Page adapters while requests wait",
    "routing": "Learn which adapter helps",
    "agents": "Share KV across agents",
    "memory": "Share memory with KV and experts",
}
# What each mode's controls are: a field's path, and how it is shown.
FIELDS: Fields = {
    "serving": {
        "serving.policy": {"label": "Eviction"},
        "serving.memory_gb": {"kind": "slider", "low": 0.5, "high": 20.0, "step": 0.5,
                              "label": "Memory for adapters (GB)"},
        "adapters.count": {"kind": "slider", "low": 1, "high": 500, "label": "Adapters"},
        "adapters.zipf": {"kind": "slider", "low": 0.0, "high": 2.0, "step": 0.1,
                          "label": "Skew of popularity"},
        "store.tier": {"label": "Paged in from"},
        "workload.rate": {"kind": "slider", "low": 0.5, "high": 40.0, "step": 0.5,
                          "label": "Requests a second"},
        "serving.slots": {"kind": "slider", "low": 1, "high": 256, "label": "Slots"},
    },
    "routing": {
        "routing.controller": {"label": "Residents chosen by"},
        "routing.adapters": {"kind": "slider", "low": 2, "high": 60, "label": "Adapters"},
        "routing.resident": {"kind": "slider", "low": 1, "high": 20, "label": "Resident"},
        "routing.price": {"kind": "slider", "low": 0.0, "high": 1.0, "step": 0.05,
                          "label": "Price of a paging"},
        "routing.bonus": {"kind": "slider", "low": 0.0, "high": 3.0, "step": 0.1,
                          "label": "Optimism of the router"},
        "routing.requests": {"kind": "slider", "low": 1000, "high": 100_000, "step": 1000,
                             "label": "Requests"},
    },
    "agents": {
        "agents.scheme": {"label": "KV kept"},
        "agents.agents": {"kind": "slider", "low": 1, "high": 32, "label": "Agents"},
        "agents.rank": {"kind": "slider", "low": 1, "high": 256, "label": "Rank"},
        "agents.memory_gb": {"kind": "slider", "low": 0.5, "high": 64.0, "step": 0.5,
                             "label": "Memory (GB)"},
        "agents.turn_tokens": {"kind": "slider", "low": 50, "high": 4000, "step": 50,
                               "label": "New tokens of a turn"},
    },
    "memory": {
        "memory.sharing": {"label": "The budget is"},
        "memory.memory_gb": {"kind": "slider", "low": 1.0, "high": 64.0, "step": 1.0,
                             "label": "Memory (GB)"},
        "adapters.count": {"kind": "slider", "low": 1, "high": 500, "label": "Adapters"},
        "memory.prefixes": {"kind": "slider", "low": 1, "high": 10_000, "label": "Prefixes"},
        "memory.experts": {"kind": "slider", "low": 0, "high": 256, "label": "Experts"},
    },
}  # fmt: skip
HEADS = {
    "serving": ("hit_ratio", "mean_adapter_wait_ms", "p99_ttft_ms", "paged_gb", "busy_memory"),
    "routing": ("regret", "regret_slope", "mean_utility", "oracle_utility", "hit_ratio"),
    "agents": ("bytes_per_token_per_agent", "capacity_tokens", "token_hit_ratio", "saved_ratio"),
    "memory": ("miss_seconds", "adapters_hit_ratio", "kv_hit_ratio", "experts_hit_ratio"),
}


_USUAL = AdapterScenario()
DEFAULTS: dict[str, Any] = {
    "mode": "serving",
    "model": _USUAL.data()["model"],
    **usual_choices(_USUAL, FIELDS),
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        _controls(view)
    if not is_known(view, "mode", MODES):
        return
    mode = view.get("mode")
    named = {"system": "adapter-cache", "mode": mode, "model": view.get("model")}
    data = gathered(view, FIELDS[mode], named)
    run_and_report(view, data, "adapters.toml", MODES[mode], lambda result: _report(result, mode))


def _controls(view: View) -> None:
    mode = choose(
        view, "mode", "Question", list(MODES), widget=st.radio,
        format_func=lambda name: MODES.get(name, name),
    )  # fmt: skip
    about = "A model with plain attention and feed-forward blocks."
    choose(view, "model", "Base model", choices.model_names(), help=about)
    draw_fields(view, AdapterScenario, FIELDS.get(mode, {}))


def _report(result: Result, mode: str) -> None:
    from mltwin.app.explorer import adapter_charts as charts

    report(
        result,
        SLUG,
        HEADS[mode],
        {mode: lambda mine: charts.chart_of(mine, mode)},
        folded=reversed(result.report()),
        expanded=mode in ("agents", "memory"),
    )


PAGE = Page(SLUG, "LoRA adapters", ":material/extension:", "Caches", ABOUT, page, order=40)
