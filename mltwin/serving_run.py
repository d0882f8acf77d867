"""Lowering a serving scenario to the kernel's input, and running it."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.serving.hooks import HOOKS, STABILITIES, STATIC
from mltwin.models.serving.tables import ServingInput
from mltwin.policies.declare import Policy, Sizes
from mltwin.policies.registry import resolve
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import seconds, ticks
from mltwin.workloads.table import DEFAULTS, Trace

from .engines import make_engine
from .prefix_pool import prefix_stores
from .serving import ServingScenario
from .serving_cluster import Cluster, check_hardware, make_cluster
from .serving_fabric import fabric_of, fabric_table
from .serving_frontend import FrontEnd
from .serving_result import ServingResult
from .serving_workload import check_trace, deadlines, make_trace, predictions, tenant_weights
from .topologies import named_topology

DEFAULT_BLOCK_TOKENS = 16
# The kernel stops at day 96, so that no duration added to a time overflows int64 ticks.
MAX_RUN_S = 95 * 86_400.0
Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Lowered:
    """A scenario as the kernel takes it.

    `policies` names the policy at each hook that the kernel has to ask (hooks left to their
    built-in default are not in it).
    """

    input: ServingInput
    policies: dict[str, Policy]
    trace: Trace
    facts: dict[str, Any]
    notes: list[str]


def run_serving(
    scenario: ServingScenario,
    seed: int,
    *,
    log: bool = False,
    batches: bool = False,
    check: bool = False,
    reference: bool = False,
    until_s: float | None = None,
    progress: Progress | None = None,
    trace: Trace | None = None,
    draw: int | None = None,
) -> ServingResult:
    """See `ServingScenario.simulate`; `trace` and `draw` as in `lower`."""
    lowered = lower(scenario, seed, trace=trace, draw=draw)
    if reference:
        outcome = _run_reference(lowered, check, log)
    else:
        from mltwin.models.serving.simulate import simulate

        compiled = {hook: policy.compiled() for hook, policy in lowered.policies.items()}
        outcome = simulate(
            lowered.input,
            compiled,
            log=log,
            batches=batches,
            until=None if until_s is None else int(ticks(until_s)),
            check=check,
            progress=_in_seconds(progress),
        )
    fabric = lowered.input.fabric
    tables = {} if fabric is None else {"fabric": fabric_table(outcome, fabric)}
    return ServingResult.of(outcome, lowered.trace, lowered.facts, lowered.notes, tables)


def lower(
    scenario: ServingScenario, seed: int, *, trace: Trace | None = None, draw: int | None = None
) -> Lowered:
    """The kernel's input, the policies, and the trace of a scenario (or the one given).

    With a `draw`, on GPUs drawn from the error of their profiles (`make_cluster`).

    Raises InputError whose place is the dotted path of the field that is wrong.
    """
    trace = make_trace(scenario, seed) if trace is None else trace
    last_s = float(seconds(int(trace.arrival.max())))
    if last_s > MAX_RUN_S:
        raise InputError(
            f"the last request comes after {last_s / 86_400:.1f} days, a run reaches "
            f"{MAX_RUN_S / 86_400:.0f}",
            where="workload",
            mend="cut it with workload.window_s, or raise the rate",
        )
    block_tokens, caching, notes = _blocks(scenario, trace)
    longest = int((trace.prompt.astype(np.int64) + trace.output).max())
    cluster = make_cluster(scenario, block_tokens, longest, draw)
    _check_lengths(trace, cluster, block_tokens, notes)
    if scenario.workload.concurrency is not None and np.any(trace.after >= 0):
        notes.append("the closed loop undoes the trace's sessions: requests come in their order")
    chosen = choose_policies(scenario)
    made = _input(scenario, seed, trace, cluster, block_tokens, caching, chosen)
    facts = {
        "pools": cluster.facts,
        "pool_of": cluster.pool_of.tolist(),
        "tenants": list(trace.tenants),
        "limits_ms": _limits(scenario),
        "block_tokens": block_tokens,
        "prefix_caching": caching,
        **({"kv_bytes_per_token": cluster.kv_bytes_per_token} if made.stores else {}),
        **({"fabric_links": list(made.fabric.names)} if made.fabric else {}),
        "frontend": asdict(FrontEnd.of(scenario.workload)),
        "trace": trace.name,
        "sources": _sources(chosen),
    }
    asked = {hook: policy for hook, (policy, _) in chosen.items() if not _built_in(hook, policy)}
    return Lowered(made, asked, trace, facts, [*notes, *cluster.notes])


def choose_policies(scenario: ServingScenario) -> dict[str, tuple[Policy, np.ndarray]]:
    """The policy and its parameters at each hook.

    Raises InputError: no such policy or parameter, a file that does not load.
    """
    chosen = {}
    for hook in HOOKS:
        spec = getattr(scenario.policy, hook)
        name = spec if isinstance(spec, str) else spec.get("name", "")
        if not isinstance(name, str):
            raise InputError(
                f"{name!r} is no name", where=f"policy.{hook}.name", mend="give a name in quotes"
            )
        file, colon, function = name.partition(":")
        if colon and file.endswith(".py"):
            name = f"{scenario.resolve_path(file)}:{function}"
            spec = name if isinstance(spec, str) else {**spec, "name": name}
        chosen[hook] = resolve(spec, hook)
    return chosen


def check_names(scenario: ServingScenario) -> None:
    """Look up whatever a scenario names: policies, model, GPU profiles, trace.

    Raises InputError whose place is the dotted path of the field.
    """
    choose_policies(scenario)
    check_hardware(scenario)
    check_trace(scenario)
    if scenario.network.topology is not None:
        named_topology(scenario.network.topology, scenario.resolve_path, where="network.topology")


def _built_in(hook: str, policy: Policy) -> bool:
    """Whether the kernel does this by itself, without asking a policy."""
    return (hook, policy.name) in {("evict", "lru"), ("scale", "none")}


def _blocks(scenario: ServingScenario, trace: Trace) -> tuple[int, bool, list[str]]:
    """Tokens of a KV block, whether prefixes are cached, and what to note about it."""
    if not scenario.prefix_caching:
        notes = []
        if trace.block_tokens:
            notes.append(
                f"the trace {trace.name} has prefix blocks, prefix_caching is off: none is reused"
            )
        return scenario.block_tokens or DEFAULT_BLOCK_TOKENS, False, notes
    if not trace.block_tokens:
        if _keeps_preempted(scenario):
            note = f"the trace {trace.name} has no prefix blocks: a request finds only its own"
            return scenario.block_tokens or DEFAULT_BLOCK_TOKENS, True, [note]
        raise InputError(
            f"the trace {trace.name} has no prefix blocks",
            where="prefix_caching",
            mend="choose a trace with block ids (Mooncake's have) or turn it off",
        )
    if scenario.block_tokens not in (None, trace.block_tokens):
        raise InputError(
            f"{scenario.block_tokens} is not the trace's {trace.block_tokens}",
            where="block_tokens",
            mend="leave it out: prefix ids stand for whole blocks of the trace",
        )
    return trace.block_tokens, True, []


def _keeps_preempted(scenario: ServingScenario) -> bool:
    """Whether some engine finds again what a pre-empted request had computed."""
    return any(make_engine(pool.engine).keep_preempted for pool in scenario.cluster.values())


def _check_lengths(trace: Trace, cluster: Cluster, block_tokens: int, notes: list[str]) -> None:
    """Note how many requests no replica can hold."""
    room = max(fact["kv_tokens"] for fact in cluster.facts)
    need = trace.prompt.astype(np.int64) + trace.output + 1
    too_long = int((-(-need // block_tokens) * block_tokens > room).sum())
    if too_long == len(trace):
        raise InputError(
            f"all {too_long} requests are longer than the {room} KV tokens of a replica",
            where="cluster",
            mend="use more GPUs a replica (tp) or a smaller model",
        )
    if too_long:
        notes.append(f"{too_long} requests are longer than a replica's {room} KV tokens: refused")
    if all(kind.refuse_over_budget for kind in cluster.kinds):
        _check_budget(trace, max(kind.max_tokens for kind in cluster.kinds), notes)


def _check_budget(trace: Trace, budget: int, notes: list[str]) -> None:
    """Note how many prompts no engine takes, because none chunks them."""
    over = int((trace.prompt > budget).sum())
    if over == len(trace):
        raise InputError(
            f"all {over} prompts are longer than the {budget} tokens of an iteration, and this "
            "engine refuses such prompts",
            where="cluster",
            mend="raise max_tokens",
        )
    if over:
        notes.append(f"{over} prompts are longer than max_tokens = {budget}: refused")


def _input(
    scenario: ServingScenario,
    seed: int,
    trace: Trace,
    cluster: Cluster,
    block_tokens: int,
    caching: bool,
    chosen: dict[str, tuple[Policy, np.ndarray]],
) -> ServingInput:
    workload, network, control = scenario.workload, scenario.network, scenario.control
    outside = FrontEnd.of(workload)
    priority = chosen["priority"][0]
    nics = int(cluster.nic_of.max()) + 1
    scaling = chosen["scale"][0].name != "none"
    sizes = Sizes(
        requests=len(trace),
        tenants=len(trace.tenants),
        sessions=int(trace.session.max(initial=-1)) + 1,
        replicas=len(cluster.pool_of),
    )
    return ServingInput(
        **_columns(trace, caching, outside, closed=workload.concurrency is not None),
        predicted=predictions(scenario, trace, seed),
        kinds=cluster.kinds,
        kind_of=cluster.pool_of,
        role_of=cluster.role_of,
        pool_of=cluster.pool_of,
        nic_of=cluster.nic_of,
        up=cluster.up,
        deadline=deadlines(scenario, trace),
        tenant_weights=tenant_weights(workload, trace),
        block_tokens=block_tokens,
        prefix_caching=caching,
        nic_bytes_per_s=np.full(nics, network.bandwidth_gbps * 1e9 / 8),
        fabric=fabric_of(scenario, nics),
        latency=int(ticks(network.latency_us / 1e6)),
        kv_bytes_per_token=cluster.kv_bytes_per_token,
        concurrency=workload.concurrency or 0,
        think=int(ticks(workload.think_s)) + outside.return_ticks,
        control=cluster.control,
        scale_every=int(ticks(control.scale_interval_s)) if scaling else 0,
        snapshot_every=int(ticks(control.snapshot_s)),
        seed=seed,
        stability=STABILITIES.get(priority.stability, STATIC),
        live_view=any(policy.live for policy, _ in chosen.values()),
        default_evict=_built_in("evict", chosen["evict"][0]),
        count_wanted=chosen["evict"][0].queue,
        stores=prefix_stores(
            scenario.prefix_pool,
            caching=caching,
            block_tokens=block_tokens,
            kv_bytes_per_token=cluster.kv_bytes_per_token,
            cells=cluster.kinds[0].cells,
        ),
        params={hook: params for hook, (_, params) in chosen.items()},
        memory={hook: policy.memory_size(sizes) for hook, (policy, _) in chosen.items()},
    )


def _columns(trace: Trace, caching: bool, outside: FrontEnd, *, closed: bool) -> dict[str, Any]:
    """The trace's columns, those that hold only defaults left out.

    In a closed loop nothing but the end of another request releases one: sessions are undone.
    Clients lose patience so long after sending; the kernel counts from the arrival.
    """
    names = ["arrival", "prompt", "output"]
    names += [n for n, default in DEFAULTS.items() if np.any(getattr(trace, n) != default)]
    if closed:
        names = [name for name in names if name not in ("after", "delay")]
    if caching:
        names += ["block_start", "block_count", "block_ids"]
    columns = {name: getattr(trace, name) for name in names}
    front = outside.ticks(trace.prompt)
    if "after" in columns and outside.return_ticks:
        columns["delay"] = trace.delay + outside.return_ticks
    if len(front):
        columns["front"] = front
        if "timeout" in columns:
            columns["timeout"] = np.where(
                trace.timeout > 0, np.maximum(1, trace.timeout - front), 0
            )
    return columns


def _limits(scenario: ServingScenario) -> dict[str, float]:
    limits = {
        "ttft": scenario.slo.ttft_ms,
        "tpot": scenario.slo.tpot_ms,
        "e2e": scenario.slo.e2e_ms,
    }
    return {name: value for name, value in limits.items() if value is not None}


def _sources(chosen: dict[str, tuple[Policy, np.ndarray]]) -> dict[str, str]:
    """Hashes of the users' policy files: a run depends on them as on our own code."""
    found = {}
    for hook, (policy, _) in chosen.items():
        file = Path(policy.location.rpartition(":")[0])
        if file.is_file() and not policy.function.__module__.startswith("mltwin."):
            found[f"policy.{hook}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _run_reference(lowered: Lowered, check: bool, log: bool) -> Any:
    from mltwin.models.serving.reference import simulate

    functions = {hook: policy.function for hook, policy in lowered.policies.items()}
    return simulate(lowered.input, functions, check=check, log=log)


def _in_seconds(progress: Progress | None) -> Callable[[float, int], None] | None:
    if progress is None:
        return None
    return lambda share, now: progress(share, now / 1e12)
