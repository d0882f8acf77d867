"""The federated page: methods side by side on the same clients, by time, bytes and energy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from mltwin import InputError, Scenario
from mltwin.app.explorer import federated_choices as offered
from mltwin.app.explorer import jobs, show
from mltwin.app.explorer.copies import toml_of
from mltwin.app.explorer.federated_choices import DEFAULTS, FIELDS
from mltwin.app.explorer.field_page import Control, choose, draw_fields
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.view import View
from mltwin.federated import FederatedScenario

if TYPE_CHECKING:
    from mltwin.app.explorer.federated_view import FederatedView

SLUG = "federated"
_ABREAST = 3
ABOUT = "Which federated method gets to the target first, at how many bytes and joules?"


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    with st.sidebar:
        _methods(view)
        for heading, group in _fields().items():
            with st.expander(heading, expanded=heading == "Clients"):
                _group(view, heading, group)
        with st.expander("Fair comparison", expanded=True):
            _fairness(view)
    try:
        found = offered.scenarios(view.choices)
    except InputError as error:
        show.error(str(error))
        return
    texts = {offered.file_of(one.name): toml_of(one) for one in found}
    words = offered.command_words(view.choices, [f"{{in}}/{file}" for file in texts])
    argv = [*words, "--format", "json", "--out", "{out}/runs", "--progress-json"]
    job = run_panel(SLUG, argv, files=texts, title=f"{len(found)} methods")
    if job is not None:
        _result(job, found)
    _take_along(view, found, texts)


def _follow(view: View) -> None:
    """A link that stands for no comparison gives way to the defaults."""
    try:
        offered.scenarios(view.choices)
    except InputError as error:
        view.refuse(str(error))


def _fields() -> dict[str, dict[str, Control]]:
    """The controls, with the names that there are."""
    names = {
        "clients.speed": offered.speeds(),
        "clients.availability": offered.presences(),
        "dataset.source": offered.sources(),
    }
    return {
        heading: {
            path: {**look, "choices": names[path]} if path in names else dict(look)
            for path, look in group.items()
        }
        for heading, group in FIELDS.items()
    }


def _methods(view: View) -> None:
    known = offered.methods()
    again = [name for name in view.get("methods") if name not in known]
    chosen = st.multiselect(
        "Methods", [*again, *known], view.get("methods"), key=view.key("methods"),
        max_selections=offered.MAX_METHODS,
        help="The first is the one that the others are held against. Those that begin with "
        "`peers` need no server.",
    )  # fmt: skip
    view.set(methods=chosen)
    if offered.has_overlay(chosen):
        choose(view, "overlay", "Who talks to whom (peers)", offered.OVERLAYS)
    changed = dict(view.get("parameters"))
    for name in chosen:
        with st.expander(f"Parameters of {name}"):
            st.caption(show.escaped(known[offered.base_of(name)]))
            changed[name] = _parameters(view, name)
            if len(chosen) < offered.MAX_METHODS:
                _once_more(view, name, chosen)
    view.set(parameters={name: mine for name, mine in changed.items() if mine})


def _once_more(view: View, method: str, chosen: Sequence[str]) -> None:
    """A button that adds a method once more, to be given other parameters."""
    if st.button(
        "Once more", icon=":material/add:", key=view.key(f"{method}.more"),
        help="Adds this method under another name, to compare it with other parameters.",
    ):  # fmt: skip
        view.restart(methods=[*chosen, offered.once_more(method, chosen)])
        st.rerun()


def _parameters(view: View, method: str) -> dict[str, Any]:
    """Controls of a method's parameters; those that differ from their defaults."""
    found = {}
    given = offered.given_parameters(view.choices, method)
    for name, default in offered.parameters_of(method).items():
        value = _parameter(name, given.get(name, default), view.key(f"{method}.{name}"))
        if value != default:
            found[name] = value
    return found


def _parameter(name: str, value: Any, key: str) -> Any:
    label = name.replace("_", " ")
    if isinstance(value, bool):
        return st.toggle(label, value, key=key)
    if isinstance(value, str):
        return st.text_input(label, value, key=key)
    if isinstance(value, float):
        return st.number_input(label, value=value, key=key, format="%g")
    return st.number_input(label, value=value, step=1, key=key)


def _group(view: View, heading: str, group: Mapping[str, Control]) -> None:
    """The fields of a group that mean something for the model that is chosen."""
    learning = offered.is_learning(view.choices)
    idle = () if learning else ("dataset.source", "target.accuracy")
    draw_fields(view, FederatedScenario, {p: look for p, look in group.items() if p not in idle})
    if heading == "Clients":
        choose(
            view, "links", "Links of clients", offered.links(),
            help="Constant rates of the law of speeds, or rates that change as measured ones do.",
        )  # fmt: skip
    if heading != "Data and model" or not learning:
        return
    choose(view, "split", "Who has which data", offered.splits())
    if view.get("split") == "dirichlet":
        view.set(alpha=st.slider(
            "Alpha: the less, the more one-sided", offered.MIN_ALPHA, offered.MAX_ALPHA,
            view.get("alpha"), 0.01,
            key=view.key("alpha"),
        ))  # fmt: skip


