"""Runs measured by load generators other than vLLM's: AIPerf and GuideLLM.

AIPerf's `profile_export.jsonl` holds one record a request: `metadata` (times in ns since the
epoch) and `metrics` (each a value with its unit); see "Working with profile export files" in its
documentation. GuideLLM's `benchmarks.json` holds several benchmarks, each with its requests, whose
`info.timings` are seconds since the epoch (its `schemas/info.py`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import seconds

from .build import build
from .from_jsonl import parse_json
from .read_vllm import MeasuredRun, tpot
from .source import Source, read_text
from .table import Trace
from .tabular import Field, Rejects, Row, Table, collect
from .values import Count, Time

AIPERF_MARKS = frozenset({"metadata", "metrics"})
_AIPERF: dict[str, Field] = {
    "prompt": Field("input_sequence_length", Count()),
    "output": Field("output_sequence_length", Count()),
    "arrival": Field("request_start_ns", Time("ns")),
    "ttft": Field("time_to_first_token", Time("ms")),
    "e2e": Field("request_latency", Time("ms")),
}
_GUIDELLM: dict[str, Field] = {
    "prompt": Field("prompt_tokens", Count()),
    "output": Field("output_tokens", Count()),
    "arrival": Field("request_start", Time("s")),
    "first": Field("first_token_iteration", Time("s")),
    "last": Field("last_token_iteration", Time("s")),
    "end": Field("request_end", Time("s")),
}


def read_aiperf(source: Source, rejects: Rejects, *, sort: bool = False) -> Trace:
    """The requests of AIPerf's per-request records; see `measured_aiperf`."""
    return measured_aiperf(source, rejects, sort=sort).trace


def measured_aiperf(source: Source, rejects: Rejects, *, sort: bool = False) -> MeasuredRun:
    """Requests of `profile_export.jsonl` with their timings.

    Rule: records of the warm-up, with an error, or cancelled are left out and counted in
    `meta["failed"]`. Records stand in the order in which they ended, so they are sorted by start
    whatever `sort` says.
    """
    failed: list[int] = []
    table = collect(source, _AIPERF, rejects, _aiperf_rows(source, rejects, failed))
    if not table.rows:
        raise source.error("no requests to use", mend="give the records of a finished run")
    trace = _sorted(table)
    trace.meta["failed"] = len(failed)
    ttft, e2e = (_seconds(table, label) for label in ("ttft", "e2e"))
    return MeasuredRun(trace, ttft, tpot(e2e - ttft, trace.output), e2e)


def _aiperf_rows(source: Source, rejects: Rejects, failed: list[int]) -> Iterator[Row]:
    for number, line in source.lines():
        if not line.strip():
            continue
        try:
            record = parse_json(line)
            metadata, metrics = record["metadata"], record["metrics"]
            cells = {"arrival": metadata["request_start_ns"]}
        except ValueError as wrong:
            rejects.add(number, None, line, str(wrong), "correct the line")
            continue
        except (KeyError, TypeError):
            why = "has no metadata.request_start_ns or no metrics"
            rejects.add(number, None, line, why, "give AIPerf's profile_export.jsonl")
            continue
        unusable = record.get("error") or metadata.get("was_cancelled")
        if unusable or metadata.get("benchmark_phase") not in (None, "profiling"):
            failed.append(number)
            continue
        for label, field in _AIPERF.items():
            if label == "arrival":
                continue
            metric = metrics.get(field.column)
            value, unit = _value(metric)
            if value is None or unit not in (None, _unit(field) or "tokens"):
                break
            cells[label] = value
        else:
            yield number, cells, line
            continue
        why = f"has no metric {field.column!r} in {_unit(field) or 'tokens'}"
        rejects.add(number, field.column, metric, why, "stream the run (--streaming)")


def _unit(field: Field) -> str | None:
    return field.kind.unit if isinstance(field.kind, Time) else None


def _value(metric: Any) -> tuple[Any, Any]:
    if isinstance(metric, dict):
        return metric.get("value"), metric.get("unit")
    return metric, None


