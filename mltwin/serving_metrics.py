"""Metrics of a serving run, by the names and definitions of `vllm bench serve`.

Latencies are those of completed requests:

- TTFT: first token at the client - sending, front end (`serving_frontend`) and queue included;
- TPOT: (last token - first token) / (output tokens - 1), requests of one token left out;
- ITL: each gap between two tokens of a request (kept as a histogram, bins 1/64 wide; the mean is
  exact);
- E2E: last token at the client - sending; queue: first admission to a batch - arrival at the
  engine; transfer: end of prefill to arrival at the decode replica, of requests that moved.

Goodput (given where the SLO has limits) counts completed requests that keep every limit, per
second of the run; SLO attainment is their share of all requests, refused and cancelled included.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mltwin.models.serving.outcome import gap_bin_edges
from mltwin.models.serving.tables import DONE

from .metrics import exact_sum, flat, histogram_spread, spread
from .serving_frontend import received, sent

Columns = Mapping[str, np.ndarray]
TICKS_PER_MS = 1e9
LATENCIES = ("ttft", "tpot", "e2e", "queue", "transfer")
_TICKS = ("arrival", "scheduled", "first", "finish")
_OUTSIDE = ("frontend", "returned")
_NONE = np.zeros(0, np.int64)


def latencies_ms(requests: Columns) -> dict[str, np.ndarray]:
    """Each latency of each request in ms, NaN where the request has none."""
    done = requests["state"] == DONE
    arrival, first, finish = (requests[name] for name in ("arrival", "first", "finish"))
    output = requests["output"]
    tokens = np.maximum(output - 1, 1)
    sending = sent(requests)
    moved = done & (requests["transfer"] > 0)
    return {
        "ttft": _where(done, received(requests, "first") - sending),
        "tpot": _where(done & (output > 1), (finish - first) / tokens),
        "e2e": _where(done, received(requests, "finish") - sending),
        "queue": _where(done, requests["scheduled"] - arrival),
        "transfer": _where(moved, requests["transfer"]),
    }


def good(latency: Mapping[str, np.ndarray], limits_ms: Mapping[str, float]) -> np.ndarray:
    """Which requests completed within every limit; a TPOT limit cannot fail one token."""
    kept = np.isfinite(latency["e2e"])
    for name, limit in limits_ms.items():
        value = latency[name]
        kept &= (value <= limit) | (np.isnan(value) if name == "tpot" else False)
    return kept


def duration_s(requests: Columns, *, sums: np.ndarray | None = None) -> float:
    """Seconds from the first sending to the last request's end, 0 for no request.

    Here and below, `sums` is what `tallied` gives, where the caller has it.
    """
    from mltwin.models.serving.passes import FIRST_SENT, LAST_END, N_ENDED

    found = tallied(requests) if sums is None else sums
    return float(found[LAST_END] - found[FIRST_SENT]) / 1e12 if found[N_ENDED] else 0.0


def request_metrics(
    requests: Columns,
    limits_ms: Mapping[str, float],
    *,
    span_s: float,
    sums: np.ndarray | None = None,
) -> dict[str, float]:
    """Counts, throughputs, latencies and goodput of some requests (all, or one tenant's)."""
    from mltwin.models.serving import passes

    sums = tallied(requests) if sums is None else sums
    count = len(requests["state"])
    done, refused, cancelled = (
        int(sums[k]) for k in (passes.N_DONE, passes.N_REFUSED, passes.N_CANCELLED)
    )
    prompt, output = float(sums[passes.PROMPT_TOKENS]), float(sums[passes.OUTPUT_TOKENS])
    found = {
        "requests": float(count),
        "completed": float(done),
        "refused": float(refused),
        "cancelled": float(cancelled),
        "unfinished": float(count - done - refused - cancelled),
        "preemptions": float(sums[passes.PREEMPTIONS]),
        "prompt_tokens": prompt,
        "output_tokens": output,
    }
    if span_s > 0:
        found["request_throughput"] = found["completed"] / span_s
        found["output_throughput"] = output / span_s
        found["total_token_throughput"] = (prompt + output) / span_s
    values, kept = measured(requests, limits_ms)
    for name, some in values.items():
        found |= flat(name, "ms", spread(some))
    if limits_ms:
        if count:
            found["slo_attainment"] = kept / count
        if span_s > 0:
            found["request_goodput"] = kept / span_s
    return found


def gap_metrics(
    requests: Columns, gaps: np.ndarray, *, sums: np.ndarray | None = None
) -> dict[str, float]:
    """Inter-token latency from the histogram of gaps; the mean of completed requests is exact."""
    from mltwin.models.serving import passes

    sums = tallied(requests) if sums is None else sums
    count = int(sums[passes.OUTPUT_TOKENS] - sums[passes.N_DONE])
    total = (int(sums[passes.DECODE_HIGH]) << 32) + int(sums[passes.DECODE_LOW])
    exact = total / count / TICKS_PER_MS if count else None
    edges = gap_bin_edges() / TICKS_PER_MS
    return flat("itl", "ms", histogram_spread(gaps, edges, mean=exact))


def pool_rows(replicas: Columns, pools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One dict of metrics for each pool, from the replicas' totals and the pools' facts."""
    return [_pool(replicas, i, facts) for i, facts in enumerate(pools)]


def _pool(replicas: Columns, index: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    mine = replicas["pool"] == index
    total = {name: exact_sum(column[mine]) for name, column in replicas.items()}
    iterations, up = total["iterations"], total["up_ticks"]
    gpus = facts["gpus_per_replica"]
    gpus_per_rank = gpus // facts.get("ranks", 1)  # each attention rank has a row of its own
    gpu_hours = up / 1e12 / 3600 * gpus_per_rank
    row: dict[str, Any] = {
        "pool": facts["name"],
        "role": facts["role"],
        "gpu": facts["gpu"],
        "replicas": facts["replicas"],
        "gpus": facts["replicas"] * gpus,
        "iterations": iterations,
        "prefill_tokens": total["prefill_tokens"],
        "decode_tokens": total["decode_tokens"],
        "preemptions": total["preemptions"],
        "gpu_hours": gpu_hours,
    }
    if iterations:
        row["mean_batch"] = total["sequences"] / iterations
        row["mean_kv_use"] = total["contexts"] / iterations / facts["kv_tokens"]
    if mine.any():
        row["peak_kv_use"] = float(replicas["peak_blocks"][mine].max()) / facts["kv_blocks"]
    if up:
        row["busy_prefill"] = total["busy_prefill"] / up
        row["busy_decode"] = total["busy_decode"] / up
    if facts.get("dollars_per_gpu_hour") is not None:
        row["dollars"] = facts["dollars_per_gpu_hour"] * gpu_hours
    joules = _joules(total, gpus_per_rank, facts.get("power"))
    if joules is not None:
        row["joules"] = joules
    return row


def _joules(
    total: Mapping[str, int], gpus: int, power: Mapping[str, float | None] | None
) -> float | None:
    """Energy of a pool's GPUs: busy and idle time at their mean draw; None where one is unknown.

    Iterations that mix prefill and decode count as prefill.
    """
    watts = [(power or {}).get(k) for k in ("busy_prefill_w", "busy_decode_w", "idle_w")]
    busy = total["busy_prefill"], total["busy_decode"]
    times = (*busy, total["up_ticks"] - sum(busy))
    if any(w is None for w in watts):
        return None
    return gpus * sum(w * t for w, t in zip(watts, times, strict=True) if w is not None) / 1e12


def cluster_metrics(
    rows: list[dict[str, Any]],
    totals: Mapping[str, int],
    output_throughput: float | None,
    *,
    caching: bool,
) -> dict[str, float]:
    """Metrics of the whole cluster from its pools' rows."""
    found = {"gpus": float(sum(row["gpus"] for row in rows))}
    prefilled = sum(row["prefill_tokens"] for row in rows)
    if caching and totals["hit_tokens"] + prefilled:
        found["prefix_hit_ratio"] = totals["hit_tokens"] / (totals["hit_tokens"] + prefilled)
    for name, weight in (
        ("mean_batch", "iterations"),
        ("mean_kv_use", "iterations"),
        ("busy_prefill", "gpu_hours"),
        ("busy_decode", "gpu_hours"),
    ):
        have = [row for row in rows if name in row and row[weight]]
        if have:
            total = sum(row[weight] for row in have)
            found[name] = sum(row[name] * row[weight] for row in have) / total
    peaks = [row["peak_kv_use"] for row in rows if "peak_kv_use" in row]
    if peaks:
        found["peak_kv_use"] = max(peaks)
    for name in ("dollars", "joules"):
        if all(name in row for row in rows):
            found[name] = sum(row[name] for row in rows)
    if output_throughput is not None and found["gpus"]:
        found["tokens_per_s_per_gpu"] = output_throughput / found["gpus"]
    return found


def violations(
    requests: Columns,
    replicas: Columns,
    totals: Mapping[str, int],
    *,
    sums: np.ndarray | None = None,
) -> list[str]:
    """Conservation laws that the run broke; a healthy run gives none."""
    from mltwin.models.serving import passes

    sums = tallied(requests) if sums is None else sums
    found = [f"{sums[k]} {law}" for k, law in passes.LAWS.items() if sums[k]]
    over = replicas["busy_prefill"] + replicas["busy_decode"] > replicas["up_ticks"]
    if over.any():
        found.append(f"{int(over.sum())} replicas busy for longer than they were up")
    codes = {
        "done": passes.N_DONE,
        "refused": passes.N_REFUSED,
        "cancelled": passes.N_CANCELLED,
    }
    for name, k in codes.items():
        if sums[k] != totals[name]:
            found.append(f"{sums[k]} requests are {name}, the total says {totals[name]}")
    return found


def tallied(requests: Columns) -> np.ndarray:
    """int64 counts and sums over requests; `mltwin.models.serving.passes` names them."""
    from mltwin.models.serving.passes import TALLIES, tally

    found = np.zeros(TALLIES, np.int64)
    columns: list[Any] = [
        *_columns(requests, ("state",), np.int8),
        *_columns(requests, _TICKS, np.int64),
        *_columns(requests, ("prompt", "output", "generated", "preempted"), np.int32),
        *_columns(requests, _OUTSIDE, np.int64),
        found,
    ]
    tally(*columns)
    return found


def measured(
    requests: Columns, limits_ms: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], int]:
    """Each latency in ms of the requests that have it, in their order, and how many requests were
    `good`: `latencies_ms` without its NaNs, in one compiled pass."""
    from mltwin.models.serving.passes import measure

    limits, limited = np.zeros(len(LATENCIES)), np.zeros(len(LATENCIES), np.int8)
    for name, limit in limits_ms.items():
        limits[LATENCIES.index(name)], limited[LATENCIES.index(name)] = limit, 1
    found = np.empty((len(LATENCIES), len(requests["state"])))
    count = np.zeros(len(LATENCIES), np.int64)
    columns: list[Any] = [
        *_columns(requests, ("state",), np.int8),
        *_columns(requests, (*_TICKS, "transfer"), np.int64),
        *_columns(requests, ("output",), np.int32),
        *_columns(requests, _OUTSIDE, np.int64),
        *(limits, limited, found, count),
    ]
    kept = measure(*columns)
    values = {name: row[:n] for name, row, n in zip(LATENCIES, found, count, strict=True)}
    return values, int(kept)


def _columns(requests: Columns, names: Sequence[str], dtype: type) -> list[np.ndarray]:
    """Columns as a compiled pass takes them; of length 0 where there is none."""
    return [np.ascontiguousarray(requests.get(name, _NONE), dtype) for name in names]


def _where(mask: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    return np.where(mask, ticks / TICKS_PER_MS, np.nan)
