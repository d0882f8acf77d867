"""Many runs at once: a map that keeps the order and does not lose what went well.

Threads are the default: kernels release the interpreter lock, nothing is copied, and the trace is
shared. Processes (joblib's loky) suit runs that are Python all the way, such as SimPy models;
each worker pays about a second to import Numba.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module
from typing import Any, Generic, Literal, NamedTuple, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Executor = Literal["threads", "processes", "serial"]
Progress = Callable[[int, int], None]


class Outcome(NamedTuple, Generic[Value]):
    """What became of one item: a value, or the exception that ended it."""

    value: Value | None
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def get(self) -> Value:
        """The value; raises the error if there is none."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


def map_runs(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    executor: Executor = "threads",
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Outcome[Value]]:
    """Apply function to each item; outcomes in the order of items.

    Args:
        function: for processes, it and the items must be picklable.
        workers: how many at once; None takes one for each usable core.
        progress: called in this thread with (done, total) after each item.

    Raises:
        ValueError: an unknown executor, or fewer than one worker.
        BaseException: interrupts end the map at once; items not yet started are dropped, threads
            at work are not waited for.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"{workers} workers")
    workers = min(workers or usable_cores(), max(len(items), 1))
    if executor == "serial" or (executor == "threads" and workers == 1):
        numbered = _serial(function, items)
    elif executor == "threads":
        numbered = _threads(function, items, workers)
    elif executor == "processes":
        numbered = _processes(function, items, workers)
    else:
        raise ValueError(f"executor {executor!r}: use 'threads', 'processes' or 'serial'")
    outcomes: dict[int, Outcome[Value]] = {}
    for index, outcome in numbered:
        outcomes[index] = outcome
        if progress is not None:
            progress(len(outcomes), len(items))
    return [outcomes[index] for index in range(len(items))]


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _attempt(function: Callable[[Item], Value], item: Item) -> Outcome[Value]:
    try:
        return Outcome(function(item))
    except Exception as error:
        return Outcome(None, error)


def _serial(
    function: Callable[[Item], Value], items: Sequence[Item]
) -> Iterator[tuple[int, Outcome[Value]]]:
    for index, item in enumerate(items):
        yield index, _attempt(function, item)


def _threads(
    function: Callable[[Item], Value], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Outcome[Value]]]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mltwin")
    done = False
    try:
        futures = {pool.submit(_attempt, function, item): i for i, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.result()
        done = True
    finally:
        pool.shutdown(wait=done, cancel_futures=True)


def _processes(
    function: Callable[[Item], Value], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Outcome[Value]]]:
    """Through joblib; a worker that dies takes the items not yet returned with it."""
    from joblib import Parallel, delayed

    jobs = (delayed(_portable_attempt)(function, item) for item in items)
    done = 0
    try:
        for outcome in Parallel(workers, backend="loky", return_as="generator")(jobs):
            yield done, outcome
            done += 1
    except Exception as error:
        for index in range(done, len(items)):
            yield index, Outcome(None, error)


def _portable_attempt(function: Callable[[Item], Value], item: Item) -> Any:
    """An outcome that can be sent back: an exception that cannot is replaced by its text.

    Tried here, because a failure on the way would stop the other items too.
    """
    cloudpickle = _cloudpickle()
    outcome = _attempt(function, item)
    try:
        sent = cloudpickle.dumps(outcome)
        if not outcome.ok:
            cloudpickle.loads(sent)  # exceptions with arguments of their own often fail here
        return outcome
    except Exception as error:
        cause = outcome.error if outcome.error is not None else error
        return Outcome(None, RuntimeError(f"{type(cause).__name__}: {cause}"))


def _cloudpickle() -> Any:
    """The serialiser that loky uses: a package since joblib 1.6, a part of joblib before."""
    try:
        return import_module("cloudpickle")
    except ImportError:
        return import_module("joblib.externals.cloudpickle")
