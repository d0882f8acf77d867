"""The kernel's private tables: their record types, and the type of the World that holds them.

Everything a handler touches is a table of the World `S`; its layout decides the speed (one pointer
crosses into the kernel, nothing is reference counted).
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import LOG
from mltwin.sim.heap import make_pairs, make_timers
from mltwin.sim.records import record
from mltwin.sim.world import world_type

from .hooks import BLOCK, CONTEXT, HOOKS, REPLICA, REQUEST, TENANT, signature
from .tables import CELL, CONTROL, KIND

PARAMETERS = record(
    "Parameters",
    [
        ("n_requests", "i8"),
        ("n_open", "i8", "requests that arrive by the cursor"),
        ("n_replicas", "i8"),
        ("n_nics", "i8"),
        ("block_tokens", "i8"),
        ("skip", "i8"),
        ("caching", "i8"),
        ("live", "i8"),
        ("stability", "i8"),
        ("latency", "i8"),
        ("kv_unit", "i8", "flow units per token"),
        ("concurrency", "i8"),
        ("think", "i8"),
        ("scale_every", "i8"),
        ("snapshot_every", "i8"),
        ("words", "i8", "64-bit words of a block's holder mask"),
        ("map_slots", "i8", "slots of a replica's block map, a power of two"),
        ("map_shift", "i8"),
        ("batch_stride", "i8"),
        ("block_stride", "i8"),
        ("default_evict", "i8"),
        ("wanted", "i8", "1: blocks know how many waiting requests want them"),
        ("has_after", "i8"),
        ("has_timeout", "i8"),
        ("has_front", "i8"),
        ("own_ids", "i8", "block ids from here on belong to single requests"),
        ("has_own", "i8", "1: requests may have ids of their own"),
        ("check", "i8"),
    ],
)

GLOBALS = record(
    "Globals",
    [
        ("now", "i8"),
        ("cursor", "i8", "next request that arrives by itself"),
        ("next_closed", "i8", "next request of a closed loop"),
        ("ended", "i8", "done, refused or cancelled"),
        ("done", "i8"),
        ("refused", "i8"),
        ("cancelled", "i8"),
        ("events", "i8"),
        ("plans", "i8"),
        ("solves", "i8"),
        ("flows", "i8"),
        ("free_flows", "i8", "rows of `flows` not in use"),
        ("stamp", "i8", "of the solver"),
        ("control_cursor", "i8", "next scripted event"),
        ("own_cursor", "i8", "next block id for a request of its own"),
        ("idle_turns", "i8", "periodic events in a row with nothing else to come"),
        ("idle_since", "i8", "ticks of the last event before them"),
        ("parked_head", "i8", "request, -1"),
        ("parked_tail", "i8"),
        ("hit_tokens", "i8", "prompt tokens found in caches"),
        ("evictions", "i8"),
        ("releases", "i8", "ties of evict scores"),
        ("log_batches", "i8", "rows in `batches`"),
        ("error", "i8", "first error, 0 none"),
        ("error_request", "i8"),
        ("error_answer", "i8"),
    ],
)

PROGRESS = record(
    "Progress",
    [
        ("first", "i8", "ticks of the first token, -1"),
        ("finish", "i8", "ticks, -1"),
        ("scheduled", "i8", "ticks, -1"),
        ("transfer", "i8", "ticks"),
        ("last", "i8", "ticks of its last token, where the replica's own does not hold"),
        ("offset", "i8", "decoding: kv less the replica's decode counter G; queued: since when"),
        ("output", "i4", "tokens"),
        ("need", "i4", "tokens that a prefill has to compute: prompt + generated"),
        ("kv", "i4", "tokens in KV memory, while prefilling or swapped"),
        ("n_ids", "i4", "block ids known"),
        ("shared", "i4", "leading blocks held by reference"),
        ("source_shared", "i4", "the same at the source, while its KV waits there"),
        ("replica", "i4"),
        ("source", "i4", "replica where its last prefill ended"),
        ("preempted", "i4"),
        ("child", "i4", "waiting queue; next in a first-in-first-out chain"),
        ("sibling", "i4", "waiting queue; next in the list of cancellations"),
        ("state", "i1"),
        ("cancel", "i1", "1: cancelled, takes effect later"),
        ("fresh", "i1", "1: has not decoded since it joined; `last` holds its last token"),
    ],
)

PRIVATE = record(
    "Private",
    [
        ("kind", "i8"),
        ("G", "i8", "decode iterations since the start"),
        ("context", "i8", "KV tokens of the decoding requests"),
        ("decoding", "i8"),
        ("partial", "i8", "request whose prefill is not complete, -1"),
        ("n_new", "i8", "prefills that end with this iteration"),
        ("busy", "i8"),
        ("decodes", "i8", "1: the plan's iterations decode"),
        ("start", "i8", "of the plan"),
        ("planned", "i8", "identical iterations in the plan"),
        ("caught_up", "i8", "of them, brought into the aggregates"),
        ("ticks", "i8", "of the first one"),
        ("growth", "i8", "ticks more for each next one"),
        ("plan_tokens", "i8"),
        ("plan_prefill", "i8"),
        ("plan_sequences", "i8"),
        ("plan_context", "i8"),
        ("copied", "i8", "ticks of swap copies in this plan"),
        ("root", "i8", "of the waiting queue"),
        ("waiting", "i8"),
        ("dirty", "i8", "1: an event since the last rekeying"),
        ("seen", "i8", "requests queued after this tick are not admitted by the next plan"),
        ("late_blocks", "i8", "blocks that the next plan may not use yet"),
        ("late_slots", "i8", "places in the batch that the next plan may not use yet"),
        ("held_back", "i8", "1: this plan would differ an iteration later"),
        ("waited", "i8", "iterations that prompts have been held back (TensorRT-LLM)"),
        ("since", "i8", "decode iterations since the last prefill (LightLLM)"),
        ("free", "i8"),
        ("evictable", "i8"),
        ("lru_head", "i8"),
        ("lru_tail", "i8"),
        ("last_evicted", "f8", "score of the block evicted last, 0 without one"),
        ("free_slots", "i8"),
        ("host_free", "i8"),
        ("inflight", "i8", "blocks reserved, KV on its way or arrived, not yet joined"),
        ("held", "i8", "requests whose KV waits here to be fetched"),
        ("arrived_head", "i8"),
        ("arrived_tail", "i8"),
        ("handover_head", "i8"),
        ("handover_tail", "i8"),
        ("cancel_head", "i8"),
        ("cancel_tail", "i8"),
        ("last_decode", "i8", "end of the last decode iteration"),
        ("n_fresh", "i8"),
        ("iterations", "i8"),
        ("prefill_tokens", "i8"),
        ("decode_tokens", "i8"),
        ("busy_prefill", "i8"),
        ("busy_decode", "i8"),
        ("sequences", "i8"),
        ("contexts", "i8"),
        ("preemptions", "i8"),
        ("peak_blocks", "i8"),
        ("up_ticks", "i8"),
        ("up_since", "i8", "-1 while stopped or failed"),
        ("scaled_at", "i8", "ticks of the last action of the scale policy, -1"),
    ],
)

SLOT = record("Slot", [("block", "i4"), ("references", "i4"), ("previous", "i4"), ("next", "i4")])
SCORE = record("Score", [("score", "f8"), ("released", "i8"), ("place", "i8")])
NOTE = record(
    "Note",
    [("made", "i8", "ticks"), ("hits", "i4"), ("seen", "i4", "hits at the last score, -1 none")],
)
RELEASE = record(
    "Release",
    [("released", "i8", "ticks"), ("depth", "i4"), ("behind", "i4"), ("wanted", "i4")],
)

FLOW = record(
    "Flow",
    [
        ("remaining", "i8", "units"),
        ("rate", "i8", "units per tick"),
        ("last", "i8", "ticks at which `remaining` was right"),
        ("end", "i8", "ticks"),
        ("request", "i8"),
        ("egress", "i8", "link"),
        ("ingress", "i8", "link"),
        ("next_out", "i8"),
        ("previous_out", "i8"),
        ("next_in", "i8"),
        ("previous_in", "i8"),
        ("mark", "i8"),
    ],
)
LINK = record(
    "Link",
    [
        ("capacity", "i8", "units per tick"),
        ("head", "i8", "first flow"),
        ("flows", "i8"),
        ("left", "i8", "scratch of the solver: capacity not given yet"),
        ("unfixed", "i8", "scratch: flows without a rate"),
        ("share", "i8", "scratch"),
        ("mark", "i8"),
        ("next_end", "i8", "flow whose end the timer shows"),
    ],
)
BATCH = record(
    "Batch",
    [
        ("start", "i8", "ticks"),
        ("end", "i8", "ticks"),
        ("replica", "i4"),
        ("iterations", "i4"),
        ("decoding", "i4", "sequences"),
        ("prefill_tokens", "i4", "of each iteration"),
        ("context", "i8", "KV tokens read by the first decode iteration"),
        ("blocks", "i4", "held by requests at the end"),
        ("waiting", "i4", "requests, at the end"),
    ],
)

_TABLES: dict[str, Any] = {
    "par": PARAMETERS,
    "glob": GLOBALS,
    "ctx": CONTEXT,
    "kinds": KIND,
    "info": REQUEST,
    "req": PROGRESS,
    "rep": PRIVATE,
    "replicas": REPLICA,
    "stale": REPLICA,
    "tenants": TENANT,
    "control": CONTROL,
    "after": np.int32,
    "delay": np.int64,
    "timeout": np.int64,
    "front": np.int64,
    "finish_heap": np.int64,
    "new": np.int32,
    "fresh": np.int32,
    "residues": np.int32,
    "scratch": np.int64,
    "gaps": np.int64,
    "block_start": np.int64,
    "block_ids": np.int32,
    "own": np.int32,
    "slots": SLOT,
    "free_slot": np.int32,
    "map_block": np.int32,
    "map_slot": np.int32,
    "holders": np.uint64,
    "hits": np.int32,
    "blocks": BLOCK,
    "notes": NOTE,
    "releases": RELEASE,
    "demand": np.int32,
    "scores": SCORE,
    "evict_heap": np.int32,
    "cells": CELL,
    "token_row": np.int32,
    "knots": np.int64,
    "flows": FLOW,
    "free_flow": np.int32,
    "links": LINK,
    "nic_of": np.int32,
    "some_links": np.int32,
    "some_flows": np.int32,
    "log": LOG,
    "log_count": np.int64,
    "batches": BATCH,
    **{f"{hook}_params": np.float64 for hook in HOOKS},
    **{f"{hook}_memory": np.float64 for hook in HOOKS},
}
for _heap in (make_timers(0), make_pairs(0, "pending"), make_pairs(0, "expiry")):
    _TABLES.update({name: array.dtype for name, array in _heap.items()})

HOOK_SIGNATURES = {hook: signature(hook) for hook in HOOKS}
WORLD = world_type(
    {name: np.dtype(dtype) for name, dtype in _TABLES.items()},
    HOOK_SIGNATURES,
)
