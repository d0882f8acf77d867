"""Jobs: commands of mltwin that the explorer runs for a visitor, each in a folder of its own.

A job is known by an unguessable id. The id stands in the URL of the page that started the job, so
that a reload finds it again; there is no list of jobs, and no other way to one. A folder holds what
the job was (`job.json`), its input files (`in/`), what it left (`out/`, `stdout`, `stderr`) and its
exit code (`exit`, written last).
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from . import workspace
from .pool import Pool

LIMIT_S = 900.0
"""A job may run so long."""
KEPT = 60
"""Folders of finished jobs that are kept, the newest; after a day they are removed anyway."""
_KEPT_S = 86_400.0
_KNOWN = 20
_RUN = "run"
_LIVE = ("queued", "running")
_TAIL = 16_384


class Job:
    """A command that was asked for. State: queued, running, done, failed or cancelled."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.id, self.folder = folder.name, folder
        self.slug: str = about["slug"]
        self.title: str = about["title"]
        self.key: str = about["key"]
        self.argv: list[str] = list(about["argv"])
        self.state = "queued"
        self.code: int | None = None
        self.limit_s = LIMIT_S
        self.limit_bytes = _memory_limit()
        self.asked_s = time.monotonic()
        self.began_s = self.ended_s = 0.0
        self._why = ""
        self._over = threading.Event()

    @property
    def out(self) -> Path:
        """The folder into which the command writes."""
        return self.folder / "out"

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.state in _LIVE

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        if not self.began_s:
            return 0.0
        return (self.ended_s or time.monotonic()) - self.began_s

    @property
    def waited(self) -> float:
        """Seconds since it was asked for, until it is over."""
        return (self.ended_s or time.monotonic()) - self.asked_s

    @property
    def share(self) -> float:
        """The share done, 0 to 1, as the command tells it."""
        return 1.0 if self.state == "done" else float(self._progress().get("progress", 0.0))

    @property
    def text(self) -> str:
        """Where it is, in a few words."""
        if self.state == "queued":
            if not the_pool().ready:
                return "waking the simulator (the very first time it compiles for half a minute)"
            return "waiting for a free worker"
        if self.state == "running":
            return str(self._progress().get("text", "")) or "running"
        return self.state

    @property
    def error(self) -> str:
        """One line that says why it failed; "" if it did not."""
        if self.state != "failed":
            return ""
        lines = [line for line in self._stderr() if line.startswith("error: ")]
        return self._why or (lines[-1].removeprefix("error: ") if lines else "it failed")

    @property
    def notes(self) -> dict[str, Any]:
        """What a page remembered with the job (`remember`)."""
        try:
            found: dict[str, Any] = json.loads(_text(self.folder / "notes.json") or "{}")
        except ValueError:
            return {}
        return found

    def remember(self, notes: Mapping[str, Any]) -> None:
        """Keep plain data with the job, as long as the job is kept."""
        part = self.folder / "notes.part"
        part.write_text(json.dumps(dict(notes)), encoding="utf-8")
        part.replace(self.folder / "notes.json")

    def stdout(self) -> str:
        """What the command printed."""
        return _text(self.folder / "stdout")

    def wait(self, seconds: float) -> bool:
        """Wait until it is over, but no longer than this; whether it is."""
        return self._over.wait(seconds)

    def cancel(self, *, gently: bool = False) -> None:
        """Stop it; its worker is killed. Gently: the worker gets a second to finish by itself."""
        if self.live:
            self._finish("cancelled")
            the_pool().drop(self, gently=gently)

    def begin(self) -> None:
        """A worker has taken it (called by the pool)."""
        if self.state == "queued":
            self.state, self.began_s = "running", time.monotonic()

    def end(self, code: int | None, why: str = "") -> None:
        """It ended (called by the pool)."""
        if self.live:
            self.code, self._why = code, why
            self._finish("done" if code == 0 else "failed")

    def _finish(self, state: str) -> None:
        self.ended_s = time.monotonic()
        self.state = state
        self._over.set()

    def _stderr(self) -> list[str]:
        return _text(self.folder / "stderr", _TAIL).splitlines()

    def _progress(self) -> dict[str, Any]:
        for line in reversed(self._stderr()):
            if line.startswith('{"progress"') and line.endswith("}"):
                found: dict[str, Any] = json.loads(line)
                return found
        return {}


_jobs: dict[str, Job] = {}
_lock = threading.Lock()


@cache
def the_pool() -> Pool:
    """The workers of this server, started on first use."""
    _prune(workspace.private(workspace.root() / "jobs"))
    pool = Pool(workspace.root() / "worker.log")
    pool.warm()
    return pool


