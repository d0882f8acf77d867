"""From a `TrainingRunScenario` to a plan, and from its outcome to a result."""

from typing import Any

import numpy as np

from mltwin.models.training import laws
from mltwin.models.training.checkpoints import (
    CheckpointCosts,
    checkpoint_costs,
    daly_interval,
    system_mtbf,
    young_interval,
)
from mltwin.models.training.elastic import step_ticks
from mltwin.models.training.failures import Membership, read_membership
from mltwin.models.training.noise import measured_law
from mltwin.models.training.reliability import RunPlan, run_plan
from mltwin.models.training.reliability_tables import ADAPTIVE, ELASTIC, FIXED, TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import NEVER

from .reliability import TrainingRunScenario
from .reliability_result import TrainingRunResult

DAY_S, GB = 86400.0, 1e9


def run_training(
    scenario: TrainingRunScenario, seed: int, *, reference: bool = False
) -> TrainingRunResult:
    """Simulate a scenario once.

    Raises InputError: a trace that cannot be read or has too few nodes.
    """
    plan, facts = lower(scenario, seed)
    return TrainingRunResult.of(run_plan(plan, reference=reference), facts)


def lower(scenario: TrainingRunScenario, seed: int) -> tuple[RunPlan, dict[str, Any]]:
    """The plan of a scenario and seed, and what the metrics need besides.

    Raises InputError: a trace that cannot be read or has too few nodes.
    """
    job, recovery, failures = scenario.job, scenario.recovery, scenario.failures
    costs = costs_of(scenario)
    trace = _trace(scenario)
    pool = len(trace.names) if trace else job.nodes + scenario.cluster.spares
    mtbf_s = mtbf_of(scenario, trace)
    interval_s, cost_s = interval_of(scenario, costs, mtbf_s)
    plan = RunPlan(
        step_of=step_ticks(_ticks(job.step_s), job.nodes, job.fixed_share),
        nodes=job.nodes,
        steps=max(1, round(job.days * DAY_S / job.step_s)),
        pool=pool,
        unit=job.unit_nodes,
        least=recovery.least_nodes if recovery.elastic != "rigid" else 1,
        copies=scenario.checkpoint.copies,
        seed=seed,
        until=_ticks(scenario.limit_days * DAY_S),
        elastic=ELASTIC.index(recovery.elastic),
        memory=costs.memory,
        storage_every=scenario.checkpoint.storage_every if costs.memory else 1,
        block=_ticks(costs.block_s),
        snapshot=_ticks(costs.snapshot_s),
        flush=_ticks(costs.flush_s),
        write=_ticks(costs.write_s),
        update_share=job.update_share,
        detect=_ticks(recovery.detect_s),
        restart=_ticks(recovery.restart_s),
        load_memory=_ticks(costs.load_memory_s),
        load_storage=_ticks(costs.load_storage_s),
        reshard=_ticks(recovery.reshard_s),
        swap=_ticks(recovery.swap_s),
        regrow=_ticks(recovery.regrow_minutes * 60),
        interval=_ticks(interval_s),
        interval_kind=ADAPTIVE if scenario.checkpoint.interval == "adaptive" else FIXED,
        interval_least=_ticks(least_interval(scenario, costs)),
        cost=cost_s * TICKS_PER_S,
        prior=min(mtbf_s, 3650 * DAY_S) * TICKS_PER_S,
        noise=_noise(scenario),
        **_failing(scenario),
        **_traced(trace),
    )
    facts = {
        "nodes": job.nodes,
        "gpus_per_node": job.gpus_per_node,
        "dollars_per_gpu_hour": scenario.cluster.dollars_per_gpu_hour,
        "step_ticks": int(plan.step_of[job.nodes]),
        "interval_s": interval_s,
        "mtbf_hours": mtbf_s / 3600 if np.isfinite(mtbf_s) else None,
        "load_s": costs.load_storage_s,
    }
    if failures.trace is not None:
        facts["trace_nodes"] = pool
    return plan, facts


def costs_of(scenario: TrainingRunScenario) -> CheckpointCosts:
    """Seconds of the phases of the scenario's checkpoints."""
    c = scenario.checkpoint
    return checkpoint_costs(
        c.strategy,
        c.state_gb * GB,
        scenario.job.nodes,
        storage_bytes_per_s=c.storage_gb_per_s * GB,
        host_bytes_per_s=c.host_gb_per_s * GB,
        peer_bytes_per_s=c.peer_gb_per_s * GB,
        copies=c.copies,
    )


