"""`run_panel`: runs a page's command, shows how far it is, and lets the visitor stop it."""

import time
from collections.abc import Mapping, Sequence

from . import jobs, show, uploads
from .jobs import Job

_INLINE_S = 2.0
"""A page waits so long for its job before it draws without it: most are there by then."""
_STEP_S = 0.05
_POLL_S = 0.5


def run_panel(
    slug: str,
    argv: Sequence[str],
    *,
    title: str,
    auto: bool = True,
    files: Mapping[str, str] | None = None,
    button: str = "Run",
    limit_s: float = jobs.LIMIT_S,
) -> Job | None:
    """The finished job of this very command, or None while there is none.

    Args:
        slug: of the page.
        argv: the command's words; "{out}" in them is the job's output folder, "{in}" that of
            `files`.
        title: what runs, for the visitor.
        auto: start when argv or files differ from the last job's; else the visitor presses a
            button.
        files: name to content of input files.
        button: its label.
        limit_s: the job is stopped after so long.

    Progress, time and a button to cancel are drawn where the panel stands; so is the one line of
    an error.
    """
    import streamlit as st

    key = jobs.key_of(argv, files)
    job = jobs.current(slug)
    if job is None or job.key != key:
        job = jobs.done_before(slug, key) or job
    same = job is not None and job.key == key
    pressed = not auto and st.button(
        button, type="primary", icon=":material/play_arrow:", key=f"{slug}.run"
    )
    if pressed or (auto and not same):
        job = jobs.submit(slug, argv, title=title, files=files, limit_s=limit_s)
        same = True
    if job is None or not same:
        return None
    if job.live:
        _wait_inline(job)
    if job.live:
        _watch(slug)
        return None
    if job.state == "done":
        return job
    _tell_end(slug, job, auto)
    return None


def _wait_inline(job: Job) -> None:
    """Wait a moment for the job; a change of a control interrupts it, as it draws all the while."""
    import streamlit as st

    place = st.empty()
    until = time.monotonic() + _INLINE_S
    while not job.wait(_STEP_S) and time.monotonic() < until:
        if time.monotonic() > until - _INLINE_S + 0.3:
            place.progress(job.share, text=f"{job.title}: {job.text}")
    place.empty()


def _watch(slug: str) -> None:
    """Progress that redraws itself until the job is over, then the whole page."""
    import streamlit as st

    @st.fragment(run_every=_POLL_S)
    def progress() -> None:
        job = jobs.current(slug)
        if job is None or not job.live:
            st.rerun()
            return
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.progress(job.share, text=f"{job.title}: {job.text} · {job.waited:.0f} s")
        if right.button("Cancel", icon=":material/stop:", key=f"{slug}.cancel", width="stretch"):
            job.cancel()
            st.rerun()

    progress()


def _tell_end(slug: str, job: Job, auto: bool) -> None:
    """Say that it was cancelled or went wrong; offer another try."""
    import streamlit as st

    if job.state == "cancelled":
        st.info(f"{job.title}: cancelled after {job.seconds:.1f} s.", icon=":material/cancel:")
    else:
        show.error(uploads.named(job.error))
    if auto and st.button("Run again", icon=":material/refresh:", key=f"{slug}.again"):
        jobs.forget(slug)
        st.rerun()
