"""Running a caching scenario: its capacities, its partitions, one cache or tiers."""

import numpy as np

from mltwin.models.caching import TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.workloads.objects.table import ObjectTrace

from .cache_policies import choose_eviction, located
from .cache_replay import CacheRun, admission_settings, replay_cache
from .caching import CachingScenario, Tier
from .caching_reference import replay_reference
from .caching_result import CachingResult
from .caching_tiers import in_tiers, make_cache, run_through_tiers
from .caching_tiers_result import tiers_result
from .caching_trace import make_objects_trace, select
from .fields import close_to, placed

WINDOWS = 50
_BITS_PER_NS = 1.0  # 1 Gbit/s
_MONTH_S = 30 * 86_400.0


def run_caching(scenario: CachingScenario, seed: int, *, reference: bool = False) -> CachingResult:
    """See `CachingScenario.simulate`."""
    trace = make_objects_trace(scenario, seed)
    if in_tiers(scenario):
        unit = scenario.workload.unit
        capacities = tuple(capacity_of(tier, trace, unit) for tier in scenario.tiers)
        run = run_through_tiers(scenario, trace, capacities, seed, reference=reference)
        return tiers_result(scenario, trace, run)
    runs = _replay(scenario, trace, seed, reference)
    return _told(scenario, trace, runs)


def check_names(scenario: CachingScenario) -> None:
    """Look up policies and trace. Raises InputError for the first that is not there."""
    from mltwin.workloads.objects.catalogue import list_objects

    for i, tier in enumerate(scenario.tiers):
        try:
            choose_eviction(located(tier.eviction, scenario.resolve_path))
            admission_settings(tier.admission)
        except InputError as error:
            raise in_tier(error, i) from None
    source = scenario.workload.trace
    if not isinstance(source, str) or scenario.resolve_path(source).exists():
        return
    if source not in list_objects():
        raise InputError(
            f"{source!r} is neither a file nor a trace of the catalogue",
            where="workload.trace",
            mend=close_to(source, list_objects()) or None,
        )


def in_tier(error: InputError, k: int) -> InputError:
    """The same error with the tier in which it was found."""
    where = error.where or ""
    if where.partition(".")[0] in Tier.model_fields:
        return InputError(error.message, where=f"tiers.{k}.{where}", mend=error.mend)
    return placed(error, f"tiers.{k}")


def capacity_of(tier: Tier, trace: ObjectTrace, unit: str) -> int:
    """A tier's capacity in objects or bytes."""
    if tier.capacity is not None:
        return tier.capacity
    assert tier.share is not None
    whole = trace.unique if unit == "objects" else trace.footprint_bytes
    return max(1, int(tier.share * whole))


def _replay(
    scenario: CachingScenario, trace: ObjectTrace, seed: int, reference: bool
) -> list[tuple[str, CacheRun, ObjectTrace]]:
    """A run for each partition of the first tier: tenants with a quota, and all others."""
    tier, unit = scenario.tiers[0], scenario.workload.unit
    capacity = capacity_of(tier, trace, unit)
    runs = []
    for name, share, part in _partitions(scenario, trace):
        size = max(1, int(capacity * share))
        try:
            if reference:
                run = _reference(scenario, part, size, seed)
                runs.append((name, run, part))
                continue
            run = replay_cache(
                part,
                located(tier.eviction, scenario.resolve_path),
                size,
                unit=unit,
                admission=tier.admission,
                ttl_s=tier.ttl_s,
                max_objects=tier.max_objects,
                windows=WINDOWS,
                seed=seed,
            )
        except InputError as error:
            raise in_tier(error, 0) from None
        runs.append((name, run, part))
    return runs


def _reference(scenario: CachingScenario, part: ObjectTrace, size: int, seed: int) -> CacheRun:
    tier = scenario.tiers[0]
    cache = make_cache(scenario, 0, part, size, seed)
    life = 0 if tier.ttl_s is None else max(1, round(tier.ttl_s * TICKS_PER_S))
    unit = scenario.workload.unit
    return replay_reference(part, cache, cache.eviction.name, unit, life, WINDOWS)


def _partitions(
    scenario: CachingScenario, trace: ObjectTrace
) -> list[tuple[str, float, ObjectTrace]]:
    """Name, share of the capacity and requests of each partition."""
    if not scenario.quotas:
        return [("", 1.0, trace)]
    if trace.tenant is None:
        raise InputError("the trace has no tenants", where="quotas", mend="leave the quotas out")
    left = np.ones(trace.requests, bool)
    parts = []
    for name, share in scenario.quotas.items():
        if name not in trace.tenants:
            raise InputError(
                f"no tenant {name!r}", where="quotas", mend=close_to(name, trace.tenants)
            )
        mine = trace.tenant == trace.tenants.index(name)
        left &= ~mine
        parts.append((name, share, select(trace, mine)))
    rest = 1 - sum(scenario.quotas.values())
    if left.any():
        if rest <= 1e-9:
            raise InputError(
                "the shares leave nothing for the other tenants",
                where="quotas",
                mend="leave some, or give every tenant a share",
            )
        parts.append(("others", rest, select(trace, left)))
    return [part for part in parts if part[2].requests]