def read_guidellm(
    source: Source, rejects: Rejects, *, sort: bool = False, benchmark: int = 0
) -> Trace:
    """The requests of one benchmark of GuideLLM's output; see `measured_guidellm`."""
    return measured_guidellm(source, rejects, sort=sort, benchmark=benchmark).trace


def measured_guidellm(
    source: Source, rejects: Rejects, *, sort: bool = False, benchmark: int = 0
) -> MeasuredRun:
    """Successful requests of the `benchmark`-th benchmark of `benchmarks.json`.

    Rule: errored and incomplete requests are counted in `meta["failed"]`; requests are sorted by
    start.
    """
    rejects.unit = "request"
    try:
        report = parse_json(read_text(source))
    except ValueError as wrong:
        raise source.error(f"the file {wrong}", mend="give GuideLLM's JSON output") from None
    requests = _benchmark(source, report, benchmark)
    successful = requests.get("successful")
    if not isinstance(successful, list) or not successful:
        raise source.error(
            f"benchmark {benchmark} has no successful requests", mend="choose another benchmark"
        )
    table = collect(source, _GUIDELLM, rejects, _guidellm_rows(successful, rejects))
    if not table.rows:
        raise source.error("no requests to use", mend="give a run with streaming timings")
    trace = _sorted(table)
    others = (requests.get(name) or [] for name in ("errored", "incomplete"))
    trace.meta["failed"] = sum(len(other) for other in others)
    start = table["arrival"]
    base = int(start.whole.min())
    at = {name: table[name].ticks_from(base) for name in ("arrival", "first", "last", "end")}
    return MeasuredRun(
        trace,
        seconds(at["first"] - at["arrival"]),
        tpot(seconds(at["last"] - at["first"]), trace.output),
        seconds(at["end"] - at["arrival"]),
    )


def _benchmark(source: Source, report: Any, index: int) -> dict[str, Any]:
    benchmarks = report.get("benchmarks") if isinstance(report, dict) else None
    if not isinstance(benchmarks, list) or not benchmarks:
        raise source.error("no list 'benchmarks'", mend="give GuideLLM's JSON output")
    if not 0 <= index < len(benchmarks):
        raise InputError(
            f"no benchmark {index}; there are {len(benchmarks)}",
            where=str(source.path),
            mend=f"use 0..{len(benchmarks) - 1}",
        )
    requests = benchmarks[index].get("requests") if isinstance(benchmarks[index], dict) else None
    if not isinstance(requests, dict):
        raise source.error(f"benchmark {index} has no 'requests'", mend="export all of them")
    return requests


def _guidellm_rows(requests: list[Any], rejects: Rejects) -> Iterator[Row]:
    for number, request in enumerate(requests, 1):
        try:
            timings = request["info"]["timings"]
            cells = {
                "prompt": _tokens(request, "prompt_tokens", "input_metrics"),
                "output": _tokens(request, "output_tokens", "output_metrics"),
                "arrival": timings["request_start"],
                "first": timings["first_token_iteration"],
                "last": timings["last_token_iteration"],
                "end": timings["request_end"],
            }
        except (KeyError, TypeError):
            why = "lacks token counts or info.timings"
            rejects.add(number, None, str(request)[:80], why, "give a run with streaming")
            continue
        yield number, cells, str(request)[:80]


def _tokens(request: dict[str, Any], name: str, metrics: str) -> Any:
    """Older reports hold the count itself, newer ones a record of text tokens."""
    if request.get(name) is not None:
        return request[name]
    return request[metrics]["text_tokens"]


def _sorted(table: Table) -> Trace:
    """The trace in order of arrival; the table's rows are brought into that order too."""
    times = table["arrival"]
    order = np.argsort(times.ticks_from(int(times.whole.min())), kind="stable")
    table.keep(order)
    return build(table, origin="first")


def _seconds(table: Table, label: str) -> np.ndarray:
    return seconds(table[label].ticks_from(0))
