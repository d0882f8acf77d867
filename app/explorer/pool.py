"""A pool of warm worker processes (`mltwin worker`), one job at a time each.

A worker has mltwin, Numba and the compiled kernel loaded before its first job, so that a job starts
at once. To stop a job its worker is killed with all that it started, and another one is warmed. On
a cold kernel cache one worker compiles while the others wait: compiling twice gains nothing.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

SPARE = 2
"""Workers kept waiting beyond those at work, as long as the pool may grow."""
MOST_QUEUED = 50
RECYCLED_BYTES = 2 << 30
"""A worker that holds more than this after a job is replaced by a fresh one."""
_SPARE_AFTER_S = 5.0
"""The first worker is given this long before a spare one takes a core from the first page."""
_GRACE_S = 1.0
_DEATHS = 3


class Task(Protocol):
    """What the pool runs: a job of `jobs.py`. The pool calls its methods from its own threads."""

    id: str
    argv: list[str]
    folder: Path
    limit_s: float
    limit_bytes: int

    def begin(self) -> None:
        """A worker has taken it."""

    def end(self, code: int | None, why: str = "") -> None:
        """It ended with this exit code; None: without one, and why."""


class Worker:
    """One worker process. State: "warming", "idle", "busy" or "dead"."""

    def __init__(self, log: Path, told: Callable[["Worker", dict[str, object] | None], None]):
        """log: file for what it prints outside of jobs. told: called with each of its answers,
        with None once it has died."""
        self.state = "warming"
        self.task: Task | None = None
        self.since = time.monotonic()
        self.kill_at: float | None = None
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mltwin", "worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                env=_environment(),
                start_new_session=True,
                text=True,
                encoding="utf-8",
            )
        threading.Thread(target=self._hear, args=(told,), daemon=True).start()

    def _hear(self, told: Callable[["Worker", dict[str, object] | None], None]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told(self, json.loads(line))
        self.process.wait()
        told(self, None)

    def give(self, task: Task) -> None:
        """Hand it a task."""
        assert self.process.stdin is not None
        self.state, self.task, self.since = "busy", task, time.monotonic()
        line = json.dumps({"id": task.id, "argv": task.argv, "folder": str(task.folder)})
        with contextlib.suppress(OSError):  # its death is told by its other stream
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        """End it and whatever it started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def resident_bytes(self) -> int:
        """Its memory, where the system tells (Linux); else 0."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _environment() -> dict[str, str]:
    """The environment of a worker: this package is found wherever this process found it."""
    import mltwin

    here = str(Path(mltwin.__file__).resolve().parent.parent)
    path = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    if here not in path:
        path.append(here)
    single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return single | dict(os.environ) | {"PYTHONPATH": os.pathsep.join(path)}


class Pool:
    """Workers and the queue before them. All methods may be called from any thread."""

    def __init__(self, log: Path, most: int | None = None) -> None:
        """log: file for what workers print outside of jobs. most: workers at a time."""
        self.log = log
        self.most = max(2, os.cpu_count() or 2) if most is None else most
        self._lock = threading.RLock()
        self._workers: list[Worker] = []
        self._queue: deque[Task] = deque()
        self._deaths = 0
        self._closed = False
        self._ever_ready = False
        self._spare_from = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether a worker has come up: before, the kernel may still be compiling."""
        return self._ever_ready

    def warm(self) -> None:
        """Start the first worker, so that it is ready when the first job comes."""
        with self._lock:
            self._fill()

    def put(self, task: Task) -> None:
        """Queue a task; it starts at once where a worker waits."""
        with self._lock:
            if len(self._queue) >= MOST_QUEUED:
                task.end(None, "too many runs are waiting: try again in a minute")
                return
            self._queue.append(task)
            self._deaths = 0
            self._dispatch()

    def drop(self, task: Task, *, gently: bool = False) -> None:
        """Take a task off the queue, or kill the worker that has it; gently: give it a second
        more, as its worker is worth more than the task's last moments."""
        with self._lock:
            with contextlib.suppress(ValueError):
                self._queue.remove(task)
            for worker in self._workers:
                if worker.task is task:
                    if gently:
                        worker.kill_at = time.monotonic() + _GRACE_S
                    else:
                        self._kill(worker)
            self._dispatch()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._closed = True
            for worker in list(self._workers):
                self._kill(worker)

    def _told(self, worker: Worker, answer: dict[str, object] | None) -> None:
        """A worker answered, or died (None)."""
        with self._lock:
            task = worker.task
            if answer is None:
                if worker.state != "dead":  # nobody killed it
                    self._deaths += 1
                    self._remove(worker)
                    if task is not None:
                        task.end(None, "the worker process died (out of memory?)")
            elif "ready" in answer:
                if not self._ever_ready:
                    self._spare_from = time.monotonic() + _SPARE_AFTER_S
                self._ever_ready, self._deaths = True, 0
                worker.state = "idle" if worker.state == "warming" else worker.state
            elif task is not None and worker.state == "busy":
                worker.state, worker.task, worker.kill_at = "idle", None, None
                code = answer.get("code")
                task.end(code if isinstance(code, int) else 1)
                if worker.resident_bytes() > RECYCLED_BYTES:
                    self._kill(worker)
            self._dispatch()

    def _dispatch(self) -> None:
        for worker in self._workers:
            if self._queue and worker.state == "idle":
                task = self._queue.popleft()
                worker.give(task)
                task.begin()
        self._fill()
        if self._deaths >= _DEATHS and not self._workers:
            while self._queue:
                self._queue.popleft().end(None, f"workers cannot start: see {self.log.name}")

    def _fill(self) -> None:
        """Start workers: one until the kernel is compiled, then as many spare ones as agreed."""
        if self._closed or self._deaths >= _DEATHS:
            return
        spare = SPARE if time.monotonic() > self._spare_from else min(1, len(self._queue))
        wanted = min(self.most, spare + self._count("busy")) if self._ever_ready else 1
        while len(self._workers) < wanted:
            self._workers.append(Worker(self.log, self._told))

    def _count(self, state: str) -> int:
        return sum(worker.state == state for worker in self._workers)

    def _kill(self, worker: Worker) -> None:
        worker.kill()
        self._remove(worker)

    def _remove(self, worker: Worker) -> None:
        worker.state, worker.task = "dead", None
        with contextlib.suppress(ValueError):
            self._workers.remove(worker)

    def _watch(self) -> None:
        """Kill what has been dropped, takes too long or too much memory."""
        while not self._closed:
            time.sleep(0.25)
            with self._lock:
                for worker in list(self._workers):
                    self._check(worker, time.monotonic())
                self._fill()

    def _check(self, worker: Worker, now: float) -> None:
        task = worker.task
        if task is None:
            return
        why = ""
        if now - worker.since > task.limit_s:
            why = f"stopped after {task.limit_s:,.0f} s: make it smaller, or use the command line"
        elif worker.resident_bytes() > task.limit_bytes:
            limit = task.limit_bytes / 1e9
            why = f"stopped at {limit:.1f} GB of memory: make it smaller, or use the command line"
        if why or (worker.kill_at is not None and now > worker.kill_at):
            self._kill(worker)
            task.end(None, why)
            self._dispatch()
