"""The plan of a run (what happens if nothing has to be loaded), and the kernel's state."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import LOG
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

TICKS_PER_S = 10**9
NEVER = 2**62

POLICIES = ("lru", "lfu", "static", "belady", "layer", "random")
LRU, LFU, STATIC, BELADY, LAYER, RANDOM = range(6)

# Phases of the GPU.
PREDICT, DENSE, EXPERT, WAITING, DONE = range(5)
# Where an expert is.
ABSENT, LOADING, RESIDENT = range(3)

EVENT_NAMES = ("visit", "gate", "load", "loaded", "evict", "compute", "stall", "end")
VISIT, GATE, LOAD, LOADED, EVICT, COMPUTE, STALL, END = range(8)

PARAMETERS = record(
    "EXPERT_PARAMETERS",
    [
        ("experts", "i8", "of one layer"),
        ("layers", "i8", ""),
        ("capacity", "i8", "experts that HBM holds"),
        ("streams", "i8", "DMA streams"),
        ("visits", "i8", "layers of all passes"),
        ("policy", "i8", "number in POLICIES"),
        ("seed", "i8", "of the random policy"),
    ],
)
STATE = record(
    "EXPERT_STATE",
    [
        ("phase", "i8", "of the GPU"),
        ("visit", "i8", "current one"),
        ("until", "i8", "ticks: end of the phase; NEVER while waiting"),
        ("since", "i8", "ticks: start of the stall"),
        ("entry", "i8", "activation being computed"),
        ("left", "i8", "activations of the visit not yet computed"),
        ("lacking", "i8", "first activation of the visit that may be absent"),
        ("used", "i8", "places taken"),
        ("touch", "i8", "number of touches so far"),
        ("issued", "i8", "visits whose predictions are queued or past"),
        ("head", "i8", "next prediction to load"),
        ("hits", "i8", "activations found resident"),
        ("late", "i8", "activations predicted but not yet loaded"),
        ("misses", "i8", "activations neither resident nor predicted"),
        ("demand", "i8", "loads begun on demand"),
        ("prefetch", "i8", "loads begun on a prediction"),
        ("useful", "i8", "prefetched experts activated before they were evicted"),
        ("in_time", "i8", "of these: resident at the gate"),
        ("wasted", "i8", "prefetched experts evicted before any activation"),
        ("loaded", "i8", "loads that ended"),
        ("evicted", "i8", ""),
        ("stalled", "i8", "ticks"),
        ("end", "i8", "ticks: end of the last visit, 0 before"),
    ],
)


@dataclass(frozen=True, eq=False)
class Plan:
    """All that a run is made of, in visits (one layer of one pass) and keys (layer * E + expert).

    Attributes:
        layers, experts: L and E.
        capacity: experts that HBM holds, of all layers together.
        streams: DMA streams.
        policy: number in `POLICIES`.
        seed: of the random policy.
        visit_start: int64[V + 1], where each visit's activations begin.
        entry_key: int64[A], activated experts, ascending within a visit.
        entry_ticks: int64[A], their compute.
        entry_next: int64[A], the next visit that activates the same key, NEVER if none.
        first_use: int64[L E], the first visit that activates each key.
        uses: int64[L E], activations of each key over the whole run.
        pre_ticks, dense_ticks: int64[V].
        pred_start: int64[V + 1]; pred_key: int64[P], predictions for each visit.
        issue_at: int64[V], the visit at whose start a visit's predictions are queued;
            non-decreasing, none later than the visit itself.
        load_ticks: int64[L E].
        preloaded: int64[<= capacity], keys resident at the start.
    """

    layers: int
    experts: int
    capacity: int
    streams: int
    policy: int
    seed: int
    visit_start: np.ndarray
    entry_key: np.ndarray
    entry_ticks: np.ndarray
    entry_next: np.ndarray
    first_use: np.ndarray
    uses: np.ndarray
    pre_ticks: np.ndarray
    dense_ticks: np.ndarray
    pred_start: np.ndarray
    pred_key: np.ndarray
    issue_at: np.ndarray
    load_ticks: np.ndarray
    preloaded: np.ndarray

    @property
    def visits(self) -> int:
        """Layers of all passes."""
        return len(self.visit_start) - 1

    @property
    def keys(self) -> int:
        """Experts of all layers."""
        return self.layers * self.experts


def make_plan(
    *,
    layers: int,
    experts: int,
    capacity: int,
    policy: str,
    visit_start: np.ndarray,
    entry_key: np.ndarray,
    entry_ticks: np.ndarray,
    dense_ticks: np.ndarray,
    load_ticks: np.ndarray,
    pre_ticks: np.ndarray | None = None,
    pred_start: np.ndarray | None = None,
    pred_key: np.ndarray | None = None,
    issue_at: np.ndarray | None = None,
    streams: int = 1,
    seed: int = 0,
    preload: bool | None = None,
) -> Plan:
    """A checked plan; see `Plan`.

    Args:
        preload: begin with the most popular experts resident; None: for `static` only.

    Raises InputError for what cannot be run.
    """
    visits = len(visit_start) - 1
    keys = layers * experts
    if policy not in POLICIES:
        raise InputError(f"unknown policy {policy!r}", mend=f"use one of {', '.join(POLICIES)}")
    if capacity < 1 or streams < 1 or visits < 1:
        raise InputError(f"capacity {capacity}, {streams} streams, {visits} visits: none may be 0")
    entry = _column(entry_key)
    if len(entry) and not 0 <= int(entry.min()) <= int(entry.max()) < keys:
        raise InputError(f"expert keys must be within 0 ... {keys - 1}", where="activations")
    entry_visit = np.repeat(np.arange(visits), np.diff(visit_start))
    if np.any((np.diff(entry) <= 0) & (np.diff(entry_visit) == 0)):
        raise InputError("an expert is named twice in a visit", where="activations")
    next_use, first, uses = _next_uses(entry, entry_visit, keys)
    chosen = policy == "static" if preload is None else preload
    popular = np.lexsort((np.arange(keys), -uses))[: min(capacity, keys)]
    none = np.zeros(visits + 1, np.int64)
    plan = Plan(
        layers=layers,
        experts=experts,
        capacity=min(capacity, keys),
        streams=streams,
        policy=POLICIES.index(policy),
        seed=seed,
        visit_start=_column(visit_start),
        entry_key=entry,
        entry_ticks=_column(entry_ticks),
        entry_next=next_use,
        first_use=first,
        uses=uses,
        pre_ticks=_column(none[:-1] if pre_ticks is None else pre_ticks),
        dense_ticks=_column(dense_ticks),
        pred_start=_column(none if pred_start is None else pred_start),
        pred_key=_column(none[:0] if pred_key is None else pred_key),
        issue_at=_column(np.arange(visits) if issue_at is None else issue_at),
        load_ticks=_column(load_ticks),
        preloaded=popular[uses[popular] > 0].astype(np.int64) if chosen else none[:0],
    )
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    """Lengths and orders that the kernel relies on."""
    visits = plan.visits
    lengths = {
        "entry_ticks": (plan.entry_ticks, len(plan.entry_key)),
        "dense_ticks": (plan.dense_ticks, visits),
        "pre_ticks": (plan.pre_ticks, visits),
        "issue_at": (plan.issue_at, visits),
        "pred_start": (plan.pred_start, visits + 1),
        "load_ticks": (plan.load_ticks, plan.keys),
    }
    for name, (column, length) in lengths.items():
        if len(column) != length:
            raise InputError(f"{name} has {len(column)} rows, not {length}")
        if name != "issue_at" and len(column) and int(column.min()) < 0:
            raise InputError(f"{name} has a negative value")
    if np.any(plan.issue_at > np.arange(visits)) or np.any(np.diff(plan.issue_at) < 0):
        raise InputError("predictions must be issued in order, none after its visit")
    if int(plan.pred_start[-1]) != len(plan.pred_key):
        raise InputError("pred_start does not end with the predictions")


def _next_uses(
    entry: np.ndarray, visit: np.ndarray, keys: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each activation the next visit of its key; for each key its first visit and its count."""
    order = np.argsort(entry, kind="stable")
    same = np.zeros(len(entry), bool)
    same[:-1] = entry[order][1:] == entry[order][:-1]
    following = np.full(len(entry), NEVER, np.int64)
    following[order[:-1][same[:-1]]] = visit[order[1:][same[:-1]]]
    first = np.full(keys, NEVER, np.int64)
    first[entry[::-1]] = visit[::-1]
    return following, first, np.bincount(entry, minlength=keys).astype(np.int64)