def _told(
    scenario: CachingScenario,
    trace: ObjectTrace,
    runs: list[tuple[str, CacheRun, ObjectTrace]],
) -> CachingResult:
    tier, unit = scenario.tiers[0], scenario.workload.unit
    total = {
        name: sum(getattr(run, name) for _, run, _ in runs)
        for name in ("requests", "hits", "refused", "expired", "evicted", "asked", "hit")
    }
    misses = total["requests"] - total["hits"]
    capacity = sum(run.capacity for _, run, _ in runs)
    metrics: dict[str, float] = {
        "hit_ratio": total["hits"] / max(1, total["requests"]),
        "miss_ratio": misses / max(1, total["requests"]),
        "byte_hit_ratio": total["hit"] / max(1, total["asked"]),
        "requests": total["requests"],
        "objects": trace.unique,
        "capacity": capacity,
        "evictions": total["evicted"],
        "refused": total["refused"],
        "expired": total["expired"],
        **_latency(scenario, total),
        **_dollars(scenario, trace, total, capacity),
    }
    return CachingResult(
        metrics,
        {"windows": _windows(runs), "partitions": _partition_table(runs)},
        facts={"unit": unit, "tier": tier.name, "partitions": [name for name, _, _ in runs]},
        notes=_notes(trace, total, capacity),
        violations=[text for name, run, _ in runs for text in _broken(name, run)],
        trace_sha256=trace.sha256,
    )


def _latency(scenario: CachingScenario, total: dict[str, int]) -> dict[str, float]:
    """Mean latency without queueing: a lookup, then the bytes from here or from the origin."""
    tier, origin = scenario.tiers[0], scenario.origin
    sized = scenario.workload.unit == "bytes"
    from_here = total["hit"] if sized else 0
    from_there = total["asked"] - total["hit"] if sized else 0
    misses = total["requests"] - total["hits"]
    ns = total["requests"] * tier.latency_us * 1e3 + misses * origin.latency_ms * 1e6
    if tier.bandwidth_gbps is not None:
        ns += 8 * from_here / (tier.bandwidth_gbps * _BITS_PER_NS)
    if origin.bandwidth_gbps is not None:
        ns += 8 * from_there / (origin.bandwidth_gbps * _BITS_PER_NS)
    return {"mean_latency_ms": ns / max(1, total["requests"]) / 1e6}


def _dollars(
    scenario: CachingScenario, trace: ObjectTrace, total: dict[str, int], capacity: int
) -> dict[str, float]:
    """What misses cost at the origin, and the capacity over the trace's span where it has times."""
    tier, origin = scenario.tiers[0], scenario.origin
    misses = total["requests"] - total["hits"]
    dollars = misses * origin.dollars_per_million / 1e6
    found: dict[str, float] = {}
    if scenario.workload.unit == "bytes":
        gigabytes = (total["asked"] - total["hit"]) / 1e9
        found["origin_gb"] = gigabytes
        dollars += gigabytes * origin.dollars_per_gb
    if origin.dollars_per_million or origin.dollars_per_gb:
        found["origin_dollars"] = dollars
    if (
        tier.dollars_per_gb_month
        and scenario.workload.unit == "bytes"
        and trace.arrival is not None
    ):
        months = float(trace.arrival[-1]) / 1e9 / _MONTH_S
        found["capacity_dollars"] = capacity / 1e9 * tier.dollars_per_gb_month * months
        found["total_dollars"] = dollars + found["capacity_dollars"]
    return found


def _windows(runs: list[tuple[str, CacheRun, ObjectTrace]]) -> dict[str, np.ndarray]:
    """Counts over windows of equal request counts, for each partition."""
    rows = [
        (k, w, *(int(v) for v in window))
        for k, (_, run, _) in enumerate(runs)
        for w, window in enumerate(run.windows)
    ]
    table = np.array(rows, np.int64).reshape(-1, 6)
    names = ("partition", "window", "requests", "hits", "asked", "hit")
    return {name: table[:, i].copy() for i, name in enumerate(names)}


def _partition_table(runs: list[tuple[str, CacheRun, ObjectTrace]]) -> dict[str, np.ndarray]:
    columns = ("capacity", "requests", "hits", "refused", "expired", "evicted", "asked", "hit")
    return {
        name: np.array([getattr(run, name) for _, run, _ in runs], np.int64) for name in columns
    }


def _notes(trace: ObjectTrace, total: dict[str, int], capacity: int) -> list[str]:
    notes = []
    if total["refused"]:
        notes.append(f"{total['refused']:,} misses were not taken in (too large, or not admitted)")
    if not total["evicted"]:
        notes.append("nothing was ever evicted: the capacity holds all that was asked for")
    del trace, capacity
    return notes


def _broken(name: str, run: CacheRun) -> list[str]:
    """Laws of conservation that a partition broke."""
    of = f" of {name}" if name else ""
    t = run.totals
    if "inserted" not in t:
        return []
    found = []
    if t["inserted"] != t["resident"] + t["evicted"] + t["removed"] + t["expired"]:
        found.append(f"objects{of} that came in are not those that are there or left")
    if t["inserted_size"] + t["grown_size"] != t["used"] + t["evicted_size"] + t["removed_size"]:
        found.append(f"bytes{of} that came in are not those that are there or left")
    if t["misses"] != t["inserted"] + t["refused"]:
        found.append(f"misses{of} are not those taken in and those refused")
    return found
