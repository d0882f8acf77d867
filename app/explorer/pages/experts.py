"""The expert page: a mixture-of-experts model with some of its experts in the GPU's memory."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from mltwin import Result
from mltwin.app.explorer.field_page import (
    Control,
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
from mltwin.experts import ExpertScenario

SLUG = "experts"
ABOUT = (
    "A mixture of experts that does not fit: what stays in the GPU, what is fetched, what waits."
)
LOOKAHEADS = {"1": 1, "2": 2, "4": 4, "pass": "pass"}
FIELDS: Fields = {
    "Memory": {
        "policy": {"label": "Eviction"},
        "memory.hbm_share": {"kind": "slider", "low": 0.02, "high": 1.0, "step": 0.02,
                             "label": "Share of the experts in HBM"},
        "link.dram_gb_per_s": {"kind": "slider", "low": 5.0, "high": 900.0, "step": 1.0,
                               "label": "Link to host memory (GB/s)"},
        "link.streams": {"kind": "slider", "low": 1, "high": 8, "label": "DMA streams"},
    },
    "Prediction": {
        "predictor.kind": {"label": "Predictor"},
        "predictor.recall": {"kind": "slider", "low": 0.0, "high": 1.0, "step": 0.05,
                             "label": "Recall"},
        "predictor.precision": {"kind": "slider", "low": 0.05, "high": 1.0, "step": 0.05,
                                "label": "Precision"},
    },
    "Tokens": {
        "routing.batch": {"kind": "slider", "low": 1, "high": 64, "label": "Tokens of a step"},
        "routing.steps": {"kind": "slider", "low": 10, "high": 500, "step": 10, "label": "Steps"},
        "routing.skew": {"kind": "slider", "low": 0.0, "high": 2.0, "step": 0.1,
                         "label": "Skew of the experts"},
        "routing.token_correlation": {"kind": "slider", "low": 0.0, "high": 0.8, "step": 0.05,
                                      "label": "Experts kept from the token before"},
        "micro_batches": {"kind": "slider", "low": 1, "high": 16, "label": "Passes of a step"},
        "regroup": {"label": "Put similar tokens together"},
    },
}  # fmt: skip
HEADS = ("output_throughput", "resident_throughput", "hit_ratio", "stall_share",
         "memory_saved_ratio", "moved_gb_per_token")  # fmt: skip


PATHS = paths_of(FIELDS)
DEFAULTS: dict[str, Any] = {
    "model": "mixtral-8x7b",
    "lookahead": "pass",
    **usual_choices(ExpertScenario(), FIELDS),
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        _controls(view)
    if not is_known(view, "lookahead", LOOKAHEADS):
        return
    named = {"system": "expert-cache", "model": {"name": view.get("model")}}
    data = gathered(view, PATHS, named)
    data["predictor"]["lookahead"] = LOOKAHEADS[view.get("lookahead")]
    run_and_report(view, data, "experts.toml", view.get("model"), _report)


def _controls(view: View) -> None:
    choose(view, "model", "Model", _moe_models(), help="A shipped model with experts.")
    for title, fields in FIELDS.items():
        st.caption(title)
        (_prediction if title == "Prediction" else _plain)(view, fields)


def _plain(view: View, fields: Mapping[str, Control]) -> None:
    draw_fields(view, ExpertScenario, fields)


def _prediction(view: View, fields: Mapping[str, Control]) -> None:
    """The quality of a given predictor, and how far any looks ahead."""
    which = "predictor.kind"
    draw_fields(view, ExpertScenario, {which: fields[which]})
    if view.get(which) == "given":
        draw_fields(view, ExpertScenario, {p: c for p, c in fields.items() if p != which})
    if view.get(which) != "none":
        about = "pass: all layers are predicted at the start of each pass."
        choose(view, "lookahead", "Layers of look-ahead", list(LOOKAHEADS), help=about)


def _moe_models() -> tuple[str, ...]:
    from mltwin.experts_run import moe_model_names

    return moe_model_names()


def _report(result: Result) -> None:
    from mltwin.app.explorer import expert_charts as charts

    report(result, SLUG, HEADS, {"time": charts.time_chart, "layers": charts.layer_chart})


PAGE = Page(SLUG, "MoE experts", ":material/account_tree:", "Caches", ABOUT, page, order=50)
