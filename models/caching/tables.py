"""The tables of a cache. All policies share one World type, so that a compiled step of any of them
is a first-class function with one signature; tables that a policy does not use have one row.

An object is a *row*: its dense id plus FIRST, as uint64. Rows below FIRST are the sentinels of
intrusive lists, at places that are constants in the machine code. Rows must stay unsigned: a signed
index costs a check for wrapping around, which halves the speed of a replay.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import types
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

from .hooks import CACHE_CONTEXT, OBJECT, signature, unscored

_types: Any = types

FIRST = 8
NONE = 0
"""No row: what `make_room` gives when nothing may be evicted."""
NEVER = 2**63 - 1
"""Ticks: does not expire."""
MAX_OBJECTS = 2**32 - 1 - FIRST

MISS, HIT, REFUSED, REMOVED = range(4)
"""Outcome of a request: absent and taken in, resident, absent and not taken in, to be deleted."""

ALWAYS, BY_SIZE, BY_CHANCE, SECOND_HIT, TINY_LFU = range(5)
ADMISSIONS = {
    "always": ALWAYS,
    "size": BY_SIZE,
    "probability": BY_CHANCE,
    "second_hit": SECOND_HIT,
    "tinylfu": TINY_LFU,
}

RANK = record("Rank", [("score", "f8", "smallest first"), ("stamp", "i8", "breaks ties")])
NODE = record("Node", [("previous", "u4", "row"), ("next", "u4", "row")])
TWIN = record(
    "Twin",
    [
        ("previous", "u4", "row, in the first list"),
        ("next", "u4", "row, in the first list"),
        ("before", "u4", "row, in the second list"),
        ("after", "u4", "row, in the second list"),
    ],
)

SETTINGS = record(
    "CacheSettings",
    [
        ("objects", "i8", "distinct ids of the trace"),
        ("capacity", "i8", "objects or bytes, whatever `size` counts"),
        ("max_objects", "i8", "resident at once, beside the capacity"),
        ("requests", "i8", "length of `next_use`"),
        ("seed", "i8"),
        ("admission", "i8", "ALWAYS ..."),
        ("max_size", "i8", "BY_SIZE: the largest object that is admitted"),
        ("chance", "f8", "BY_CHANCE: probability, for an object of size 1 if by_size is set"),
        ("by_size", "i8", "BY_CHANCE: 1 if the probability falls as exp(-size / scale)"),
        ("scale", "f8", "bytes, of that fall"),
        ("window", "i8", "SECOND_HIT: misses after which the memory of first ones is cleared"),
    ],
)

TOTALS = record(
    "CacheTotals",
    [
        ("used", "i8", "objects or bytes in the cache, pinned ones included"),
        ("resident", "i8", "objects"),
        ("pinned", "i8", "objects"),
        ("clock", "i8", "requests so far, where a policy counts them"),
        ("now", "i8", "ticks, of the last request"),
        ("hits", "i8", "requests; full form only, as all below"),
        ("misses", "i8", "requests, refused ones included"),
        ("refused", "i8", "misses that were not taken in"),
        ("expired", "i8", "objects found too old"),
        ("evicted", "i8", "objects"),
        ("removed", "i8", "objects, at the owner's wish"),
        ("inserted", "i8", "objects"),
        ("asked_size", "i8", "sum of size over requests"),
        ("hit_size", "i8", "the same over hits"),
        ("inserted_size", "i8"),
        ("evicted_size", "i8"),
        ("removed_size", "i8", "expired ones included"),
        ("grown_size", "i8", "change of size of resident objects"),
        ("victims", "i8", "rows in `victims`, of the last request"),
        ("first_misses", "i8", "SECOND_HIT: since the memory was cleared"),
    ],
)

# Table -> dtype; those in PER_OBJECT have a row an object where they are used.
TABLES: dict[str, Any] = {
    "par": SETTINGS,
    "tot": TOTALS,
    "queue": np.dtype("u1"),  # 0 absent, else the policy's own mark of where the object is
    "node": NODE,  # links of the list it is in
    "twin": TWIN,  # links of both lists, where it may be in two
    "count": np.dtype("i4"),  # how often it was asked for, as the policy counts
    "mark": np.dtype("i8"),  # a stamp of the policy: last use, insertion, ...
    "extent": np.dtype("i8"),  # size while resident
    "expires": np.dtype("i8"),  # ticks
    "pins": np.dtype("i4"),  # holders; a pinned object is out of the policy's structures
    "cost": np.dtype("f8"),  # of a miss
    "score": np.dtype("f8"),  # of eviction, smallest first
    "rank": RANK,  # of eviction (`heaps`)
    "key": RANK,  # per slot of `heap`: the rank that it goes by
    "place": np.dtype("i4"),  # in `heap`, -1 if not in it
    "ghost": np.dtype("i8"),  # what the policy remembers of absent objects
    "origin": np.dtype("u1"),  # which list of ghosts an absent object is in, 0 if in none
    "seen": np.dtype("u1"),  # SECOND_HIT: missed once
    "heap": np.dtype("u4"),  # rows
    "ring": np.dtype("u4"),  # rows
    "object": OBJECT,  # what a user's score is given
    "ctx": CACHE_CONTEXT,
    "memory": np.dtype("f8"),  # of a user's score
    "victims": np.dtype("u4"),  # rows evicted by the last request
    "next_use": np.dtype("i8"),  # per request: number of the next request of the same object
    "sketch": np.dtype("u1"),  # counters of TinyLFU
    "own": np.dtype("i8"),  # 16 numbers of the policy
    "own_f": np.dtype("f8"),  # 16 numbers of the policy
    "knobs": np.dtype("f8"),  # its parameters, in the order of the registry
}
PER_OBJECT = frozenset(
    {
        "queue",
        "node",
        "twin",
        "count",
        "mark",
        "extent",
        "expires",
        "pins",
        "cost",
        "score",
        "place",
    }
    | {"ghost", "origin", "seen", "victims", "rank", "key", "object"}
)
FULL = ("extent", "expires", "pins", "victims", "seen")
"""Tables of the full form, beside a policy's own."""

