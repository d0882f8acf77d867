"""The state of the serving kernel: how a `World` is made of a `ServingInput`."""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import LOG
from mltwin.sim.heap import make_pairs, make_timers
from mltwin.sim.records import table
from mltwin.sim.ticks import NEVER
from mltwin.sim.world import World

from .hooks import BLOCK, CONTEXT, EVERY_ITERATION, HOOKS, REPLICA, REQUEST, TENANT, UP
from .layout import (
    BATCH,
    FLOW,
    GLOBALS,
    HOOK_SIGNATURES,
    HOP,
    LINK,
    NOTE,
    PARAMETERS,
    PRIVATE,
    PROGRESS,
    RELEASE,
    SCORE,
    SLOT,
)
from .outcome import GAP_BINS
from .passes import lay_out
from .store_state import store_parameters, store_tables
from .tables import CELL, CONTROL, KIND, ServingInput

# taken over from the input as they are; the kernel does not write them
_GIVEN = ("block_start", "block_ids", "delay", "timeout", "front", "nic_of", "control")


def make_state(
    inp: ServingInput,
    functions: dict[str, Any],
    *,
    log: int = 0,
    batches: int = 0,
    check: bool = False,
) -> Any:
    """The World of an input. functions: compiled function per hook, all hooks."""
    n, r = len(inp.arrival), len(inp.kind_of)
    nics = len(inp.link_units_per_tick())
    batch_stride = max(k.max_batch for k in inp.kinds) + 2
    tables = {
        **_parameter_tables(inp, batch_stride, check),
        **_request_tables(inp, n),
        **_replica_tables(inp, r, batch_stride),
        **_time_tables(inp),
        **_cache_tables(inp, r),
        **_network_tables(inp, batch_stride),
        **store_tables(inp),
        **make_timers(3 * r + nics + 3),
        **make_pairs(_pending_capacity(inp, n), "pending"),
        **make_pairs(n if len(inp.timeout) else 0, "expiry"),
        **make_pairs(_flow_capacity(inp, batch_stride) if inp.stores else 0, "landing"),
        "control": np.asarray(inp.control, CONTROL).view(np.recarray),
        "gaps": np.zeros(GAP_BINS, np.int64),
        "scratch": np.zeros(batch_stride, np.int64),
        "log": table(log, LOG),
        "log_count": np.zeros(1, np.int64),
        "batches": table(batches, BATCH),
    }
    for hook in HOOKS:
        tables[f"{hook}_params"] = inp.hook_params(hook)
        tables[f"{hook}_memory"] = inp.hook_memory(hook)
    return World(read_only=_GIVEN, **tables).bind(
        **{h: (HOOK_SIGNATURES[h], functions[h]) for h in HOOKS}
    )


def _has_own(inp: ServingInput) -> bool:
    """Whether requests may have block ids of their own."""
    return inp.prefix_caching and any(kind.keep_preempted for kind in inp.kinds)


def _counts_wanted(inp: ServingInput) -> bool:
    """Whether waiting requests are counted at the blocks that they want."""
    return inp.prefix_caching and inp.count_wanted and not inp.default_evict


def _pending_capacity(inp: ServingInput, n: int) -> int:
    if len(inp.front):
        return n
    if inp.concurrency > 0:
        return min(n, inp.concurrency) + 1
    return n if len(inp.after) else 0


def _parameter_tables(inp: ServingInput, batch_stride: int, check: bool) -> dict[str, np.ndarray]:
    n, r = len(inp.arrival), len(inp.kind_of)
    caching = inp.prefix_caching
    block_stride = max(k.blocks for k in inp.kinds) if caching else 1
    map_bits = max(2, (2 * block_stride - 1).bit_length())
    own_ids = int(inp.block_ids.max(initial=-1)) + 1
    par = table(
        1,
        PARAMETERS,
        n_requests=n,
        n_open=min(n, inp.concurrency) if inp.concurrency > 0 else n,
        n_replicas=r,
        n_nics=len(inp.link_units_per_tick()),
        block_tokens=inp.block_tokens,
        skip=inp.skip and inp.stability != EVERY_ITERATION,
        caching=caching,
        live=inp.live_view,
        stability=inp.stability,
        latency=max(1, inp.latency),
        kv_unit=int(inp.kv_bytes_per_token) << inp.unit_shift(),
        kv_bytes=int(inp.kv_bytes_per_token),
        ends=inp.fabric.ends if inp.fabric else 0,
        hop_width=inp.fabric.hops if inp.fabric else 0,
        concurrency=inp.concurrency,
        think=inp.think,
        scale_every=inp.scale_every,
        snapshot_every=inp.snapshot_every,
        words=(r + 63) // 64,
        map_slots=1 << map_bits if caching else 1,
        map_shift=32 - map_bits,
        batch_stride=batch_stride,
        block_stride=block_stride,
        default_evict=inp.default_evict,
        wanted=_counts_wanted(inp),
        has_after=len(inp.after) > 0 and inp.concurrency == 0,
        has_timeout=len(inp.timeout) > 0,
        has_front=len(inp.front) > 0,
        own_ids=own_ids,
        has_own=_has_own(inp),
        check=check,
        **store_parameters(inp),
    )
    flows = _flow_capacity(inp, batch_stride)
    glob = table(1, GLOBALS, parked_head=-1, parked_tail=-1, free_flows=flows, own_cursor=own_ids)
    glob["next_closed"] = par["n_open"]
    ctx = table(1, CONTEXT, seed=inp.seed, block_tokens=inp.block_tokens)
    return {"par": par, "glob": glob, "ctx": ctx}


