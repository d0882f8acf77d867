"""The caching page: which policy keeps the right objects, and what capacity is worth."""

import json
import shlex
from typing import Any

import streamlit as st

from mltwin import InputError, choices
from mltwin.app.explorer import show, uploads
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.serving_choices import UPLOAD
from mltwin.app.explorer.view import View

SLUG = "caching"
ABOUT = "Miss-ratio curves of cache policies on a trace, and the capacity that costs the least."
TYPES = ["csv", "txt", "bin", "parquet", "gz", "xz"]
DEFAULTS: dict[str, Any] = {
    "trace": "drifting-mix",
    "policies": ["lru", "sieve", "s3_fifo", "arc"],
    "unit": "objects",
    "sample": 100.0,
    "capacity_dollars": 0.01,
    "miss_dollars": 0.01,
}
_MOST_POLICIES = 8
_LIMIT_S = 600.0


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    with st.sidebar:
        _choose_trace(view)
        _choose_policies(view)
    try:
        argv = _argv(view, _place(view.get("trace")))
    except InputError as error:
        show.error(str(error))
        return
    job = run_panel(SLUG, argv, title="Replaying", limit_s=_LIMIT_S)
    if job is not None:
        _report(view, json.loads(job.stdout()))
    _take_along(view, argv)


def _choose_trace(view: View) -> None:
    """A trace of the catalogue that is here, or a file of the visitor's."""
    given = uploads.upload(
        "Your own object trace (CSV, one key a line, oracleGeneral, ...)", TYPES, key="objects"
    )
    here = dict(choices.object_traces_here())
    mine = {UPLOAD + path.name: f"{name} (yours)" for name, path in uploads.mine().items()}
    if given is not None and st.session_state.get("caching.given") != given.name:
        st.session_state["caching.given"] = given.name
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
            help="Object traces that ship with mltwin or are on this machine, and your own files.",
        )
    )
    if view.get("trace") in here:
        st.caption(show.escaped(here[view.get("trace")]))


def _choose_policies(view: View) -> None:
    about = dict(choices.evictions())
    chosen = [name for name in view.get("policies") if name in about]
    view.set(
        policies=st.multiselect(
            "Policies",
            list(about),
            chosen or DEFAULTS["policies"],
            key=view.key("policies"),
            max_selections=_MOST_POLICIES,
            help="\n".join(f"- **{name}**: {text}" for name, text in about.items()),
        )
    )
    units = ["objects", "bytes"]
    unit = view.get("unit")
    view.set(
        unit=st.radio(
            "Capacity counts",
            units,
            units.index(unit) if unit in units else 0,
            key=view.key("unit"),
            horizontal=True,
            help="Objects ignores sizes; bytes needs a trace that has them.",
        ),
        sample=st.select_slider(
            "Share of the objects looked at (%)",
            [1.0, 2.0, 5.0, 10.0, 25.0, 100.0],
            view.get("sample") if view.get("sample") in (1, 2, 5, 10, 25, 100) else 100.0,
            key=view.key("sample"),
            help="A sample is faster on a long trace; bands then show two standard errors.",
        ),
    )


def _place(chosen: str) -> str:
    """What the command line calls the trace.

    Raises InputError for a name that is neither in the catalogue nor a file of this visitor's.
    """
    if chosen in choices.object_traces_here():
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


def _argv(view: View, place: str) -> list[str]:
    """The command that makes the view.

    Raises InputError where no policy is chosen.
    """
    policies = view.get("policies")
    if not policies:
        raise InputError("no policy is chosen", where="policies", mend="choose at least one")
    argv = ["cache", "curve", place, "--policy", ",".join(policies), "--unit", view.get("unit")]
    if view.get("sample") < 100:
        argv += ["--sample", f"{view.get('sample') / 100:g}"]
    return [*argv, "--format", "json"]


