"""From the `workload` section of a serving scenario to a trace and what policies know of it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import PREDICTION, normals
from mltwin.sim.ticks import NEVER, ticks
from mltwin.workloads.table import Trace
from mltwin.workloads.transforms import head, repeat, scale_rate, window, with_arrivals

from .fields import Spec, close_to, placed
from .remembered import Remembered
from .serving import ServingScenario, Workload

# Comparisons and sweeps run the same requests many times: traces as opened, and as made ready.
_MOST_BYTES = 256 * 2**20


# What of the workload's section shapes its trace; the rest is of its clients.
_SHAPING = (
    *("trace", "format", "columns", "options", "sort", "on_error", "window_s", "requests"),
    *("rate", "rate_scale", "arrivals", "burstiness", "timeout_s"),
)


def _bytes(trace: Trace) -> int:
    return sum(v.nbytes for v in trace.columns().values() if isinstance(v, np.ndarray))


_opened: Remembered[Trace] = Remembered(_bytes, _MOST_BYTES)
_cut: Remembered[Trace] = Remembered(_bytes, _MOST_BYTES)
_ready: Remembered[Trace] = Remembered(_bytes, _MOST_BYTES)


def make_trace(scenario: ServingScenario, seed: int) -> Trace:
    """The requests of a scenario: opened or drawn, cut, repeated, re-timed.

    Raises InputError whose place begins with `workload`.
    """
    workload = scenario.workload
    shape = {name: getattr(workload, name) for name in _SHAPING}
    opened = _opening(scenario, seed, drawn=workload.arrivals != "trace")
    return _ready.get(_text({"shape": shape, **opened}), lambda: _make_ready(scenario, seed))


def _make_ready(scenario: ServingScenario, seed: int) -> Trace:
    workload = scenario.workload
    cut = {"window_s": workload.window_s, "requests": workload.requests}
    key = _text({**cut, **_opening(scenario, seed)})
    trace = _cut.get(key, lambda: _made_to_size(scenario, seed))
    trace = _retimed(trace, workload, seed)
    if workload.timeout_s is not None:
        trace = trace.changed(timeout=np.full(len(trace), ticks(workload.timeout_s)))
    return trace


def _made_to_size(scenario: ServingScenario, seed: int) -> Trace:
    """The window and the number of requests that the workload asks for; rates come after."""
    workload = scenario.workload
    trace = _open(scenario, seed)
    if workload.window_s is not None:
        trace = window(trace, *workload.window_s)
    if not len(trace):
        raise InputError(
            "has no requests", where="workload.trace", mend="choose another trace or window_s"
        )
    if workload.requests is not None:
        try:
            trace = _so_many(trace, workload.requests)
        except InputError as error:
            raise placed(error, "workload.requests") from None
    return trace


def check_trace(scenario: ServingScenario) -> None:
    """Look up the trace, without reading it.

    Raises InputError for a name that is neither a file's nor the catalogue's.
    """
    from mltwin.workloads.catalogue import list_traces

    source = scenario.workload.trace
    if not isinstance(source, str) or scenario.resolve_path(source).exists():
        return
    known = list_traces()
    if source.removeprefix("synthetic:") not in {
        *known,
        *(n.removesuffix("-synthetic") for n in known),
    }:
        raise InputError(
            f"no trace or file {source!r}", where="workload.trace", mend=close_to(source, known)
        )


def predictions(scenario: ServingScenario, trace: Trace, seed: int) -> np.ndarray:
    """int32 output tokens of each request as policies know them.

    `noisy` multiplies the truth by a log-normal error of median 1, keyed by request; `mean` is
    the mean of the trace for all.
    """
    workload = scenario.workload
    if workload.prediction == "oracle":
        return trace.output
    if workload.prediction == "mean":
        guess = np.full(len(trace), np.rint(trace.output.mean()))
    else:
        error = normals(seed, PREDICTION, np.arange(len(trace)))
        guess = np.rint(trace.output * np.exp(workload.prediction_sigma * error))
    return np.clip(guess, 1, 1 << 24).astype(np.int32)


def deadlines(scenario: ServingScenario, trace: Trace) -> np.ndarray:
    """int64 ticks of each request's deadline; empty where there are none.

    Requests whose arrival is not known beforehand (closed loops, later turns) have none.
    """
    limit_s = scenario.workload.deadline_s
    if limit_s is None and scenario.slo.ttft_ms is not None:
        limit_s = scenario.slo.ttft_ms / 1000
    if limit_s is None or scenario.workload.concurrency is not None:
        return np.zeros(0, np.int64)
    known = trace.after < 0
    return np.where(known, trace.arrival + ticks(limit_s), NEVER)


def tenant_weights(workload: Workload, trace: Trace) -> np.ndarray:
    """float64 weight of each tenant of the trace."""
    for name in workload.tenants:
        if name not in trace.tenants:
            raise InputError(
                f"the trace has no tenant {name!r}",
                where=f"workload.tenants.{name}",
                mend=close_to(name, trace.tenants),
            )
    return np.array([workload.tenants.get(name, 1.0) for name in trace.tenants])


def _open(scenario: ServingScenario, seed: int) -> Trace:
    source = scenario.workload.trace
    try:
        opened = _opening(scenario, seed)
        return _opened.get(_text(opened), lambda: _opened_anew(source, opened, seed))
    except InputError as error:
        raise placed(error, "workload.trace") from None


def _opened_anew(source: Spec, opened: Mapping[str, Any], seed: int) -> Trace:
    if isinstance(source, Mapping):
        from mltwin.workloads.synthetic import synthesize

        return synthesize(source, seed)
    from mltwin.workloads.catalogue import open_trace

    return open_trace(opened["name"], seed=seed, **opened["options"])


def _opening(scenario: ServingScenario, seed: int, *, drawn: bool = False) -> dict[str, Any]:
    """All that the trace as opened depends on; the seed only where it is drawn, or `drawn` says
    that it will be."""
    from mltwin.workloads.catalogue import is_drawn

    source = scenario.workload.trace
    if isinstance(source, Mapping):
        return {"spec": source, "seed": seed}
    options = _options(scenario.workload)
    path = scenario.resolve_path(source)
    name = str(path) if path.exists() else source
    return {
        "name": name,
        "options": options,
        "stamp": _stamp(path),  # tells that a file has changed
        "data": os.environ.get("MLTWIN_DATA", ""),
        "seed": seed if drawn or is_drawn(name, **options) else None,
    }


def _options(workload: Workload) -> dict[str, Any]:
    """What the trace's reader is told besides its name."""
    options: dict[str, Any] = dict(workload.options)
    if workload.columns is not None:
        options["columns"] = workload.columns
    if workload.sort:
        options["sort"] = True
    if workload.on_error != "fail":
        options["on_error"] = workload.on_error
    if workload.format != "auto":
        options["format"] = workload.format
    return options


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, default=str)


