"""The section `aggregation` of a federation: the service that folds updates into a version."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from .fields import Section

if TYPE_CHECKING:
    from mltwin.models.federation.aggregators import AggregationRun, Service

    from .federated_run import Lowered
    from .result import Columns

TICKS_PER_S = 10**9
GB = 1e9


class Aggregation(Section):
    """A tree of aggregators on the server's side; what it takes delays each version."""

    design: Literal["always_on", "broker", "lifl"] = Field(
        "lifl",
        description="always_on: fixed aggregators over gRPC; broker: serverless ones behind a "
        "broker and sidecars; lifl: shared memory, packed placement, eager, reused",
    )
    nodes: int = Field(4, ge=1, le=10_000, description="machines")
    cores: int = Field(16, ge=1, le=10_000, description="of each")
    node_gb: float = Field(64.0, ge=1e-6, le=1e6, description="memory of each")
    levels: Literal[1, 2, 3] | None = Field(
        None, description="1: one aggregator; 2: leaves and a top; 3: one a node between them; "
        "none: as the design has it, here and below",
    )  # fmt: skip
    fan_in: int = Field(2, ge=1, le=10**6, description="updates of a leaf (not always on)")
    leaves: int = Field(8, ge=1, le=10**5, description="always on: leaves, for all updates")
    hops: Literal["grpc", "broker", "shared"] | None = Field(
        None, description="how a message gets to the next aggregator"
    )
    placement: Literal["spread", "pack"] | None = Field(
        None, description="updates over all nodes, or on the fullest node with room"
    )
    timing: Literal["lazy", "eager"] | None = Field(
        None, description="fold when all is there, or what has come"
    )
    scaling: Literal["fixed", "demand", "ewma"] | None = Field(
        None, description="leaves always on, as updates come, or by the average queue beforehand"
    )
    reuse: bool | None = Field(None, description="an idle leaf may become a parent")
    node_updates: int = Field(
        20, ge=1, le=10**9, description="pack: updates that a node has room for"
    )
    ewma: float = Field(0.7, ge=0, le=1, description="weight of the last step in the queue")
    cold_start_s: float = Field(2.0, ge=0, le=1e5, description="of an instance; assumed")
    keep_alive_s: float = Field(60.0, ge=0, le=1e9, description="that an idle instance stays")
    instance_gb: float = Field(0.5, ge=0, le=1e5, description="memory of one; assumed")
    fold_gb_per_s: float = Field(6.0, ge=1e-6, le=1e6, description="a core adds; measured")
    serialise_gb_per_s: float = Field(
        1.3, ge=1e-6, le=1e6, description="a core packs or unpacks; measured (pickle)"
    )
    sidecar_gb_per_s: float = Field(
        1.25, ge=1e-6, le=1e6, description="of a core; half of a measured loopback socket"
    )
    broker_gb_per_s: float = Field(1.25, ge=1e-6, le=1e6, description="of a core; likewise")
    broker_cores: int = Field(4, ge=1, le=10_000, description="of its machine, always on")
    broker_gb: float = Field(16.0, ge=0, le=1e6, description="memory of it")
    nic_gbit_per_s: float = Field(
        10.0, ge=1e-6, le=1e6, description="of each machine, in and out apart"
    )
    latency_s: float = Field(1e-4, ge=0, le=1e3, description="between machines")
    pass_s: float = Field(2e-5, ge=0, le=1e3, description="a reference within a node; assumed")
    dollars_per_core_hour: float = Field(0.04, ge=0, le=1e6, description="held; assumed")
    dollars_per_gb_hour: float = Field(0.005, ge=0, le=1e6, description="held; assumed")
    dollars_per_off_node_gb: float = Field(
        0.0, ge=0, le=1e6, description="between machines of the service"
    )


def service_of(given: Aggregation | None) -> "Service | None":
    """The service that a section describes; None where there is none."""
    if given is None:
        return None
    from mltwin.models.federation.aggregators import design

    changes = {key: value for key, value in given.model_dump().items() if value is not None}
    return design(changes.pop("design"), **changes)


def check_service(lowered: "Lowered") -> None:
    """Whether a leaf with one update fits on a node.

    Raises InputError: it does not.
    """
    plan, strategy = lowered.plan, lowered.policies.strategy
    if plan.aggregation is None:
        return
    size = 4.0 * lowered.facts["parameters"] if plan.model_bytes is None else plan.model_bytes
    plan.aggregation.begin(size * strategy.up_models)


def step_table(run: "AggregationRun") -> "Columns":
    """The table `aggregation` of a result: a row a step."""
    steps = run.steps
    times = {f"{name}_s": steps[name] / TICKS_PER_S for name in ("first", "last", "closed", "made")}
    counts = ("leaves", "nodes", "queue", "average_queue", "cold_starts")
    return {
        "updates": steps["updates"],
        **times,
        **{name: steps[name] for name in counts},
        "off_node_gb": steps["off_node_bytes"] / GB,
        "busy_s": steps["busy_ticks"] / TICKS_PER_S,
    }


def aggregation_metrics(
    tables: Mapping[str, "Columns"], facts: Mapping[str, Any]
) -> dict[str, float]:
    """What the service did and cost: {} where there is none.

    `mean_aggregation_s` and `max_aggregation_s` are from the last update of a step to its version.
    """
    totals = facts.get("aggregation")
    if totals is None:
        return {}
    steps = tables["aggregation"]
    waits = np.asarray(steps["made_s"], float) - np.asarray(steps["last_s"], float)
    found = {
        "aggregation_cpu_s": totals["cpu_s"],
        "aggregation_work_s": totals["busy_s"],
        "aggregation_idle_s": totals["idle_s"],
        "aggregation_instances": totals["instances"],
        "aggregation_memory_gb": totals["memory_gb"],
        "aggregation_dollars": totals["dollars"],
        "cold_starts": totals["cold_starts"],
        "off_node_gb": totals["off_node_gb"],
    }
    if len(waits):
        found |= {
            "mean_aggregation_s": float(waits.mean()),
            "max_aggregation_s": float(waits.max()),
        }
    return found


def aggregation_notes(facts: Mapping[str, Any]) -> list[str]:
    """Whether the nodes have the memory that they would have needed."""
    totals = facts.get("aggregation")
    if totals is None or totals["memory_gb"] <= totals["there_gb"]:
        return []
    return [
        f"The aggregation service held up to {totals['memory_gb']:.3g} GB, more than the "
        f"{totals['there_gb']:.3g} GB of its machines: too many updates wait there."
    ]
