"""Measured vLLM runs: the requests as a trace, and the timings that a twin has to meet.

Two forms: `requests.jsonl` of LLMServingSim's bench (one object a request; github.com/casys-kaist/
LLMServingSim) and the JSON that `vllm bench serve --save-result --save-detailed` writes (one
object with a list per column, in seconds).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import seconds

from .build import build
from .from_jsonl import parse_json, read_jsonl
from .lengths_only import with_arrivals
from .source import Source, read_text
from .table import Trace
from .tabular import Field, Rejects, Table, collect
from .values import Count, Text, Time

_CLOCKS = ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
REQUESTS: dict[str, Field] = {
    "prompt": Field("input_toks", Count()),
    "output": Field("output_toks", Count()),
    "wall": Field("arrival_time", Time("s")),
    **{name: Field(name, Time("s")) for name in _CLOCKS},
}
_BENCH = {
    "prompt": Field("input_lens", Count()),
    "output": Field("output_lens", Count(low=0)),
    "arrival": Field("start_times", Time("s")),
    "ttft": Field("ttfts", Time("s")),
    "itl": Field("sum of itls", Time("s")),
    "latency": Field("latencies", Time("s")),
    "error": Field("errors", Text()),
}


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A trace and what was measured for each of its requests, float64[n] in seconds.

    `ttft_s` and `e2e_s` count from the arrival that the source calls so; `tpot_s` leaves the first
    token out, as vLLM does, and is NaN where a request has one output token; a column the source
    lacks is None.
    """

    trace: Trace
    ttft_s: NDArray[np.float64] | None
    tpot_s: NDArray[np.float64] | None
    e2e_s: NDArray[np.float64] | None


def read_vllm_requests(
    source: Source, rejects: Rejects, *, sort: bool = False, clock: str = "arrival_time"
) -> Trace:
    """The requests of LLMServingSim's bench; see `measured_requests` for `clock`."""
    return measured_requests(source, rejects, sort=sort, clock=clock).trace


def measured_requests(
    source: Source, rejects: Rejects, *, sort: bool = False, clock: str = "arrival_time"
) -> MeasuredRun:
    """Requests with their timings: TTFT and E2E since `queued_ts`, as upstream's summary has them.

    `clock`: the arrivals are those at the client, `arrival_time` (wall clock), or those at the
    engine, `queued_ts` (monotonic; up to 0.2 s of client jitter at start-up lies between).
    """
    if clock not in ("arrival_time", "queued_ts"):
        raise InputError(f"clock = {clock!r} is unknown", mend="use 'arrival_time' or 'queued_ts'")
    label = "wall" if clock == "arrival_time" else clock
    fields = {**REQUESTS, "arrival": REQUESTS[label]}
    table = read_jsonl(source, fields, rejects)
    queued, first, last = (_ticks(table, name) for name in (_CLOCKS[0], *_CLOCKS[2:]))
    right = (queued <= first) & (first <= last)
    table.require("first_token_ts", right, "is not between queued_ts and last_token_ts", "drop it")
    # The rows may be sorted by `build`, and the timings with them.
    trace = build(table, origin="first", sort=sort)
    queued, first, last = (_ticks(table, name) for name in (_CLOCKS[0], *_CLOCKS[2:]))
    return MeasuredRun(
        trace,
        ttft_s=seconds(first - queued),
        tpot_s=tpot(seconds(last - first), trace.output),
        e2e_s=seconds(last - queued),
    )


