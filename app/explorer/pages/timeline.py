"""The timeline page: what each GPU did when, and the same as a file for Perfetto."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from mltwin import InputError, Scenario
from mltwin.app.explorer import jobs, show, uploads
from mltwin.app.explorer.copies import command_of, toml_of
from mltwin.app.explorer.frame import Page
from mltwin.app.explorer.panel import run_panel
from mltwin.app.explorer.safe import check_scenario
from mltwin.app.explorer.serving_choices import scenario_data
from mltwin.app.explorer.timeline_choices import (
    DEFAULTS,
    SLUG,
    check_choices,
    python_text,
    window_words,
)
from mltwin.app.explorer.view import View

if TYPE_CHECKING:
    from mltwin.timelines.replay import Replay

ABOUT = "What each GPU did when: prefill, decode, transfers, and what waited meanwhile."
PERFETTO = """
1. Make the file and save it.
2. Open [ui.perfetto.dev](https://ui.perfetto.dev) in your browser and choose *Open trace file*.
   It reads the file on your machine; neither that page nor this one uploads it.
3. Keys: `w` and `s` zoom, `a` and `d` move, `m` marks a slice. Search for `request` to find one.

Without a network, `chrome://tracing` of any Chromium opens the same file.
"""
_FILE_LIMIT_S = 300.0


def page() -> None:
    """Draw the page."""
    from mltwin.app.explorer.serving_controls import sidebar

    view = View(SLUG, DEFAULTS)
    if view.fresh:
        _follow(view)
    sidebar(view)
    try:
        scenario = _scenario(view)
    except InputError as error:
        show.error(str(error))
        return
    toml = toml_of(scenario)
    argv = ["timeline", "{in}/serving.toml", "{out}/view", "--requests", "0", "--progress-json"]
    argv += window_words(view.get("window"))
    job = run_panel(
        SLUG, argv, files={"serving.toml": toml}, title=f"Timeline of {view.get('requests'):,}"
    )
    if job is not None:
        from mltwin.timelines.replay import Replay

        _replay(view, Replay.load(job.out / "view"))
        _file(view, toml)
    _take_along(view)


def _scenario(view: View) -> Scenario:
    check_choices(view.choices)
    mine = uploads.mine()
    return check_scenario(scenario_data(view.choices, mine), uploads=mine)


def _follow(view: View) -> None:
    """A link that stands for no scenario or window gives way to the defaults."""
    try:
        _scenario(view)
    except InputError as error:
        view.refuse(str(error))


def _replay(view: View, replay: "Replay") -> None:
    _window(view, replay)
    for note in replay.notes:
        st.caption(show.escaped(note))
    try:
        chart = replay.chart()
    except InputError as error:
        show.error(str(error))
        return
    show.chart(
        chart,
        name="timeline",
        data=replay.slices.drop(columns="row"),
        caption="Each lane is a replica, or the link into one. Drag over the strip at the bottom "
        "to look closer; the slider above loads that part of the run in full detail.",
    )


def _window(view: View, replay: "Replay") -> None:
    """The part of the run that is loaded; the whole run is an empty window."""
    end = float(max(1, math.ceil(replay.run_s)))
    chosen = [min(float(edge), end) for edge in view.get("window")] or [0.0, end]
    picked = st.slider(
        "Part of the run (s)",
        0.0,
        end,
        (chosen[0], chosen[1]),
        step=max(round(end / 200, 3), 0.001),
        key=view.key("window"),
        help="What is shown below. A narrow part shows every single batch.",
    )
    if list(picked) != chosen and picked[0] < picked[1]:
        view.set(window=[] if picked == (0.0, end) else list(picked))
        st.rerun()


def _file(view: View, toml: str) -> None:
    """The Perfetto file, made when asked for."""
    argv = ["timeline", "{in}/serving.toml", "{out}/timeline.json.gz"]
    argv += ["--requests", str(view.get("shown")), *window_words(view.get("window"))]

    def made() -> bytes:
        job = jobs.start(
            f"{SLUG}-file",
            argv,
            title="Perfetto file",
            files={"serving.toml": toml},
            limit_s=_FILE_LIMIT_S,
        )
        job.wait(_FILE_LIMIT_S)
        if job.state != "done":
            raise InputError(job.error or "the file could not be made", where="timeline")
        return Path(job.out / "timeline.json.gz").read_bytes()

    with st.container(border=True):
        st.markdown("**In full, in Perfetto**")
        st.markdown(PERFETTO)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            view.set(
                shown=st.number_input(
                    "Requests to follow",
                    0,
                    5000,
                    view.get("shown"),
                    100,
                    key=view.key("shown"),
                    help="A slice for each phase of so many requests: a fifth are the slowest "
                    "ones, the others are drawn evenly.",
                )
            )
            st.download_button(
                "Make and save the file",
                made,
                "timeline.json.gz",
                "application/gzip",
                key="timeline.file",
                icon=":material/download:",
                on_click="ignore",
            )


def _take_along(view: View) -> None:
    shown = Scenario.parse(scenario_data(view.choices, uploads.mine(), shown=True))
    toml = toml_of(shown)
    words: tuple[Any, ...] = ("timeline", "timeline.json.gz", *window_words(view.get("window")))
    command = command_of(toml, "serving.toml", words=words)
    show.copy_as(toml, python_text(shown, view.get("window")), command)
    show.share(view)


PAGE = Page(SLUG, "Timeline", ":material/view_timeline:", "Serving", ABOUT, page, 20)
