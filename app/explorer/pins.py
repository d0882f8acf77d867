"""A pinned result: it stays on the page so that the next one can be held against it."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mltwin.text import Table

from . import jobs
from .jobs import Job

_PARAM = "pin"


@dataclass(frozen=True)
class Pin:
    """A finished job that was pinned, what to call it, and its scenario as TOML."""

    job: Job
    label: str
    toml: str


def pinned(slug: str) -> Pin | None:
    """The page's pinned result; after a reload, the one whose id the URL holds."""
    import streamlit as st

    job_id = st.session_state.get(f"pin.{slug}") or st.query_params.get(_PARAM, "")
    job = jobs.find(job_id)
    if job is None or job.slug != slug or job.state != "done":
        return None
    _hold(slug, job)
    return Pin(job, job.notes.get("label", "pinned"), job.notes.get("toml", ""))


def buttons(slug: str, job: Job, label: str, toml: str) -> None:
    """Buttons that pin this result, or let the pinned one go."""
    import streamlit as st

    pin = pinned(slug)
    with st.container(horizontal=True, vertical_alignment="center"):
        again = "Pin this one instead" if pin is not None else "Pin this result"
        if st.button(again, key=f"{slug}.pin", icon=":material/keep:"):
            job.remember({"label": label, "toml": toml})
            _hold(slug, job)
            st.rerun()
        if pin is not None and st.button("Unpin", key=f"{slug}.unpin", icon=":material/keep_off:"):
            st.session_state.pop(f"pin.{slug}", None)
            st.query_params.pop(_PARAM, None)
            st.rerun()


def commands(pin: Pin, toml: str) -> str:
    """Shell lines that make the comparison of a pinned scenario with another."""
    files = (("pinned.toml", pin.toml), ("now.toml", toml))
    parts = [f"cat > {name} <<'END'\n{text.strip()}\nEND\n" for name, text in files]
    return "".join(parts) + "mltwin compare pinned.toml now.toml\n"


def _hold(slug: str, job: Job) -> None:
    import streamlit as st

    st.session_state[f"pin.{slug}"] = job.id
    if st.query_params.get(_PARAM) != job.id:
        st.query_params[_PARAM] = job.id


@lru_cache(maxsize=8)
def compared(before: Path, now: Path, before_label: str, now_label: str) -> Table:
    """What `mltwin compare` prints of two stored runs."""
    from mltwin import Result, compare

    old, new = Result.load(before), Result.load(now)
    for result, label in ((old, before_label), (new, now_label)):
        if result.scenario is not None:
            result.scenario = result.scenario.set("name", label)
    return compare([old, new]).table()