SCORE = signature("evict_object")
CACHE = world_type(
    {name: np.dtype(dtype) for name, dtype in TABLES.items()}, {"evict_object": SCORE}
)


def make_world(
    *,
    objects: int,
    capacity: int,
    needs: tuple[str, ...],
    full: bool,
    lengths: dict[str, int],
    knobs: np.ndarray,
    settings: dict[str, float],
) -> Any:
    """An empty cache.

    Args:
        objects: distinct ids.
        capacity: objects or bytes.
        needs: tables that the policy uses, beside those of the driver.
        full: whether sizes, expiry, pins and admission are kept.
        lengths: rows of tables that are not one row an object.
        knobs: parameters of the policy.
        settings: further fields of SETTINGS.
    """
    used = {"queue", *needs, *(FULL if full else ())}
    tables = {
        name: _table(name, objects + FIRST if name in used else 1, lengths)
        for name in TABLES
        if name not in ("par", "tot", "own", "own_f", "knobs")
    }
    par = table(1, SETTINGS)
    par.objects, par.capacity, par.max_objects = objects, capacity, min(capacity, objects)
    for name, value in settings.items():
        par[name] = value
    if len(tables["place"]) > 1:
        tables["place"][:] = -1
    for links in (tables["node"], tables["twin"]):
        for sentinel in range(min(FIRST, len(links))):
            for field in links.dtype.names or ():
                links[field][sentinel] = sentinel
    return World(
        par=par,
        tot=table(1, TOTALS),
        own=np.zeros(16, np.int64),
        own_f=np.zeros(16),
        knobs=np.ascontiguousarray(knobs, np.float64),
        **tables,
    ).bind(evict_object=(SCORE, unscored()))


def _table(name: str, rows: int, lengths: dict[str, int]) -> np.ndarray:
    dtype = TABLES[name]
    length = rows if name in PER_OBJECT else lengths.get(name, 1)
    if dtype.names:
        return table(length, dtype)
    return np.zeros(length, dtype)


ACCESS = _types.int64(CACHE, _types.uint64)
"""Signature of a policy's `access`: (cache, row), as a first-class function."""
STEP = _types.int64(CACHE, _types.int64, _types.uint64, _types.int64, _types.int64, _types.int64)
"""Signature of a policy's `step`: (cache, what, row, size, now, ttl), as a first-class function."""
