"""The KV page: prefix caches of a cluster of prefill nodes, local or pooled, under any routing."""

from typing import Any

import streamlit as st

from mltwin import Result, choices
from mltwin.app.explorer import controls, show
from mltwin.app.explorer.copies import command_of, python_of, toml_of
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.safe import safe_scenario
from mltwin.app.explorer.view import View
from mltwin.kv_cache import KvCacheScenario

SLUG = "kv_cache"
ABOUT = "KV prefix caches of a cluster: who finds what where, local or pooled, by router and size."
EVICTIONS = ("lru", "fifo", "lfu", "cost")
Control = dict[str, Any]
FIELDS: dict[str, dict[str, Control]] = {
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


def _at(data: Any, path: str) -> Any:
    for step in path.split("."):
        data = data[step]
    return data


_OWN = KvCacheScenario().changed(USUAL).data()
PATHS = tuple(path for fields in FIELDS.values() for path in fields)
DEFAULTS: dict[str, Any] = {
    "trace": "mooncake-conv-synthetic",
    "model": "llama-3.1-70b",
    **{path: _at(_OWN, path) for path in PATHS},
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        _controls(view)
    data: dict[str, Any] = {"system": "kv-cache"}
    for path in PATHS:
        section, _, name = path.rpartition(".")
        (data.setdefault(section, {}) if section else data)[name] = view.get(path)
    data["workload"]["trace"] = view.get("trace")
    data["model"]["name"] = view.get("model")
    for place, value, known in (
        ("trace", view.get("trace"), _traces()),
        ("model", view.get("model"), choices.model_names()),
        ("eviction", view.get("eviction.policy"), EVICTIONS),
    ):
        if value not in known:
            show.error(f"{place}: there is no {value[:40]!r} (choose one from the list)")
            return
    scenario = safe_scenario(data)
    if scenario is None:
        return
    toml = toml_of(scenario)
    argv = ["run", "{in}/kv.toml", "--out", "{out}", "--progress-json"]
    job = run_panel(SLUG, argv, files={"kv.toml": toml}, title=view.get("trace"))
    if job is not None:
        _report(Result.load(job.out))
    show.copy_as(toml, python_of(scenario), command_of(toml, "kv.toml"))
    show.share(view)


def _controls(view: View) -> None:
    for name, label, known in (
        ("trace", "Trace", _traces()),
        ("model", "Model", choices.model_names()),
    ):
        chosen = view.get(name)
        shown = known if chosen in known else (chosen, *known)
        view.set(
            **{name: st.selectbox(label, shown, shown.index(chosen), key=view.key(name))},
        )
    for title, fields in FIELDS.items():
        st.caption(title)
        for path, look in fields.items():
            value = controls.field(
                KvCacheScenario, path, view.get(path), key=view.key(path), **look
            )
            view.set(**{path: value})


def _traces() -> tuple[str, ...]:
    """Those with prefix blocks that are here."""
    return tuple(name for name in choices.traces_here() if name.startswith("mooncake"))


def _report(result: Result) -> None:
    from mltwin.app.explorer import kv_charts as charts

    show.metric_row({name: result.metrics[name] for name in HEADS if name in result.metrics})
    for note in result.notes:
        st.info(show.escaped(note))
    for name, draw in (
        ("found", charts.found_chart),
        ("ttft", charts.ttft_chart),
        ("nodes", charts.node_chart),
    ):
        chart, frame, caption = draw(result)
        show.chart(chart, name=f"kv-{name}", data=frame, caption=caption)
    with st.expander("All figures", icon=":material/table:"):
        show.table(result.table(), "kv-all")


PAGE = Page(SLUG, "KV prefix caches", ":material/memory:", "Caches", ABOUT, page, order=30)
