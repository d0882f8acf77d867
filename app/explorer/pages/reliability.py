"""The page of long training runs: stragglers, failures, checkpoints, elasticity."""

from typing import Any

import streamlit as st

from mltwin import Result
from mltwin.app.explorer.field_page import (
    Fields,
    draw_fields,
    gathered,
    paths_of,
    report,
    run_and_report,
    usual_choices,
)
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.view import View
from mltwin.reliability import TrainingRunScenario

SLUG = "reliability"
ABOUT = "A training job of weeks: what stragglers, failures and checkpoints cost it."
FIELDS: Fields = {
    "Job": {
        "job.nodes": {"kind": "slider", "low": 2, "high": 2048, "step": 2, "label": "Nodes"},
        "job.days": {"kind": "slider", "low": 1.0, "high": 120.0, "step": 1.0,
                     "label": "Days of undisturbed work"},
        "job.step_s": {"kind": "slider", "low": 1.0, "high": 60.0, "step": 0.5,
                       "label": "Step (s)"},
        "cluster.spares": {"kind": "slider", "low": 0, "high": 64, "label": "Spare nodes"},
    },
    "Stragglers": {
        "stragglers.kind": {"label": "Step times"},
        "stragglers.sigma": {"kind": "slider", "low": 0.0, "high": 0.3, "step": 0.01,
                             "label": "Lognormal sigma"},
        "stragglers.measured": {"label": "Measured quantiles"},
    },
    "Failures": {
        "failures.mtbf_days": {"kind": "slider", "low": 5.0, "high": 1000.0, "step": 5.0,
                               "label": "Days between failures of a node"},
        "failures.crash_share": {"kind": "slider", "low": 0.0, "high": 1.0, "step": 0.05,
                                 "label": "Of these, the process only"},
        "failures.repair_hours": {"kind": "slider", "low": 0.0, "high": 240.0, "step": 1.0,
                                  "label": "Repair (hours)"},
    },
    "Checkpoints": {
        "checkpoint.strategy": {"label": "Strategy"},
        "checkpoint.interval": {"label": "Interval"},
        "checkpoint.minutes": {"kind": "slider", "low": 1.0, "high": 480.0, "step": 1.0,
                               "label": "Minutes, if fixed"},
        "checkpoint.state_gb": {"kind": "slider", "low": 10.0, "high": 20_000.0, "step": 10.0,
                                "label": "State (GB)"},
        "checkpoint.storage_gb_per_s": {"kind": "slider", "low": 1.0, "high": 500.0, "step": 1.0,
                                        "label": "Storage (GB/s)"},
    },
    "After a failure": {
        "recovery.elastic": {"label": "Fewer nodes"},
        "recovery.restart_s": {"kind": "slider", "low": 0.0, "high": 3600.0, "step": 10.0,
                               "label": "Restart (s)"},
    },
}  # fmt: skip
HEADS = ("goodput_ratio", "ettr", "makespan_days", "wasted_gpu_hours",
         "dollars")  # fmt: skip
DEFAULTS: dict[str, Any] = usual_choices(TrainingRunScenario(), FIELDS)


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        for heading, group in FIELDS.items():
            st.subheader(heading)
            draw_fields(view, TrainingRunScenario, group)
    data = gathered(view, paths_of(FIELDS), {"system": "training-run"})
    run_and_report(view, data, "training-run.toml", "Training run", _report)


def _report(result: Result) -> None:
    from mltwin.app.explorer import reliability_charts as charts

    report(result, SLUG, HEADS, {"parts": charts.parts_chart, "steps": charts.steps_chart})


PAGE = Page(SLUG, "Training runs", ":material/history:", "Training", ABOUT, page, order=40)
