"""From a `KvCacheScenario` to a plan, and from its outcome to a result."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.models.caching.prefix_nodes import Outcome, run_nodes
from mltwin.models.caching.prefix_tables import POLICIES, Plan, make_plan
from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm import Model, load_model
from mltwin.sim.errors import InputError
from mltwin.workloads.blocks import pack
from mltwin.workloads.table import Trace

from .fields import placed
from .kv_cache import KvCacheScenario
from .kv_cache_result import KvCacheResult

PS_PER_NS = 1000  # ticks of traces, of ours
TIERS = ("hbm", "dram", "ssd")


@dataclass(frozen=True)
class TokenTimes:
    """ns of a prefill: a token, a pair of a token and one before it, the whole."""

    token_ns: float
    pair_ns: float
    base_ns: float


def run_kv_cache(scenario: KvCacheScenario, seed: int, *, reference: bool = False) -> KvCacheResult:
    """Simulate a scenario once.

    Raises InputError: an unknown trace, model, GPU or policy, or caches that cannot be.
    """
    plan, facts, notes, trace = lower(scenario, seed)
    outcome = _run(plan, scenario.eviction.policy, reference)
    return KvCacheResult.of(outcome, plan, facts=facts, notes=notes, trace_sha256=trace.sha256)


def _run(plan: Plan, policy: str, reference: bool) -> Outcome:
    if policy in POLICIES:
        return run_nodes(plan, reference=reference)
    from mltwin.models.caching.prefix_registry import run_any

    try:
        return run_any(plan, policy)
    except InputError as error:
        raise _in_eviction(error) from None


def check_names(scenario: KvCacheScenario) -> None:
    """Raises InputError for a trace, model, GPU or eviction policy that is not there."""
    from mltwin.models.caching.prefix_registry import ORACLE
    from mltwin.models.caching.registry import eviction

    from .serving_workload import check_trace

    check_trace(_serving(scenario))
    model_of(scenario)
    times_of(scenario)
    if scenario.eviction.policy not in (*POLICIES, ORACLE):
        try:
            eviction(scenario.eviction.policy)
        except InputError as error:
            raise _in_eviction(error) from None


def _in_eviction(error: InputError) -> InputError:
    return InputError(error.message, where="eviction.policy", mend=error.mend)


def model_of(scenario: KvCacheScenario) -> Model:
    """The language model that a scenario names."""
    try:
        return load_model(str(scenario.resolve_path(scenario.model.name)))
    except InputError as error:
        raise placed(error, "model.name") from None


def kv_bytes_per_token(scenario: KvCacheScenario) -> float:
    """Of all layers, on all GPUs together."""
    given = scenario.model.kv_bytes_per_token
    return given or float(model_of(scenario).kv_bytes_per_token(scenario.model.kv_dtype))


def times_of(scenario: KvCacheScenario) -> TokenTimes:
    """What a prefill takes: FLOPs over the share of the peak that is reached.

    A token takes 2 P FLOPs (P: active parameters without the embedding table), a pair of a token
    and one before it 2 H (d_k + d_v) in each layer that attends (H heads; products of queries and
    keys, and with values). Sliding windows are not counted: all tokens before are attended to.
    """
    m = scenario.model
    base = m.overhead_ms * 1e6
    if m.tokens_per_s is not None:
        return TokenTimes(1e9 / m.tokens_per_s, 0.0, base)
    model = model_of(scenario)
    try:
        facts = load_profile(scenario.resolve_path(m.gpu)).facts
    except InputError as error:
        raise placed(error, "model.gpu") from None
    flops_per_ns = facts.peak_flops["bfloat16"] * m.gpus * m.efficiency * 1e-9
    width = 2 * model.head_dim
    if model.mla is not None:
        mla = model.mla
        width = mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim
    pair = 2.0 * model.cached_layers * model.heads * width
    token = 2.0 * (model.active_parameters - model.embedding_parameters)
    return TokenTimes(token / flops_per_ns, pair / flops_per_ns, base)


def lower(scenario: KvCacheScenario, seed: int) -> tuple[Plan, dict[str, Any], list[str], Trace]:
    """The plan of a scenario's run, what the result tells of it, notes, and the trace."""
    from .serving_workload import make_trace

    trace = make_trace(_serving(scenario), seed)
    if not trace.block_tokens:
        raise InputError(
            "has no prefix blocks",
            where="workload.trace",
            mend="choose one with hash ids (mooncake-conv-synthetic), or make sessions",
        )
    block_bytes = trace.block_tokens * kv_bytes_per_token(scenario)
    tiers = _tiers(scenario, block_bytes)
    pool = _blocks(scenario.pool.gb, scenario.pool.blocks, block_bytes)
    if tiers[0] == 0 and not pool:
        raise InputError(
            f"room for no block of {block_bytes / 1e6:.4g} MB", where="nodes", mend="give more HBM"
        )
    times = times_of(scenario)
    depth_cost = times.pair_ns * trace.block_tokens / times.token_ns
    try:
        plan = make_plan(
            **_prompts(trace),
            nodes=scenario.nodes.count,
            tiers=tiers,
            pool_blocks=pool,
            arrival=trace.arrival // PS_PER_NS if scenario.timed else None,
            cost_per_depth=depth_cost,
            seed=seed,
            **_times(scenario, times, len(tiers), block_bytes),
            **_rules(scenario),
        )
    except InputError as error:
        raise placed(error, "kv-cache") from None
    facts = {
        "block_tokens": trace.block_tokens,
        "block_bytes": block_bytes,
        "nodes": plan.nodes,
        "tiers": list(plan.tiers),
        "pool_blocks": plan.pool_blocks,
        "distinct": plan.distinct,
        "timed": plan.timed,
        "token_us": times.token_ns / 1e3,
        "pair_ns": times.pair_ns,
    }
    return plan, facts, _notes(scenario, trace, plan), trace


