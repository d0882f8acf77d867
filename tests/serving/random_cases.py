"""Small random scenarios of the serving system: `random_case(seed)`.

They cover every engine and every rule; the same seed gives the same case. Left out on purpose,
because the rules do not say what happens: a stale view while replicas come and go, and a decode
replica with less memory than the source.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import random_policies as policies
from numpy.random import Generator

import mltwin.policies.eviction as built_in
from mltwin.models.serving.fabric import Fabric
from mltwin.models.serving.hooks import (
    DECODE_ROLE,
    EVERY_ITERATION,
    MIXED_ROLE,
    ON_EVENT,
    PREFILL_ROLE,
    STATIC,
)
from mltwin.models.serving.tables import (
    CHANGE_ROLE,
    CHUNK,
    CONTROL,
    DRAIN_REPLICA,
    FAIL,
    FULL,
    PROMPT,
    RECOMPUTE,
    RECOVER,
    START_REPLICA,
    SWAP,
    EngineKind,
    IterationCells,
    PrefixStores,
    ServingInput,
)
from mltwin.sim.ticks import TICKS_PER_S

ENGINES: dict[str, dict[str, Any]] = {
    "vllm_v1": {"mixed": True, "chunked": True, "reserve": CHUNK},
    "vllm_v1_prompt": {"mixed": True, "chunked": True, "reserve": PROMPT},
    "sarathi": {"mixed": True, "chunked": True, "reserve": FULL},
    "orca": {"mixed": True, "chunked": False, "reserve": FULL},
    "static": {"mixed": False, "chunked": False, "reserve": FULL, "static": True},
    "vllm_v0": {"mixed": False, "chunked": False, "reserve": PROMPT},
    "lightllm": {
        "mixed": False,
        "chunked": False,
        "reserve": PROMPT,
        "wait_iterations": 3,
        "peak": True,
    },
}

STEP = 10_000_000  # ticks of a small iteration (10 us); on a grid every time is a multiple of it


@dataclass
class Draft:
    """A case in the making: columns of `ServingInput` by name, and the policies by hook."""

    rng: Generator
    seed: int
    grid: bool  # all times on a common grid, so that many events coincide
    columns: dict[str, Any] = field(default_factory=dict)
    policies: dict[str, Callable] = field(default_factory=dict)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: list) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def time(self, most: float) -> int:
        """Ticks from 0 to about `most` steps."""
        if self.grid:
            return self.integer(0, int(most)) * STEP
        return int(self.rng.random() * most * STEP)

    def set_policy(self, hook: str, policy: Callable, *params: float, memory: int = 0) -> None:
        self.policies[hook] = policy
        self.columns.setdefault("params", {})[hook] = np.array(params or (0.0,), np.float64)
        self.columns.setdefault("memory", {})[hook] = memory


def random_case(seed: int) -> tuple[ServingInput, dict[str, Callable]]:
    """A small scenario and its policies by hook (those left out have their defaults)."""
    rng = np.random.default_rng(seed)
    d = Draft(rng, seed, grid=bool(rng.random() < 0.4))
    n = d.integer(20, 45) if d.chance(0.85) else d.integer(60, 150)
    replicas = d.integer(1, 5)
    disaggregated = replicas > 1 and d.chance(0.4)
    _requests(d, n)
    _replicas(d, replicas, disaggregated)
    if d.chance(0.5):
        _prefixes(d, n)
    _network(d, replicas)
    _clients(d, n)
    changing = replicas > 1 and d.chance(0.4)
    if changing:
        _changes(d, replicas, disaggregated)
    elif d.chance(0.3):
        d.columns["snapshot_every"] = max(1, d.time(8)) + STEP // 2
    _policies(d, n)
    _habits(d, n)
    _eviction(d)
    _stores(d)
    _fabric(d)
    return ServingInput(seed=seed, **d.columns), d.policies


def _habits(d: Draft, n: int) -> None:
    """Habits of single engines, and a front end; of draws of their own."""
    c = d.columns
    d.rng = np.random.default_rng([d.seed, 1])
    tight = d.chance(0.3)  # blocks for the largest request and no more: much is pre-empted
    tokens = c["prompt"] + np.maximum(c["output"], c["predicted"]) + 1
    largest = -(-int(tokens.max()) // c["block_tokens"])
    for kind in c["kinds"]:
        if tight and kind.mixed:
            kind.chunked, kind.reserve, kind.watermark = True, CHUNK, 0
            kind.blocks = largest
        _set_habits(d, kind)
    if not c.get("prefix_caching") and d.chance(0.7 if tight else 0.4):
        c["prefix_caching"] = True  # no prefix is shared, but one's own returns
        c["block_start"], c["block_count"] = np.zeros(n, np.int64), np.zeros(n, np.int32)
        c["block_ids"] = np.zeros(0, np.int32)
    if d.chance(0.4):
        per_token = d.choice([0, STEP]) if d.grid else d.integer(0, STEP // 10)
        c["front"] = d.time(3) + per_token * c["prompt"].astype(np.int64)


def _fabric(d: Draft) -> None:
    """Links between the NICs, each pair over some of them; of draws of its own."""
    d.rng = np.random.default_rng([d.seed, 4])
    c = d.columns
    if d.chance(0.5):
        return
    rates = c["nic_bytes_per_s"]
    nics, links = len(rates) + (c.get("stores") is not None), d.integer(1, 5)
    paths = [d.rng.permutation(links)[: d.integer(0, min(3, links))] for _ in range(nics * nics)]
    c["fabric"] = Fabric(
        np.array([float(d.rng.choice(rates)) * d.choice([0.5, 1, 2]) for _ in range(links)]),
        np.cumsum([0, *map(len, paths)]),
        np.concatenate(paths).astype(np.int32),
        tuple(f"link {k}" for k in range(links)),
    )


def _eviction(d: Draft) -> None:
    """One of the built-in eviction orders, or one that reads everything; of draws of its own."""
    d.rng = np.random.default_rng([d.seed, 2])
    if not d.columns.get("prefix_caching") or d.chance(0.4):
        return
    half_life_s = d.choice([3, 30]) * STEP / TICKS_PER_S
    policy, params, queue = d.choice(
        [
            (built_in.fifo, (), False),
            (built_in.mru, (), False),
            (built_in.queue_lru, (), True),
            (built_in.lfu_decay, (half_life_s,), False),
            (built_in.cost_aware, (half_life_s, 50.0), False),
            (built_in.gdsf, (50.0,), False),
            (policies.evict_by_all, (0.5,), True),
            (policies.evict_by_all, (0.5,), True),
        ]
    )
    d.set_policy("evict", policy, *params, memory=1)
    d.columns["default_evict"] = False
    d.columns["count_wanted"] = queue


def _stores(d: Draft) -> None:
    """Host tiers, a pool, or both, small enough to evict; of draws of their own."""
    d.rng = np.random.default_rng([d.seed, 3])
    c = d.columns
    if not c.get("prefix_caching") or len(c["block_ids"]) == 0 or d.chance(0.3):
        return
    where = d.choice(["host", "pool", "both", "both"])
    most = int(c["block_ids"].max()) + 1
    size = d.choice([3, 10, 30, most, most])
    speeds = [1e12] if d.grid else [1e7, 1e8, 1e9, 2e10]
    if d.chance(0.6):  # little HBM: much is written back, and fetched
        tokens = c["prompt"] + np.maximum(c["output"], c["predicted"]) + 1
        for kind in c["kinds"]:
            kind.blocks = min(kind.blocks, -(-int(tokens.max()) // c["block_tokens"]))
            kind.watermark = 0
    if "control" not in c and not c.get("snapshot_every") and d.chance(0.8):
        times = sorted(d.time(100) for _ in range(6))
        r = d.integer(0, len(c["kind_of"]) - 1)
        rows = [(time, FAIL, r, 0) for time in times]
        rows += [(time + 1 + d.time(10), RECOVER, r, 0) for time in times]
        rows += [(400 * STEP, RECOVER, r, 0)]
        c["control"] = np.array(sorted(rows), CONTROL)
    c["stores"] = PrefixStores(
        host_blocks={"host": size, "pool": 0, "both": d.choice([2, 5, size])}[where],
        pool_blocks=d.choice([size, 2 * size]) if where != "host" else 0,
        host_bytes_per_s=d.choice(speeds),
        pool_bytes_per_s=d.choice(speeds),
        host_latency=d.choice([0, 1, d.time(10)]),
        pool_latency=d.choice([0, 1, d.time(20)]),
        fetch=d.choice([1, 1, 1, 2, 2, 0]),
        write=d.integer(0, 1),
        policy=d.integer(0, 3),
        depth_cost=d.choice([0.0, 0.25, 3.0]),
    )


def _set_habits(d: Draft, kind: EngineKind) -> None:
    rows = len(kind.cells.cells) // (len(kind.cells.context_knots) - 1)
    if d.chance(0.4):
        kind.cells.prefill_row = d.rng.integers(0, rows, len(kind.cells.token_row))
        kind.cells.prefill_per_sequence = 0 if d.grid else d.integer(0, 80_000)
    kind.asynchronous = d.chance(0.4)
    kind.whole_prompt = kind.reserve == CHUNK and d.chance(0.5)
    kind.refuse_over_budget = not kind.chunked and d.chance(0.3)
    kind.keep_preempted = d.chance(0.7)
    if d.chance(0.4):
        kind.batch_wait_iterations = d.integer(1, 6)
        kind.batch_wait_tokens = d.choice([5, 20, kind.max_tokens, 200])


def _requests(d: Draft, n: int) -> None:
    rng, c = d.rng, d.columns
    pace = d.choice([0.3, 1.0, 3.0])  # steps between arrivals
    if d.grid:
        gaps = rng.poisson(pace, n) * STEP
    else:
        gaps = rng.exponential(pace * STEP, n).astype(np.int64)
    c["arrival"] = np.cumsum(gaps).astype(np.int64)
    c["prompt"] = rng.integers(1, d.choice([12, 40, 90]) + 1, n).astype(np.int32)
    c["output"] = rng.integers(1, d.choice([2, 8, 16]) + 1, n).astype(np.int32)
    noise = rng.integers(-3, 4, n) * d.integer(0, 1)
    c["predicted"] = np.maximum(1, c["output"] + noise).astype(np.int32)
    tenants = d.integer(1, 4)
    c["tenant"] = rng.integers(0, tenants, n).astype(np.int32)
    c["tenant_weights"] = 1.0 + rng.integers(0, 3, tenants)
    c["priority"] = rng.integers(0, 3, n).astype(np.int32)
    c["deadline"] = c["arrival"] + rng.integers(1, 60, n) * STEP
    c["block_tokens"] = d.choice([1, 4, 4, 8, 16])


def _cells(d: Draft) -> IterationCells:
    """One cell, or three rows of token counts by three columns of context."""
    unit = STEP if d.grid else 1
    small = 0 if d.grid else 1  # on the grid a step is a step, whatever is in it
    rows = columns = d.choice([1, 3])
    cells = np.empty((rows * columns, 4), np.int64)
    for i in range(rows * columns):
        a = d.integer(1, 3) * STEP + small * d.integer(0, STEP // 3)
        b = unit * d.integer(0, 1) if d.grid else d.integer(0, STEP // 20)
        cells[i] = a, b, small * d.integer(0, 20_000), small * d.integer(0, 300)
    if rows == 1:
        token_row, knots = np.zeros(1, np.int32), [0, 2**60]
    else:
        token_row = np.sort(d.rng.integers(0, 3, d.integer(5, 40))).astype(np.int32)
        knots = [0, d.integer(5, 60), d.integer(61, 300), 2**60]
    per_sequence, per_work = small * d.integer(0, 50_000), small * d.integer(0, 3_000)
    return IterationCells(token_row, np.array(knots, np.int64), cells, per_sequence, per_work)


def _kind(d: Draft, engine: str, swap: bool) -> EngineKind:
    c = d.columns
    features = dict(ENGINES[engine])
    block_tokens = c["block_tokens"]
    tokens = c["prompt"] + np.maximum(c["output"], c["predicted"]) + 1
    largest = -(-int(tokens.max()) // block_tokens)
    blocks = int(largest * d.choice([1.0, 1.0, 1.3, 1.3, 2.0, 6.0]))
    max_batch = d.choice([1, 2, 4, 4, 8, 8, 20])
    max_tokens = d.choice([8, 16, 32, 64, 256])
    if features["mixed"]:
        max_tokens = max(max_tokens, max_batch)
    if features.get("wait_iterations"):
        features["wait_iterations"] = d.integer(1, 6)
    return EngineKind(
        _cells(d),
        max_batch=max_batch,
        max_tokens=max_tokens,
        blocks=blocks,
        watermark=0 if features.get("peak") else d.choice([0, 0, 1, blocks // 8]),
        preemption=SWAP if swap else RECOMPUTE,
        host_blocks=d.choice([blocks // 2, 3 * blocks]) if swap else 0,
        swap_ticks=d.choice([0, STEP if d.grid else 40_000]),
        startup=d.time(6),
        speed=d.choice([1.0, 0.5, 2.0]),
        **features,
    )


def _replicas(d: Draft, replicas: int, disaggregated: bool) -> None:
    c = d.columns
    engine = list(ENGINES)[d.seed % len(ENGINES)]
    swap = d.chance(0.4)
    kinds = [_kind(d, engine, swap)]
    if replicas > 1 and d.chance(0.4):  # a second sort, perhaps of another make
        kinds.append(_kind(d, d.choice([engine, d.choice(list(ENGINES))]), d.chance(0.5)))
    if not disaggregated and d.chance(0.15):  # too small for some requests, which are refused
        kinds[0].blocks = max(1, kinds[0].blocks * 2 // 3)
        kinds[0].watermark = 0
    c["kinds"] = kinds
    c["kind_of"] = d.rng.integers(0, len(kinds), replicas)
    roles = [MIXED_ROLE] * replicas
    if disaggregated:
        prefill = d.integer(1, replicas - 1)
        roles = [PREFILL_ROLE] * prefill + [DECODE_ROLE] * (replicas - prefill)
        if replicas > 2 and d.chance(0.3):
            roles[1] = MIXED_ROLE
    c["role_of"] = np.array(roles)
    c["pool_of"] = (c["role_of"] == DECODE_ROLE).astype(np.int64)


def _prefixes(d: Draft, n: int) -> None:
    """A tree of prefixes; prompts and outputs continue down from a node that others pass too."""
    c, rng = d.columns, d.rng
    lengths = (c["prompt"] + c["output"]) // c["block_tokens"]
    children: dict[tuple[int, int], int] = {}
    start, count, ids = [], [], []
    branches = d.integer(1, 3)
    for i in range(n):
        node, path = -1, []
        for depth in range(int(lengths[i])):
            branch = int(rng.integers(0, branches)) if depth < 4 else i % (2 * branches)
            if rng.random() < 0.05:
                branch = 1000 + i
            node = children.setdefault((node, branch), len(children))
            path.append(node)
        start.append(len(ids))
        count.append(len(path))
        ids += path
    c["prefix_caching"] = True
    c["block_start"] = np.array(start, np.int64)
    c["block_count"] = np.array(count, np.int32)
    c["block_ids"] = np.array(ids, np.int32)


def _network(d: Draft, replicas: int) -> None:
    c = d.columns
    nics = d.choice([1, min(2, replicas), replicas])
    c["nic_of"] = np.arange(replicas) % nics
    if d.grid:
        c["nic_bytes_per_s"], c["kv_bytes_per_token"] = np.full(nics, 1e12), STEP // 4
    else:
        speeds = [2e8, 1e9, 2e10]
        c["nic_bytes_per_s"] = np.array([d.choice(speeds) for _ in range(nics)])
        c["kv_bytes_per_token"] = d.choice([100, 1000, 1024])
    c["latency"] = d.choice([0, 1, d.time(3)])
    if d.seed % 50 == 7:  # links so slow that their share is less than one unit per tick
        c["nic_bytes_per_s"], c["kv_bytes_per_token"] = np.full(nics, 1.0), 1


def _clients(d: Draft, n: int) -> None:
    """Open loop, closed loop or sessions; some lose their patience."""
    c, rng = d.columns, d.rng
    kind = d.choice(["open", "open", "closed", "sessions"])
    if kind == "closed":
        c["concurrency"] = d.integer(1, 20)
        c["think"] = d.choice([0, d.time(4)])
    elif kind == "sessions":
        last: dict[int, int] = {}
        session = rng.integers(0, max(2, n // 5), n)
        after, delay = np.full(n, -1), np.zeros(n, np.int64)
        for i in range(n):
            after[i] = last.get(int(session[i]), -1) if rng.random() < 0.8 else -1
            delay[i] = d.time(5)
            last[int(session[i])] = i
        c["session"] = session.astype(np.int32)
        c["after"], c["delay"] = after.astype(np.int32), delay
    if d.chance(0.4):
        patient = rng.random(n) < d.choice([0.2, 0.8])
        patience = np.array([max(1, d.time(40)) for _ in range(n)])
        c["timeout"] = np.where(patient, 0, patience)


def _changes(d: Draft, replicas: int, disaggregated: bool) -> None:
    """Failures, starts, drains and changes of role, scripted or by a policy."""
    c = d.columns
    rows = []
    roles = c["role_of"].copy()
    for _ in range(d.integer(0, 5)):
        r, time = d.integer(0, replicas - 1), d.time(120)
        later = time + max(1, d.time(60))
        pair = d.choice([(FAIL, RECOVER), (FAIL, RECOVER), (DRAIN_REPLICA, START_REPLICA)])
        # brought back for good at the end, whatever came in between
        rows += [(time, pair[0], r, 0), (later, pair[1], r, 0)]
        rows += [(400 * STEP, RECOVER, r, 0), (400 * STEP, START_REPLICA, r, 0)]
    if d.chance(0.5):
        for time in sorted(d.time(150) for _ in range(d.integer(1, 3))):
            r = d.integer(1, replicas - 1)
            roles[r] = d.choice([role for role in (1, 2, 3) if role != roles[r]])
            rows.append((time, CHANGE_ROLE, r, int(roles[r])))
    rows.sort(key=lambda row: row[0])
    c["control"] = np.array(rows, CONTROL) if rows else np.zeros(0, CONTROL)
    kind = d.choice(["none", "queue", "queue", "roles", "roles"])
    c["scale_every"] = d.time(8) + STEP
    if kind == "queue":
        d.set_policy("scale", policies.scale_to_queue, d.integer(0, 4), d.integer(0, 2))
        if not disaggregated:
            c["up"] = np.array([1] + [d.integer(0, 1) for _ in range(replicas - 1)])
    elif kind == "roles" and not any(row[1] == CHANGE_ROLE for row in rows):
        d.set_policy("scale", policies.scale_roles, memory=1)


def _policies(d: Draft, n: int) -> None:
    c, replicas = d.columns, len(d.columns["kind_of"])
    if d.chance(0.3):
        if d.chance(0.5):
            d.set_policy("admit", policies.admit_short_queues, d.integer(3, 12))
        else:
            d.set_policy("admit", policies.admit_most, d.integer(3, 9), d.integer(3, n), memory=1)
    if replicas > 1:
        route = d.choice(
            [
                policies.route_round_robin,
                policies.route_scattered,
                policies.route_least_tokens,
                policies.route_least_requests,
                policies.route_most_hits,
                policies.route_live,
            ]
        )
        d.set_policy("route", route, d.choice([0.0, 0.5]), memory=1)
        c["live_view"] = route is policies.route_live
    if len(set(c["role_of"])) > 1 or d.chance(0.2):
        if d.chance(0.6):
            d.set_policy("place_decode", policies.place_least_tokens)
        else:
            d.set_policy("place_decode", policies.place_scattered, d.integer(0, 3), memory=1)
    stability, priority = d.choice(
        [
            (STATIC, None),
            (STATIC, None),
            (STATIC, policies.priority_shortest),
            (STATIC, policies.priority_class),
            (STATIC, policies.priority_constant),
            (ON_EVENT, policies.priority_fair),
            (ON_EVENT, policies.priority_fair),
            (EVERY_ITERATION, policies.priority_fair_tokens),
            (EVERY_ITERATION, policies.priority_aging),
        ]
    )
    c["stability"] = stability
    c["skip"] = stability != EVERY_ITERATION and d.chance(0.5)
    if priority is not None:
        d.set_policy("priority", priority, float(STEP))
    if d.chance(0.4):
        preempt = d.choice([policies.preempt_longest_left, policies.preempt_youngest_first_tries])
        d.set_policy("preempt", preempt)
    if c.get("prefix_caching") and d.chance(0.4):
        d.set_policy(
            "evict", d.choice([policies.evict_least_used, policies.evict_oldest_shallow]), 0.5
        )
        c["default_evict"] = False
