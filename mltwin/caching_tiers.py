"""Running a caching scenario in time, or through several tiers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltwin.models.caching import TICKS_PER_S
from mltwin.models.caching.cache import Cache
from mltwin.models.caching.tiers_run import TiersOutcome, run_reference, run_tiers
from mltwin.models.caching.tiers_tables import Level, TierPlan
from mltwin.sim.errors import InputError
from mltwin.workloads.objects.table import ObjectTrace

from .cache_policies import choose_eviction, located
from .cache_replay import admission_settings
from .caching import CachingScenario, Origin, Tier
from .fields import placed

_SEEDS = 2**62
_APART = 0x9E3779B97F4A7C15  # between the seeds of tiers: 2**64 over the golden ratio


@dataclass(frozen=True, eq=False)
class TiersRun:
    """A finished run.

    Attributes:
        plan, outcome: what ran and what it left.
        names: of the tiers, then "origin".
        capacities: of the tiers.
        latency: ticks of each level, those of the tiers before it included.
        speeds: of the levels as the scenario has them, whether or not they were used.
        timed: whether requests met in time; sized: whether sizes are bytes.
    """

    plan: TierPlan
    outcome: TiersOutcome
    names: tuple[str, ...]
    capacities: tuple[int, ...]
    latency: tuple[int, ...]
    speeds: "tuple[Tier | Origin, ...]"
    timed: bool
    sized: bool

    def alone_ns(self, k: int, size: int) -> float:
        """How long so many bytes take over the link of level k with nothing else on it, ns."""
        gbps = self.speeds[k].bandwidth_gbps
        return 0.0 if gbps is None or not self.sized else 8 * size / gbps


def in_tiers(scenario: CachingScenario) -> bool:
    """Whether a scenario needs this module rather than a plain replay."""
    return len(scenario.tiers) > 1 or scenario.timing == "events" or scenario.write == "back"


def run_through_tiers(
    scenario: CachingScenario,
    trace: ObjectTrace,
    capacities: tuple[int, ...],
    seed: int,
    *,
    reference: bool = False,
) -> TiersRun:
    """Run the tiers of a scenario over a trace.

    Raises InputError: times or sizes that are missing, a policy that must know the future.
    """
    timed = _is_timed(scenario, trace)
    latency = _latencies(scenario)
    caches = []
    for k, (tier, capacity) in enumerate(zip(scenario.tiers, capacities, strict=True)):
        try:
            caches.append(make_cache(scenario, k, trace, capacity, seed))
        except InputError as error:
            raise placed(error, f"tiers.{k}") from None
        if caches[-1].eviction.future:
            raise InputError(
                f"{tier.eviction!r} must know the order of requests in this tier",
                where=f"tiers.{k}.eviction",
                mend='it works for one tier with timing = "none"',
            )
    plan = _plan(scenario, trace, latency, timed)
    run = run_reference if reference else run_tiers
    outcome = run(plan, caches)
    names = (*(tier.name for tier in scenario.tiers), "origin")
    sized = scenario.workload.unit == "bytes"
    speeds = tuple(level for _, level in _levels(scenario))
    return TiersRun(plan, outcome, names, capacities, latency, speeds, timed, sized)


def make_cache(
    scenario: CachingScenario, k: int, trace: ObjectTrace, capacity: int, seed: int
) -> Cache:
    """An empty cache for tier k, in the full form. Raises InputError for what it is not given."""
    tier = scenario.tiers[k]
    chosen = choose_eviction(located(tier.eviction, scenario.resolve_path))
    admission, settings = admission_settings(tier.admission)
    costs, future = None, None
    if trace.cost is not None:
        costs = np.zeros(trace.objects)
        costs[trace.ids] = trace.cost
    if chosen.eviction.future:
        from mltwin.models.caching.cache import next_uses

        future = next_uses(trace.ids, trace.objects)
    return Cache(
        chosen.for_cache(trace.requests),
        capacity,
        trace.objects,
        params=chosen.params,
        admission=admission,
        settings=settings,
        max_objects=tier.max_objects,
        next_use=future,
        costs=costs,
        seed=(seed + k * _APART) % _SEEDS,
    )


def _is_timed(scenario: CachingScenario, trace: ObjectTrace) -> bool:
    if scenario.timing == "none" or (scenario.timing == "auto" and trace.arrival is None):
        return False
    if trace.arrival is None:
        raise InputError(
            "the workload has no times",
            where="timing",
            mend='give workload.rate, or timing = "none"',
        )
    if scenario.workload.unit == "objects":
        for where, level in _levels(scenario):
            if level.bandwidth_gbps is not None:
                raise InputError(
                    "objects that are only counted have no bytes to cross",
                    where=f"{where}.bandwidth_gbps",
                    mend='set workload.unit = "bytes", or leave the bandwidth out',
                )
    return True


def _levels(scenario: CachingScenario) -> list[tuple[str, Tier | Origin]]:
    tiers = [(f"tiers.{k}", tier) for k, tier in enumerate(scenario.tiers)]
    return [*tiers, ("origin", scenario.origin)]


def _latencies(scenario: CachingScenario) -> tuple[int, ...]:
    """Ticks until the bytes begin to cross: the tiers are asked one after the other."""
    own = [round(tier.latency_us * 1e3) for tier in scenario.tiers]
    own.append(round(scenario.origin.latency_ms * 1e6))
    return tuple(int(v) for v in np.cumsum(own))


def _plan(
    scenario: CachingScenario, trace: ObjectTrace, latency: tuple[int, ...], timed: bool
) -> TierPlan:
    lives = [0 if t.ttl_s is None else max(1, round(t.ttl_s * TICKS_PER_S)) for t in scenario.tiers]
    if trace.arrival is None and (any(lives) or trace.ttl_ns is not None):
        raise InputError(
            "the trace has no times, so nothing can expire",
            where="ttl_s",
            mend="leave ttl_s out, or give a trace with times or a rate",
        )
    levels = tuple(
        Level(
            latency=latency[k] if timed else 0,
            gbps=level.bandwidth_gbps if timed else None,
            duplex=level.duplex,
            life=life,
        )
        for k, ((_, level), life) in enumerate(zip(_levels(scenario), [*lives, 0], strict=True))
    )
    times = np.zeros(trace.requests, np.int64) if trace.arrival is None else trace.arrival
    try:
        return TierPlan(
            time=times,
            ids=trace.ids,
            sizes=_sizes(scenario, trace),
            objects=trace.objects,
            levels=levels,
            op=trace.op,
            life=trace.ttl_ns,
            exclusive=scenario.mode == "exclusive",
            strict=scenario.strict,
            back=scenario.write == "back",
            promote_after=scenario.promote_after,
        )
    except InputError as error:
        raise _renamed(error, scenario) from None


def _renamed(error: InputError, scenario: CachingScenario) -> InputError:
    """An error of a level under the name that the scenario has for it."""
    where = error.where or ""
    if not where.startswith("level "):
        return error
    place, _ = _levels(scenario)[int(where.removeprefix("level "))]
    return InputError(error.message, where=f"{place}.bandwidth_gbps", mend=error.mend)


def _sizes(scenario: CachingScenario, trace: ObjectTrace) -> NDArray[np.int64]:
    if scenario.workload.unit == "objects":
        return np.ones(trace.requests, np.int64)
    if trace.size_bytes is None:
        raise InputError(
            "the trace has no sizes",
            where="workload.unit",
            mend='count objects (unit = "objects"), or give a trace with sizes',
        )
    return trace.size_bytes