def _prompts(trace: Trace) -> dict[str, Any]:
    """Prompt blocks of each request, in the order of the trace; those of outputs are left out."""
    width = -(-trace.prompt.astype(np.int64) // trace.block_tokens)
    width = np.minimum(width, trace.block_count)
    return {
        "start": np.concatenate([[0], np.cumsum(width)]),
        "blocks": pack(trace.block_start, width, trace.block_ids),
        "prompt": trace.prompt.astype(np.int64),
        "session": trace.session.astype(np.int64),
        "block_tokens": trace.block_tokens,
    }


def _tiers(scenario: KvCacheScenario, block_bytes: float) -> tuple[int, ...]:
    n = scenario.nodes
    near = _blocks(n.hbm_gb, n.hbm_blocks, block_bytes)
    lower = [_blocks(n.dram_gb, n.dram_blocks, block_bytes)]
    lower.append(_blocks(n.ssd_gb, n.ssd_blocks, block_bytes))
    if near == 0 and any(lower):
        raise InputError("holds no block", where="nodes.hbm_gb", mend="blocks pass through HBM")
    return (near, *(blocks for blocks in lower if blocks))


def _blocks(gb: float, blocks: int | None, block_bytes: float) -> int:
    return int(gb * 1e9 // block_bytes) if blocks is None else blocks


def _times(
    scenario: KvCacheScenario, times: TokenTimes, tiers: int, block_bytes: float
) -> dict[str, Any]:
    n, network = scenario.nodes, scenario.network
    has_dram = bool(n.dram_gb if n.dram_blocks is None else n.dram_blocks)
    dram = (block_bytes / n.dram_gb_per_s, round(n.dram_latency_us * 1000))
    ssd = (block_bytes / n.ssd_gb_per_s, round(n.ssd_latency_us * 1000))
    below = [dram, ssd] if has_dram else [ssd]
    reads = [(0.0, 0), *below][:tiers]
    shared = network.shared_gb_per_s
    return {
        "tier_ns": tuple(ns for ns, _ in reads),
        "tier_latency": tuple(ticks for _, ticks in reads),
        "token_ns": times.token_ns,
        "pair_ns": times.pair_ns,
        "base_ns": times.base_ns,
        "network_ns": block_bytes / network.gb_per_s,
        "shared_ns": block_bytes / shared if shared else 0.0,
        "network_latency": round(network.latency_us * 1000),
        "overlap": int(scenario.overlap),
    }


def _rules(scenario: KvCacheScenario) -> dict[str, Any]:
    routing, eviction, copies = scenario.routing, scenario.eviction, scenario.copies
    load = routing.load or ("queued" if scenario.timed else "decayed")
    queued = load == "queued" and scenario.timed
    return {
        "routing": routing.policy,
        "load_weight": routing.load_weight,
        "half_life": routing.half_life_requests,
        "queued_load": int(queued),
        "policy": eviction.policy if eviction.policy in POLICIES else "lru",
        "tail_first": int(eviction.tail_first),
        "leaf_only": int(eviction.leaf_only),
        "queue_informed": int(eviction.queue_informed),
        "borrow": int(scenario.nodes.borrow),
        "wait_in_flight": int(scenario.pool.wait_in_flight),
        "hot_hits": copies.hits,
        "hot_window": copies.window_requests,
        "hot_copies": copies.nodes,
    }


def _notes(scenario: KvCacheScenario, trace: Trace, plan: Plan) -> list[str]:
    notes = []
    if plan.timed and (trace.after >= 0).any():
        notes.append(
            "Later turns of sessions come at the trace's own times, not after the answers here."
        )
    if scenario.eviction.queue_informed and not plan.timed:
        notes.append("queue_informed changes nothing without time: no request waits.")
    if scenario.routing.load == "queued" and not plan.timed:
        notes.append("Without time the load is decayed: nothing is queued.")
    if scenario.routing.policy == "session_hash" and (trace.session < 0).any():
        share = float((trace.session < 0).mean())
        notes.append(f"{share:.0%} of the requests have no session: they are routed by chance.")
    return notes


def _serving(scenario: KvCacheScenario) -> Any:
    """A serving scenario with the same workload: traces are opened and re-timed in one place."""
    from .serving import ServingScenario

    workload = scenario.workload.model_dump(exclude_none=True)
    twin = ServingScenario.parse({"system": "serving", "workload": workload})
    twin._folder = scenario._folder
    return twin
