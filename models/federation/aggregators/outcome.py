"""What a service did and cost."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import TICKS_PER_S

from .tables import GB, Service

Array = npt.NDArray[Any]

STEP_COLUMNS = (
    "updates", "first", "last", "closed", "made", "leaves", "nodes", "queue", "average_queue",
    "cold_starts", "off_node_bytes", "busy_ticks",
)  # fmt: skip
_FLOATS = {"average_queue", "off_node_bytes"}
KINDS = ("fold", "serialise", "sidecar", "broker", "start")
"""Of work that takes a core."""


@dataclass(frozen=True, eq=False)
class AggregationRun:
    """Steps of a service. Times are ticks of 1 ns.

    Attributes:
        steps: a row a step: updates; when the first and the last came, when it closed, when its
            version was made; leaves, and nodes with any; the highest number of updates that had
            come and were not folded, and the average before it (-1: none yet); cold starts,
            bytes between machines, ticks of cores.
        totals: cpu_s = busy_s + start_s + idle_s, core seconds of work, of cold starts and of
            instances (and of a broker) that wait; fold_s, serialise_s, sidecar_s, broker_s: parts
            of busy_s; cold_starts; instances, at a time; off_node_gb; memory_gb, at most, of
            messages, sums and instances; there_gb, of all machines; dollars.
        violations: of the law that every update is in its version exactly once, and that
            nothing is left behind; none in a correct run.
    """

    steps: dict[str, Array]
    totals: dict[str, float]
    violations: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, rows: list[tuple[Any, ...]], totals: dict[str, float], violations: list[str]
    ) -> "AggregationRun":
        """From rows in the order of STEP_COLUMNS."""
        data = list(zip(*rows, strict=True)) if rows else [()] * len(STEP_COLUMNS)
        steps = {
            name: np.array(values, np.float64 if name in _FLOATS else np.int64)
            for name, values in zip(STEP_COLUMNS, data, strict=True)
        }
        return cls(steps, totals, list(violations))

    @property
    def latency_s(self) -> Array:
        """float64[steps], from the last update to the version."""
        return (self.steps["made"] - self.steps["last"]) / TICKS_PER_S


def totals_of(
    service: Service,
    spent: Counter[str],
    lived: int,
    end: int,
    *,
    instances: int,
    started: int,
    off_node: float,
    memory: float,
) -> dict[str, float]:
    """`AggregationRun.totals`.

    Args:
        service: what it is.
        spent: ticks of cores by kind.
        lived: ticks that all instances have been there.
        end: ticks of the run.
        instances, started, off_node, memory: at a time, cold starts, bytes, bytes.

    Held are all instances as long as they live, a broker all the time, and the cores of what
    serialises and of sidecars while they work; dollars are for that.
    """
    parts = {f"{kind}_s": spent[kind] / TICKS_PER_S for kind in KINDS}
    busy = sum(parts.values()) - parts["start_s"]
    idle_ticks = lived - spent["fold"] - spent["start"]
    seconds = end / TICKS_PER_S
    core_s = lived / TICKS_PER_S + parts["serialise_s"] + parts["sidecar_s"]
    gb_s = service.instance_gb * lived / TICKS_PER_S
    broker_gb = service.broker_gb if service.hops == "broker" else 0.0
    if service.hops == "broker":
        idle_ticks += service.broker_cores * end - spent["broker"]
        core_s += service.broker_cores * seconds
        gb_s += service.broker_gb * seconds
    idle = idle_ticks / TICKS_PER_S
    dollars = (
        core_s / 3600 * service.dollars_per_core_hour
        + gb_s / 3600 * service.dollars_per_gb_hour
        + off_node / GB * service.dollars_per_off_node_gb
    )
    return {
        **parts,
        "busy_s": busy,
        "idle_s": idle,
        "cpu_s": busy + parts["start_s"] + idle,
        "cold_starts": float(started),
        "instances": float(instances),
        "off_node_gb": off_node / GB,
        "memory_gb": memory / GB,
        "there_gb": service.nodes * service.node_gb + broker_gb,
        "dollars": dollars,
    }