def mtbf_of(scenario: TrainingRunScenario, trace: Membership | None = None) -> float:
    """Seconds between failures that reach the job; infinite where nothing fails."""
    f, nodes = scenario.failures, scenario.job.nodes
    if trace is not None:
        return trace.mtbf / TICKS_PER_S
    rack = (scenario.cluster.rack_mtbf_days or 0.0) * DAY_S
    racks = -(-nodes // scenario.cluster.rack_nodes)
    return system_mtbf(nodes, f.mtbf_days * DAY_S if f.kind != "none" else 0.0, racks, rack)


def least_interval(scenario: TrainingRunScenario, costs: CheckpointCosts) -> float:
    """Seconds of work in which one checkpoint gets out of the way of the next."""
    busy = costs.snapshot_s + costs.flush_s
    if costs.memory:
        every = scenario.checkpoint.storage_every
        busy = max(costs.snapshot_s, busy / every if every else 0.0)
    return max(scenario.job.step_s, busy)


def interval_of(
    scenario: TrainingRunScenario, costs: CheckpointCosts, mtbf_s: float
) -> tuple[float, float]:
    """Seconds of work between checkpoints, and seconds that one is expected to stop training."""
    job = scenario.job
    late = costs.snapshot_s - (1 - job.update_share) * job.step_s
    cost = costs.block_s + max(0.0, late)
    if scenario.checkpoint.interval == "fixed":
        return scenario.checkpoint.minutes * 60, cost
    if not np.isfinite(mtbf_s):
        return scenario.limit_days * DAY_S, cost  # nothing fails: none is needed
    rule = daly_interval if scenario.checkpoint.interval == "daly" else young_interval
    return max(rule(cost, mtbf_s), least_interval(scenario, costs)), cost


def _ticks(seconds: float) -> int:
    return min(round(seconds * TICKS_PER_S), NEVER)


def _noise(scenario: TrainingRunScenario) -> np.ndarray | None:
    s = scenario.stragglers
    if s.kind == "measured":
        return measured_law(s.measured)
    return laws.lognormal_law(s.sigma) if s.kind == "lognormal" and s.sigma > 0 else None


def _failing(scenario: TrainingRunScenario) -> dict[str, Any]:
    """The laws of failures and slow nodes."""
    f, s, c = scenario.failures, scenario.stragglers, scenario.cluster
    made: dict[str, Any] = {}
    if f.kind in ("exponential", "weibull"):
        made |= {
            "life_mean": f.mtbf_days * DAY_S * TICKS_PER_S,
            "soft_share": f.crash_share,
        }
        if f.kind == "weibull":
            made["life"] = laws.weibull_law(f.shape)
    made |= {
        "repair_mean": f.repair_hours * 3600 * TICKS_PER_S,
        "repair_drawn": f.repair == "exponential",
    }
    if c.rack_mtbf_days:
        made |= {
            "rack_nodes": c.rack_nodes,
            "rack_mean": c.rack_mtbf_days * DAY_S * TICKS_PER_S,
        }
    if s.slow_days:
        detect = NEVER if s.detect_hours is None else _ticks(s.detect_hours * 3600)
        made |= {
            "slow_mean": s.slow_days * DAY_S * TICKS_PER_S,
            "slow_factor": s.slow_factor,
            "slow_detect": detect,
        }
    return made


def _trace(scenario: TrainingRunScenario) -> Membership | None:
    """The nodes that come and go, if the scenario names a file.

    Raises InputError: it cannot be read, or never has nodes enough.
    """
    if scenario.failures.trace is None:
        return None
    trace = read_membership(scenario.resolve_path(scenario.failures.trace))
    rigid = scenario.recovery.elastic == "rigid"
    least = scenario.job.nodes if rigid else scenario.recovery.least_nodes
    most = int(trace.there().max())
    if most < least or len(trace.names) < scenario.job.nodes:
        raise InputError(
            f"has {most} nodes at a time and {len(trace.names)} in all, the job wants "
            f"{scenario.job.nodes}, at least {least}",
            where=scenario.failures.trace,
            mend="set job.nodes and recovery.least_nodes to what is there",
        )
    return trace


def _traced(trace: Membership | None) -> dict[str, Any]:
    if trace is None:
        return {}
    return {"trace_time": trace.time, "trace_node": trace.node, "trace_up": trace.up}