def read_vllm_bench(
    source: Source,
    rejects: Rejects,
    *,
    sort: bool = False,
    arrivals: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Trace:
    """The requests of a `vllm bench serve --save-detailed` result; see `measured_bench`."""
    return measured_bench(source, rejects, sort=sort, arrivals=arrivals, seed=seed).trace


def measured_bench(
    source: Source,
    rejects: Rejects,
    *,
    sort: bool = False,
    arrivals: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> MeasuredRun:
    """Requests of a vLLM bench result with their timings.

    Rule: requests with an error text or without output are left out and counted in
    `meta["failed"]`. Results of older releases lack `start_times`: give an arrival process.
    """
    try:
        result = parse_json(read_text(source))
    except ValueError as wrong:
        raise source.error(f"the file {wrong}", mend="give the JSON of one run") from None
    table = _bench_table(source, rejects, result)
    answered = table["output"] > 0
    if "error" in table:
        answered &= table["error"] == ""
    failed = int(table.rows - answered.sum())
    if failed == table.rows:
        raise source.error(f"all {failed} requests failed", mend="give another run")
    if failed:
        table.keep(answered)
    if arrivals is not None or "arrival" not in table:
        trace = with_arrivals(table, arrivals, seed)
    else:
        trace = build(table, origin="first", sort=sort)
    trace.meta["failed"] = failed
    ttft = seconds(_ticks(table, "ttft")) if "ttft" in table else None
    decode = seconds(_ticks(table, "itl")) if "itl" in table else None
    e2e = seconds(_ticks(table, "latency")) if "latency" in table else None
    if e2e is None and ttft is not None and decode is not None:
        e2e = ttft + decode
    return MeasuredRun(trace, ttft, None if decode is None else tpot(decode, trace.output), e2e)


def read_measured(path: str | Path, *, on_error: str = "fail", **options: Any) -> MeasuredRun:
    """A run measured by vLLM's bench, LLMServingSim's, AIPerf or GuideLLM, told by content."""
    from .read_clients import measured_aiperf, measured_guidellm
    from .readers import detect

    source = Source(path)
    rejects = Rejects(source, on_error)
    format = detect(source)
    readers: dict[str, Callable[..., MeasuredRun]] = {
        "vllm-requests": measured_requests,
        "vllm-bench": measured_bench,
        "aiperf": measured_aiperf,
        "guidellm": measured_guidellm,
    }
    if format in readers:
        return readers[format](source, rejects, **options)
    raise source.error(f"holds no measured run (it is {format!r})", mend="read it with read_trace")


def _bench_table(source: Source, rejects: Rejects, result: Any) -> Table:
    """The lists of the result as columns; rows are numbered from 1."""
    rejects.unit = "request"
    lists = {
        label: _list(source, result, field.column)
        for label, field in _BENCH.items()
        if label != "itl" and isinstance(result, dict) and field.column in result
    }
    for label in ("prompt", "output"):
        if label not in lists:
            raise source.error(
                f"no list {_BENCH[label].column!r}", mend="run vllm bench with --save-detailed"
            )
    if isinstance(result.get("itls"), list):
        lists["itl"] = [_total(source, i, gaps) for i, gaps in enumerate(result["itls"], 1)]
    rows = len(lists["prompt"])
    for label, cells in lists.items():
        if len(cells) != rows:
            raise source.error(f"{_BENCH[label].column!r} has {len(cells)} values, not {rows}")
    numbered = (
        (row + 1, {label: cells[row] for label, cells in lists.items()}, "") for row in range(rows)
    )
    table = collect(source, _BENCH, rejects, numbered)
    if not table.rows:
        raise source.error("no requests to use", mend="give the JSON of one run")
    return table


def _list(source: Source, result: dict[str, Any], column: str) -> list[Any]:
    if not isinstance(result[column], list):
        raise source.error(f"{column!r} is not a list", mend="run vllm bench with --save-detailed")
    return result[column]


def _total(source: Source, row: int, gaps: Any) -> Any:
    kind = Time("s")
    try:
        parts = [kind.scalar(gap) for gap in gaps]
    except (TypeError, ValueError) as wrong:
        raise source.error(f"'itls' of request {row} does not fit ({wrong})") from None
    ticks = sum(whole * 10**12 + part for whole, part in parts)
    return f"{ticks // 10**12}.{ticks % 10**12:012d}"


def _ticks(table: Table, label: str) -> NDArray[np.int64]:
    """Times on the clock of the first queueing, so that large clock readings stay exact."""
    base = table[_CLOCKS[0] if label in _CLOCKS else label]
    start = int(base.whole.min()) if label in _CLOCKS else 0
    return table[label].ticks_from(start)


def tpot(decode_s: NDArray[np.float64], output: NDArray[np.int32]) -> NDArray[np.float64]:
    """Seconds a token after the first; NaN where there is none."""
    gaps = output - 1.0
    return np.divide(decode_s, gaps, out=np.full(gaps.size, np.nan), where=gaps > 0)