def _column(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.int64)


GIVEN = (
    "visit_start",
    "entry_key",
    "entry_ticks",
    "entry_next",
    "pre_ticks",
    "dense_ticks",
    "pred_start",
    "pred_key",
    "issue_at",
    "load_ticks",
    "uses",
)


def make_world(plan: Plan, log_rows: int = 0) -> Any:
    """The kernel's state at time 0."""
    keys, visits = plan.keys, plan.visits
    parameters = table(
        1,
        PARAMETERS,
        experts=plan.experts,
        layers=plan.layers,
        capacity=plan.capacity,
        streams=plan.streams,
        visits=visits,
        policy=plan.policy,
        seed=plan.seed,
    )
    where = np.zeros(keys, np.int64)
    where[plan.preloaded] = RESIDENT
    place_key = np.full(plan.capacity, -1, np.int64)
    place_key[: len(plan.preloaded)] = plan.preloaded
    place_of = np.zeros(keys, np.int64)
    place_of[plan.preloaded] = np.arange(len(plan.preloaded))
    return World(
        read_only=GIVEN,
        par=parameters,
        state=table(1, STATE, used=len(plan.preloaded), phase=DONE),
        **{name: getattr(plan, name) for name in GIVEN},
        next_use=plan.first_use.copy(),
        where=where,
        wanted=np.zeros(keys, np.int64),
        pinned=np.zeros(keys, np.int64),
        unused=np.zeros(keys, np.int64),
        count=np.zeros(keys, np.int64),
        touched=np.zeros(keys, np.int64),
        loads=np.zeros(keys, np.int64),
        place_key=place_key,
        place_of=place_of,
        stale=np.ones(plan.layers, np.int64),
        candidate=np.full(2 * plan.layers, -1, np.int64),
        stream_key=np.full(plan.streams, -1, np.int64),
        stream_until=np.full(plan.streams, NEVER, np.int64),
        stream_prefetch=np.zeros(plan.streams, np.int64),
        computed=np.zeros(plan.experts, np.int64),
        visit_begin=np.zeros(visits, np.int64),
        visit_end=np.zeros(visits, np.int64),
        visit_stall=np.zeros(visits, np.int64),
        visit_hits=np.zeros(visits, np.int64),
        visit_late=np.zeros(visits, np.int64),
        log=table(log_rows, LOG),
        log_count=np.zeros(1, np.int64),
    )


def _example() -> Plan:
    one = np.ones(1, np.int64)
    return make_plan(
        layers=1,
        experts=1,
        capacity=1,
        policy="lru",
        visit_start=np.array([0, 1]),
        entry_key=np.zeros(1, np.int64),
        entry_ticks=one,
        dense_ticks=one,
        load_ticks=one,
    )


WORLD = world_type({name: array.dtype for name, array in make_world(_example()).tables().items()})
