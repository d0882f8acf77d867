"""The planner: how many prefill and decode GPUs do my traffic and my SLO need?"""

from typing import TYPE_CHECKING, Any

import streamlit as st

from mltwin import InputError, Scenario, ServingScenario, choices
from mltwin.app.explorer import jobs, serving_choices, show, uploads
from mltwin.app.explorer.controls import field
from mltwin.app.explorer.copies import command_of, toml_of
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.links import page_link
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.planner_choices import (
    DEFAULTS,
    EXAMPLES,
    command_words,
    python_text,
    scenario_of,
    serving_view,
)
from mltwin.app.explorer.view import View

if TYPE_CHECKING:
    from mltwin.app.explorer.planner_charts import PlanView

SLUG = "planner"
ABOUT = "How many prefill and decode GPUs do my traffic and my SLO need, and is apart better?"
_SIZES = (500, 1000, 2000, 3000, 5000, 10_000, 20_000)
_TP = (1, 2, 4, 8)

# label -> (column of the plan, metric, unit, help)
FIGURES = {
    "GPUs": ("GPUs", "", "", "The fewest that keep the limits."),
    "Within limits": ("slo_attainment", "slo_attainment", "%", "Share of requests, at your rate."),
    "TTFT p99": ("p99_ttft_ms", "p99_ttft_ms", "ms", "Time to first token, at your rate."),
    "TPOT p99": ("p99_tpot_ms", "p99_tpot_ms", "ms", "Time per output token, at your rate."),
    "Cost": (
        "$ per million tokens",
        "dollars_per_million_tokens",
        "$/M",
        "Dollars for a million output tokens, at your rate.",
    ),
    "Goodput/GPU": ("per GPU", "request_goodput", "/s", "Highest rate it carries, per GPU."),
}


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    _sidebar(view)
    try:
        scenario = scenario_of(view.choices, uploads.mine())
        words = command_words(view.choices)
    except InputError as error:
        show.error(str(error))
        return
    argv = ["search", "plan", "{in}/traffic.toml", *words]
    argv += ["--out", "{out}", "--format", "json", "--progress-json"]
    files = {"traffic.toml": toml_of(scenario)}
    title = f"Clusters of 1 to {view.get('most')} replicas a pool"
    job = run_panel(SLUG, argv, files=files, title=title)
    if job is not None:
        _result(view, job)
    _take_along(view, words)


def _follow(view: View) -> None:
    """A link that stands for no plan gives way to the defaults."""
    try:
        scenario_of(view.choices, uploads.mine())
        command_words(view.choices)
    except InputError as error:
        view.refuse(str(error))


def _sidebar(view: View) -> None:
    with st.sidebar:
        _example(view)
        with st.expander("Traffic", expanded=True, icon=":material/timeline:"):
            view.set(**_traffic(view))
        with st.expander("Goal", expanded=True, icon=":material/flag:"):
            view.set(**_goal(view))
        with st.expander("Model and GPUs", expanded=True, icon=":material/memory:"):
            view.set(**_hardware(view))
        with st.expander("Search", icon=":material/search:"):
            view.set(**_search(view))


def _example(view: View) -> None:
    def take() -> None:
        chosen = st.session_state.get(key)
        if chosen in EXAMPLES:
            view.restart(**{**DEFAULTS, **EXAMPLES[chosen]})

    key = view.key("example")
    st.selectbox(
        "Start from",
        list(EXAMPLES),
        index=None,
        placeholder="an example",
        key=key,
        on_change=take,
        help="Sets all controls to an example; change them from there.",
    )


def _field(view: View, path: str, name: str, **options: Any) -> Any:
    return field(ServingScenario, path, view.get(name), key=view.key(name), **options)


def _traffic(view: View) -> dict[str, Any]:
    traces = dict(choices.traces_here())
    mine = {
        serving_choices.UPLOAD + path.name: f"{name} (yours)"
        for name, path in uploads.mine().items()
    }
    size = view.get("requests")
    return {
        "trace": _field(
            view,
            "workload.trace",
            "trace",
            choices=[*traces, *mine],
            format_func=lambda name: mine.get(name, name),
        ),
        "rate": _field(
            view, "workload.rate", "rate", low=0.01, step=1.0, label="Rate (requests/s)"
        ),
        "requests": st.select_slider(
            "Requests",
            sorted({*_SIZES, size}),
            size,
            format_func=lambda n: f"{n:,}",
            key=view.key("requests"),
            help="How many each cluster is tried with: the first ones of the trace, or repeated.",
        ),
        "arrivals": _field(view, "workload.arrivals", "arrivals"),
    }


