"""Mode serving of the adapter system: from a scenario to tables, and from a run to metrics.

A request's service is prefill and decoding at a pace of its own (no batching effects):

    prefill = 2 P prompt / (peak_flops * efficiency)
    decode = output * weight_bytes / (hbm_bandwidth * efficiency)

with P the model's active parameters (two operations each and token) and the weights read once for
each output token, as in a batch that is bound by memory.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.adapters import TICKS_PER_S
from mltwin.models.adapters.sizes import adapter_bytes
from mltwin.sim.errors import InputError

from .fields import placed
from .metrics import flat, spread

if TYPE_CHECKING:
    from mltwin.models.adapters.tables import PagingInput, PagingOutcome
    from mltwin.workloads.table import Trace

    from .adapters import AdapterScenario
    from .adapters_result import AdapterResult
    from .serving import ServingScenario

# 1e9 bytes a second and ms before the first byte. Bandwidths from the loading times of
# ServerlessLLM's loader on 8 x H100 (December 2025), bytes of the weights over the median time:
# dram: Qwen3-32B again and again, kept in host memory, 65.5e9 B in 1.207 s; ssd: 30 copies of
# Llama-3.1-8B at random, NVMe of 29.4 GB/s, 16.06e9 B in 0.674 s. remote: 10 Gbit/s Ethernet.
# Latencies, and remote altogether, are assumed: those runs do not tell a load's fixed part.
TIERS = {"dram": (54.3, 2.0), "ssd": (23.8, 5.0), "remote": (1.25, 20.0)}

_CELLS = 1 << 20  # of a table of requests by adapters at a time


def link(scenario: "AdapterScenario") -> tuple[float, float]:
    """(bytes a second, seconds before the first byte) of the scenario's store."""
    gb_per_s, latency_ms = TIERS[scenario.store.tier]
    if scenario.store.gb_per_s is not None:
        gb_per_s = scenario.store.gb_per_s
    if scenario.store.latency_ms is not None:
        latency_ms = scenario.store.latency_ms
    return gb_per_s * 1e9, latency_ms / 1000


def adapter_sizes(scenario: "AdapterScenario", count: int) -> np.ndarray:
    """int64[count] bytes of adapters, whose ranks go round.

    Raises InputError for projections that the model does not have.
    """
    library, model = scenario.adapters, scenario.loaded_model()
    try:
        by_rank = [
            adapter_bytes(model, rank, library.targets, library.dtype) for rank in library.ranks
        ]
    except InputError as error:
        raise placed(error, "adapters") from None
    return np.resize(np.array(by_rank, np.int64), count)


def load_ticks(scenario: "AdapterScenario", sizes: np.ndarray) -> np.ndarray:
    """int64 ticks of the load of each adapter: latency and bytes over bandwidth."""
    rate, latency_s = link(scenario)
    return np.maximum(1, np.rint((latency_s + sizes / rate) * TICKS_PER_S)).astype(np.int64)


def pace(scenario: "AdapterScenario") -> tuple[float, float]:
    """Seconds of a request's service for each (prompt token, output token)."""
    serving = scenario.serving
    model, facts = scenario.loaded_model(), scenario.loaded_gpu().facts
    peak = facts.peak_flops.get("bfloat16", max(facts.peak_flops.values()))
    prefill = 2 * model.active_parameters / (peak * serving.efficiency)
    decode = model.weight_bytes / (facts.hbm_bandwidth * serving.efficiency)
    if serving.prefill_us_per_token is not None:
        prefill = serving.prefill_us_per_token / 1e6
    if serving.decode_ms_per_token is not None:
        decode = serving.decode_ms_per_token / 1e3
    return prefill * (1 + serving.slowdown), decode * (1 + serving.slowdown)


def _as_serving(scenario: "AdapterScenario") -> "ServingScenario":
    """A serving scenario of the same workload, whose reader of traces is used."""
    from .serving import ServingScenario

    given = {k: v for k, v in scenario.workload.model_dump().items() if v is not None}
    given = {k: v for k, v in given.items() if v or k not in ("requests", "rate")}
    made = ServingScenario.parse({"system": "serving", "workload": given})
    assert isinstance(made, ServingScenario)
    made._folder = scenario._folder
    return made


