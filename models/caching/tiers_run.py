"""Running a plan of tiers, by the kernel or by the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.eventlog import EventLog

from .cache import Cache
from .tables import FIRST
from .tiers_tables import MAX_TIERS, TierPlan, grow, make_world

LOG_ROWS = 1 << 18


@dataclass(frozen=True, eq=False)
class TiersOutcome:
    """What a run of tiers leaves.

    Attributes:
        done: int64[n], ticks at which each request had its answer.
        served: uint8[n], the level that served it (the origin last), plus JOINED where it waited
            for the fetch of another request; REMOVING for a DELETE. For a SET: the nearest level
            that took it.
        levels: for each level (the origin last) its counters by name (`tiers_tables.LEVEL`).
        links: for each link (one a level, then those for writes) busy and peak.
        caches: for each tier the cache's own counters (`tables.TOTALS`; of the reference: used,
            resident, evicted, refused, expired).
        resident: for each tier its objects, ascending.
        dirty: for each tier, size of what it has that the levels below have not.
        end: ticks of the last event; stale: fetches that came too late.
        log: rows (time, kind, entity, value), or None.
    """

    done: NDArray[np.int64]
    served: NDArray[np.uint8]
    levels: list[dict[str, int]]
    links: list[dict[str, int]]
    caches: list[dict[str, int]]
    resident: list[list[int]]
    dirty: list[int]
    end: int
    stale: int
    log: list[tuple[int, int, int, int]] | None


COUNTERS = ("asked", "hits", "read_bytes", "write_bytes", "updated_bytes", "moved_in")


def run_tiers(
    plan: TierPlan,
    caches: Sequence[Cache],
    *,
    log: bool = False,
    log_rows: int = LOG_ROWS,
    progress: Callable[[int], None] | None = None,
) -> TiersOutcome:
    """Run a plan to its end.

    Args:
        plan: requests, levels, rules.
        caches: a fresh cache in the full form for each tier, nearest first.
        log: keep the event log.
        log_rows: of its buffer; one event may fill half of it.
        progress: called with the requests done so far, now and then.

    Raises InputError where a user's eviction score was no number.
    """
    from .tiers import ALL_DONE, HEAP_FULL, advance

    rows = EventLog(log_rows if log else 0)
    world = make_world(plan, list(caches))
    world.replace(**rows.tables())
    worlds = tuple(caches[min(k, plan.tiers - 1)].world for k in range(MAX_TIERS))
    while True:
        status = int(advance(world, worlds))
        if log:
            rows.drain()
        if status == ALL_DONE:
            break
        if status == HEAP_FULL:
            grow(world)
        if progress is not None:
            progress(int(world.state[0].done))
    for cache in caches:
        cache._check_scores()  # a user's score may have been no number
    return _told(plan, caches, world, rows.rows().tolist() if log else None)


def run_reference(plan: TierPlan, caches: Sequence[Cache]) -> TiersOutcome:
    """The same by the plain-Python twin, with a log; the caches only say which policies.

    Raises InputError for policies that have no plain-Python form.
    """
    from .tiers_reference import TiersReference, reference_of

    twins = [reference_of(cache, plan.ids.tolist()) for cache in caches]
    run = TiersReference(plan, twins).run()
    return TiersOutcome(
        done=np.array(run.done, np.int64),
        served=np.array(run.served, np.uint8),
        levels=run.levels,
        links=[{"busy": link.busy, "peak": link.peak} for link in run.links],
        caches=[
            {
                "used": tier.cache.used,
                "resident": len(tier.cache.sizes),
                "evicted": tier.evicted,
                "refused": tier.refused,
                "expired": tier.expired,
            }
            for tier in run.tiers
        ],
        resident=[sorted(twin.sizes) for twin in twins],
        dirty=[sum(tier.cache.sizes[x] for x in tier.dirty) for tier in run.tiers],
        end=run.now,
        stale=run.stale,
        log=run.log,
    )


def _told(plan: TierPlan, caches: Sequence[Cache], world: Any, log: Any) -> TiersOutcome:
    return TiersOutcome(
        done=world.done.copy(),
        served=world.served.copy(),
        levels=[{name: int(row[name]) for name in COUNTERS} for row in world.level],
        links=[{"busy": int(row.busy), "peak": int(row.peak)} for row in world.link],
        caches=[cache.totals() for cache in caches],
        resident=[cache.resident().tolist() for cache in caches],
        dirty=[
            int(cache.world.extent[FIRST:][(world.dirty >> k) & 1 > 0].sum())
            for k, cache in enumerate(caches)
        ],
        end=int(world.state[0].now),
        stale=int(world.state[0].stale),
        log=log,
    )
