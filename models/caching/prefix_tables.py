"""What a cluster of KV caches is given (`Plan`), and the kernel's state.

The rules and their order: `prefix_nodes`. A *row* is ``node * blocks + block``; the pool, where
there is one, is the node after the last. A *cache* is one tier of one node, ``node * tiers +
tier``; the pool's is the last. A row lies in one cache at a time (tiers are exclusive).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

TICKS_PER_S = 10**9
NEVER = 2**62
MOST_ROWS = 2**27

POLICIES = ("lru", "fifo", "lfu", "cost")
LRU, FIFO, LFU, COST = range(4)
ROUTINGS = ("random", "round_robin", "least_loaded", "affinity", "cost", "session_hash")
BY_CHANCE, ROUND_ROBIN, LEAST_LOADED, AFFINITY, BY_COST, SESSION_HASH = range(6)

LENT, PLAIN, WANTED = range(3)
"""Classes of an evictable row: blocks lent by other nodes go first, those waited for last."""
MOST_TIERS = 3
SOURCES = 5
"""Where hit blocks are read: the three tiers, another node (lent), the pool."""
FROM_NODE, FROM_POOL = 3, 4

EVENT_NAMES = ("arrive", "start", "wait", "end", "evict", "copy")
ARRIVE, START, WAIT, END, EVICT, COPY = range(6)

SETTINGS = record(
    "KvSettings",
    [
        ("nodes", "i8", "without the pool"),
        ("tiers", "i8", "of each node"),
        ("blocks", "i8", "distinct"),
        ("requests", "i8"),
        ("pool", "i8", "1 if there is one"),
        ("policy", "i8", "number in POLICIES"),
        ("routing", "i8", "number in ROUTINGS"),
        ("tail_first", "i8", "touch a request's blocks from the last to the first"),
        ("leaf_only", "i8", "only blocks without resident successors may go"),
        ("queue_informed", "i8", "blocks of waiting requests go last"),
        ("borrow", "i8", "a full node uses free room of others"),
        ("wait_in_flight", "i8", "wait for a missing block that another node computes"),
        ("overlap", "i8", "fetching overlaps with computing"),
        ("queued_load", "i8", "load: blocks outstanding; else a decayed sum of those sent"),
        ("seed", "i8"),
        ("hot_hits", "i8", "hits within a window after which a block is copied; 0: never"),
        ("hot_window", "i8", "requests"),
        ("hot_copies", "i8", "nodes that get a copy"),
        ("block_tokens", "i8"),
        ("load_weight", "f8", "missed blocks that one block of load is worth"),
        ("decay", "f8", "of the load, a request"),
        ("token_ns", "f8", "of prefill, a missed token"),
        ("pair_ns", "f8", "of prefill, a pair of a missed token and one before it"),
        ("base_ns", "f8", "of a prefill"),
        ("network_ns", "f8", "a block over a node's own link"),
        ("shared_ns", "f8", "a block over the link that all share; 0: no such limit"),
        ("network_latency", "i8", "ticks of a fetch from the pool or another node"),
    ],
)
TOTALS = record(
    "KvTotals",
    [
        ("cursor", "i8", "requests arrived"),
        ("done", "i8", "requests ended"),
        ("stamp", "i8", "stamps given out"),
        ("link_until", "i8", "ticks: the shared link is taken until then"),
        ("inserted", "i8", "blocks into nodes, copies included"),
        ("evicted", "i8", "blocks out of nodes"),
        ("demoted", "i8", "blocks to the next tier of their node"),
        ("promoted", "i8", "blocks back to the first tier"),
        ("refused", "i8", "blocks that found everything pinned"),
        ("pool_inserted", "i8", "blocks"),
        ("pool_evicted", "i8", "blocks"),
        ("pool_refused", "i8", "blocks"),
        ("copied", "i8", "blocks of hot-block replication"),
        ("lent", "i8", "blocks placed at another node"),
        ("waited", "i8", "times that a request waited for a block in flight"),
        ("duplicates", "i8", "copies beyond the first, now"),
        ("duplicates_sum", "i8", "the same, summed over ends of requests"),
        ("resident", "i8", "blocks in nodes, now"),
        ("resident_sum", "i8", "the same, summed over ends of requests"),
        ("log", "i8", "events logged"),
    ],
)
CACHE = record(
    "KvCache",
    [
        ("capacity", "i8", "blocks"),
        ("used", "i8", "blocks, pinned ones included"),
        ("count", "i8", "rows in its heap"),
        ("offset", "i8", "of its heap"),
        ("age", "f8", "score of the last victim (policy cost)"),
        ("block_ns", "f8", "to read a block of this tier"),
        ("latency", "i8", "ticks of a read"),
    ],
)
NODE = record(
    "KvNode",
    [
        ("until", "i8", "ticks: end of its prefill, NEVER if none"),
        ("request", "i8", "that it serves, -1: none"),
        ("head", "i8", "first waiting request, -1: none"),
        ("tail", "i8", "last waiting request"),
        ("blocked", "i8", "1 while it waits for a block in flight"),
        ("load", "f8", "blocks"),
    ],
)
RANK = record("KvRank", [("kind", "i8"), ("score", "f8"), ("stamp", "i8")])
SERVED = record(
    "KvServed",
    [
        ("node", "i8"),
        ("expected", "i8", "blocks missed, as the router saw it"),
        ("hits", "i8", "blocks of the longest prefix found"),
        ("start", "i8", "ticks"),
        ("fetched", "i8", "ticks: of the fetch alone"),
        ("end", "i8", "ticks"),
    ],
)


@dataclass(frozen=True, eq=False)
class Plan:
    """A run of a cluster of KV caches; `make_plan` checks it.

    Attributes:
        start: int64[R + 1], `blocks[start[i]:start[i + 1]]` is the prompt of request i.
        blocks: int32, dense ids; an id stands for its block and all before it.
        distinct: ids are below it.
        prompt: int64[R], tokens.
        arrival: int64[R], ticks of 1 ns; empty: no time.
        session: int64[R], -1: none.
        nodes, tiers (blocks of each tier of a node), pool_blocks (0: no pool).
        tier_ns, tier_latency: to read a block of each tier; ticks of a read.
        settings: the fields of SETTINGS that are not told by the above.
        cost: float64[distinct], of computing a block anew (policy `cost`).
    """

    start: np.ndarray
    blocks: np.ndarray
    distinct: int
    prompt: np.ndarray
    arrival: np.ndarray
    session: np.ndarray
    nodes: int
    tiers: tuple[int, ...]
    pool_blocks: int
    tier_ns: tuple[float, ...]
    tier_latency: tuple[int, ...]
    settings: dict[str, float]
    cost: np.ndarray

    @property
    def requests(self) -> int:
        """How many."""
        return len(self.start) - 1

    @property
    def timed(self) -> bool:
        """Whether requests take time."""
        return len(self.arrival) > 0

    @property
    def policy(self) -> str:
        """Name of the eviction policy."""
        return POLICIES[int(self.settings["policy"])]

    @property
    def routing(self) -> str:
        """Name of the routing."""
        return ROUTINGS[int(self.settings["routing"])]


def make_plan(
    *,
    start: np.ndarray,
    blocks: np.ndarray,
    prompt: np.ndarray,
    block_tokens: int,
    nodes: int = 1,
    tiers: tuple[int, ...],
    pool_blocks: int = 0,
    policy: str = "lru",
    routing: str = "round_robin",
    arrival: np.ndarray | None = None,
    session: np.ndarray | None = None,
    tier_ns: tuple[float, ...] = (),
    tier_latency: tuple[int, ...] = (),
    cost_per_depth: float = 0.0,
    half_life: float = 100.0,
    **settings: float,
) -> Plan:
    """A checked plan; see `Plan` and SETTINGS.

    Args:
        cost_per_depth: policy `cost`: a block at depth d costs ``1 + cost_per_depth * d``.
        half_life: requests after which half of a decayed load is left.

    Raises InputError for what cannot be run.
    """
    for name, value, known in (("policy", policy, POLICIES), ("routing", routing, ROUTINGS)):
        if value not in known:
            raise InputError(f"unknown {value!r}", where=name, mend=f"use one of {list(known)}")
    first = np.ascontiguousarray(start, np.int64)
    ids = np.ascontiguousarray(blocks, np.int32)
    requests = len(first) - 1
    if requests < 0 or first[0] != 0 or first[-1] != len(ids) or (np.diff(first) < 0).any():
        raise InputError("are no runs of the blocks", where="start", mend="begin at 0, never fall")
    if not 1 <= len(tiers) <= MOST_TIERS or min(tiers) < 0 or nodes < 1 or pool_blocks < 0:
        raise InputError(f"{nodes} nodes with tiers of {tiers} blocks", where="nodes")
    if min(tiers) == 0 and not (len(tiers) == 1 and pool_blocks):
        raise InputError("a tier of 0 blocks", where="tiers", mend="only a lone tier beside a pool")
    if len(tiers) > 1 and (settings.get("leaf_only") or settings.get("borrow")):
        raise InputError("want a single tier", where="leaf_only, borrow", mend="leave others out")
    if settings.get("wait_in_flight") and not pool_blocks:
        raise InputError("wants a pool", where="wait_in_flight", mend="give pool_blocks")
    distinct = int(ids.max()) + 1 if len(ids) else 1
    if (nodes + (pool_blocks > 0)) * distinct > MOST_ROWS:
        raise InputError(
            f"{nodes} nodes times {distinct:,} blocks are too many",
            where="nodes",
            mend="fewer nodes or a shorter trace",
        )
    depth = np.zeros(distinct, np.int64)
    depth[ids] = np.arange(len(ids)) - np.repeat(first[:-1], np.diff(first))
    none = np.full(requests, -1, np.int64)
    return Plan(
        start=first,
        blocks=ids,
        distinct=distinct,
        prompt=np.ascontiguousarray(prompt, np.int64),
        arrival=np.ascontiguousarray(none[:0] if arrival is None else arrival, np.int64),
        session=np.ascontiguousarray(none if session is None else session, np.int64),
        nodes=nodes,
        tiers=tuple(min(blocks, distinct) for blocks in tiers),
        pool_blocks=min(pool_blocks, distinct),
        tier_ns=tuple(tier_ns) or (0.0,) * len(tiers),
        tier_latency=tuple(tier_latency) or (0,) * len(tiers),
        settings={
            **_DEFAULTS,
            **settings,
            "policy": POLICIES.index(policy),
            "routing": ROUTINGS.index(routing),
            "block_tokens": block_tokens,
            "decay": 0.5 ** (1.0 / half_life),
        },
        cost=1.0 + cost_per_depth * depth,
    )


_DEFAULTS: dict[str, float] = {
    "tail_first": 0,
    "leaf_only": 0,
    "queue_informed": 0,
    "borrow": 0,
    "wait_in_flight": 0,
    "overlap": 0,
    "queued_load": 0,
    "seed": 0,
    "hot_hits": 0,
    "hot_window": 1000,
    "hot_copies": 1,
    "load_weight": 0.05,
    "token_ns": 0.0,
    "pair_ns": 0.0,
    "base_ns": 0.0,
    "network_ns": 0.0,
    "shared_ns": 0.0,
    "network_latency": 0,
}

GIVEN = ("start", "blocks", "prompt", "arrival", "session", "cost", "parent")


def parents(plan: Plan) -> np.ndarray:
    """int32 per block: the block before it, -1 for the first of a prompt."""
    parent = np.full(plan.distinct, -1, np.int32)
    if len(plan.blocks):
        parent[plan.blocks[1:]] = plan.blocks[:-1]
        heads = plan.start[:-1][np.diff(plan.start) > 0]
        parent[plan.blocks[heads]] = -1
    return parent


def make_world(plan: Plan, log_rows: int = 0) -> Any:
    """The kernel's state at time 0."""
    holders = plan.nodes + (plan.pool_blocks > 0)
    rows = holders * plan.distinct
    tiers = len(plan.tiers)
    cache = table(plan.nodes * tiers + (plan.pool_blocks > 0), CACHE)
    cache.capacity[: plan.nodes * tiers] = np.tile(plan.tiers, plan.nodes)
    cache.block_ns[: plan.nodes * tiers] = np.tile(plan.tier_ns, plan.nodes)
    cache.latency[: plan.nodes * tiers] = np.tile(plan.tier_latency, plan.nodes)
    if plan.pool_blocks:
        cache.capacity[-1] = plan.pool_blocks
    cache.offset[1:] = np.cumsum(cache.capacity)[:-1]
    node = table(plan.nodes, NODE)
    node.until, node.request, node.head, node.tail = NEVER, -1, -1, -1
    one = {name: rows if plan.settings[name] else 1 for name in ("leaf_only", "queue_informed")}
    hot = plan.distinct if plan.settings["hot_hits"] else 1
    return World(
        read_only=GIVEN,
        par=table(
            1,
            SETTINGS,
            nodes=plan.nodes,
            tiers=tiers,
            blocks=plan.distinct,
            requests=plan.requests,
            pool=int(plan.pool_blocks > 0),
            **plan.settings,
        ),
        tot=table(1, TOTALS),
        cache=cache,
        node=node,
        home=np.zeros(rows, np.int32),
        rank=table(rows, RANK),
        place=np.full(rows, -1, np.int32),
        pins=np.zeros(rows, np.int32),
        kids=np.zeros(one["leaf_only"], np.int32),
        want=np.zeros(one["queue_informed"], np.int32),
        heap=np.zeros(int(cache.capacity.sum()) + 1, np.int32),
        copies=np.zeros(plan.distinct, np.int32),
        in_flight=np.zeros(plan.distinct, np.int32),
        hot_count=np.zeros(hot, np.int32),
        hot_since=np.zeros(hot, np.int64),
        next=np.full(max(plan.requests, 1), -1, np.int64),
        served=table(max(plan.requests, 1), SERVED),
        sources=np.zeros(max(plan.requests, 1) * SOURCES, np.int32),
        log=np.zeros(4 * log_rows, np.int64),
        start=plan.start,
        blocks=plan.blocks,
        prompt=plan.prompt,
        arrival=plan.arrival,
        session=plan.session,
        cost=plan.cost,
        parent=parents(plan),
    )


def _example() -> Plan:
    one = np.ones(1, np.int64)
    return make_plan(
        start=np.array([0, 1]), blocks=one * 0, prompt=one, block_tokens=1, tiers=(1,), arrival=one
    )


WORLD = world_type({name: array.dtype for name, array in make_world(_example()).tables().items()})
