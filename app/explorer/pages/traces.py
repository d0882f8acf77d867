"""The trace page: what a request trace is like, and what is odd about it."""

import json
import shlex
from typing import Any

import streamlit as st

from mltwin import InputError, choices
from mltwin.app.explorer import show, uploads
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.links import page_link
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.serving_choices import DEFAULTS as SERVING
from mltwin.app.explorer.serving_choices import UPLOAD
from mltwin.app.explorer.view import View

SLUG = "traces"
ABOUT = "Look at a request trace before you trust it: arrivals, lengths, burstiness, oddities."
TYPES = ["csv", "jsonl", "json", "parquet", "gz", "xz", "txt"]
DEFAULTS: dict[str, Any] = {"trace": "azure-conv-synthetic", "columns": ""}
_MARKS = {"error": ":red[:material/error:]", "warning": ":orange[:material/warning:]"}
_NOTE = ":blue[:material/info:]"
_LIMIT_S = 300.0


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    _choose(view)
    try:
        name = _place(view.get("trace"))
    except InputError as error:
        show.error(str(error))
        return
    argv = ["traces", "inspect", name, "--format", "json"]
    if view.get("columns").strip():
        argv += ["--columns", view.get("columns")]
    job = run_panel(SLUG, argv, title="Reading the trace", limit_s=_LIMIT_S)
    if job is not None:
        _report(view, json.loads(job.stdout()))
    _take_along(view)


def _choose(view: View) -> None:
    """A trace of the catalogue that is here, or a file of the visitor's."""
    with st.sidebar:
        given = uploads.upload(
            "Your own trace (CSV, JSON lines or Parquet, also packed as gz)", TYPES, key="trace"
        )
        here = dict(choices.traces_here())
        mine = {UPLOAD + path.name: f"{name} (yours)" for name, path in uploads.mine().items()}
        if given is not None and st.session_state.get("traces.given") != given.name:
            st.session_state["traces.given"] = given.name
            view.restart(trace=UPLOAD + given.name)
        names = [*here, *mine]
        chosen = view.get("trace")
        if chosen not in names:
            names.insert(0, chosen)
        view.set(
            trace=st.selectbox(
                "Trace",
                names,
                names.index(chosen),
                key=view.key("trace"),
                format_func=lambda name: mine.get(name, name),
                help="Traces that ship with mltwin or are on this machine, and your own files.",
            )
        )
        view.set(
            columns=st.text_input(
                "Column map (JSON), if the names are unusual",
                view.get("columns"),
                key=view.key("columns"),
                placeholder='{"arrival": "ts", "prompt": "in", "output": "out"}',
                max_chars=500,
            )
        )
    if view.get("trace") in here:
        st.caption(show.escaped(here[view.get("trace")]))


def _place(chosen: str) -> str:
    """What the command line calls the trace.

    Raises InputError for a name that is neither in the catalogue nor a file of this visitor's.
    """
    if chosen in choices.traces_here():
        return chosen
    if chosen.startswith(UPLOAD):
        for path in uploads.mine().values():
            if path.name == chosen.removeprefix(UPLOAD):
                return str(path)
        raise InputError(
            "was uploaded by someone else, or too long ago", where="trace", mend="upload it again"
        )
    raise InputError(
        f"there is no trace {chosen[:60]!r} here", where="trace", mend="choose one from the list"
    )


def _report(view: View, data: dict[str, Any]) -> None:
    from mltwin.app.explorer import trace_charts as charts

    statistics, pictures = data["statistics"], data["pictures"]
    _figures(statistics)
    page_link("serving", "Use this trace on the serving page", _serving(view, statistics), SERVING)
    _findings(data)
    show.chart(
        charts.rate_chart(pictures),
        name="trace-rate",
        data=charts.rate_frame(pictures),
        caption=f"In steps of {pictures['rate']['width_s']:g} s. Drag over the upper chart: the "
        "lower one shows that time.",
    )
    left, right = st.columns(2)
    with left:
        _gaps(pictures)
        show.chart(
            charts.lengths_chart(pictures),
            name="trace-lengths",
            data=charts.lengths_frame(pictures),
            caption="Distribution of lengths.",
        )
    with right:
        _dispersion(pictures)
        show.chart(
            charts.joint_chart(pictures),
            name="trace-joint",
            data=charts.joint_frame(pictures),
            caption="How prompt and output lengths go together.",
        )
    _more(statistics)


