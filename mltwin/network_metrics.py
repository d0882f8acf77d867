"""Figures of the system `network` from its tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mltwin.models.network.nccl import traffic

from .metrics import spread
from .result import Columns

TICKS_PER_MS = 1e9
_SHOWN = ("mean", "p50", "p99", "max")


def metrics_of(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a run.

    `fct`: flow completion time, from the start of a flow to its end. `slowdown`: that over the time
    that the flow would take alone; flows of one collective share the links of their ranks, so that
    it is n-1 or so where each sends to all. Utilisation of a link: bytes carried over those it
    could carry in the makespan.
    """
    flows, links = tables["flows"], tables["links"]
    n = len(flows["time"])
    span = int(flows["end"].max(initial=0)) - int(flows["time"].min(initial=0)) if n else 0
    found: dict[str, float] = {
        "flows": float(n),
        "sent_gb": float(flows["bytes"].sum()) / 1e9,
        "makespan_ms": span / TICKS_PER_MS,
    }
    if n:
        took = (flows["end"] - flows["start"]).astype(float)
        found |= _spread("fct_ms", took / TICKS_PER_MS)
        found |= _spread("slowdown", took / np.maximum(flows["alone"], 1))
    if span > 0:
        found["goodput_gb_per_s"] = float(flows["bytes"].sum()) / span * 1e3
    found |= _links(links, span)
    if facts.get("collective") and span > 0:
        rate = facts["buffer_bytes"] / span * 1e3
        found["algbw_gb_per_s"] = rate
        # nccl-tests, doc/PERFORMANCE.md: over every link of a rank, on however many nodes
        found["busbw_gb_per_s"] = rate * float(traffic(facts["collective"], facts["group_ranks"]))
    return found


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
    known = spread(values)
    return {f"{stat}_{name}": known[stat] for stat in _SHOWN}


def _links(links: Columns, span: int) -> dict[str, float]:
    used = links["bytes"] > 0
    if not used.any() or span <= 0:
        return {}
    able = np.maximum(links["capacity"][used] * (span / 1e12), 1e-300)
    share = links["bytes"][used] / able
    return {
        "links_used": float(used.sum()),
        "max_link_gb": float(links["bytes"].max()) / 1e9,
        "max_link_utilisation": float(share.max()),
        "mean_link_utilisation": float(share.mean()),
        "peak_flows_on_a_link": float(links["peak"].max(initial=0)),
    }


def violations_of(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    """Laws of conservation that a run broke."""
    found = list(facts["broken_laws"])
    flows, links = tables["flows"], tables["links"]
    if (flows["end"] < flows["start"]).any() or (flows["start"] < flows["time"]).any():
        found.append("a flow ended before it started, or started before it was released")
    carried, owed = float(links["bytes"].sum()), float(facts["sent_over_links"])
    if abs(carried - owed) > 1e-6 * max(owed, 1.0):
        found.append(f"links carried {carried:.6g} bytes, flows crossed with {owed:.6g}")
    took = flows["end"] - flows["start"]
    if facts["changes"] == 0 and (took < flows["alone"] - 1 - 1e-9 * flows["alone"]).any():
        found.append("a flow was faster than it is alone")
    return found