def _request_tables(inp: ServingInput, n: int) -> dict[str, np.ndarray]:
    # Every field is written by `lay_out`, so that the lock is not held while memory is zeroed.
    info, req = (np.empty(n, dtype).view(np.recarray) for dtype in (REQUEST, PROGRESS))
    lay_out(
        info,
        info.view(np.ndarray).view(np.int64),
        req,
        req.view(np.ndarray).view(np.int64),
        _column(inp.arrival, n, np.int64),
        _column(inp.prompt, n, np.int32),
        _column(inp.output, n, np.int32),
        _column(inp.predicted, n, np.int32),
        _column(inp.deadline, n, np.int64),
        _column(inp.tenant, n, np.int32),
        _column(inp.session, n, np.int32),
        _column(inp.priority, n, np.int32),
        _column(inp.block_count if inp.prefix_caching else (), n, np.int32),
        int(inp.concurrency > 0),
        NEVER,
    )
    tenants = table(len(inp.tenant_weights), TENANT, weight=inp.tenant_weights)
    return {
        "info": info,
        "req": req,
        "tenants": tenants,
        "after": _follower(inp.after, n),
        "delay": np.asarray(inp.delay, np.int64)
        if len(inp.delay)
        else np.zeros(n if len(inp.after) else 1, np.int64),
        "timeout": np.asarray(inp.timeout, np.int64) if len(inp.timeout) else np.zeros(1, np.int64),
        "front": np.asarray(inp.front, np.int64) if len(inp.front) else np.zeros(1, np.int64),
    }


def _column(values: Any, n: int, dtype: type) -> np.ndarray:
    """A column of n, or of none for the default, as a compiled pass takes it."""
    found: np.ndarray = np.ascontiguousarray(values, dtype)
    if len(found) not in (0, n):
        raise ValueError(f"a column has {len(found)} rows for {n} requests")
    return found


def _follower(after: np.ndarray, n: int) -> np.ndarray:
    """int32: the request that each one releases (-1), and n more: whether it waits for another."""
    if len(after) == 0:
        return np.zeros(1, np.int32)
    follower = np.full(2 * n, -1, np.int32)
    later = np.flatnonzero(np.asarray(after) >= 0)
    follower[np.asarray(after)[later]] = later
    follower[n:] = after
    return follower


def _replica_tables(inp: ServingInput, r: int, stride: int) -> dict[str, np.ndarray]:
    kind_of = np.asarray(inp.kind_of, np.int64)
    blocks = np.array([k.blocks for k in inp.kinds], np.int64)[kind_of]
    rep = table(r, PRIVATE, kind=kind_of, free=blocks, seen=NEVER)
    for name in ("partial", "root", "lru_head", "lru_tail", "up_since", "scaled_at"):
        rep[name] = -1
    for chain in ("arrived", "handover", "cancel"):
        rep[f"{chain}_head"] = rep[f"{chain}_tail"] = -1
    rep["host_free"] = np.array([k.host_blocks for k in inp.kinds], np.int64)[kind_of]
    rep["up_since"][np.asarray(inp.up) > 0] = 0
    rep["free_slots"] = blocks if inp.prefix_caching else 0
    replicas = table(
        r,
        REPLICA,
        role=inp.role_of,
        pool=inp.pool_of,
        blocks=blocks,
        free_blocks=blocks if inp.live_view else 0,
        speed=np.array([k.speed for k in inp.kinds])[kind_of],
        state=np.where(np.asarray(inp.up) > 0, UP, 0),
    )
    return {
        "rep": rep,
        "replicas": replicas,
        "stale": replicas.copy(),
        "finish_heap": np.zeros(r * stride, np.int64),
        "new": np.zeros(r * stride, np.int32),
        "fresh": np.zeros(r * stride, np.int32),
        "residues": np.zeros(r * inp.block_tokens, np.int32),
        "hits": np.zeros(2 * r if inp.stores else r, np.int32),
    }