def check_workload(scenario: "AdapterScenario") -> None:
    """Raises InputError if the trace is neither a file nor one of the catalogue."""
    from .serving_workload import check_trace

    check_trace(_as_serving(scenario))


def requests_of(scenario: "AdapterScenario", seed: int) -> "Trace":
    """The workload's requests.

    Raises InputError for a trace whose requests wait for each other, or that cannot be read.
    """
    from .serving_workload import make_trace

    trace = make_trace(_as_serving(scenario), seed)
    if np.any(trace.after >= 0):
        raise InputError(
            "its requests are released by others (sessions)",
            where="workload.trace",
            mend="set workload.arrivals = 'poisson' and choose a trace without sessions",
        )
    return trace


def adapters_of(scenario: "AdapterScenario", trace: "Trace", seed: int) -> np.ndarray:
    """int64[n]: which adapter each request needs."""
    from mltwin.models.adapters.contexts import (
        draw_adapters,
        draw_contexts,
        expected_rewards,
        zipf_draws,
    )

    library, n = scenario.adapters, len(trace)
    if library.popularity == "tenants":
        return np.asarray(trace.tenant, np.int64) % library.count
    if library.popularity == "contextual":
        from .adapters_routing import world_law

        law = world_law(scenario)
        contexts, _ = draw_contexts(law, n, seed)
        parameters = draw_adapters(law, library.count, seed)
        step = max(1, _CELLS // library.count)
        parts = [contexts[i : i + step] for i in range(0, n, step)]
        best = [expected_rewards(part, parameters).argmax(axis=1) for part in parts]
        return np.concatenate(best).astype(np.int64)
    return zipf_draws(seed, n, library.count, library.zipf, library.persistence)


def paging_input(scenario: "AdapterScenario", seed: int) -> tuple["PagingInput", "Trace"]:
    """The tables of a scenario, and its requests.

    Raises InputError for adapters that do not fit into memory.
    """
    from mltwin.models.adapters.tables import POLICIES, PagingInput

    serving = scenario.serving
    trace = requests_of(scenario, seed)
    wanted = adapters_of(scenario, trace, seed)
    sizes = adapter_sizes(scenario, scenario.adapters.count)
    prefill_s, decode_s = pace(scenario)
    service_s = prefill_s * trace.prompt + decode_s * trace.output
    capacity_bytes = int(serving.memory_gb * 1e9)
    capacity = serving.resident or scenario.adapters.count
    warm = np.zeros(0, np.int64)
    if serving.warm:
        warm = _most_popular(wanted, sizes, capacity, capacity_bytes)
    given = PagingInput(
        arrival=np.asarray(trace.arrival, np.int64) // 1000,
        adapter=wanted,
        service=np.maximum(1, np.rint(service_s * TICKS_PER_S)).astype(np.int64),
        size=sizes,
        load=load_ticks(scenario, sizes),
        slots=serving.slots,
        capacity_bytes=capacity_bytes,
        capacity=capacity,
        policy=POLICIES.index(serving.policy),
        warm=warm,
        seed=seed,
    )
    try:
        given.check()
    except InputError as error:
        raise placed(error, "serving") from None
    return given, trace


def _most_popular(wanted: np.ndarray, sizes: np.ndarray, capacity: int, room: int) -> np.ndarray:
    """The adapters of most requests, one after the other as long as they fit."""
    order = np.argsort(-np.bincount(wanted, minlength=len(sizes)), kind="stable")[:capacity]
    return np.sort(order[np.cumsum(sizes[order]) <= room])


def run_serving(
    scenario: "AdapterScenario", seed: int, *, reference: bool = False, log: bool = False
) -> "AdapterResult":
    """Run mode serving."""
    from mltwin.models.adapters.paging import simulate_paging
    from mltwin.models.adapters.reference import simulate_reference

    from .adapters_result import AdapterResult

    given, trace = paging_input(scenario, seed)
    outcome = simulate_reference(given) if reference else simulate_paging(given, log=log)
    prefill_s, _ = pace(scenario)
    requests = {
        "adapter": given.adapter.astype(np.int32),
        "arrival": given.arrival,
        "ready": outcome.ready,
        "start": outcome.start,
        "finish": outcome.finish,
        "prefill": np.rint(prefill_s * trace.prompt * TICKS_PER_S).astype(np.int64),
        "found": outcome.found,
    }
    adapters = {
        "bytes": given.size,
        "load": given.load,
        "requests": np.bincount(given.adapter, minlength=len(given.size)),
        "hits": np.bincount(given.adapter[outcome.found == 0], minlength=len(given.size)),
    }
    tables: dict[str, Any] = {"requests": requests, "adapters": adapters}
    if log:
        tables["log"] = dict(zip(("time", "kind", "id"), outcome.log.T.copy(), strict=True))
    facts = {
        "mode": "serving",
        "slots": given.slots,
        "capacity_bytes": given.capacity_bytes,
        "pace_s": list(pace(scenario)),
    }
    metrics = serving_metrics(given, outcome, requests)
    notes = _notes(metrics)
    broken = violations(given, outcome)
    return AdapterResult(
        metrics, tables, facts=facts, notes=notes, violations=broken, trace_sha256=trace.sha256
    )


def serving_metrics(
    given: "PagingInput", outcome: "PagingOutcome", requests: dict[str, np.ndarray]
) -> dict[str, float]:
    """Ratios, waits in ms, bytes and rates of a run."""
    n = len(given.arrival)
    span_s = max(1, int(outcome.finish.max() - given.arrival[0])) / TICKS_PER_S
    share = np.bincount(outcome.found, minlength=3) / n
    found: dict[str, float] = {
        "requests": float(n),
        "duration_s": span_s,
        "hit_ratio": float(share[0]),
        "delayed_hit_ratio": float(share[1]),
        "miss_ratio": float(share[2]),
    }
    waits = {
        "adapter_wait": outcome.ready - given.arrival,
        "queue": outcome.start - outcome.ready,
        "ttft": outcome.start - given.arrival + requests["prefill"],
        "latency": outcome.finish - given.arrival,
    }
    for name, ticks in waits.items():
        stats = spread(ticks / (TICKS_PER_S / 1000))
        found |= flat(name, "ms", {k: stats[k] for k in ("mean", "p50", "p90", "p99", "max")})
    cold = (outcome.ready - given.arrival)[outcome.found != 0]
    if len(cold):
        found["mean_cold_start_ms"] = float(cold.mean()) / (TICKS_PER_S / 1000)
    totals = outcome.totals
    found |= {
        "paged_gb": totals["bytes_in"] / 1e9,
        "loads": float(totals["loads"]),
        "evictions": float(totals["evictions"]),
        "request_throughput": n / span_s,
        "busy_link": totals["link_busy"] / (span_s * TICKS_PER_S),
        "busy_memory": totals["blocked"] / (span_s * TICKS_PER_S),
        "busy_slots": float(given.service.sum()) / (span_s * TICKS_PER_S * given.slots),
    }
    return found


def _notes(metrics: dict[str, float]) -> list[str]:
    if metrics["busy_memory"] > 0.2:
        share = f"{metrics['busy_memory']:.0%}"
        return [
            f"For {share} of the time a load waited for room, as running requests held all "
            "adapters in memory: more memory or fewer slots will shorten waits, a faster link not."
        ]
    if metrics["busy_link"] > 0.95:
        return ["The link to the store was busy all the time: requests wait for its queue."]
    if metrics["busy_slots"] > 0.95:
        return ["All slots were busy all the time: requests wait for a slot, whatever the cache."]
    return []


def violations(given: "PagingInput", outcome: "PagingOutcome") -> list[str]:
    """Conservation laws that the run broke."""
    totals = outcome.totals
    held = int(given.size[outcome.resident].sum())
    began = int(given.size[given.warm].sum())
    laws = {
        "every request ends": totals["done"] == len(given.arrival),
        "ready follows arrival": bool(np.all(outcome.ready >= given.arrival)),
        "start follows ready": bool(np.all(outcome.start >= outcome.ready)),
        "a request runs for its service": bool(
            np.all(outcome.finish - outcome.start == given.service)
        ),
        "one load a miss": totals["loads"] == int((outcome.found == 2).sum()),
        "bytes in = resident + evicted": totals["bytes_in"] + began == held + totals["bytes_out"],
        "memory is enough": held <= given.capacity_bytes
        and len(outcome.resident) <= given.capacity,
    }
    return [f"broken: {law}" for law, holds in laws.items() if not holds]
