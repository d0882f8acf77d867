"""The sweep page: a study made, watched while it runs, stopped, gone on with, taken along."""

from pathlib import Path
from typing import Any

import streamlit as st

from mltwin import InputError, Sweep
from mltwin.app.explorer import jobs, show, uploads, workspace
from mltwin.app.explorer.copies import command_of
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.sweep_choices import (
    DEFAULTS,
    EXAMPLES,
    FIELDS,
    KINDS,
    MAX_POINTS,
    MAX_SEEDS,
    python_of,
    store_name,
    study_of,
    study_toml,
)
from mltwin.app.explorer.view import View

SLUG = "sweep"
ABOUT = "Run a scenario at many points, each on the same seeds, and watch the table fill."
_LIVE_S = 1.0
_RETRY = "sweep.retry"


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    _sidebar(view)
    try:
        study = study_of(view.choices)
    except InputError as error:
        show.error(str(error))
        return
    toml = study_toml(study, view.choices)
    folder = _store(toml)
    words = ["--retry-failed"] if st.session_state.get(_RETRY) == folder.name else []
    argv = ["sweep", "{in}/study.toml", *words, "--out", str(folder), "--format", "markdown"]
    job = run_panel(
        SLUG, [*argv, "--progress-json"], files={"study.toml": toml}, title=f"{study.runs} runs"
    )
    now = job or jobs.current(SLUG)
    if now is not None and now.live:
        _watch(view, folder)
    elif now is not None:
        _result(view, folder, now)
    show.copy_as(
        toml,
        python_of(study, view.choices),
        command_of(toml, "study.toml", words=("sweep", "--report", "sweep.html")),
    )
    show.share(view)


def _follow(view: View) -> None:
    """A link that stands for no study gives way to the defaults."""
    try:
        study_of(view.choices)
    except InputError as error:
        view.refuse(str(error))


def _store(toml: str) -> Path:
    """This visitor's folder for a study, among the jobs, whose rules for old folders hold."""
    name = store_name(uploads.folder(make=True).name, toml)
    return workspace.private(workspace.private(workspace.root() / "jobs") / name)


def _sidebar(view: View) -> None:
    with st.sidebar:
        _example(view)
        base = st.text_area(
            "Base",
            view.get("base"),
            height=240,
            key=view.key("base"),
            help="A scenario as TOML, as `mltwin scenario init` writes it.",
        )
        kinds = list(KINDS)
        kind = st.selectbox(
            "Points",
            kinds,
            kinds.index(view.get("kind")) if view.get("kind") in kinds else 0,
            format_func=lambda name: str(KINDS[name]),
            key=view.key("kind"),
        )
        points = view.get("points")
        if kind != "grid":
            points = st.slider(
                "How many", 1, MAX_POINTS, min(max(points, 1), MAX_POINTS), key=view.key("points")
            )
        chosen: dict[str, Any] = {}
        for i in (1, 2):
            chosen[f"field{i}"] = _field(view, i)
            if chosen[f"field{i}"]:
                chosen[f"values{i}"] = st.text_input(
                    f"Values {i}",
                    view.get(f"values{i}"),
                    key=view.key(f"values{i}"),
                    max_chars=2000,
                    help="`2, 4, 8`, or a range: `{ from = 2, to = 16, steps = 4, "
                    "scale = 'log' }`; points that are drawn need no steps.",
                )
        seeds = st.slider(
            "Seeds",
            1,
            MAX_SEEDS,
            min(max(view.get("seeds"), 1), MAX_SEEDS),
            key=view.key("seeds"),
            help="Each point runs with each of them: the same requests for all.",
        )
        view.set(base=base, kind=kind, points=points, seeds=seeds, **chosen)


def _example(view: View) -> None:
    """A starting point sets all choices at once."""

    def take() -> None:
        chosen = st.session_state.get(key)
        if chosen in EXAMPLES:
            view.restart(**{**DEFAULTS, **EXAMPLES[chosen]})

    key = view.key("example")
    st.selectbox(
        "Start from", list(EXAMPLES), index=None, placeholder="an example", key=key, on_change=take
    )


