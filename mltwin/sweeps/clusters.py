"""The ways to workers in other processes: through joblib (loky, Dask), and Ray's own.

A cluster is joined by its address, or started on this machine and stopped at the end. Starting one
with Dask spawns processes that import the main script again: put the call of a script under
`if __name__ == "__main__":`, as with Python's own process pools.
"""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from mltwin.sim.errors import InputError
from mltwin.sim.executors import usable_cores

from .work import Numbered, Row, packed, run_chunk, run_packed

Rows = list[tuple[int, Row]]
ChunkList = Iterable[list[Numbered]]
_CONNECT_S = 20
_AHEAD = 2  # chunks in flight for each worker, so that none waits for the next


def package(name: str, extra: str) -> Any:
    """An optional package.

    Raises InputError that says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"the package {name} is not installed",
            where="backend",
            mend=f"pip install mltwin[{extra}]",
        ) from None


def through_joblib(chunks: ChunkList, backend: str, **options: Any) -> Iterator[Rows]:
    """Rows of chunks run by a backend of joblib, as they come in; `options` are the backend's."""
    from joblib import Parallel, delayed, parallel_config

    from .identity import portable_hash

    if backend == "threading":
        calls = (delayed(run_chunk)(chunk) for chunk in chunks)
    else:
        calls = (delayed(run_packed)(packed(chunk), portable_hash()) for chunk in chunks)
    with parallel_config(backend=backend, **options):
        found = Parallel(return_as="generator_unordered", batch_size=1)(calls)
    try:
        yield from found
    finally:
        found.close()


_held: "ContextVar[_Held | None]" = ContextVar("_held", default=None)


class _Held(NamedTuple):
    """Clusters that stay up: by backend, workers and address; and what ends them."""

    opened: dict[Any, Any]
    stack: ExitStack


@contextmanager
def clusters_held() -> Iterator[None]:
    """Within this block a Dask or Ray cluster that a call has started serves the next calls too;
    all are stopped at its end. Starting one takes seconds: for many short calls of `run_jobs`."""
    if _held.get() is not None:
        yield
        return
    with ExitStack() as stack:
        token = _held.set(_Held({}, stack))
        try:
            yield
        finally:
            _held.reset(token)


@contextmanager
def open_cluster(backend: str, workers: int | None, address: str | None) -> Iterator[Any]:
    """Workers of a Dask or Ray cluster: how many, and the way to submit chunks to them.

    Raises InputError: no package, no cluster at the address, or none could be started.
    """
    opened, held = {"dask": open_dask, "ray": open_ray}[backend], _held.get()
    if held is None:
        with opened(workers, address) as found:
            yield found
        return
    key = (backend, workers, address)
    if key not in held.opened:
        held.opened[key] = held.stack.enter_context(opened(workers, address))
    yield held.opened[key]


@contextmanager
def open_dask(workers: int | None, address: str | None) -> Iterator[Any]:
    """Workers of a Dask cluster: how many cores they have, and the way to submit chunks.

    Raises InputError where the scheduler does not answer or has no workers.
    """
    distributed = package("distributed", "dask")
    if address is None:
        with (
            _local_dask(distributed, workers or usable_cores()) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield _submits(client)
        return
    try:
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} ({error})",
            where="address",
            mend="give the address that `dask scheduler` printed, e.g. tcp://10.0.0.1:8786",
        ) from None
    with client:
        yield _submits(client)


def _local_dask(distributed: Any, workers: int) -> Any:
    try:
        with _deaf_children():
            return distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",  # any free port, for this machine only
                silence_logs="CRITICAL",
            )
    except (RuntimeError, OSError, TimeoutError) as error:
        raise InputError(
            f"no Dask cluster could be started here ({error})",
            where="backend",
            mend='in a script, call it under: if __name__ == "__main__":',
        ) from None


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started within do not hear Ctrl-C: it is ours to end them, without tracebacks."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _submits(client: Any) -> tuple[int, Any]:
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except (OSError, TimeoutError):
        raise InputError(
            "the Dask scheduler has no workers",
            where="address",
            mend="start some: dask worker ADDRESS",
        ) from None
    count = sum(client.ncores().values())
    return count, lambda chunks: through_joblib(chunks, "dask", client=client, n_jobs=count)


@contextmanager
def open_ray(workers: int | None, address: str | None) -> Iterator[Any]:
    """Workers of a Ray cluster: how many CPUs it has, and the way to submit chunks.

    A Ray that the caller has started is used and left running. Raises InputError where no cluster
    answers at the address.
    """
    ray = package("ray", "ray")
    ours = not ray.is_initialized()
    if ours:
        _start_ray(ray, workers, address)
    try:
        count = max(1, int(ray.cluster_resources().get("CPU", 1)))
        if workers is not None:
            count = min(count, workers)
        yield count, lambda chunks: _through_ray(ray, chunks, count)
    finally:
        if ours:
            ray.shutdown()


def _start_ray(ray: Any, workers: int | None, address: str | None) -> None:
    options: dict[str, Any] = {"address": address or "local", "log_to_driver": False}
    if address is None:
        options |= {"num_cpus": workers or usable_cores(), "include_dashboard": False}
        places = os.pathsep.join(path for path in sys.path if path)
        options["runtime_env"] = {"env_vars": {"PYTHONPATH": places}}
    # What is under way when a sweep ends early is nobody's to handle.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        ray.init(configure_logging=True, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"no Ray cluster at {address or 'this machine'} ({error})",
            where="address",
            mend="give the address that `ray start --head` printed, or leave it out",
        ) from None


def _through_ray(ray: Any, chunks: ChunkList, workers: int) -> Iterator[Rows]:
    from .identity import portable_hash

    code, task = portable_hash(), ray.remote(max_retries=0)(run_packed)
    under_way: list[Any] = []
    try:
        for chunk in chunks:
            under_way.append(task.remote(packed(chunk), code))
            if len(under_way) >= _AHEAD * workers:
                ready, under_way = ray.wait(under_way)
                yield from ray.get(ready)
        while under_way:
            ready, under_way = ray.wait(under_way)
            yield from ray.get(ready)
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)
