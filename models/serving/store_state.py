"""The tables of the stores: how they are made, read out and checked."""

from typing import Any

import numpy as np

from mltwin.sim.records import table

from .layout import ENTRY, FETCH, STORE
from .tables import FETCHING, STORE_COST, WRITE_BACK, WRITE_THROUGH, ServingInput


def store_parameters(inp: ServingInput) -> dict[str, float]:
    """The fields of PARAMETERS that concern the stores; none of them set without stores."""
    given = inp.stores
    if given is None:
        return {}
    return {
        "stores": 1,
        "store_nic": len(inp.nic_bytes_per_s),
        "fetching": given.fetch,
        "write_back": int(given.write == WRITE_BACK),
        "write_through": int(given.write == WRITE_THROUGH),
        "store_policy": given.policy,
        "store_depth_cost": given.depth_cost,
        "host_latency": given.host_latency,
        "pool_latency": given.pool_latency,
    }


def store_tables(inp: ServingInput) -> dict[str, np.ndarray]:
    """`stores` (one per replica and the pool), their entries, heaps and map, and `fetch`."""
    given = inp.stores
    if given is None:
        one = np.zeros(1, np.int32)
        return {
            "stores": table(1, STORE),
            "entries": table(1, ENTRY),
            "store_heap": one.copy(),
            "store_map": one.copy(),
            "block_depth": one.copy(),
            "fetch": table(1, FETCH),
        }
    r, blocks = len(inp.kind_of), inp.block_ids_below()
    # a store never holds more than there are
    room = np.minimum([given.host_blocks] * r + [given.pool_blocks], blocks).astype(np.int64)
    rows = max(1, int(room.sum()))
    stores = table(r + 1, STORE, capacity=room, offset=np.cumsum(room) - room)
    stores["fetch_head"] = stores["fetch_tail"] = -1
    return {
        "stores": stores,
        "entries": table(rows, ENTRY),
        "store_heap": np.zeros(rows, np.int32),
        "store_map": np.full(max(1, (r + 1) * blocks), -1, np.int32),
        "block_depth": block_depths(inp) if given.policy == STORE_COST else np.zeros(1, np.int32),
        "fetch": table(len(inp.arrival), FETCH, owner=-1, following=-1),
    }


def block_depths(inp: ServingInput) -> np.ndarray:
    """int32 per block id: how many blocks stand before it in the first prompt that has it."""
    depth = np.zeros(max(1, inp.block_ids_below()), np.int32)
    for i in range(len(inp.arrival) - 1, -1, -1):
        start, count = int(inp.block_start[i]), int(inp.block_count[i])
        depth[inp.block_ids[start : start + count]] = np.arange(count)
    return depth


def fetch_columns(S: Any) -> dict[str, np.ndarray]:
    """FETCH_COLUMNS of the requests, nothing without stores."""
    if not S.par[0].stores:
        return {}
    fetch = S.fetch.view(np.ndarray)
    return {
        "fetched": fetch["tokens"].astype(np.int32),
        "fetch_wait": np.ascontiguousarray(fetch["waited"]),
    }


def store_totals(S: Any) -> dict[str, int]:
    """STORE_TOTALS, nothing without stores."""
    if not S.par[0].stores:
        return {}
    rows = S.stores.view(np.ndarray)
    hosts, pool = rows[:-1], rows[-1]
    found = {name: int(pool[name]) for name in ("fetches", "followed", "copies")}
    found["duplicates"] = int(pool["duplicates_sum"])
    for name in ("read", "written", "evicted", "refused", "used"):
        found[f"host_{name}"] = int(hosts[name].sum())
        found[f"pool_{name}"] = int(pool[name])
    return found


def parts_moving(S: Any, present: np.ndarray, state: np.ndarray) -> int:
    """Flows of fetches that should be on their way."""
    who = present[state == FETCHING]
    return int(S.fetch.view(np.ndarray)["parts"][who].sum()) if len(who) else 0


def broken_store_law(S: Any, present: np.ndarray, state: np.ndarray) -> str | None:
    """A law that the stores break, in words: places, heaps and pins agree with who fetches."""
    p = S.par[0]
    if not p.stores:
        return None
    held = S.holders[: int(p.own_ids * p.words)].view(np.uint8).reshape(-1, int(8 * p.words))
    copies = np.maximum(np.unpackbits(held, axis=1).sum(axis=1, dtype=np.int64) - 1, 0).sum()
    if copies != S.stores[p.n_replicas].duplicates:
        return f"{S.stores[p.n_replicas].duplicates} copies of blocks are counted, {copies} there"
    owners = [int(i) for i in present[state == FETCHING] if S.fetch[i].owner < 0]
    pins: dict[tuple[int, int], int] = {}
    for i in owners:
        f, first = S.fetch[i], int(S.block_start[i])
        for j in range(int(f.hit), int(f.reach)):
            store = int(S.req[i].replica) if j < f.hosted else int(p.n_replicas)
            key = store, int(S.block_ids[first + j])
            pins[key] = pins.get(key, 0) + 1
    seen = 0
    for s in range(len(S.stores)):
        x = S.stores[s]
        rows = S.entries.view(np.ndarray)[int(x.offset) : int(x.offset + x.used)]
        if x.used > x.capacity or x.ready > x.used:
            return f"store {s} holds {x.used} of {x.capacity} blocks, {x.ready} of them in its heap"
        if x.written != x.evicted + x.lost + x.used:
            return f"store {s}: {x.written} blocks came, {x.evicted} + {x.lost} went, {x.used} stay"
        placed = S.store_map[s * p.own_ids + rows["block"]]
        if np.any(placed != np.arange(len(rows))):
            return f"store {s} has a block in two places"
        if (S.store_map[s * p.own_ids : (s + 1) * p.own_ids] >= 0).sum() != x.used:
            return f"store {s} maps blocks that it does not hold"
        free = np.flatnonzero(rows["pins"] == 0)
        heap = S.store_heap[int(x.offset) : int(x.offset + x.ready)]
        if not np.array_equal(np.sort(heap), free):
            return f"store {s}: its heap is not what nobody reads"
        if np.any(heap[rows["place"][free]] != free):
            return f"store {s}: a block is not at its place in the heap"
        for slot in np.flatnonzero(rows["pins"]):
            key = s, int(rows["block"][slot])
            if pins.get(key) != rows["pins"][slot]:
                return f"block {key[1]} of store {s} has {rows['pins'][slot]} pins: {pins.get(key)}"
            seen += 1
    return None if seen == len(pins) else f"{len(pins)} blocks are read, {seen} are pinned"
