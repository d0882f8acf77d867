"""What a run through tiers left, as metrics, tables, notes and laws of conservation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.models.caching.tiers_tables import GET, JOINED, REMOVING
from mltwin.workloads.objects.table import ObjectTrace

from .caching import CachingScenario, metric_name
from .caching_result import CachingResult
from .caching_tiers import TiersRun
from .metrics import spread

WINDOWS = 50
SAMPLED = 20_000
BINS_PER_DECADE = 20
_MONTH_S = 30 * 86_400.0
_FULL = 0.98
_MANY = 0.01
_SHOWN = ("mean", "p50", "p90", "p99", "max")


class Counts:
    """Each GET of a run: where it was served, whether it waited for another one's fetch."""

    def __init__(self, run: TiersRun) -> None:
        plan, served = run.plan, run.outcome.served
        self.origin = plan.tiers
        self.rows = np.flatnonzero(plan.op == GET) if plan.op is not None else None
        self.level = self._of(served) & (JOINED - 1)
        self.joined = (self._of(served) & JOINED) > 0
        self.sizes = self._of(plan.sizes)
        self.latency = self._of(run.outcome.done) - self._of(plan.time)
        self.arrival = self._of(plan.time)

    def _of(self, column: NDArray[Any]) -> NDArray[Any]:
        return column if self.rows is None else column[self.rows]

    @property
    def requests(self) -> int:
        """GETs."""
        return len(self.level)

    @property
    def hit(self) -> NDArray[np.bool_]:
        """Found in a tier."""
        return ~self.joined & (self.level < self.origin)

    @property
    def missed(self) -> NDArray[np.bool_]:
        """Fetched from the origin."""
        return ~self.joined & (self.level == self.origin)


def tiers_result(scenario: CachingScenario, trace: ObjectTrace, run: TiersRun) -> CachingResult:
    """The result of a run through tiers."""
    counts = Counts(run)
    tiers = _tiers(run, counts)
    tables = {"windows": _windows(counts), "tiers": tiers}
    if run.timed:
        tables["latencies"] = _sampled(counts)
        tables["latency_histogram"] = _histogram(counts)
    facts = {
        "unit": scenario.workload.unit,
        "tier": run.names[0],
        "partitions": [""],
        "tiers": list(run.names),
        "timed": run.timed,
    }
    return CachingResult(
        {
            **_ratios(scenario, trace, run, counts),
            **_latencies(run, counts),
            **_by_tier(run, counts, tiers),
            **_dollars(scenario, trace, run, counts),
        },
        tables,
        facts=facts,
        notes=_notes(run, counts, tiers),
        violations=_broken(run, counts),
        trace_sha256=trace.sha256,
    )


def _sum(run: TiersRun, name: str) -> int:
    return sum(totals[name] for totals in run.outcome.caches)


def _ratios(
    scenario: CachingScenario, trace: ObjectTrace, run: TiersRun, counts: Counts
) -> dict[str, float]:
    n, hit = max(1, counts.requests), counts.hit
    asked = int(counts.sizes.sum())
    return {
        "hit_ratio": float(hit.sum()) / n,
        "miss_ratio": float(counts.missed.sum()) / n,
        "delayed_hits": float(counts.joined.sum()),
        "delayed_ratio": float(counts.joined.sum()) / n,
        "byte_hit_ratio": float(counts.sizes[hit].sum()) / max(1, asked),
        "requests": counts.requests,
        "objects": trace.unique,
        "capacity": sum(run.capacities),
        "evictions": _sum(run, "evicted"),
        "refused": _sum(run, "refused"),
        "expired": _sum(run, "expired"),
    }


