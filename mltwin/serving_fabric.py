"""The fabric between the NICs of a serving cluster: from a scenario, and what it carried."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .fields import placed
from .text import Table
from .topologies import named_topology

if TYPE_CHECKING:
    from mltwin.models.serving.fabric import Fabric
    from mltwin.models.serving.outcome import Outcome

    from .serving import ServingScenario

Columns = Mapping[str, np.ndarray]
_SHOWN = 10


def fabric_of(scenario: "ServingScenario", nics: int) -> "Fabric | None":
    """The links between the NICs of the replicas, and of a KV pool behind them.

    Raises InputError: a topology that is not there or too small, endpoints that do not fit.
    """
    from mltwin.models.serving.fabric import Fabric

    section = scenario.network
    if section.topology is None:
        for name, without in (("endpoints", None), ("routing", "ecmp")):
            if getattr(section, name) != without:
                raise InputError(
                    "has no topology to act on",
                    where=f"network.{name}",
                    mend="give network.topology, or leave it out",
                )
        return None
    ends = nics + (scenario.prefix_pool is not None)
    topology = named_topology(section.topology, scenario.resolve_path, where="network.topology")
    endpoints = np.arange(ends) if section.endpoints is None else np.array(section.endpoints)
    if len(endpoints) != ends:
        raise InputError(
            f"{len(endpoints)} endpoints for {ends} NICs",
            where="network.endpoints",
            mend="give one for each NIC, pool after pool"
            + (", and one for the KV pool behind them" if ends > nics else ""),
        )
    try:
        return Fabric.of_topology(topology, endpoints, routing=section.routing, seed=scenario.seed)
    except InputError as error:
        raise placed(error, "network.topology") from None


def fabric_table(outcome: "Outcome", fabric: "Fabric") -> dict[str, np.ndarray]:
    """Of each link: bytes per second, bytes moved."""
    return {"bytes_per_s": np.asarray(fabric.bytes_per_s), "bytes": np.asarray(outcome.fabric)}


def fabric_metrics(tables: Mapping[str, Columns], span_s: float) -> dict[str, float]:
    """`fabric_busiest_share`: of the link that moved most for its bandwidth, of all that it could.

    Also `fabric_mean_share`, over the links that moved anything; {} without a fabric.
    """
    if "fabric" not in tables:
        return {}
    share = _shares(tables["fabric"], span_s)
    used = share[share > 0]
    return {
        "fabric_busiest_share": float(share.max(initial=0.0)),
        "fabric_mean_share": float(used.mean()) if len(used) else 0.0,
    }


def fabric_rows(tables: Mapping[str, Columns], names: list[str], span_s: float) -> list[Table]:
    """The busiest links; nothing without a fabric."""
    if "fabric" not in tables:
        return []
    columns, share = tables["fabric"], _shares(tables["fabric"], span_s)
    order = np.argsort(-share, kind="stable")[:_SHOWN]
    rows: list[list[Any]] = [
        [names[k], columns["bytes_per_s"][k] * 8e-9, columns["bytes"][k] / 1e9, share[k]]
        for k in order
        if columns["bytes"][k]
    ]
    return [Table(["link", "Gbit/s", "GB moved", "share used"], rows, title="fabric")]


def _shares(columns: Columns, span_s: float) -> np.ndarray:
    could = np.asarray(columns["bytes_per_s"], np.float64) * span_s
    return np.divide(columns["bytes"], could, out=np.zeros(len(could)), where=could > 0)