def _fairness(view: View) -> None:
    choose(
        view, "tune", "Choose for each method beforehand", list(offered.TUNE),
        help="A method with a badly chosen step loses to any other: each gets the best of three, "
        "on three seeds that do not rank it.",
    )  # fmt: skip
    seeds = st.slider(
        "Seeds", 1, offered.MAX_SEEDS, view.get("seeds"), key=view.key("seeds"),
        help="Every method meets the same clients, speeds, failures and order of data.",
    )  # fmt: skip
    view.set(seeds=seeds)


def _result(job: jobs.Job, found: Sequence[Scenario]) -> None:
    from mltwin.app.explorer.federated_view import view_of

    seen = view_of(job.out / "runs", tuple(one.name for one in found), job.stdout())
    _figures(seen)
    show.table(seen.found.table(), "federated-methods")
    if seen.found.tuned:
        show.table(seen.found.tuning_table(), "federated-tuned")
    _curves(seen)
    _clients(seen)
    with st.expander("All figures and notes", icon=":material/table:"):
        show.table(seen.found.runs.table(), "federated-all")
        for note in seen.notes:
            st.caption(show.escaped(note))


def _figures(seen: "FederatedView") -> None:
    """How soon each method reaches the target."""
    times = seen.medians()
    if not times:
        if seen.target is not None:
            st.info("No method reaches the target in most of its runs.")
        return
    base = times.get(seen.names[0])
    about = f"Virtual time to {seen.metric} {seen.target:g}, median of {seen.seeds} seeds."
    show.figures({
        name: show.Figure(seconds, f"time_to_{seen.metric}_s", "s", about,
                          None if name == seen.names[0] else base)
        for name, seconds in times.items()
    })  # fmt: skip
    late = [name for name in seen.names if name not in times]
    words = f"Virtual time to {seen.metric} {seen.target:g}; changes are from {seen.names[0]}."
    st.caption(show.escaped(words + (f" Not there in most runs: {', '.join(late)}." * bool(late))))


def _curves(seen: "FederatedView") -> None:
    from mltwin.app.explorer import federated_charts as charts

    if seen.metric is None:
        about = "Of the first seed of each method."
        show.chart(charts.work_chart(seen), name="federated-work", data=seen.work, caption=about)
        return
    places = st.columns(2)
    for number, (axis, frame) in enumerate(seen.curves.items()):
        with places[number % 2]:
            show.chart(charts.curve_chart(seen, axis), name=f"federated-{axis}", data=frame)
    bands = f"Bands: from the least to the greatest of {seen.seeds} seeds. " * (seen.seeds > 1)
    far = "Shown to twice of what the last method needs to the target. "
    far = far if any(seen.needed.values()) else ""
    st.caption(f"{bands}{far}A curve ends where the first of its runs does. Dashed: the target.")


def _clients(seen: "FederatedView") -> None:
    """How stale what each method used was, and from whom it came."""
    for first in range(0, len(seen.names), _ABREAST):
        row = seen.names[first : first + _ABREAST]
        abreast = min(_ABREAST, max(len(seen.names), 2))
        for place, name in zip(st.columns(abreast), row, strict=False):
            with place:
                st.markdown(f"**{show.escaped(name)}**")
                _method(seen, name)
    st.caption(
        "Staleness: versions that the server made between sending a model and using what came "
        "back. Below: clients by their ranks, in eighths; where all are alike they share one."
    )


def _method(seen: "FederatedView", name: str) -> None:
    from mltwin.app.explorer import federated_charts as charts

    stale = seen.staleness[seen.staleness["method"] == name]
    show.chart(charts.staleness_chart(seen, name), name=f"federated-stale-{name}", data=stale)
    took_part = seen.participation[seen.participation["method"] == name]
    chart = charts.participation_chart(seen, name)
    show.chart(chart, name=f"federated-part-{name}", data=took_part)


def _take_along(view: View, found: Sequence[Scenario], texts: dict[str, str]) -> None:
    both = "\n".join(f"# {file}\n{text}" for file, text in texts.items())
    files = "".join(f"cat > {file} <<'END'\n{text.strip()}\nEND\n" for file, text in texts.items())
    words = offered.command_words(view.choices, list(texts))
    show.copy_as(both, offered.python_of(found, view.choices), f"{files}mltwin {' '.join(words)}\n")
    show.share(view)


PAGE = Page(SLUG, "Federated learning", ":material/diversity_3:", "Federated", ABOUT, page, 10)
