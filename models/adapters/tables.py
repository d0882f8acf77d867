"""Tables of the paging model: what goes in, what comes out, how a World is made of it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.heap import PAIR, make_pairs
from mltwin.sim.world import World, world_type

Ints = NDArray[np.int64]

POLICIES = ("lru", "lfu", "static", "gdsf", "oracle", "random")
"""Eviction policies by name; their place is their code in the kernel (`paging`)."""
LRU, LFU, STATIC, GDSF, ORACLE, RANDOM = range(len(POLICIES))

OUT, QUEUED, LOADING, RESIDENT = range(4)
"""States of an adapter."""
HIT, DELAYED, MISS = range(3)
"""How a request found its adapter on arrival."""
FOUND = ("hit", "delayed", "miss")

ARRIVED, STARTED, FINISHED, LOAD_BEGAN, LOAD_ENDED, EVICTED = range(6)
EVENTS = ("arrived", "started", "finished", "load_began", "load_ended", "evicted")
"""Kinds of logged events; the id is a request's for the first three, else an adapter's."""

NEVER = 2**62
"""Later than every event."""

# Scalars of a run, by place in the table `g`.
G_NAMES = (
    *("cursor", "free_slots", "used_bytes", "residents", "idle_bytes", "idle", "queue_head"),
    *("queued", "loading", "load_end", "evictions", "loads", "bytes_in", "bytes_out", "link_busy"),
    *("events", "logged", "policy", "seed", "capacity_bytes", "capacity", "now", "done", "blocked"),
)
G = {name: place for place, name in enumerate(G_NAMES)}

_REQUEST = ("arrival", "adapter", "service", "next_use", "start", "finish", "ready", "follower")
_ADAPTER = ("size", "load", "refs", "last", "count", "next_seen", "head", "tail", "place")

WORLD = world_type(
    {
        **dict.fromkeys(_REQUEST, np.dtype(np.int64)),
        **dict.fromkeys(_ADAPTER, np.dtype(np.int64)),
        "found": np.dtype(np.int8),
        "state": np.dtype(np.int8),
        "score": np.dtype(np.float64),
        "known": np.dtype(np.float64),
        "inflation": np.dtype(np.float64),
        "resident": np.dtype(np.int64),
        "queue": np.dtype(np.int64),
        "log": np.dtype(np.int64),
        "g": np.dtype(np.int64),
        "ends": PAIR,
        "ends_count": np.dtype(np.int64),
        "ready_heap": PAIR,
        "ready_heap_count": np.dtype(np.int64),
    }
)


@dataclass(frozen=True, eq=False)
class PagingInput:
    """Requests and adapters, in ticks and bytes.

    Attributes:
        arrival: int64[n], non-decreasing.
        adapter: int64[n], which adapter each request needs.
        service: int64[n], how long it holds a slot.
        size: int64[N] bytes of each adapter.
        load: int64[N] ticks that its load occupies the link.
        slots: requests that run at a time.
        capacity_bytes, capacity: bytes and number of adapters that may be resident or loading.
        policy: place in `POLICIES`.
        warm: int64[m] adapters resident at the start.
        seed: of the policy `random`.
    """

    arrival: Ints
    adapter: Ints
    service: Ints
    size: Ints
    load: Ints
    slots: int
    capacity_bytes: int
    capacity: int
    policy: int = LRU
    warm: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    seed: int = 0

    def check(self) -> None:
        """Raises InputError for what the kernel must not meet."""
        n, adapters = len(self.arrival), len(self.size)
        if len(self.adapter) != n or len(self.service) != n or len(self.load) != adapters:
            raise InputError("the columns differ in length", where="paging")
        if n and (self.arrival[0] < 0 or np.any(np.diff(self.arrival) < 0)):
            raise InputError("arrivals go back or begin below 0", where="arrival")
        if n and not 0 <= self.adapter.min() <= self.adapter.max() < adapters:
            raise InputError("a request names no adapter", where="adapter")
        if adapters and (self.size.min() < 1 or self.load.min() < 1):
            raise InputError("sizes and loads must be 1 or more", where="size")
        if n and self.service.min() < 1:
            raise InputError("service times must be 1 tick or more", where="service")
        if self.slots < 1 or self.capacity < 1:
            raise InputError("must be 1 or more", where="slots" if self.slots < 1 else "capacity")
        if adapters and self.size.max() > self.capacity_bytes:
            raise InputError(
                f"the largest adapter takes {self.size.max()} bytes, more than the memory for "
                f"adapters holds ({self.capacity_bytes})",
                where="memory",
                mend="give more memory or a lower rank",
            )
        if not 0 <= self.policy < len(POLICIES):
            raise InputError(f"there is no policy {self.policy}", where="policy")
        warm_bytes = int(self.size[self.warm].sum())
        if len(self.warm) > self.capacity or warm_bytes > self.capacity_bytes:
            raise InputError("the adapters resident at the start do not fit", where="warm")


@dataclass(frozen=True, eq=False)
class PagingOutcome:
    """What a run leaves.

    Attributes:
        ready, start, finish: int64[n] ticks: adapter resident, slot taken, done.
        found: int8[n], `HIT`, `DELAYED` or `MISS`.
        totals: counters by name.
        log: int64[m, 3] of (time, kind, id), empty unless it was asked for.
        resident: adapters in memory at the end, by id.
    """

    ready: Ints
    start: Ints
    finish: Ints
    found: NDArray[np.int8]
    totals: dict[str, int]
    log: Ints
    resident: Ints


def next_uses(adapter: Ints, adapters: int) -> tuple[Ints, Ints]:
    """For each request the number of the next one of its adapter (n for none), and each
    adapter's first."""
    n = len(adapter)
    following = np.full(n, n, np.int64)
    order = np.lexsort((np.arange(n), adapter))
    same = adapter[order][1:] == adapter[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    first = np.full(adapters, n, np.int64)
    first[adapter[::-1]] = np.arange(n)[::-1]
    return following, first


def make_state(given: PagingInput, log: bool) -> Any:
    """The World of an input, with its warm adapters in place."""
    n, adapters = len(given.arrival), len(given.size)
    following, first = next_uses(given.adapter, adapters)
    tables: dict[str, Any] = {
        "arrival": np.ascontiguousarray(given.arrival, np.int64),
        "adapter": np.ascontiguousarray(given.adapter, np.int64),
        "service": np.ascontiguousarray(given.service, np.int64),
        "next_use": following,
        **{name: np.full(n, -1, np.int64) for name in ("start", "finish", "ready", "follower")},
        "found": np.zeros(n, np.int8),
        "size": np.ascontiguousarray(given.size, np.int64),
        "load": np.ascontiguousarray(given.load, np.int64),
        "refs": np.zeros(adapters, np.int64),
        "count": np.zeros(adapters, np.int64),
        **{name: np.full(adapters, -1, np.int64) for name in ("last", "head", "tail", "place")},
        "next_seen": first,
        "state": np.zeros(adapters, np.int8),
        "score": np.zeros(adapters, np.float64),
        "known": np.bincount(given.adapter, minlength=adapters).astype(np.float64),
        "inflation": np.zeros(1),
        "resident": np.zeros(adapters, np.int64),
        "queue": np.zeros(max(1, adapters), np.int64),
        # A request arrives, starts, ends; a miss loads (begin, end) and evicts at most as often
        # as something was loaded or warm.
        "log": np.zeros(3 * (6 * n + len(given.warm)) if log else 0, np.int64),
        "g": np.zeros(len(G), np.int64),
        **make_pairs(min(n, given.slots), "ends"),
        **make_pairs(n, "ready_heap"),
    }
    g = tables["g"]
    scalars = {
        "free_slots": given.slots,
        "loading": -1,
        "load_end": NEVER,
        "policy": given.policy,
        "seed": given.seed,
        "capacity_bytes": given.capacity_bytes,
        "capacity": given.capacity,
    }
    for name, value in scalars.items():
        g[G[name]] = value
    for place, adapter in enumerate(given.warm):
        tables["resident"][place] = adapter
        tables["place"][adapter] = place
        tables["state"][adapter] = RESIDENT
    held = int(given.size[given.warm].sum())
    for name in ("used_bytes", "idle_bytes"):
        g[G[name]] = held
    for name in ("residents", "idle"):
        g[G[name]] = len(given.warm)
    tables["score"][:] = initial_scores(given, tables["known"], first)
    return World(**tables)


def initial_scores(given: PagingInput, known: NDArray[np.float64], first: Ints) -> Any:
    """The scores of adapters that were not asked for yet."""
    if given.policy == STATIC:
        return known
    if given.policy == ORACLE:
        return -first.astype(np.float64)
    return np.full(len(given.size), -1.0 if given.policy == LRU else 0.0)