def _time_tables(inp: ServingInput) -> dict[str, np.ndarray]:
    """The cell tables of all kinds, one after another, and the kinds that point into them."""
    kinds = table(len(inp.kinds), KIND)
    rows, knots, cells = [], [], []
    row = knot = cell = 0
    for k, kind in zip(kinds, inp.kinds, strict=True):
        for name in KIND.names or ():
            if hasattr(kind, name):
                k[name] = getattr(kind, name)
        c = kind.cells
        k.row_start, k.row_last = row, len(c.token_row) - 1
        k.knot_start, k.columns, k.cell_start = knot, len(c.context_knots) - 1, cell
        k.per_sequence, k.per_work = c.per_sequence, c.per_work
        k.prefill_start, k.prefill_per_sequence = row, c.per_sequence
        rows.append(np.asarray(c.token_row, np.int32))
        if c.prefill_row is not None:
            k.prefill_start += len(c.token_row)
            k.prefill_per_sequence = c.prefill_per_sequence
            rows[-1] = np.concatenate((c.token_row, c.prefill_row)).astype(np.int32)
        knots.append(np.asarray(c.context_knots, np.int64))
        cells.append(np.asarray(c.cells, np.int64))
        row, knot, cell = row + len(rows[-1]), knot + len(knots[-1]), cell + len(cells[-1])
    flat = np.concatenate(cells)
    table_cells = table(len(flat), CELL)
    for j, name in enumerate("abcd"):
        table_cells[name] = flat[:, j]
    return {
        "kinds": kinds,
        "token_row": np.concatenate(rows),
        "knots": np.concatenate(knots),
        "cells": table_cells,
    }


def _cache_tables(inp: ServingInput, r: int) -> dict[str, np.ndarray]:
    if not inp.prefix_caching:
        one = np.zeros(1, np.int32)
        return {
            "block_start": np.zeros(1, np.int64),
            "block_ids": one.copy(),
            "own": one.copy(),
            "slots": table(1, SLOT),
            "free_slot": one.copy(),
            "map_block": one.copy(),
            "map_slot": one.copy(),
            "holders": np.zeros(1, np.uint64),
            "blocks": table(1, BLOCK),
            "notes": table(1, NOTE),
            "releases": table(1, RELEASE),
            "demand": one.copy(),
            "scores": table(1, SCORE),
            "evict_heap": one.copy(),
        }
    stride = max(k.blocks for k in inp.kinds)
    map_slots = 1 << max(2, (2 * stride - 1).bit_length())
    scored = 1 if inp.default_evict else r * stride
    n_blocks = int(inp.block_ids.max(initial=-1)) + 1
    told = _counts_wanted(inp)
    return {
        "block_start": np.ascontiguousarray(inp.block_start, np.int64),
        "block_ids": np.ascontiguousarray(inp.block_ids, np.int32),
        "own": np.full(len(inp.arrival) if _has_own(inp) else 1, -1, np.int32),
        "slots": table(r * stride, SLOT),
        "free_slot": np.tile(np.arange(stride, dtype=np.int32), r),
        "map_block": np.full(r * map_slots, -1, np.int32),
        "map_slot": np.zeros(r * map_slots, np.int32),
        "holders": np.zeros(max(1, n_blocks * ((r + 63) // 64)), np.uint64),
        "blocks": table(1, BLOCK),
        "notes": table(scored, NOTE),
        "releases": table(scored if told else 1, RELEASE),
        "demand": np.zeros(max(1, n_blocks * r) if told else 1, np.int32),
        "scores": table(scored, SCORE),
        "evict_heap": np.zeros(scored, np.int32),
    }


def _flow_capacity(inp: ServingInput, batch_stride: int) -> int:
    """Flows at once: a replica has at most max_batch requests on their way to it."""
    parts = 2 if inp.stores else 1
    return parts * min(len(inp.arrival), len(inp.kind_of) * batch_stride) + 1


def _network_tables(inp: ServingInput, batch_stride: int) -> dict[str, np.ndarray]:
    flows = _flow_capacity(inp, batch_stride)
    nics = inp.link_units_per_tick()
    capacity = np.concatenate([nics, nics, inp.fabric_units_per_tick()])
    fabric = inp.fabric
    return {
        "flows": table(flows, FLOW),
        "free_flow": np.arange(flows, dtype=np.int32)[::-1].copy(),
        "links": table(len(capacity), LINK, capacity=capacity, head=-1),
        "link_moved": np.zeros(len(capacity), np.int64),
        "hops": table(max(1, flows * (fabric.hops if fabric else 0)), HOP),
        "path_first": fabric.first.copy() if fabric else np.zeros(1, np.int64),
        "path_links": np.append(fabric.links if fabric else [], [0]).astype(np.int32),
        "some_links": np.zeros(len(capacity), np.int32),
        "some_flows": np.zeros(flows, np.int32),
        "nic_of": np.asarray(inp.nic_of, np.int32),
    }
