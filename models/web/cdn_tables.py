"""The plan of a run of a CDN, and the kernel's state. Node n's entry of object o is row n O + o;
nodes 0 ... E - 1 are edges, node E is the parent."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import LOG
from mltwin.sim.heap import make_pairs
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

POLICIES = ("lru", "fifo", "sieve")
LRU, FIFO, SIEVE = range(3)

# How a request was served.
EDGE_HIT, EDGE_JOINED, PARENT_HIT, PARENT_JOINED, FROM_ORIGIN = range(5)
SOURCES = ("edge", "edge_joined", "parent", "parent_joined", "origin")

EVENT_NAMES = ("request", "ask_parent", "at_parent", "ask_origin", "fill_parent", "fill_edge",
               "evict")  # fmt: skip
REQUEST, ASK_PARENT, AT_PARENT, ASK_ORIGIN, FILL_PARENT, FILL_EDGE, EVICT = range(7)

# Kinds of pending events, in the order of their ranks; clients come last.
RANK_PARENT_FILL, RANK_EDGE_FILL, RANK_AT_PARENT = range(3)
RANK_SHIFT = 40

PARAMETERS = record(
    "CDN_PARAMETERS",
    [
        ("edges", "i8", ""),
        ("objects", "i8", ""),
        ("parent", "i8", "0: edges ask the origin themselves"),
        ("collapse", "i8", "1: requests for what is on its way wait for it"),
        ("policy", "i8", "number in POLICIES"),
        ("parent_latency", "i8", "ticks, edge to parent, one way"),
        ("origin_latency", "i8", "ticks, parent to origin, one way"),
    ],
)
STATE = record(
    "CDN_STATE",
    [
        ("next", "i8", "request"),
        ("parent_bytes", "i8", "sent by the parent to edges"),
        ("origin_bytes", "i8", "sent by the origin"),
        ("origin_requests", "i8", ""),
        ("kept", "i8", "bytes put into caches"),
        ("evicted", "i8", "bytes"),
    ],
)


@dataclass(frozen=True, eq=False)
class CdnPlan:
    """All that a run is made of.

    Attributes:
        time: int64[N], ticks at which requests reach their edge, non-decreasing.
        edge, item: int64[N].
        item_bytes: int64[O].
        capacity: int64[E + 1], bytes of each edge, then of the parent.
        parent_ticks: int64[O], an object's transfer from the parent to an edge.
        origin_ticks: int64[O], from the origin.
        policy, parent, collapse, parent_latency, origin_latency: see `PARAMETERS`.
    """

    time: np.ndarray
    edge: np.ndarray
    item: np.ndarray
    item_bytes: np.ndarray
    capacity: np.ndarray
    parent_ticks: np.ndarray
    origin_ticks: np.ndarray
    policy: int = LRU
    parent: bool = True
    collapse: bool = True
    parent_latency: int = 0
    origin_latency: int = 0

    def __post_init__(self) -> None:
        for name in COLUMNS:
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.int64))
        if np.any(np.diff(self.time) < 0):
            raise InputError("requests must be in the order of time")
        if len(self.item_bytes) and self.item_bytes.min() < 1:
            raise InputError("objects must have a byte at least")

    @property
    def edges(self) -> int:
        """How many."""
        return len(self.capacity) - 1


COLUMNS = ("time", "edge", "item", "item_bytes", "capacity", "parent_ticks", "origin_ticks")


def make_world(plan: CdnPlan, log_rows: int = 0) -> Any:
    """The kernel's state at time 0."""
    nodes, objects, requests = len(plan.capacity), len(plan.item_bytes), len(plan.time)
    rows = nodes * objects
    return World(
        read_only=COLUMNS,
        par=table(
            1,
            PARAMETERS,
            edges=plan.edges,
            objects=objects,
            parent=int(plan.parent),
            collapse=int(plan.collapse),
            policy=plan.policy,
            parent_latency=plan.parent_latency,
            origin_latency=plan.origin_latency,
        ),
        state=table(1, STATE),
        **{name: getattr(plan, name) for name in COLUMNS},
        held=np.zeros(rows, np.int64),
        seen=np.zeros(rows, np.int64),
        older=np.full(rows, -1, np.int64),
        newer=np.full(rows, -1, np.int64),
        oldest=np.full(nodes, -1, np.int64),
        newest=np.full(nodes, -1, np.int64),
        hand=np.full(nodes, -1, np.int64),
        used=np.zeros(nodes, np.int64),
        fetching=np.full(rows, -1, np.int64),
        at_edge=np.full(requests, -1, np.int64),
        at_parent=np.full(requests, -1, np.int64),
        source=np.full(requests, -1, np.int64),
        done=np.full(requests, -1, np.int64),
        **make_pairs(requests, "pending"),
        log=table(log_rows, LOG),
        log_count=np.zeros(1, np.int64),
    )


def _example() -> CdnPlan:
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    return CdnPlan(zero, zero, zero, one, np.ones(2, np.int64), one, one)


WORLD = world_type({name: array.dtype for name, array in make_world(_example()).tables().items()})