def _field(view: View, i: int) -> str:
    """A field to vary: one of the list, or one that is typed."""
    given = view.get(f"field{i}")
    options = list(dict.fromkeys([*([given] if given else []), *FIELDS]))
    found = st.selectbox(
        f"Field {i}",
        options,
        index=0 if given else None,
        key=view.key(f"field{i}"),
        accept_new_options=True,
        placeholder="none" if i == 2 else "a field",
        help="A dotted field of the scenario; type any other.",
    )
    return str(found or "")


def _watch(view: View, folder: Path) -> None:
    """The sweep so far, drawn again every second while it runs."""

    @st.fragment(run_every=_LIVE_S)
    def partial() -> None:
        found = _loaded(folder)
        if found is not None and found.done > len(found.failures):
            metric = _metric(view, found)
            # A line between the chart and Cancel, which the chart's own buttons would cover.
            st.markdown(f"**So far**: {show.escaped(metric)}, {found.done} of {found.total} runs")
            chart, _ = _charted(found, metric)
            st.altair_chart(chart, width="stretch", key="chart.sweep-live")
            st.dataframe(found.means([metric]), hide_index=True, key="table.sweep-live")

    partial()


def _result(view: View, folder: Path, job: jobs.Job) -> None:
    """What there is of the sweep, whether it ended well or was stopped."""
    found = _loaded(folder)
    if found is None or not found.done:
        return
    if job.state == "cancelled":
        st.caption(f"{found.done} of {found.total} runs are kept; run again to go on from there.")
    show.metric_row(
        {"Points": len(found.points), "Runs": found.done, "Failed": len(found.failures)}
    )
    if found.done > len(found.failures):
        metrics = found.metrics()
        given = _metric(view, found)
        metric = st.selectbox("Metric", metrics, metrics.index(given), key=view.key("metric"))
        view.set(metric="" if metric == _default(found) else metric)
        chart, means = _charted(found, metric)
        caption = "Means over the seeds; bands and bars: 95 %." if len(found.seeds) > 1 else ""
        show.chart(chart, name="sweep", data=means, caption=caption)
        show.table(found.table(), "sweep-table")
    _failures(found, folder)
    with st.expander("Every run", icon=":material/table:"):
        show.table(found.frame(), "sweep-runs")
        st.caption(f"Digest of the sweep: `{found.digest[:16]}`")
    _report(found)


def _failures(found: Sweep, folder: Path) -> None:
    if not found.failures:
        return
    show.table(found.failure_table(), "sweep-failures")
    if st.button("Try the failed runs again", icon=":material/refresh:", key=f"{SLUG}.retry"):
        st.session_state[_RETRY] = folder.name
        jobs.forget(SLUG)
        st.rerun()


def _report(found: Sweep) -> None:
    """The report of the command line, made when asked for."""

    def made() -> bytes:
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            return found.report(Path(place) / "sweep.html").read_bytes()

    st.download_button(
        "Report (HTML)",
        made,
        "sweep.html",
        "text/html",
        key=f"{SLUG}.report",
        icon=":material/description:",
        on_click="ignore",
    )


def _loaded(folder: Path) -> Sweep | None:
    """The sweep of a folder, if it has begun."""
    try:
        return Sweep.load(folder)
    except InputError:
        return None


def _charted(found: Sweep, metric: str) -> tuple[Any, Any]:
    from mltwin.app.explorer.sweep_charts import sweep_chart

    return sweep_chart(found, metric)


def _metric(view: View, found: Sweep) -> str:
    """The metric of the link where the runs have it, else the headline's."""
    given = view.get("metric")
    return given if given in found.metrics() else _default(found)


def _default(found: Sweep) -> str:
    known = found.headline()
    return "p99_ttft_ms" if "p99_ttft_ms" in known else known[0]


PAGE = Page(SLUG, "Sweep", ":material/grid_on:", "Studies", ABOUT, page, 20)
