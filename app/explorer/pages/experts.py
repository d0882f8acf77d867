"""The expert page: a mixture-of-experts model with some of its experts in the GPU's memory."""

from typing import Any

import streamlit as st

from mltwin import Result
from mltwin.app.explorer import controls, show
from mltwin.app.explorer.copies import command_of, python_of, toml_of
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.safe import safe_scenario
from mltwin.app.explorer.view import View
from mltwin.experts import ExpertScenario

SLUG = "experts"
ABOUT = (
    "A mixture of experts that does not fit: what stays in the GPU, what is fetched, what waits."
)
LOOKAHEADS = {"1": 1, "2": 2, "4": 4, "pass": "pass"}
Control = dict[str, Any]
FIELDS: dict[str, dict[str, Control]] = {
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


def _at(data: Any, path: str) -> Any:
    for step in path.split("."):
        data = data[step]
    return data


_USUAL = ExpertScenario().data()
PATHS = tuple(path for fields in FIELDS.values() for path in fields)
DEFAULTS: dict[str, Any] = {
    "model": "mixtral-8x7b",
    "lookahead": "pass",
    **{path: _at(_USUAL, path) for path in PATHS},
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        _controls(view)
    ahead = view.get("lookahead")
    if ahead not in LOOKAHEADS:
        show.error(f"lookahead: there is no {ahead[:40]!r} (choose one from the list)")
        return
    data: dict[str, Any] = {"system": "expert-cache", "model": {"name": view.get("model")}}
    for path in PATHS:
        section, _, name = path.rpartition(".")
        (data.setdefault(section, {}) if section else data)[name] = view.get(path)
    data["predictor"]["lookahead"] = LOOKAHEADS[ahead]
    scenario = safe_scenario(data)
    if scenario is None:
        return
    toml = toml_of(scenario)
    argv = ["run", "{in}/experts.toml", "--out", "{out}", "--progress-json"]
    job = run_panel(SLUG, argv, files={"experts.toml": toml}, title=view.get("model"))
    if job is not None:
        _report(Result.load(job.out))
    show.copy_as(toml, python_of(scenario), command_of(toml, "experts.toml"))
    show.share(view)


def _controls(view: View) -> None:
    models = _moe_models()
    model = view.get("model")
    known = models if model in models else (model, *models)
    view.set(
        model=st.selectbox(
            "Model",
            known,
            known.index(model),
            key=view.key("model"),
            help="A shipped model with experts.",
        )
    )
    for title, fields in FIELDS.items():
        st.caption(title)
        for path, look in fields.items():
            quality = title == "Prediction" and path != "predictor.kind"
            if quality and view.get("predictor.kind") != "given":
                continue
            value = controls.field(ExpertScenario, path, view.get(path), key=view.key(path), **look)
            view.set(**{path: value})
        if title == "Prediction" and view.get("predictor.kind") != "none":
            _lookahead(view)


def _lookahead(view: View) -> None:
    chosen = view.get("lookahead")
    known = [*LOOKAHEADS] if chosen in LOOKAHEADS else [chosen, *LOOKAHEADS]
    view.set(
        lookahead=st.selectbox(
            "Layers of look-ahead",
            known,
            known.index(chosen),
            key=view.key("lookahead"),
            help="pass: all layers are predicted at the start of each pass.",
        )
    )


def _moe_models() -> tuple[str, ...]:
    from mltwin.experts_run import moe_model_names

    return moe_model_names()


def _report(result: Result) -> None:
    from mltwin.app.explorer import expert_charts as charts

    show.metric_row({name: result.metrics[name] for name in HEADS if name in result.metrics})
    for note in result.notes:
        st.info(show.escaped(note))
    for name, draw in (("time", charts.time_chart), ("layers", charts.layer_chart)):
        chart, frame, caption = draw(result)
        show.chart(chart, name=f"experts-{name}", data=frame, caption=caption)
    with st.expander("All figures", icon=":material/table:"):
        show.table(result.table(), "experts-all")


PAGE = Page(SLUG, "MoE experts", ":material/account_tree:", "Caches", ABOUT, page, order=50)