def _gaps(pictures: dict[str, Any]) -> None:
    from mltwin.app.explorer import trace_charts as charts

    frame = charts.gaps_frame(pictures)
    if frame.empty:
        st.info("All requests come at one instant: there are no gaps to show.")
        return
    show.chart(
        charts.gaps_chart(pictures),
        name="trace-gaps",
        data=frame,
        caption="Time between requests; dashed: a Poisson stream of the same rate.",
    )


def _dispersion(pictures: dict[str, Any]) -> None:
    from mltwin.app.explorer import trace_charts as charts

    frame = charts.dispersion_frame(pictures)
    if frame.empty:
        st.info("The trace is too short to tell how bursty it is.")
        return
    show.chart(
        charts.dispersion_chart(pictures),
        name="trace-dispersion",
        data=frame,
        caption="Burstiness: variance over mean of the requests in windows of a length. 1 "
        "(dashed) for Poisson; growing for bursts at many scales or a rate that drifts.",
    )


def _figures(statistics: dict[str, Any]) -> None:
    prompt, output = statistics["prompt"], statistics["output"]
    cv, shared = statistics["interarrival_cv"], statistics["shared_prefix"]
    figures = {
        "Requests": statistics["rows"],
        "Span (s)": statistics["span_s"],
        "Rate (/s)": statistics["rate_per_s"],
        "Gap CV": cv,
        "Prompt mean": prompt["mean"],
        "Prompt p99": prompt["p99"],
        "Output mean": output["mean"],
        "Output p99": output["p99"],
        "Shared prefix": None if shared is None else f"{100 * shared:.0f} %",
    }
    show.metric_row({label: value for label, value in figures.items() if value is not None})


def _findings(data: dict[str, Any]) -> None:
    """What is odd, one sentence each."""
    if data["refused"]:
        show.error(
            f"The simulator refuses this file as it stands: {uploads.named(data['refused'])}"
        )
    if not data["findings"]:
        st.success("Nothing is odd about this trace.", icon=":material/check:")
        return
    with st.container(border=True):
        st.markdown("**Findings**")
        for finding in data["findings"]:
            mark = _MARKS.get(finding["level"], _NOTE)
            st.markdown(f"{mark} {show.escaped(uploads.named(finding['text']))}")


def _more(statistics: dict[str, Any]) -> None:
    """All statistics, sessions and prefixes among them."""
    import pandas as pd

    flat = pd.json_normalize(statistics).T.reset_index()
    flat.columns = pd.Index(["property", "value"])
    flat["value"] = flat["value"].map(lambda value: "-" if value is None else str(value))
    with st.expander("All statistics", icon=":material/table:"):
        show.table(flat, "trace-statistics")


def _serving(view: View, statistics: dict[str, Any]) -> dict[str, Any]:
    """The serving page's choices for this trace at its own rate."""
    chosen: dict[str, Any] = {"trace": view.get("trace")}
    rate = statistics["rate_per_s"]
    if rate:
        chosen["rate"] = float(min(max(round(rate * 2) / 2, 0.5), 100.0))
    return chosen


def _take_along(view: View) -> None:
    """The same on the command line and in Python."""
    chosen = view.get("trace")
    if chosen.startswith(UPLOAD):
        chosen = next(
            (n for n, p in uploads.mine().items() if UPLOAD + p.name == chosen), "trace.csv"
        )
    with st.expander("Copy as Python or command line", icon=":material/content_copy:"):
        python, command = st.tabs(["Python", "Command line"])
        python.code(
            "from mltwin.trace_report import inspect_trace\n\n"
            f"report = inspect_trace({chosen!r})\n"
            "print(report.findings_table())\n"
            'report.save("trace.html")\n',
            language="python",
        )
        words = shlex.join(["mltwin", "traces", "inspect", chosen, "--report", "trace.html"])
        command.code(words, language="bash")
    show.share(view)


PAGE = Page(SLUG, "Traces", ":material/query_stats:", "Measured", ABOUT, page, 10)
