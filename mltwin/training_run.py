"""From a `TrainingScenario` to a task graph, and from its execution to a result."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm.config import load_model
from mltwin.models.network.topology import Topology
from mltwin.models.training.executor import GraphRun, execute
from mltwin.models.training.plan import TrainingBatch, TrainingPlan
from mltwin.models.training.step import TrainingStep, training_step
from mltwin.models.training.step_comm import Cluster
from mltwin.models.training.tables import COMPUTE, HOST, TRANSFER, Graph
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import FAILURES, SERVICE, normals, uniforms

from .fields import placed
from .training import TrainingScenario
from .training_result import TrainingResult


def run_training(
    scenario: TrainingScenario, seed: int, *, reference: bool = False
) -> TrainingResult:
    """Simulate a scenario once.

    Raises InputError: see `TrainingScenario.simulate`.
    """
    step = _step(scenario)
    run = _executed(scenario, seed, step, reference)
    return TrainingResult.of_run(run, facts_of(scenario, run.graph, step))


def executed(scenario: TrainingScenario, seed: int) -> GraphRun:
    """The execution alone, task by task.

    Raises InputError: see `TrainingScenario.simulate`.
    """
    return _executed(scenario, seed, _step(scenario), False)


def _step(scenario: TrainingScenario) -> TrainingStep | None:
    return None if scenario.graph is not None else step_of(scenario)


def step_of(scenario: TrainingScenario) -> TrainingStep:
    """The training step that a scenario describes.

    Raises InputError: an unknown model or GPU, sizes that do not divide, too little memory.
    """
    plan = plan_of(scenario)
    cluster = Cluster(
        gpus_per_node=scenario.cluster.gpus_per_node or 0,
        nic_bytes_per_s=scenario.cluster.nic_gbit_per_s * 1e9 / 8,
    )
    return training_step(
        load_model(_file_or_name(scenario, scenario.model)),
        plan,
        TrainingBatch(scenario.batch.sequences, scenario.batch.tokens),
        load_profile(_file_or_name(scenario, scenario.gpu)),
        recipe=scenario.recipe,
        cluster=cluster,
        slowdown=scenario.overlap_slowdown,
        fit=scenario.fit,
    )


def plan_of(scenario: TrainingScenario) -> TrainingPlan:
    """The plan as the model takes it. Raises InputError for one that cannot be."""
    fields = scenario.plan.model_dump()
    bucket_bytes = fields.pop("bucket_mb") * 1e6
    try:
        return TrainingPlan(**fields, bucket_bytes=bucket_bytes)
    except InputError as error:
        raise placed(error, "plan") from None


def _file_or_name(scenario: TrainingScenario, given: str) -> str:
    """A file beside the scenario, or the name as it stands."""
    path = scenario.resolve_path(given)
    return str(path) if path.is_file() else given


def graph_of(scenario: TrainingScenario, step: TrainingStep | None) -> Graph:
    """The task graph of a step, or of the scenario's file."""
    if step is not None:
        wired: bool | str = scenario.cluster.topology is not None
        if scenario.cluster.messages == "all":
            wired = "all"
        return step.graph(ranks=scenario.ranks, network=wired)
    from mltwin.workloads.executions import read_execution

    assert scenario.graph is not None
    return read_execution(scenario.resolve_path(scenario.graph))


def _varied(graph: Graph, scenario: TrainingScenario, seed: int) -> Graph:
    """The graph with kernels that vary (lognormal, mean 1) and GPUs that are slow."""
    noise = scenario.noise
    if noise.sigma == 0 and noise.slow_share == 0:
        return graph
    work = np.isin(graph.kind, (COMPUTE, HOST)) & (graph.duration > 0)
    task = np.flatnonzero(work)
    factor = np.exp(noise.sigma * normals(seed, SERVICE, task) - noise.sigma**2 / 2)
    device = np.maximum(graph.device[task], 0)
    slow = uniforms(seed, FAILURES, device) < noise.slow_share
    factor = np.where(slow, factor * noise.slow_factor, factor)
    duration = graph.duration.copy()
    duration[task] = np.maximum(np.rint(duration[task] * factor), 1).astype(np.int64)
    return replace(graph, duration=duration)


def _executed(
    scenario: TrainingScenario, seed: int, step: TrainingStep | None, reference: bool
) -> GraphRun:
    graph = _varied(graph_of(scenario, step), scenario, seed)
    topology = _topology_of(scenario, step)
    # A step's graph is made of passes that are slowed already, where exchanges run beside them.
    slowdown = (scenario.overlap_slowdown or 1.0) if step is None else 1.0
    options: dict[str, Any] = {
        "topology": topology,
        "routing": scenario.cluster.routing,
        "fidelity": scenario.cluster.fidelity,
        "order": scenario.order,
        "overlap_slowdown": slowdown,
    }
    run = execute
    if reference:
        from mltwin.models.training.graph_reference import execute_reference as run
    try:
        return run(graph, **options)
    except InputError as error:
        raise placed(error, scenario.graph) from None


def _topology_of(scenario: TrainingScenario, step: TrainingStep | None) -> Topology | None:
    """The network that messages cross. InputError where it has too few ranks for the plan."""
    from .topologies import named_topology

    spec = scenario.cluster.topology
    if spec is None:
        return None
    topology = named_topology(spec, scenario.resolve_path, where="cluster.topology")
    if step is not None and step.plan.world > topology.ranks:
        raise InputError(
            f"{topology.ranks} ranks for the {step.plan.world} GPUs of the plan",
            where="cluster.topology",
            mend="a larger topology, or smaller dp, cp, tp, pp",
        )
    return topology


def facts_of(scenario: TrainingScenario, graph: Graph, step: TrainingStep | None) -> dict[str, Any]:
    """What the metrics are made with."""
    facts: dict[str, Any] = {
        "dollars_per_gpu_hour": scenario.dollars_per_gpu_hour,
        "names": list(graph.names),
        "source": graph.facts.get("format", Path(scenario.graph or "").name),
    }
    if scenario.cluster.topology is not None and not (graph.kind == TRANSFER).any():
        facts["idle_network"] = True
    if step is None:
        return facts
    from mltwin.models.training.mfu import hardware_flops, model_flops

    tokens = step.batch.tokens
    return facts | {
        "plan": step.plan.describe(),
        "model": step.model.name,
        "gpu": step.profile.name,
        "gpus": step.plan.world,
        "tokens": step.tokens,
        "model_flops": model_flops(step.model, tokens),
        "hardware_flops": hardware_flops(step.model, tokens, step.plan.recompute),
        "peak_flops": step.peak_flops,
        "closed_s": step.seconds,
        "memory_bytes": asdict(step.memory),
        "usable_bytes": float(step.profile.facts.usable_bytes),
    }


def check_training(scenario: TrainingScenario) -> None:
    """Look up what a scenario names; see `TrainingScenario.check`."""
    if scenario.graph is not None:
        if not scenario.resolve_path(scenario.graph).exists():
            raise InputError(f"no file {scenario.graph!r}", where="graph", mend="check the path")
        _topology_of(scenario, None)
        return
    _topology_of(scenario, step_of(scenario))
