"""Where chunks of runs are done: threads, processes, Dask or Ray, behind one generator.

Threads, processes (loky) and Dask go through joblib: `Parallel` hands out chunks as workers come
free and gives rows back as they come in. Ray does not: `ray.util.joblib` swaps a base class of
joblib's pools for the whole process, starts an actor a worker and loses all of them with one. So
chunks are submitted as Ray tasks, a few ahead of the workers.

Cheap runs travel in chunks. A chunk begins as one run and grows until it lasts about as long as its
backend needs to make the way there and back small; near the end chunks shrink again, so that no
worker is left with the last long one.

A run that takes its worker process down with it (killed, out of memory) must not take the sweep
down: what was under way is halved and tried again until the one run is found; it becomes a row with
an error.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from mltwin.fields import close_to
from mltwin.sim.errors import InputError, MltwinError
from mltwin.sim.executors import usable_cores

from .clusters import open_cluster, package, through_joblib
from .work import Numbered, Row, one_line, run_chunk, told

Rows = list[tuple[int, Row]]

Submit = Callable[["Chunks"], Iterator[Rows]]
"""Has chunks run by workers; their rows, as they come in."""

BACKENDS = ("threads", "processes", "serial", "dask", "ray")
# Seconds that a chunk of cheap runs should last.
_CHUNK_S = {"serial": 0.05, "threads": 0.05, "processes": 0.1, "dask": 0.25, "ray": 0.25}
_LARGEST_CHUNK = 512
_SWITCH_S = 0.0005
_FREED_ONCE_BYTES = 31 * 2**20


class Chunks:
    """Hands out jobs in chunks whose size follows how long runs take.

    Args:
        jobs: to be handed out, in order.
        seconds: that a chunk should last.
        workers: among which they are shared.
    """

    def __init__(self, jobs: Sequence[Numbered], seconds: float, workers: int) -> None:
        self._jobs = jobs
        self._seconds = seconds
        self._workers = workers
        self._next = 0
        self._mean_s = float("inf")

    def __iter__(self) -> Iterator[list[Numbered]]:
        while self._next < len(self._jobs):
            start, self._next = self._next, self._next + self._size()
            yield list(self._jobs[start : self._next])

    def _size(self) -> int:
        fair = (len(self._jobs) - self._next) // (2 * self._workers)
        lasting = int(self._seconds / max(self._mean_s, 1e-9))
        return max(1, min(fair, lasting, _LARGEST_CHUNK))

    def handed_out(self) -> Sequence[Numbered]:
        """The jobs that some chunk had."""
        return self._jobs[: self._next]

    def rest(self) -> Sequence[Numbered]:
        """The jobs that no chunk had."""
        return self._jobs[self._next :]

    def learn(self, rows: Rows) -> None:
        """Take note of how long runs took; recent ones count most."""
        mean_s = sum(row.wall_s for _, row in rows) / len(rows)
        known = self._mean_s != float("inf")
        self._mean_s = 0.7 * self._mean_s + 0.3 * mean_s if known else mean_s


def map_chunks(
    jobs: Sequence[Numbered], *, backend: str, workers: int | None, address: str | None
) -> Iterator[Rows]:
    """Run the jobs on a backend; rows with the numbers of their jobs, as they come in.

    Raises InputError: see `run_jobs`.
    """
    check_backend(backend, workers, address)
    if not jobs:
        return
    if backend == "serial" or (backend == "threads" and (workers or usable_cores()) == 1):
        for numbered in jobs:
            yield run_chunk([numbered])
        return
    opened = open_cluster if backend in ("dask", "ray") else _local
    with opened(backend, workers, address) as (count, submit):
        yield from _surely(submit, jobs, _CHUNK_S[backend], count)


def _surely(
    submit: Submit, jobs: Sequence[Numbered], seconds: float, workers: int
) -> Iterator[Rows]:
    """Rows of all jobs, of those too that end their worker."""
    chunks, missing = Chunks(jobs, seconds, workers), {job[0]: job for job in jobs}
    try:
        for rows in submit(chunks):
            chunks.learn(rows)
            for number, _ in rows:
                del missing[number]
            yield rows
        return
    except MltwinError:
        raise
    except Exception as error:
        if len(jobs) == 1:
            yield [(jobs[0][0], lost_row(jobs[0], error))]
            return
    lost = [job for job in chunks.handed_out() if job[0] in missing]
    middle = -(-len(lost) // 2)
    for part in (lost[:middle], lost[middle:], chunks.rest()):
        if part:
            yield from _surely(submit, part, seconds, workers)


def lost_row(job: Numbered, error: Exception) -> Row:
    """The row of a run whose worker did not come back."""
    text = f"its worker did not bring it back (killed, out of memory?): {told(error)}"
    return Row(job[2], {}, "", 0.0, one_line(text))


def check_backend(backend: str, workers: int | None, address: str | None) -> None:
    """Raises InputError: an unknown backend, workers or an address that do not fit it, or a package
    that is not installed."""
    if backend not in BACKENDS:
        raise InputError(
            f"unknown backend {backend!r}", where="backend", mend=close_to(backend, BACKENDS)
        )
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers", where="workers", mend="give at least 1")
    if address is not None and backend not in ("dask", "ray"):
        raise InputError(
            f"backend {backend!r} has no address", where="address", mend="use dask or ray"
        )
    if backend == "dask":
        package("distributed", "dask")
    elif backend == "ray":
        package("ray", "ray")


def _keep_freed_memory() -> None:
    """Have the C library keep what a run frees for the next one.

    By default glibc hands the tables of a run back as soon as it ends; with four threads, mapping
    them in anew costs a tenth of a run. It keeps freed memory of up to twice the largest block, at
    most 32 MiB, that a process has freed before (mallopt(3), M_TRIM_THRESHOLD). The block is not
    touched, so this costs nothing; other allocators take no notice.
    """
    np.empty(_FREED_ONCE_BYTES, np.uint8)


@contextmanager
def _local(backend: str, workers: int | None, address: str | None) -> Iterator[tuple[int, Submit]]:
    count = workers or usable_cores()
    if backend == "processes":
        yield count, lambda chunks: through_joblib(chunks, "loky", n_jobs=count)
        return
    # A thread that comes out of a kernel waits this long for Python's lock; 5 ms by default, which
    # a run of 100 ms, in and out of NumPy many times, would feel.
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    _keep_freed_memory()
    try:
        yield count, lambda chunks: through_joblib(chunks, "threading", n_jobs=count)
    finally:
        sys.setswitchinterval(before)
