"""The training page: a step of a model and a plan, or every plan that fits."""

import json
from typing import Any

import streamlit as st

from mltwin import Result, choices
from mltwin.app.explorer import show
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
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.view import View
from mltwin.training import TrainingScenario

SLUG = "training"
ABOUT = "A training step: its time, MFU, memory and bubbles under a parallel plan."
MODELS = ["llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "mixtral-8x7b", "qwen3-30b-a3b"]
GPUS = ["h100-sxm-80gb", "h200-sxm", "a100-sxm-80gb", "b200"]
RECIPES = ["fused", "llm-foundry", "torchtitan", "torchtitan-compile"]
MOST = {"gpus": 16_384, "sequences": 1_000_000}
"""Of a search for plans."""
_PLANS = 20
_SIZES = [1, 2, 4, 8, 16, 32, 64, 128]
FIELDS: Fields = {
    "Job": {
        "model": {"kind": "select", "choices": MODELS, "label": "Model"},
        "gpu": {"kind": "select", "choices": GPUS, "label": "GPU"},
        "batch.sequences": {"kind": "select", "choices": [1, 2, 4, 8, 16],
                            "label": "Sequences of a micro-batch"},
        "batch.tokens": {"kind": "select", "choices": [2048, 4096, 8192, 16384, 32768, 131072],
                         "label": "Tokens of a sequence"},
        "recipe": {"label": "Framework"},
    },
    "Plan": {
        "plan.dp": {"kind": "select", "choices": _SIZES, "label": "Data parallel"},
        "plan.tp": {"kind": "select", "choices": [1, 2, 4, 8], "label": "Tensor parallel"},
        "plan.pp": {"kind": "select", "choices": [1, 2, 4, 8, 16], "label": "Pipeline stages"},
        "plan.cp": {"kind": "select", "choices": [1, 2, 4, 8], "label": "Context parallel"},
        "plan.ep": {"kind": "select", "choices": [1, 2, 4, 8], "label": "Expert parallel"},
        "plan.zero": {"label": "ZeRO"},
        "plan.schedule": {"label": "Schedule"},
        "plan.microbatches": {"kind": "select", "choices": _SIZES, "label": "Micro-batches"},
        "plan.interleave": {"kind": "select", "choices": [1, 2, 4, 8],
                            "label": "Chunks of a stage (interleaved)"},
        "plan.recompute": {"label": "Recompute"},
        "plan.precision": {"label": "Precision"},
    },
    "Beyond": {
        "fit": {"label": "Refuse what does not fit"},
        "dollars_per_gpu_hour": {"kind": "slider", "low": 0.5, "high": 20.0, "step": 0.5,
                                 "label": "Dollars per GPU hour"},
    },
}  # fmt: skip
MODES = {"step": "One step", "plans": "Every plan that fits"}
HEADS = ("step_ms", "tokens_per_s_per_gpu", "mfu", "memory_gib", "bubble_share",
         "dollars_per_million_tokens")  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "mode": "step",
    "gpus": 64,
    "sequences": 256,
    **usual_choices(TrainingScenario(), FIELDS),
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    with st.sidebar:
        mode = choose(view, "mode", "Question", list(MODES), widget=st.radio,
                      format_func=lambda key: MODES.get(key, key))  # fmt: skip
        job = FIELDS["Job"]
        if mode == "plans":  # which tries several sizes of a micro-batch
            job = {path: look for path, look in job.items() if path != "batch.sequences"}
        draw_fields(view, TrainingScenario, job)
        if mode == "plans":
            view.set(gpus=st.number_input("GPUs", 1, MOST["gpus"], view.get("gpus"),
                                          key=view.key("gpus")))  # fmt: skip
            view.set(sequences=st.number_input("Sequences of a step", 1, MOST["sequences"],
                                               view.get("sequences"),
                                               key=view.key("sequences")))  # fmt: skip
        else:
            for heading in ("Plan", "Beyond"):
                st.subheader(heading)
                draw_fields(view, TrainingScenario, FIELDS[heading])
    if not is_known(view, "mode", MODES):
        return
    if mode == "plans":
        _plans(view)
        return
    data = gathered(view, paths_of(FIELDS), {"system": "training"})
    run_and_report(view, data, "training.toml", "Training step", _report)


def _report(result: Result) -> None:
    from mltwin.training_result import TrainingResult

    assert isinstance(result, TrainingResult)
    report(result, SLUG, HEADS, figure=("step", result.plot()), tables=result.report()[1:])


def _follow(view: View) -> None:
    """A link with more GPUs or sequences than there may be gives way to the defaults."""
    for name, most in MOST.items():
        if not 1 <= view.get(name) <= most:
            view.refuse(f"{name} can be 1 to {most:,}")
            return


def _plans(view: View) -> None:
    """Every plan that fits, by the command that searches them."""
    if not (
        is_known(view, "model", choices.model_names())
        and is_known(view, "gpu", choices.gpu_names())
        and is_known(view, "recipe", RECIPES)
    ):
        return
    words = [
        "training", "plans", view.get("model"),
        *("--gpus", str(view.get("gpus"))),
        *("--gpu", view.get("gpu")),
        *("--tokens", str(view.get("batch.tokens"))),
        *("--sequences", str(view.get("sequences"))),
        *("--recipe", view.get("recipe")),
    ]  # fmt: skip
    argv = [*words, "--top", str(_PLANS), "--format", "json"]
    job = run_panel(SLUG, argv, title=f"Plans of {view.get('model')}")
    if job is not None:
        _best_plans(job.stdout())
    with st.expander("Copy as command line", icon=":material/content_copy:"):
        st.code(" ".join(["mltwin", *words]), language="bash", wrap_lines=True)
    show.share(view)


def _best_plans(printed: str) -> None:
    from mltwin.training_plans import table_of

    data = json.loads(printed)
    best = data["plans"][0]
    show.metric_row({name: best[name] for name in ("tokens_per_s", "mfu", "memory_gib")})
    show.table(table_of(data), "training-plans")


PAGE = Page(SLUG, "Training steps", ":material/model_training:", "Training", ABOUT, page, order=10)