def _stamp(path: Path) -> list[int]:
    """When a file was changed and how long it is; nothing for what is no file."""
    try:
        info = path.stat()
    except OSError:
        return []
    return [info.st_mtime_ns, info.st_size]


def _so_many(trace: Trace, count: int) -> Trace:
    times = -(-count // len(trace))
    return head(repeat(trace, times) if times > 1 else trace, count)


def _retimed(trace: Trace, workload: Workload, seed: int) -> Trace:
    if workload.arrivals != "trace":
        rate = workload.rate or (trace.span_s and (len(trace) - 1) / trace.span_s)
        if not rate:
            raise InputError(
                "the trace has no rate of its own", where="workload.rate", mend="give a rate"
            )
        spec = {"process": workload.arrivals, "rate_per_s": rate}
        if workload.arrivals == "gamma":
            spec["burstiness"] = workload.burstiness
        return with_arrivals(trace, spec, seed)
    if workload.rate_scale is not None:
        return _scaled(trace, workload.rate_scale, "workload.rate_scale")
    if workload.rate is not None:
        if trace.span_s <= 0:
            raise InputError(
                "the trace has no rate to scale",
                where="workload.rate",
                mend="set workload.arrivals = 'poisson'",
            )
        own = (len(trace) - 1) / trace.span_s
        return _scaled(trace, workload.rate / own, "workload.rate")
    return trace


def _scaled(trace: Trace, factor: float, where: str) -> Trace:
    try:
        return scale_rate(trace, factor)
    except InputError as error:
        raise InputError(error.message, where=where, mend=error.mend) from None
