"""Running plans of web caches, by the kernels or by the references."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .cdn_tables import CdnPlan
from .friends_tables import FriendsPlan

Log = list[tuple[int, int, int, int]]

LOG_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class FriendsOutcome:
    """What a run of friends' browsers leaves.

    Attributes:
        source: int64[V], number in `friends_tables.SOURCES`.
        done: int64[V], ticks at which each view had its object.
        uploader: int64[V], the friend that was chosen, -1 for none.
        uploaded, wasted: int64[U], bytes sent, and of these for nothing.
        used: int64[U], bytes in caches at the end.
        totals: kept, evicted, origin (bytes), end (ticks).
        log: rows (time, kind, entity, value), or None.
    """

    source: np.ndarray
    done: np.ndarray
    uploader: np.ndarray
    uploaded: np.ndarray
    wasted: np.ndarray
    used: np.ndarray
    totals: dict[str, int]
    log: Log | None


@dataclass(frozen=True, eq=False)
class CdnOutcome:
    """What a run of a CDN leaves.

    Attributes:
        source: int64[N], number in `cdn_tables.SOURCES`.
        done: int64[N], ticks at which the edge had the object.
        used: int64[E + 1], bytes in caches at the end.
        totals: parent_bytes, origin_bytes, origin_requests, kept, evicted.
        log: rows (time, kind, entity, value), or None.
    """

    source: np.ndarray
    done: np.ndarray
    used: np.ndarray
    totals: dict[str, int]
    log: Log | None


def run_friends(plan: FriendsPlan, *, reference: bool = False, log: bool = False) -> FriendsOutcome:
    """Run a plan of friends' browsers; `reference`: in plain Python, with a log in any case."""
    names = ("kept", "evicted", "origin", "end")
    if reference:
        from .friends_reference import FriendsReference

        run = FriendsReference(plan).run()
        return FriendsOutcome(
            **{name: np.array(getattr(run, name), np.int64) for name in _FRIENDS_COLUMNS},
            used=np.array([sum(cache.values()) for cache in run.cache], np.int64),
            totals={name: getattr(run, name) for name in names},
            log=run.log,
        )
    from .friends_kernel import advance
    from .friends_tables import make_world

    rows = LOG_ROWS + 4 * (len(plan.pair_user) + plan.slots)
    world = make_world(plan, rows if log else 0)
    kept = _drive(advance, world) if log else advance(world)
    return FriendsOutcome(
        **{name: getattr(world, name).copy() for name in _FRIENDS_COLUMNS},
        used=world.used.copy(),
        totals={name: int(world.state[0][name]) for name in names},
        log=kept,
    )


_FRIENDS_COLUMNS = ("source", "done", "uploader", "uploaded", "wasted")


def run_cdn(plan: CdnPlan, *, reference: bool = False, log: bool = False) -> CdnOutcome:
    """Run a plan of a CDN; `reference`: in plain Python, with a log in any case."""
    names = ("parent_bytes", "origin_bytes", "origin_requests", "kept", "evicted")
    if reference:
        from .cdn_reference import CdnReference

        run = CdnReference(plan).run()
        return CdnOutcome(
            source=np.array(run.source, np.int64),
            done=np.array(run.done, np.int64),
            used=np.array([sum(node.size.values()) for node in run.nodes], np.int64),
            totals={name: getattr(run, name) for name in names},
            log=run.log,
        )
    from .cdn_kernel import advance
    from .cdn_tables import make_world

    world = make_world(plan, LOG_ROWS + 4 * len(plan.item_bytes) if log else 0)
    kept = _drive(advance, world) if log else advance(world)
    return CdnOutcome(
        source=world.source.copy(),
        done=world.done.copy(),
        used=world.used.copy(),
        totals={name: int(world.state[0][name]) for name in names},
        log=kept,
    )


def _drive(advance: Any, world: Any) -> Log:
    """Advance and drain until a call logs nothing."""
    rows: Log = []
    while True:
        advance(world)
        count = int(world.log_count[0])
        if count == 0:
            return rows
        rows += world.log[:count].tolist()
        world.log_count[0] = 0