def _report(view: View, data: dict[str, Any]) -> None:
    from mltwin.app.explorer import cache_charts as charts

    _figures(data)
    show.chart(
        charts.curve_chart(data),
        name="miss-ratio",
        data=charts.curve_frame(data),
        caption="Click a name in the legend to see it alone. "
        + "; ".join(f"{curve['policy']}: {curve['method']}" for curve in data["curves"])
        + ".",
    )
    st.subheader("What capacity is worth")
    _prices(view, data)
    frame = charts.cost_frame(data, **_dollars(view, data))
    show.chart(
        charts.cost_chart(frame, data["unit"]),
        name="cost",
        data=frame,
        caption="Over the time that the trace spans; the dot is the cheapest capacity of a policy.",
    )


def _figures(data: dict[str, Any]) -> None:
    """The best policy at a tenth of the largest capacity, and what it saves over the first."""
    first = data["curves"][0]
    top = first["capacities"][-1]
    k = min(range(len(first["capacities"])), key=lambda i: abs(first["capacities"][i] - top / 10))
    best = min(data["curves"], key=lambda curve: curve["miss_ratio"][k])
    show.metric_row(
        {
            "Requests": data["requests"],
            f"Capacity ({data['unit']})": first["capacities"][k],
            "Best there": best["policy"],
            "Misses (%)": round(100 * best["miss_ratio"][k], 2),
            f"Misses of {first['policy']} (%)": round(100 * first["miss_ratio"][k], 2),
        }
    )


def _prices(view: View, data: dict[str, Any]) -> None:
    left, right = st.columns(2)
    thing = "1,000 objects" if data["unit"] == "objects" else "GB"
    with left:
        view.set(
            capacity_dollars=st.number_input(
                f"Price of {thing} of capacity ($)",
                0.0,
                1e6,
                view.get("capacity_dollars"),
                key=view.key("capacity_dollars"),
                format="%.4f",
                help="Over the time that the trace spans.",
            )
        )
    with right:
        view.set(
            miss_dollars=st.number_input(
                "Price of 1,000 misses ($)",
                0.0,
                1e6,
                view.get("miss_dollars"),
                key=view.key("miss_dollars"),
                format="%.4f",
                help="What the origin, the recomputation or the waiting costs.",
            )
        )


def _dollars(view: View, data: dict[str, Any]) -> dict[str, float]:
    """Prices of one object (byte) of capacity and of one miss."""
    per = 1e3 if data["unit"] == "objects" else 1e9
    return {
        "unit_dollars": view.get("capacity_dollars") / per,
        "miss_dollars": view.get("miss_dollars") / 1e3,
    }


def _take_along(view: View, argv: list[str]) -> None:
    """The same on the command line, in Python, and one of its points as a scenario."""
    chosen = view.get("trace")
    if chosen.startswith(UPLOAD):
        chosen = next((n for n, p in uploads.mine().items() if UPLOAD + p.name == chosen), "trace")
    words = ["mltwin", "cache", "curve", chosen, *argv[3:-2], "--plot", "curve.png"]
    sample = "" if view.get("sample") >= 100 else f", sample={view.get('sample') / 100:g}"
    with st.expander("Copy as Python, TOML or command line", icon=":material/content_copy:"):
        python, toml, command = st.tabs(["Python", "TOML", "Command line"])
        python.code(
            "import mltwin as mt\n\n"
            f"curves = mt.miss_ratio_curve({chosen!r}, {view.get('policies')!r}, "
            f"unit={view.get('unit')!r}{sample})\n"
            "print(curves.table())\n"
            'curves.plot("curve.png")\n',
            language="python",
        )
        toml.code(
            'system = "caching"\n\n[workload]\n'
            f"trace = {json.dumps(chosen)}\nunit = {json.dumps(view.get('unit'))}\n\n"
            f"[[tiers]]\neviction = {json.dumps(view.get('policies')[0])}\nshare = 0.1\n",
            language="toml",
        )
        command.code(shlex.join(words), language="bash")
    show.share(view)


PAGE = Page(SLUG, "Caching", ":material/database:", "Caches", ABOUT, page, 0)
