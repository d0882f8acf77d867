"""A serving run in the formats of other tools: Parquet, vLLM's benchmark JSON, a trace."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.serving.tables import CANCELLED, DONE, REFUSED
from mltwin.sim.errors import InputError

from .serving_frontend import received, sent

if TYPE_CHECKING:
    from mltwin.workloads.table import Trace

    from .serving_result import ServingResult

TICKS_PER_NS = 1000
_INSTANTS = ("arrival", "scheduled", "first", "finish")


def write_parquet(result: "ServingResult", folder: Path) -> list[Path]:
    """See `ServingResult.to_parquet`."""
    requests = result.requests.reset_index()
    columns = result.tables["requests"]
    for name in _INSTANTS:
        ticks = columns[name]
        requests[f"{name}_ns"] = np.where(
            ticks < 0, -1, (ticks + TICKS_PER_NS // 2) // TICKS_PER_NS
        )
    requests["transfer_ns"] = (columns["transfer"] + TICKS_PER_NS // 2) // TICKS_PER_NS
    requests = requests.drop(columns=[f"{name}_ticks" for name in (*_INSTANTS, "transfer")])
    frames = {"requests": requests, "replicas": result.replicas.reset_index()}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in frames.items():
            written.append(folder / f"{name}.parquet")
            write_frame(written[-1], frame)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(folder)) from None
    return written


def write_frame(path: Path, frame: Any) -> None:
    """Write a data frame as zstd Parquet, whole or not at all."""
    import pyarrow.parquet as pq

    from mltwin.sim.store import as_arrow, write_atomically

    table = as_arrow(frame)

    def write(file: Any) -> None:
        pq.write_table(table, file, compression="zstd")

    write_atomically(path, write)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON without NaN.

    Raises InputError where the place cannot be written.
    """
    from mltwin.sim.store import write_atomically

    text = json.dumps(data, indent=1, allow_nan=False).encode()
    try:
        write_atomically(path, lambda file: file.write(text))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None


def vllm_json(result: "ServingResult") -> dict[str, Any]:
    """The keys of `vllm bench serve --save-result --save-detailed` (vllm/benchmarks/serve.py).

    The simulator keeps token gaps as a histogram, not per request: `itls` holds each request's
    mean gap once per gap (their sum is exact), while the `*_itl_ms` come from the histogram.
    `max_output_tokens_per_s` spreads the tokens of a request evenly over its decode time.
    Refused and cancelled requests count as failed, with zeros and the reason in `errors`.
    """
    columns, metrics = result.tables["requests"], result.metrics
    done = columns["state"] == DONE
    limits = result.limits
    data: dict[str, Any] = {
        "duration": metrics["duration_s"],
        "completed": int(metrics["completed"]),
        "failed": int(metrics["requests"] - metrics["completed"]),
        "total_input_tokens": int(metrics["prompt_tokens"]),
        "total_output_tokens": int(metrics["output_tokens"]),
        "request_throughput": metrics.get("request_throughput", 0.0),
        "request_goodput": metrics.get("request_goodput", 0.0) if limits else None,
        "output_throughput": metrics.get("output_throughput", 0.0),
        "total_token_throughput": metrics.get("total_token_throughput", 0.0),
        "max_output_tokens_per_s": _peak_tokens_per_s(result, done),
        "max_concurrent_requests": _peak_requests(result),
        **_details(result, done),
    }
    for name, theirs in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2e", "e2el")):
        for stat in ("mean", "median", "std", "p90", "p95", "p99"):
            ours = "p50" if stat == "median" else stat
            data[f"{stat}_{theirs}_ms"] = metrics.get(f"{ours}_{name}_ms", 0.0)
    return data


def _details(result: "ServingResult", done: np.ndarray) -> dict[str, list[Any]]:
    """The lists of the detailed form, in seconds, one entry a request."""
    columns = result.tables["requests"]
    first, finish = received(columns, "first"), received(columns, "finish")
    start = sent(columns)
    gaps = np.where(done, columns["output"] - 1, 0)
    decode_s = np.where(done, finish - first, 0) / 1e12
    mean_gap = decode_s / np.maximum(gaps, 1)
    queued = np.where(columns["scheduled"] >= 0, columns["scheduled"] - columns["arrival"], 0)
    reasons = np.select(
        [columns["state"] == CANCELLED, columns["state"] == REFUSED],
        ["cancelled", "refused"],
        "unfinished",
    )
    return {
        "input_lens": columns["prompt"].tolist(),
        "output_lens": np.where(done, columns["output"], 0).tolist(),
        "ttfts": (np.where(done, first - start, 0) / 1e12).tolist(),
        "itls": [[gap] * n for gap, n in zip(mean_gap.tolist(), gaps.tolist(), strict=True)],
        "latencies": (np.where(done, finish - start, 0) / 1e12).tolist(),
        "start_times": (start / 1e12).tolist(),
        "queue_times": (queued / 1e12).tolist(),
        "errors": np.where(done, "", reasons).tolist(),
    }


def _peak_requests(result: "ServingResult") -> int:
    """The most requests in the system at any instant."""
    columns = result.tables["requests"]
    ended = columns["finish"] >= 0
    times = np.concatenate([columns["arrival"], columns["finish"][ended]])
    step = np.concatenate([np.ones(len(ended), int), -np.ones(int(ended.sum()), int)])
    order = np.lexsort((step, times))  # at one instant, ends come first
    return int(np.cumsum(step[order]).max(initial=0))


def _peak_tokens_per_s(result: "ServingResult", done: np.ndarray) -> float:
    """The most output tokens in a whole second of the run."""
    columns = result.tables["requests"]
    first, finish = columns["first"][done] / 1e12, columns["finish"][done] / 1e12
    if not len(first):
        return 0.0
    tokens = columns["output"][done]
    seconds = np.arange(int(finish.max()) + 2, dtype=float)
    order = np.argsort(first)
    rate = np.where(finish > first, (tokens - 1) / np.maximum(finish - first, 1e-12), 0.0)
    made = _made_by(seconds, first, finish, rate)
    made += np.searchsorted(first[order], seconds, side="left")
    return float(np.diff(made).max())


def _made_by(at: np.ndarray, start: np.ndarray, stop: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Tokens made before each instant by requests of constant rate between start and stop."""

    def integral(times: np.ndarray) -> np.ndarray:
        order = np.argsort(times)
        count = np.searchsorted(times[order], at)
        total = np.concatenate([[0.0], np.cumsum(rate[order])])
        moment = np.concatenate([[0.0], np.cumsum((rate * times)[order])])
        return total[count] * at - moment[count]

    return integral(start) - integral(stop)


def arrived_trace(result: "ServingResult") -> "Trace":
    """The workload with the arrivals of the run; see `ServingResult.export_trace`."""
    trace = result.trace
    arrival = result.tables["requests"]["arrival"]
    missing = int((arrival < 0).sum())
    if missing:
        raise InputError(
            f"{missing} requests never arrived",
            where=result.label,
            mend="export a run that went to its end",
        )
    return trace.changed(
        arrival=sent(result.tables["requests"]),
        after=None,
        delay=None,
        sort=True,
        name=f"{trace.name}-as-run",
        meta={**trace.meta, "run": result.digest},
    )
