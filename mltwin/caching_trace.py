"""From the `workload` section of a caching scenario to an object trace."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.models.caching import TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import ARRIVALS, exponentials
from mltwin.workloads.objects.table import ObjectTrace, frozen

from .caching import CachingScenario, ObjectWorkload
from .fields import placed
from .remembered import Remembered

_MOST_BYTES = 512 * 2**20
COLUMNS = ("ids", "size_bytes", "arrival", "tenant", "cost", "op", "ttl_ns")


def _bytes(trace: ObjectTrace) -> int:
    columns = (getattr(trace, name) for name in COLUMNS)
    return sum(column.nbytes for column in columns if column is not None)


_traces: Remembered[ObjectTrace] = Remembered(_bytes, _MOST_BYTES)


def make_objects_trace(scenario: CachingScenario, seed: int) -> ObjectTrace:
    """The requests of a scenario: opened or drawn, cut, timed.

    Raises InputError whose place begins with `workload`.
    """
    workload = scenario.workload
    source = workload.trace
    key: dict[str, Any] = {"workload": workload.model_dump(mode="json", exclude={"unit"})}
    if isinstance(source, str):
        path = scenario.resolve_path(source)
        if path.exists():
            stat = path.stat()
            key["file"] = [str(path.resolve()), stat.st_mtime_ns, stat.st_size]
        if workload.rate is not None or path.is_dir() or (not path.exists() and _is_drawn(source)):
            key["seed"] = seed
    else:
        key["seed"] = seed
    return _traces.get(json.dumps(key, sort_keys=True), lambda: _made(scenario, seed))


def _made(scenario: CachingScenario, seed: int) -> ObjectTrace:
    workload = scenario.workload
    try:
        trace = _opened(scenario, seed)
    except InputError as error:
        raise placed(error, "workload.trace") from None
    if workload.requests is not None and workload.requests < trace.requests:
        trace = trace.rows(0, workload.requests)
    if not trace.requests:
        raise InputError("has no requests", where="workload.trace", mend="choose another")
    if workload.rate is not None:
        gaps = exponentials(seed, ARRIVALS, np.arange(trace.requests)) / workload.rate
        arrival = (np.cumsum(gaps) * TICKS_PER_S).astype(np.int64)
        trace = trace.changed(arrival=arrival)
    return trace


def _is_drawn(name: str) -> bool:
    """Whether a trace of the catalogue depends on the seed."""
    from mltwin.workloads.objects.catalogue import info

    entry = info(name)
    return entry.synthetic or entry.format == "cachebench"


def _opened(scenario: CachingScenario, seed: int) -> ObjectTrace:
    from mltwin.workloads.objects.synthetic import make_objects

    workload = scenario.workload
    if not isinstance(workload.trace, str):
        return make_objects(workload.trace, seed)
    from mltwin.workloads.objects.catalogue import open_objects

    path = scenario.resolve_path(workload.trace)
    name = str(path) if path.exists() else workload.trace
    return open_objects(name, seed=seed, **reading(workload))


def reading(workload: ObjectWorkload) -> dict[str, Any]:
    """Options of the reader that a workload asks for."""
    options: dict[str, Any] = dict(workload.options)
    if workload.format != "auto":
        options["format"] = workload.format
    if workload.columns is not None:
        options["columns"] = workload.columns
    if workload.on_error != "fail":
        options["on_error"] = workload.on_error
    return options


def select(trace: ObjectTrace, rows: NDArray[np.bool_]) -> ObjectTrace:
    """The requests of a mask, under the same ids."""
    columns: dict[str, Any] = {
        name: frozen(np.ascontiguousarray(column[rows]))
        for name in COLUMNS
        if (column := getattr(trace, name)) is not None
    }
    return replace(trace, **columns)
