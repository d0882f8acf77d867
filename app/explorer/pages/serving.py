"""The serving page: traffic, a model and a cluster in; latencies, goodput and cost out."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from mltwin import InputError, Scenario
from mltwin.app.explorer import jobs, pins, show, uploads
from mltwin.app.explorer.copies import command_of, python_of, toml_of
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.links import page_link
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.safe import check_scenario
from mltwin.app.explorer.serving_choices import (
    DEFAULTS,
    command_words,
    label_of,
    scenario_data,
)
from mltwin.app.explorer.timeline_choices import DEFAULTS as TIMELINE_DEFAULTS
from mltwin.app.explorer.timeline_choices import SLUG as TIMELINE
from mltwin.app.explorer.view import View

if TYPE_CHECKING:
    from mltwin.app.explorer.serving_view import RunView

SLUG = "serving"
ABOUT = "Change the traffic, the cluster or a policy, and see what happens to p99."

# label -> (metric, unit, help)
FIGURES = {
    "TTFT p50": ("p50_ttft_ms", "ms", "Time to first token, the median."),
    "TTFT p99": ("p99_ttft_ms", "ms", "Time to first token that one request in 100 exceeds."),
    "TPOT p50": ("p50_tpot_ms", "ms", "Time per output token after the first, the median."),
    "TPOT p99": ("p99_tpot_ms", "ms", "The same, exceeded by one request in 100."),
    "Goodput": ("request_goodput", "/s", "Requests a second that keep all limits."),
    "Within limits": ("slo_attainment", "%", "Share of requests that keep all limits."),
    "Output": ("output_throughput", "tok/s", "Output tokens a second, all replicas together."),
    "Cost": ("dollars_per_million_tokens", "$/M", "Dollars for a million output tokens."),
}


def page() -> None:
    """Draw the page."""
    from mltwin.app.explorer.serving_controls import sidebar

    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    sidebar(view)
    try:
        scenario = _scenario(view)
        words = command_words(view.choices)
    except InputError as error:
        show.error(str(error))
        return
    toml = toml_of(scenario)
    argv = ["run", "{in}/serving.toml", *words, "--out", "{out}", "--progress-json"]
    job = run_panel(
        SLUG, argv, files={"serving.toml": toml}, title=f"{view.get('requests'):,} requests"
    )
    if job is not None:
        _result(view, job)
    _take_along(view)


def _scenario(view: View) -> Scenario:
    mine = uploads.mine()
    return check_scenario(scenario_data(view.choices, mine), uploads=mine)


def _follow(view: View) -> None:
    """A link that stands for no scenario gives way to the defaults."""
    try:
        _scenario(view)
        command_words(view.choices)
    except InputError as error:
        view.refuse(str(error))


def _result(view: View, job: jobs.Job) -> None:
    """Figures, charts and tables of the finished run, beside the pinned one if there is one."""
    from mltwin.app.explorer import serving_charts as charts
    from mltwin.app.explorer.serving_view import view_of

    run = view_of(job.out)
    pin = pins.pinned(SLUG)
    other = view_of(pin.job.out) if pin is not None else None
    if pin is not None:
        now = show.escaped(label_of(view.choices))
        st.caption(f"Pinned: {show.escaped(pin.label)} · now: {now} · changes are from the pinned.")
    _figures(run, other)
    toml = toml_of(_shown(view))
    pins.buttons(SLUG, job, label_of(view.choices), toml)
    for note in run.notes:
        st.info(show.escaped(note), icon=":material/info:")
    dashes = "; dashed: the pinned run" if other is not None else ""
    show.chart(
        charts.latency_chart(run, other),
        name="serving-latencies",
        data=run.curves,
        caption=f"Distributions over all {run.requests:,} requests{dashes}; dots are "
        f"{len(run.sample):,} of them. Drag over the upper chart: thick lines below are the dots "
        "within. Dotted: limits.",
    )
    left, right = st.columns(2)
    with left:
        show.chart(charts.system_chart(run), name="serving-system", data=run.system)
    with right:
        show.chart(charts.replica_chart(run), name="serving-replicas", data=run.replicas)
    if pin is not None:
        show.table(pins.compared(pin.job.out, job.out, "pinned", "now"), "serving-compared")
        with st.expander("Compare on the command line", icon=":material/terminal:"):
            st.code(pins.commands(pin, toml), language="bash")
    _tables(run, job)


def _figures(run: "RunView", other: "RunView | None") -> None:
    figures = {}
    for label, (metric, unit, about) in FIGURES.items():
        value = run.metrics.get(metric)
        if value is not None:
            before = None if other is None else other.metrics.get(metric)
            figures[label] = show.Figure(value, metric, unit, about, before, run.bars.get(metric))
    show.figures(figures)


def _tables(run: "RunView", job: jobs.Job) -> None:
    with st.expander("All figures, as the command line prints them", icon=":material/table:"):
        for i, table in enumerate(run.tables):
            show.table(table, f"serving-{i}")
        st.caption(f"Digest of the run: `{run.digest[:16]}` · ran for {job.seconds:.2f} s.")
    _requests(job)


def _requests(job: jobs.Job) -> None:
    """Every request as Parquet, made when asked for."""

    def parquet() -> bytes:
        import tempfile
        from pathlib import Path

        from mltwin import Result

        with tempfile.TemporaryDirectory() as folder:
            result: Any = Result.load(job.out)
            result.to_parquet(folder)
            return (Path(folder) / "requests.parquet").read_bytes()

    st.download_button(
        "All requests (Parquet)",
        parquet,
        "requests.parquet",
        "application/vnd.apache.parquet",
        key="serving.requests",
        icon=":material/download:",
        on_click="ignore",
    )


def _shown(view: View) -> Scenario:
    """The scenario with an uploaded trace named as the visitor knows it."""
    return Scenario.parse(scenario_data(view.choices, uploads.mine(), shown=True))


def _take_along(view: View) -> None:
    scenario, bars = _shown(view), view.get("error_bars")
    toml = toml_of(scenario)
    words = ("run", *command_words(view.choices))
    page_link(TIMELINE, "See what each GPU did when", view.choices, TIMELINE_DEFAULTS)
    show.copy_as(
        toml, python_of(scenario, error_bars=bars), command_of(toml, "serving.toml", words=words)
    )
    show.share(view)


PAGE = Page(SLUG, "Serving", ":material/speed:", "Serving", ABOUT, page, 0)
