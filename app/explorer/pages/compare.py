"""The compare page: a base and variants on the same seeds, and how sure their differences are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mltwin import InputError, Scenario
from mltwin.app.explorer import jobs, show, uploads
from mltwin.app.explorer.compare_choices import (
    BASE,
    DEFAULTS,
    MAX_SEEDS,
    MAX_VARIANTS,
    command_words,
    least_of,
    python_of,
    scenarios,
)
from mltwin.app.explorer.copies import toml_of
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.view import View

if TYPE_CHECKING:
    from mltwin.app.explorer.compare_view import ComparedView

SLUG = "compare"
ABOUT = "Hold variants of a scenario against it, seed by seed, and see which differences are real."


def page() -> None:
    """Draw the page."""
    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    _sidebar(view)
    try:
        found = scenarios(view.choices)
        files = ["base.toml", *(f"variant-{i}.toml" for i in range(1, len(found)))]
        words = command_words(view.choices, [f"{{in}}/{file}" for file in files])
    except InputError as error:
        show.error(str(error))
        return
    texts = dict(zip(files, (toml_of(scenario) for scenario in found), strict=True))
    argv = [*words, "--format", "json", "--out", "{out}/runs", "--progress-json"]
    runs = len(found) * view.get("seeds")
    job = run_panel(SLUG, argv, files=texts, title=f"{runs} runs")
    if job is not None:
        _result(view, job, found)
    _take_along(view, found, texts)


def _follow(view: View) -> None:
    """A link that stands for no comparison gives way to the defaults."""
    try:
        scenarios(view.choices)
        command_words(view.choices, [])
    except InputError as error:
        view.refuse(str(error))


def _sidebar(view: View) -> None:
    with st.sidebar:
        _start_from(view)
        base = st.text_area(
            "Base",
            view.get("base"),
            height=260,
            key=view.key("base"),
            help="A scenario as TOML, as `mltwin scenario init` writes it.",
        )
        variants = []
        given = [*view.get("variants"), *[""] * MAX_VARIANTS][:MAX_VARIANTS]
        shown = max(1, min(MAX_VARIANTS, len([text for text in given if text.strip()]) + 1))
        for i in range(shown):
            text = st.text_area(
                f"Variant {i + 1}",
                given[i],
                height=90,
                key=view.key(f"variant-{i}"),
                placeholder="policy.priority = shortest_prompt",
                help="Changes of the base, one a line: field = value. Or TOML: sections that are "
                "put over the base, or a whole scenario with its `system`.",
            )
            variants.append(text)
        seeds = st.slider(
            "Seeds", 1, MAX_SEEDS, view.get("seeds"), key=view.key("seeds"),
            help="Each scenario runs with each of them: the same requests for all.",
        )  # fmt: skip
        least = st.number_input(
            "Least difference that matters (%)", 0.01, 100.0, view.get("least"),
            key=view.key("least"),
            help="Tells what is the same within it, and how many seeds would find it.",
        )  # fmt: skip
        kept = [text for text in variants if text.strip()]
        view.set(base=base, variants=kept or [""], seeds=seeds, least=float(least))


def _start_from(view: View) -> None:
    """The example, or what the serving page shows to this visitor."""
    mine = _serving_toml()
    if mine is None:
        return
    with st.container(horizontal=True):
        if st.button("Take the serving page's scenario", key=f"{SLUG}.mine"):
            view.restart(base=mine)
            st.rerun()
        if view.get("base") != BASE and st.button("Start anew", key=f"{SLUG}.anew"):
            view.restart(**DEFAULTS)
            st.rerun()


def _serving_toml() -> str | None:
    """The scenario of this tab's last run on the serving page; None with a trace of one's own, as
    a link to share would name its file."""
    job = jobs.find(str(st.session_state.get("job.serving", "")))
    if job is None:
        return None
    try:
        text = (job.folder / "in" / "serving.toml").read_text("utf-8")
    except OSError:
        return None
    return None if any(str(path) in text for path in uploads.mine().values()) else text


def _result(view: View, job: jobs.Job, found: Sequence[Scenario]) -> None:
    from mltwin.app.explorer import compare_charts as charts
    from mltwin.app.explorer.compare_view import view_of

    base, least = found[0].label, least_of(view.choices)
    seen = view_of(job.out / "runs", base, least)
    for sentence in seen.differences.in_words():
        st.markdown(show.escaped(sentence))
    show.table(seen.differences.table(), "compare-differences")
    forest = charts.forest_chart(seen)
    if forest is not None:
        show.chart(
            forest,
            name="compare-forest",
            data=seen.differences.frame(),
            caption="Thick: 95 % interval of the difference alone; thin: all together.",
        )
    _report(job.out / "runs", base, least)
    if seen.quantities:
        show.chart(
            charts.linked_charts(seen),
            name="compare-distributions",
            data=seen.curves,
            caption="Shares of all values of all seeds at or below. Drag over one chart: thick "
            f"lines in the others are those of {len(seen.dots):,} sampled ones within. "
            "Dashed: limits.",
        )
        _over_time(view, seen)
    with st.expander("Fields that differ, runs and notes", icon=":material/table:"):
        show.table(seen.fields, "compare-fields")
        show.table(seen.runs, "compare-runs")
        for note in seen.notes:
            st.caption(show.escaped(note))


def _over_time(view: View, seen: "ComparedView") -> None:
    from mltwin.app.explorer import compare_charts as charts

    titles = [quantity.title for quantity in seen.quantities]
    given = view.get("quantity") if view.get("quantity") in titles else titles[0]
    chosen = st.segmented_control("Over time", titles, default=given, key=view.key("quantity"))
    view.set(quantity="" if chosen in (None, titles[0]) else str(chosen))
    chart = charts.time_chart(seen, chosen or given)
    if chart is not None:
        rows = seen.windows[seen.windows["quantity"] == (chosen or given)]
        show.chart(chart, name="compare-time", data=rows)


def _report(folder: Path, base: str, least: float) -> None:
    """The report of the command line, made when asked for."""

    def made() -> bytes:
        import tempfile

        from mltwin.app.explorer.compare_view import opened

        with tempfile.TemporaryDirectory() as place:
            path = opened(folder, base).report(Path(place) / "r.html", least=least)
            return path.read_bytes()

    st.download_button(
        "Report (HTML)",
        made,
        "compared.html",
        "text/html",
        key=f"{SLUG}.report",
        icon=":material/description:",
        on_click="ignore",
    )


def _take_along(view: View, found: Sequence[Scenario], texts: dict[str, str]) -> None:
    both = "\n".join(f"# {file}\n{text}" for file, text in texts.items())
    files = "".join(f"cat > {file} <<'END'\n{text.strip()}\nEND\n" for file, text in texts.items())
    words = command_words(view.choices, list(texts))
    command = f"{files}mltwin {' '.join([*words, '--report', 'compared.html'])}\n"
    show.copy_as(both, python_of(found, view.choices), command)
    show.share(view)


PAGE = Page(SLUG, "Compare", ":material/compare_arrows:", "Studies", ABOUT, page, 10)