def _latencies(run: TiersRun, counts: Counts) -> dict[str, float]:
    """In time: as it was. Else each request's latency and bytes alone, nothing shared."""
    if run.timed:
        stats = spread(counts.latency / 1e6)
        found = {f"{name}_latency_ms": stats[name] for name in _SHOWN if stats}
        for k, name in enumerate(run.names):
            here = counts.latency[counts.level == k]
            if len(here):
                found[f"mean_{metric_name(name)}_latency_ms"] = float(here.mean()) / 1e6
        written = _written(run)
        if len(written):
            found["mean_write_latency_ms"] = float(written.mean()) / 1e6
        return found
    ns = 0.0
    for k, latency in enumerate(run.latency):
        ns += latency * float((counts.level == k).sum())
        ns += run.alone_ns(k, int(counts.sizes[counts.level == k].sum()))
    return {"mean_latency_ms": ns / max(1, counts.requests) / 1e6}


def _written(run: TiersRun) -> NDArray[np.int64]:
    """Latency of each SET, ticks."""
    plan, out = run.plan, run.outcome
    if plan.op is None:
        return np.zeros(0, np.int64)
    written = (plan.op != GET) & (out.served < REMOVING)
    return out.done[written] - plan.time[written]


def _by_tier(run: TiersRun, counts: Counts, tiers: dict[str, NDArray[Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    n = max(1, counts.requests)
    for k, name in enumerate(run.names):
        short = metric_name(name)
        if k < counts.origin:
            found[f"{short}_hit_ratio"] = tiers["hits"][k] / max(1, tiers["asked"][k])
            found[f"{short}_share"] = tiers["hits"][k] / n
        if run.timed and run.plan.levels[k].gbps is not None:
            found[f"{short}_busy"] = tiers["busy"][k]
        if run.sized and (k < counts.origin or run.plan.op is not None):
            found[f"moved_into_{short}_gb"] = tiers["write_bytes"][k] / 1e9
    if run.plan.back:
        found["dirty_size"] = float(sum(run.outcome.dirty))
    return found


def _dollars(
    scenario: CachingScenario, trace: ObjectTrace, run: TiersRun, counts: Counts
) -> dict[str, float]:
    origin, sized = scenario.origin, scenario.workload.unit == "bytes"
    dollars = float(counts.missed.sum()) * origin.dollars_per_million / 1e6
    found: dict[str, float] = {}
    if sized:
        found["origin_gb"] = run.outcome.levels[-1]["read_bytes"] / 1e9
        dollars += found["origin_gb"] * origin.dollars_per_gb
    if origin.dollars_per_million or origin.dollars_per_gb:
        found["origin_dollars"] = dollars
    if sized and trace.arrival is not None:
        months = float(trace.arrival[-1]) / 1e9 / _MONTH_S
        pairs = zip(scenario.tiers, run.capacities, strict=True)
        held = sum(t.dollars_per_gb_month * c / 1e9 * months for t, c in pairs)
        if held:
            found["capacity_dollars"] = held
            found["total_dollars"] = dollars + held
    return found


def _tiers(run: TiersRun, counts: Counts) -> dict[str, NDArray[Any]]:
    """A row a tier, the origin last."""
    out = run.outcome
    levels = len(run.names)
    columns: dict[str, list[Any]] = {
        "capacity": [*run.capacities, 0],
        **{name: [row[name] for row in out.levels] for name in out.levels[0]},
        "served": [int(((counts.level == k) & ~counts.joined).sum()) for k in range(levels)],
        "delayed": [int(((counts.level == k) & counts.joined).sum()) for k in range(levels)],
        **{
            name: [*(totals[name] for totals in out.caches), 0]
            for name in ("used", "resident", "evicted", "refused", "expired")
        },
        "dirty": [*out.dirty, 0],
    }
    table: dict[str, NDArray[Any]] = {
        name: np.array(values, np.int64) for name, values in columns.items()
    }
    busy = [
        max(link["busy"], out.links[levels + k]["busy"])
        for k, link in enumerate(out.links[:levels])
    ]
    table["busy"] = np.array(busy, np.float64) / max(1, out.end)
    table["peak"] = np.array([link["peak"] for link in out.links[:levels]], np.int64)
    return table


def _windows(counts: Counts) -> dict[str, NDArray[Any]]:
    """Counts over windows of equal numbers of requests."""
    edges = np.linspace(0, counts.requests, WINDOWS + 1).astype(np.int64)
    windows = np.repeat(np.arange(WINDOWS), np.diff(edges))

    def per_window(values: NDArray[Any]) -> NDArray[np.int64]:
        return np.bincount(windows, values, WINDOWS).astype(np.int64)

    hit = counts.hit
    table = {
        "partition": np.zeros(WINDOWS, np.int64),
        "window": np.arange(WINDOWS, dtype=np.int64),
        "requests": np.diff(edges),
        "hits": per_window(hit),
        "asked": per_window(counts.sizes),
        "hit": per_window(counts.sizes * hit),
        "delayed": per_window(counts.joined),
    }
    for k in range(counts.origin + 1):
        table[f"level_{k}"] = per_window((counts.level == k) & ~counts.joined)
    return table


def _sampled(counts: Counts) -> dict[str, NDArray[Any]]:
    """Evenly spaced requests, at most SAMPLED."""
    step = max(1, -(-counts.requests // SAMPLED))
    return {
        "arrival": counts.arrival[::step].copy(),
        "latency": counts.latency[::step].copy(),
        "level": counts.level[::step].astype(np.int64),
        "delayed": counts.joined[::step].astype(np.int64),
    }


def _histogram(counts: Counts) -> dict[str, NDArray[Any]]:
    """Latencies of all requests by level: counts from `low_ns` to the next row's."""
    decades = 1 + len(str(int(counts.latency.max()))) if counts.requests else 1
    low = np.unique(np.rint(10 ** (np.arange(decades * BINS_PER_DECADE) / BINS_PER_DECADE)))
    edges = np.concatenate([[0], low]).astype(np.int64)
    place = np.searchsorted(edges, counts.latency, side="right") - 1
    table = {"low_ns": edges}
    for k in range(counts.origin + 1):
        table[f"level_{k}"] = np.bincount(place[counts.level == k], minlength=len(edges))
    return table


def _notes(run: TiersRun, counts: Counts, tiers: dict[str, NDArray[Any]]) -> list[str]:
    notes = []
    last = int(run.plan.time[-1])
    for k, name in enumerate(run.names):
        if run.timed and tiers["busy"][k] > _FULL:
            late = (run.outcome.end - last) / 1e9
            notes.append(
                f"the link of {name} was always busy, and idle {late:,.3g} s after the last "
                "request came: it cannot carry this load"
            )
    if counts.joined.sum() > _MANY * counts.requests:
        notes.append(
            f"{int(counts.joined.sum()):,} requests waited for the fetch of another one "
            "(delayed hits); they are neither hits nor misses"
        )
    if run.outcome.stale:
        notes.append(f"{run.outcome.stale:,} fetches came after a write of their object")
    if not run.timed and any(level.bandwidth_gbps for level in run.speeds):
        notes.append("without timing nothing is shared: latencies are those of an idle system")
    return notes


def _broken(run: TiersRun, counts: Counts) -> list[str]:
    """Laws of conservation that the run broke."""
    found = []
    reads = np.bincount(
        counts.level[~counts.joined], counts.sizes[~counts.joined], counts.origin + 1
    )
    for k, name in enumerate(run.names):
        level = run.outcome.levels[k]
        if level["read_bytes"] != reads[k]:
            found.append(f"bytes that left {name} are not those of the requests it served")
        if k == counts.origin or "inserted" not in run.outcome.caches[k]:
            continue
        t = run.outcome.caches[k]
        if t["inserted"] != t["resident"] + t["evicted"] + t["removed"] + t["expired"]:
            found.append(f"objects that came into {name} are not those that are there or left")
        left = t["used"] + t["evicted_size"] + t["removed_size"]
        if t["inserted_size"] + t["grown_size"] != left:
            found.append(f"bytes that came into {name} are not those that are there or left")
        if level["write_bytes"] != t["inserted_size"] + level["updated_bytes"]:
            found.append(f"bytes that crossed into {name} are not those that came in")
        if level["hits"] != int((counts.hit & (counts.level == k)).sum()):
            found.append(f"hits of {name} are not the requests that it served")
    if int((run.outcome.done < run.plan.time).sum()):
        found.append("a request had its answer before it came")
    return found
