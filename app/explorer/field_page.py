"""What pages share whose controls are fields of one scenario: choices in, a run, its copies out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from mltwin import Result, Scenario
from mltwin.app.explorer import controls, show
from mltwin.app.explorer.copies import command_of, python_of, toml_of
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.safe import safe_scenario
from mltwin.app.explorer.view import View
from mltwin.text import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

Control = dict[str, Any]
"""How a field is shown: keywords of `controls.field`."""
Fields = Mapping[str, Mapping[str, Control]]
"""Group (a mode, or a heading) -> path of a field -> its control."""


def paths_of(fields: Fields) -> tuple[str, ...]:
    """The paths of all groups, in order, each once."""
    return tuple(dict.fromkeys(path for group in fields.values() for path in group))


def usual_choices(scenario: Scenario, fields: Fields) -> dict[str, Any]:
    """The value of each field in a scenario: the defaults of a page."""
    data = scenario.data()

    def at(path: str) -> Any:
        here: Any = data
        for step in path.split("."):
            here = here[step]
        return here

    return {path: at(path) for path in paths_of(fields)}


def gathered(view: View, paths: Iterable[str], data: dict[str, Any]) -> dict[str, Any]:
    """A scenario's data with the choices at these paths put in."""
    for path in paths:
        section, _, name = path.rpartition(".")
        (data.setdefault(section, {}) if section else data)[name] = view.get(path)
    return data


def draw_fields(view: View, scenario_cls: type, group: Mapping[str, Control]) -> None:
    """The controls of a group; what the visitor chooses is taken over."""
    for path, look in group.items():
        value = controls.field(scenario_cls, path, view.get(path), key=view.key(path), **look)
        view.set(**{path: value})


def choose(
    view: View,
    name: str,
    label: str,
    known: Sequence[str],
    *,
    widget: Callable[..., Any] | None = None,
    **more: Any,
) -> str:
    """A select (or another widget) for a choice that is no field; one that a link brought and that
    is not known is shown too, so that the page can say so."""
    chosen = view.get(name)
    shown = list(known) if chosen in known else [chosen, *known]
    draw = widget or st.selectbox
    value = draw(label, shown, shown.index(chosen), key=view.key(name), **more)
    view.set(**{name: value})
    return str(value)


def is_known(view: View, name: str, known: Iterable[str], place: str = "") -> bool:
    """Whether a choice is among the known ones; if not, the page says so."""
    chosen = view.get(name)
    if chosen in known:
        return True
    show.error(f"{place or name}: there is no {chosen[:40]!r} (choose one from the list)")
    return False


def run_and_report(
    view: View, data: dict[str, Any], file: str, title: str, report: Callable[[Result], None]
) -> None:
    """Run a scenario, report its result, and give it to take along.

    Args:
        view: of the page.
        data: the scenario; where it does not hold, the page says why.
        file: what its TOML is called in commands, `web.toml`.
        title: of the job.
        report: draws the result.
    """
    scenario = safe_scenario(data)
    if scenario is None:
        return
    toml = toml_of(scenario)
    argv = ["run", f"{{in}}/{file}", "--out", "{out}", "--progress-json"]
    job = run_panel(view.slug, argv, files={file: toml}, title=title)
    if job is not None:
        report(Result.load(job.out))
    take_along(view, scenario, file)


def take_along(view: View, scenario: Scenario, file: str) -> None:
    """The scenario as Python, TOML and command line, and a link to the page."""
    toml = toml_of(scenario)
    show.copy_as(toml, python_of(scenario), command_of(toml, file))
    show.share(view)


def report(
    result: Result,
    name: str,
    heads: Iterable[str],
    charts: "Mapping[str, Callable[[Any], tuple[Any, pd.DataFrame, str]]] | None" = None,
    *,
    figure: "tuple[str, Drawing] | None" = None,
    tables: Iterable[Table] = (),
    folded: Iterable[Table] | None = None,
    expanded: bool = False,
) -> None:
    """What a page shows of a result: figures and notes, pictures, tables.

    Args:
        result: of the run.
        name: begins the names of downloads.
        heads: the metrics shown first, those that the result has.
        charts: name to what makes a chart, its data and caption of the result.
        figure: name and picture, before the charts.
        tables: after the charts.
        folded: behind "All figures"; by default the table of all metrics.
        expanded: whether these are open from the start.
    """
    show.metric_row({head: result.metrics[head] for head in heads if head in result.metrics})
    for note in result.notes:
        st.info(show.escaped(note))
    if figure is not None:
        show.figure(figure[1], f"{name}-{figure[0]}")
    for key, draw in (charts or {}).items():
        chart, frame, caption = draw(result)
        show.chart(chart, name=f"{name}-{key}", data=frame, caption=caption)
    for number, table in enumerate(tables):
        show.table(table, f"{name}-{number}")
    with st.expander("All figures", icon=":material/table:", expanded=expanded):
        for number, table in enumerate([result.table()] if folded is None else folded):
            show.table(table, f"{name}-all-{number}")