def _goal(view: View) -> dict[str, Any]:
    return {
        "ttft_ms": _field(
            view, "slo.ttft_ms", "ttft_ms", low=1.0, step=50.0, label="TTFT limit (ms)"
        ),
        "tpot_ms": _field(
            view, "slo.tpot_ms", "tpot_ms", low=1.0, step=5.0, label="TPOT limit (ms)"
        ),
        "share": st.slider(
            "Share of requests within both",
            0.5,
            0.99,
            view.get("share"),
            0.01,
            key=view.key("share"),
            help="So many requests have to keep both limits.",
        ),
        "price": st.number_input(
            "Price of a GPU ($ an hour)",
            min_value=0.0,
            value=view.get("price"),
            step=0.1,
            key=view.key("price"),
            help="What you pay; the value at the start is only an example. 0: unknown.",
        ),
    }


def _hardware(view: View) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "model": _field(view, "model.name", "model", choices=choices.model_names(), label="Model")
    }
    chosen |= _gpu(view, "gpu", "tp", "GPU")
    chosen["other"] = st.toggle(
        "Decode on other GPUs",
        view.get("other"),
        key=view.key("other"),
        help="The decode pool has a GPU and a parallelism of its own.",
    )
    chosen |= {name: view.get(name) for name in ("decode_gpu", "decode_tp")}
    if chosen["other"]:
        chosen |= _gpu(view, "decode_gpu", "decode_tp", "Decode GPU")
    chosen["bandwidth_gbps"] = _field(
        view,
        "network.bandwidth_gbps",
        "bandwidth_gbps",
        step=50.0,
        label="Network (Gbit/s)",
    )
    return chosen


def _gpu(view: View, gpu: str, tp: str, label: str) -> dict[str, Any]:
    name = _field(view, "cluster.mixed.gpu", gpu, choices=choices.gpu_names(), label=label)
    each = _field(view, "cluster.mixed.tp", tp, kind="select", choices=_TP, label="GPUs each")
    return {gpu: name, tp: each}


def _search(view: View) -> dict[str, Any]:
    return {
        "most": st.select_slider(
            "Replicas of a pool, at most",
            sorted({4, 8, 16, 32, 64, view.get("most")}),
            view.get("most"),
            key=view.key("most"),
        ),
        "seeds": st.slider(
            "Seeds",
            1,
            10,
            view.get("seeds"),
            key=view.key("seeds"),
            help="Each cluster meets the traffic so many times, drawn anew; the mean counts.",
        ),
    }


def _result(view: View, job: jobs.Job) -> None:
    from mltwin.app.explorer import planner_charts as charts

    found, share = charts.view_of(job.out), view.get("share")
    first, *rest = found.answer
    st.success(show.escaped(first), icon=":material/check_circle:")
    for line in rest:
        st.markdown(show.escaped(line))
    _figures(found)
    left, right = st.columns(2)
    with left:
        show.chart(
            charts.map_chart(found),
            name="planner-map",
            data=found.pairs,
            caption="Share of requests within the limits for each pair of pools that was tried; "
            "✓ keeps them, the frame is the smallest that does.",
        )
    with right:
        show.chart(
            charts.size_chart(found, share),
            name="planner-sizes",
            data=found.sizes,
            caption="Every cluster that was tried. Dashed: your share.",
        )
    if len(found.curves):
        show.chart(
            charts.curve_chart(found, share),
            name="planner-curves",
            data=found.curves,
            caption="The two answers as the rate rises, for each GPU: where a line crosses the "
            "dashed one is its goodput per GPU.",
        )
    show.table(found.table(), "planner-set-ups")
    for note in found.notes:
        st.info(show.escaped(note), icon=":material/info:")
    with st.container(horizontal=True):
        page_link(
            "serving",
            "See the answer on the serving page",
            serving_view(view.choices, found.best, found.counts[found.best]),
            serving_choices.DEFAULTS,
        )
        st.download_button(
            "Report (HTML)",
            lambda: (job.out / "report.html").read_bytes(),
            "plan.html",
            "text/html",
            key=f"{SLUG}.report",
            icon=":material/description:",
            on_click="ignore",
        )


def _figures(found: "PlanView") -> None:
    """Figures of the answer; changes are from the other set-up."""
    other = next(name for name in found.figures if name != found.best)
    figures = {}
    for label, (column, metric, unit, about) in FIGURES.items():
        value = found.figures[found.best].get(column)
        if value is not None:
            before = found.figures[other].get(column)
            figures[label] = show.Figure(value, metric, unit, about, before)
    show.figures(figures)
    st.caption(f"{found.best.capitalize()}; changes are from the smallest {other} cluster.")


def _take_along(view: View, words: list[str]) -> None:
    shown: Scenario = scenario_of(view.choices, uploads.mine(), shown=True)
    toml = toml_of(shown)
    show.copy_as(
        toml,
        python_text(shown, view.choices),
        command_of(toml, "traffic.toml", words=("search plan", *words)),
    )
    show.share(view)


PAGE = Page(SLUG, "Planner", ":material/account_tree:", "Serving", ABOUT, page, 10)