def key_of(argv: Sequence[str], files: Mapping[str, str] | None = None) -> str:
    """What tells one command from another: argv and the content of its files."""
    content = json.dumps([list(argv), dict(files or {})], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def start(
    slug: str,
    argv: Sequence[str],
    *,
    title: str,
    files: Mapping[str, str] | None = None,
    limit_s: float = LIMIT_S,
) -> Job:
    """Start a job and give it to the caller alone; `submit` also binds it to the page."""
    folder = workspace.private(workspace.root() / "jobs") / workspace.new_token()
    for part in (folder, folder / "in", folder / "out"):
        part.mkdir(mode=0o700)
    for name, text in (files or {}).items():
        (folder / "in" / Path(name).name).write_text(text, encoding="utf-8")
    places = {"{out}": str(folder / "out"), "{in}": str(folder / "in")}
    told = [_filled(word, places) for word in argv]
    about = {"slug": slug, "title": title, "key": key_of(argv, files), "argv": told}
    (folder / "job.json").write_text(json.dumps(about), encoding="utf-8")
    job = Job(folder, about)
    job.limit_s = limit_s
    with _lock:
        _jobs[job.id] = job
        _forget_oldest()
    the_pool().put(job)
    return job


def find(job_id: str) -> Job | None:
    """The job of an id; also one of an earlier server, if it had finished."""
    if not workspace.is_token(job_id):
        return None
    with _lock:
        if job_id not in _jobs:
            job = _reopened(workspace.root() / "jobs" / job_id)
            if job is not None:
                _jobs[job_id] = job
        return _jobs.get(job_id)


def submit(
    slug: str,
    argv: Sequence[str],
    *,
    title: str,
    files: Mapping[str, str] | None = None,
    limit_s: float = LIMIT_S,
) -> Job:
    """Run `mltwin <argv>` for this visitor's page and remember the job in the URL.

    Args:
        slug: of the page. It has one live job: the one before is cancelled.
        argv: words of the command; "{out}" in them is the job's fresh output folder, "{in}" the
            folder of `files`.
        title: what it is, for the visitor.
        files: name to content of input files.
        limit_s: it is stopped after so long.
    """
    import streamlit as st

    before = current(slug)
    if before is not None:
        before.cancel(gently=True)
    job = start(slug, argv, title=title, files=files, limit_s=limit_s)
    _mine(slug)[job.key] = job.id
    _hold(slug, job)
    st.query_params[_RUN] = job.id
    return job


def current(slug: str) -> Job | None:
    """The page's newest job in this tab; after a reload, the one that the URL names.

    An id in the URL that is no longer the newest (the browser's Back) is left there: writing it
    anew would make a new entry in the browser's history, out of which nobody gets back.
    """
    import streamlit as st

    named = st.query_params.get(_RUN, "")
    job = find(st.session_state.get(f"job.{slug}") or named)
    if job is None or job.slug != slug:
        return None
    _hold(slug, job)
    if not named and st.session_state.get("arrived"):
        st.query_params[_RUN] = job.id
    return job


def done_before(slug: str, key: str) -> Job | None:
    """This tab's finished job of the same command, which then is the page's current one."""
    job = find(_mine(slug).get(key, ""))
    if job is None or job.state != "done":
        return None
    before = current(slug)
    if before is not None:
        before.cancel(gently=True)
    _hold(slug, job)
    return job


def _mine(slug: str) -> dict[str, str]:
    """Jobs of this tab's page: key to id, the newest last."""
    import streamlit as st

    known: dict[str, str] = st.session_state.setdefault(f"jobs.{slug}", {})
    while len(known) > _KNOWN:
        del known[next(iter(known))]
    return known


def _hold(slug: str, job: Job) -> None:
    import streamlit as st

    st.session_state[f"job.{slug}"] = job.id


def forget(slug: str) -> None:
    """Let go of the page's job, so that the next look at the page starts one."""
    import streamlit as st

    st.session_state.pop(f"job.{slug}", None)
    st.query_params.pop(_RUN, None)


def _filled(word: str, places: Mapping[str, str]) -> str:
    for mark, path in places.items():
        word = word.replace(mark, path)
    return word


def _reopened(folder: Path) -> Job | None:
    """A finished job from its folder."""
    try:
        about = json.loads((folder / "job.json").read_text("utf-8"))
        code = int((folder / "exit").read_text("ascii"))
    except (OSError, ValueError):
        return None
    job = Job(folder, about)
    job.began_s = job.asked_s
    job.end(code)
    return job


def _forget_oldest() -> None:
    """Remove the finished jobs beyond those that are kept."""
    over = [job for job in _jobs.values() if not job.live and not job.notes]
    for job in over[: max(0, len(over) - KEPT)]:
        del _jobs[job.id]
        shutil.rmtree(job.folder, ignore_errors=True)


def _prune(folder: Path) -> None:
    """Remove what earlier servers left more than a day ago."""
    for path in folder.iterdir():
        try:
            old = time.time() - path.stat().st_mtime > _KEPT_S
        except OSError:
            continue
        if old and workspace.is_token(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _memory_limit() -> int:
    """Bytes that one job may hold: half of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 8 << 30


def _text(path: Path, tail: int | None = None) -> str:
    """The content of a file, or its end; "" if there is none."""
    try:
        with open(path, "rb") as file:
            if tail is not None:
                file.seek(max(0, path.stat().st_size - tail))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
