"""The network page: what is sent over a topology, how long it takes, where it jams."""

from typing import Any

import streamlit as st

from mltwin import Result
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
from mltwin.network import NetworkScenario

SLUG = "network"
ABOUT = "Flows and collectives over a topology: completion times, loads of links, failures."
TOPOLOGIES: dict[str, dict[str, Any]] = {
    "Leaf-spine, 4 x 8 hosts": {"name": "leaf_spine", "leaves": 4, "hosts_per_leaf": 8,
                                "spines": 4},
    "Leaf-spine, 4:1 oversubscribed": {"name": "leaf_spine", "leaves": 4, "hosts_per_leaf": 8,
                                       "spines": 4, "oversubscription": 4.0},
    "Rail-optimised, 4 x 8 GPUs": {"name": "rail_optimised", "nodes": 4},
    "Rail-optimised, 32 x 8 GPUs": {"name": "rail_optimised", "nodes": 32},
    "One NVSwitch server": {"name": "nvswitch_node"},
    "Fat-tree, k = 4": {"name": "fat_tree", "k": 4},
    "Fat-tree, k = 8": {"name": "fat_tree", "k": 8},
    "Torus, 4 x 4 x 4": {"name": "torus"},
    "Dragonfly, 72 hosts": {"name": "dragonfly"},
    "Supernode, 12 x 8 NPUs": {"name": "supernode", "nodes": 12},
    "Star, 8 hosts": {"name": "star"},
}  # fmt: skip
KINDS = {"poisson": "Random flows", "pattern": "A pattern", "collective": "A collective"}
Slider = dict[str, Any]
SIZE: Slider = {"kind": "slider", "low": 0.01, "high": 1000.0, "step": 0.01, "label": "MB"}
FIELDS: Fields = {
    "network": {
        "routing": {"label": "Routing"},
        "parts": {"kind": "slider", "low": 1, "high": 16, "label": "Parts (of split)"},
        "fidelity": {"label": "Fidelity"},
    },
    "poisson": {
        "traffic.flows": {"kind": "slider", "low": 100, "high": 50_000, "step": 100,
                          "label": "Flows"},
        "traffic.load": {"kind": "slider", "low": 0.05, "high": 1.5, "step": 0.05,
                         "label": "Load"},
        "traffic.size_mb": SIZE,
        "traffic.law": {"label": "Sizes"},
        "traffic.matrix": {"label": "Who sends to whom"},
    },
    "pattern": {
        "traffic.pattern": {"label": "Pattern"},
        "traffic.size_mb": SIZE,
    },
    "collective": {
        "traffic.collective": {"label": "Collective"},
        "traffic.algorithm": {"kind": "select", "label": "Algorithm",
                              "choices": ["auto", "ring", "tree", "double_tree",
                                          "halving_doubling", "hierarchical", "direct"]},
        "traffic.size_mb": SIZE,
        "traffic.groups": {"kind": "slider", "low": 1, "high": 16, "label": "Groups at once"},
        "traffic.stepwise": {"label": "Step by step"},
    },
}  # fmt: skip
HEADS = ("makespan_ms", "mean_fct_ms", "p99_fct_ms", "mean_slowdown", "max_link_utilisation",
         "busbw_gb_per_s")  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "topology": next(iter(TOPOLOGIES)),
    "kind": "poisson",
    **usual_choices(NetworkScenario(), FIELDS),
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        name = choose(view, "topology", "Topology", list(TOPOLOGIES))
        draw_fields(view, NetworkScenario, FIELDS["network"])
        kind = choose(view, "kind", "Traffic", list(KINDS), widget=st.radio,
                      format_func=lambda key: KINDS.get(key, key))  # fmt: skip
        draw_fields(view, NetworkScenario, FIELDS.get(kind, {}))
    if not is_known(view, "topology", TOPOLOGIES) or not is_known(view, "kind", KINDS):
        return
    data: dict[str, Any] = {
        "system": "network",
        "topology": TOPOLOGIES[name],
        "traffic": {"kind": kind},
    }
    paths = [p for p in paths_of({k: FIELDS[k] for k in ("network", kind)}) if p != "parts"]
    if view.get("routing") == "split":
        paths.append("parts")
    run_and_report(view, gathered(view, paths, data), "network.toml", KINDS[kind], _report)


def _report(result: Result) -> None:
    from mltwin.app.explorer import network_charts as charts
    from mltwin.network_result import NetworkResult

    assert isinstance(result, NetworkResult)
    # Flows of a collective share the links of their ranks by design: that is no congestion.
    hidden = "mean_slowdown" if result.facts.get("collective") else ""
    report(
        result,
        SLUG,
        [head for head in HEADS if head != hidden],
        {"fct": charts.completion_chart, "links": charts.links_chart},
        figure=("topology", result.draw_links()),
        folded=result.report(),
    )


PAGE = Page(SLUG, "Networks", ":material/hub:", "Training", ABOUT, page, order=20)
