"""The calibration page: what the simulator knows of a GPU, and how far its predictions were off."""

import json
import os
from typing import Any

import streamlit as st

from mltwin import calibration_view as facts
from mltwin.app.explorer import show, uploads
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.view import View

SLUG = "calibration"
ABOUT = "How each GPU was measured and fitted, and how far predictions were from measurements."
GPUS, REPORT, HERE = "gpu", "report", "here"
DEFAULTS: dict[str, Any] = {
    "what": GPUS,
    "gpu": "h100-sxm-80gb",
    "by": "all",
    "task": "",
    "refit": False,
}
WHAT = {
    GPUS: "A GPU's profile",
    REPORT: "A report of mine",
    HERE: "Score the kernels here",
}
ERROR_BARS = """
A profile's operators were fitted to most of the measured shapes and scored on those held out.
What one shape keeps of that error over all its rows is `sigma` in the table. With error bars
(`--error-bars 20`, or *Error bars* on the serving page) a run is repeated under draws of those
errors, and every metric gets the interval that holds the middle 95 % of them.

Not in the bars: the traffic itself (vary the seed for that), host time, and whatever a model
leaves out. So intervals of TTFT are too narrow. `docs/serving.md` says how many measured runs fell
into them.
"""
_POINTS = 2000
_LIMIT_S = 900.0


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    known = [GPUS, REPORT] + [HERE] * bool(os.environ.get("MLTWIN_DATA"))
    if view.get("what") not in known or view.get("gpu") not in facts.profiles():
        view.refuse("it names a GPU or a view that is not here")
    what = st.segmented_control(
        "Show",
        known,
        default=view.get("what"),
        format_func=lambda name: WHAT[name],
        key=view.key("what"),
        label_visibility="collapsed",
    )
    view.set(what=what or view.get("what"))
    {GPUS: _gpu, REPORT: _report, HERE: _here}[view.get("what")](view)
    show.share(view)


def _choose_gpu(view: View) -> str:
    names = facts.profiles()
    chosen: str = st.selectbox(
        "GPU", names, names.index(view.get("gpu")), key=view.key("gpu"), help="A shipped profile."
    )
    view.set(gpu=chosen)
    return chosen


def _gpu(view: View) -> None:
    from mltwin.app.explorer import calibration_charts as charts

    name = _choose_gpu(view)
    errors, found = facts.errors_frame(name), facts.profile(name)
    show.metric_row(
        {
            "Memory (GB)": found.facts.hbm_bytes / 1e9,
            "GB/s": found.facts.hbm_bandwidth / 1e9,
            "bf16 TFLOP/s": found.facts.peak_flops.get("bfloat16", 0.0) / 1e12,
            "Operators": len(errors),
            "Rows fitted": int(errors["rows"].sum()),
            "Rows held out": int(errors["held_rows"].sum()),
        }
    )
    for sentence in facts.assumptions(name):
        st.info(show.escaped(sentence), icon=":material/info:")
    show.chart(
        charts.errors_chart(errors),
        name="calibration-errors",
        data=errors,
        caption="Bar: median error of each fitted operator on rows held out of its fit; line: on "
        "to the 95th percentile.",
    )
    with st.expander("Where every operator comes from", icon=":material/science:"):
        show.table(errors, f"operators-{name}")
    with st.expander("Data sheet, power, host", icon=":material/memory:"):
        show.table(facts.facts_table(name), f"facts-{name}")
    with st.expander("All GPUs", icon=":material/grid_on:"):
        overview = facts.overview_frame()
        show.chart(charts.overview_chart(overview), name="calibration-all", data=overview)
    with st.expander("What error bars mean", icon=":material/help:"):
        st.markdown(ERROR_BARS)
    st.caption("On the command line:")
    st.code(f"mltwin gpus show {name}", language="bash")


def _report(view: View) -> None:
    """Measured against predicted, from a file that `mltwin validate --out` left."""
    st.markdown(
        "Upload `pairs.csv` (of `mltwin validate serving` or `local`) or `groups.csv` (of "
        "`mltwin validate kernels`) from the folder that `--out` named."
    )
    given = uploads.upload("A report's rows", ["csv", "gz"], key="report")
    if given is None:
        st.caption("`mltwin validate serving --data FOLDER --out report` makes one.")
        return
    argv = ["validate", "show", str(given), "--json", "--points", str(_POINTS)]
    job = run_panel(SLUG, argv, title="Reading the report", limit_s=_LIMIT_S)
    if job is not None:
        _scores(view, json.loads(job.stdout()))


def _here(view: View) -> None:
    """The shipped profile against the kernel tables of this machine's data folder."""
    name = _choose_gpu(view)
    refit = st.toggle(
        "Refit and compare with baselines (minutes)",
        view.get("refit"),
        key=view.key("refit"),
        help="Fits anew without the held-out shapes, beside roofline, forest and neighbours.",
    )
    view.set(refit=refit)
    argv = ["validate", "kernels", "--gpu", name, "--refit" if refit else "--shipped", "--json"]
    argv += ["--out", "{out}/report", "--progress-json"]
    job = run_panel(
        SLUG, argv, title=f"Scoring {name}", auto=False, button="Score", limit_s=_LIMIT_S
    )
    if job is not None:
        _groups(view, json.loads(job.stdout()))


def _scores(view: View, report: dict[str, Any]) -> None:
    from mltwin.app.explorer import calibration_charts as charts

    if report["kind"] == "groups":
        _groups(view, report)
        return
    pairs = charts.pairs_frame(report)
    if pairs.empty:
        st.info("The report holds no prediction.")
        return
    show.chart(
        charts.pairs_chart(pairs),
        name="pairs",
        data=pairs,
        caption=f"{len(pairs):,} pairs"
        + (", evenly spaced in the order of their errors" if len(pairs) == _POINTS else "")
        + ". Dashed: predicted as measured.",
    )
    groupings = list(report["scores"])
    by = st.selectbox(
        "Errors by",
        groupings,
        groupings.index(view.get("by")) if view.get("by") in groupings else 0,
        key=view.key("by"),
    )
    view.set(by=by)
    scores = charts.scores_frame(report, by)
    show.chart(
        charts.scores_chart(scores),
        name="scores",
        caption="Median absolute error; the line is its 95 % interval (runs resampled).",
    )
    show.table(scores, "scores-table")
    for reason, count in list(report["unanswered"].items())[:10]:
        st.caption(show.escaped(f"{count:,} unanswered: {reason}"))


def _groups(view: View, report: dict[str, Any]) -> None:
    from mltwin.app.explorer import calibration_charts as charts

    frame = charts.groups_frame(report)
    kinds = charts.kinds_of(frame)
    names = [f"{task}: {gpu}" for task, gpu in kinds]
    start = names.index(view.get("task")) if view.get("task") in names else 0
    chosen = st.selectbox("What was scored", names, start, key=view.key("task"))
    view.set(task=chosen)
    task, gpu = kinds[names.index(chosen)]
    some = frame[(frame["task"] == task) & (frame["gpu"] == gpu)]
    show.chart(
        charts.groups_chart(some),
        name="groups",
        data=some,
        caption="Dot: median absolute error; line: on to the 95th percentile.",
    )
    for note in report.get("notes", [])[:10]:
        st.caption(show.escaped(note))


PAGE = Page(SLUG, "Calibration", ":material/straighten:", "Measured", ABOUT, page, 20)
