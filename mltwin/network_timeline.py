"""The timeline of a run of the system `network`: what each rank sends, and to whom."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.errors import InputError

from .network import NetworkScenario
from .timelines.opening import open_timeline
from .timelines.timeline import Timeline, Window

if TYPE_CHECKING:
    from .network_result import NetworkResult

_SWITCH = "switches"


def network_timeline(result: "NetworkResult", window_s: Window | None = None) -> Timeline:
    """One process for each rank that sends, as many lanes as flows of it overlap.

    Flows bear the name of the node that they go to, and their bytes; what switches of an in-network
    collective send stands in a process of its own.

    Raises InputError: a window that is none, a result that does not know its scenario.
    """
    from .network_run import topology_of

    if not isinstance(result.scenario, NetworkScenario):
        raise InputError("the run does not know its scenario", where=result.label)
    topology = topology_of(result.scenario)
    names = [topology.nodes[node] for node in topology.endpoints.tolist()]
    flows = result.tables["flows"]
    end = int(flows["end"].max(initial=0))
    made, _ = open_timeline(result, end, window_s)
    source, target = np.maximum(flows["source"], -1), np.maximum(flows["target"], -1)
    lanes = np.zeros(len(source), np.int64)
    for sender, mine in _groups(source, flows["start"]):
        process = f"from {names[sender]}" if sender >= 0 else f"from {_SWITCH}"
        lanes[mine] = made.rows_of(process, "flow", flows["start"][mine], flows["end"][mine])
    for receiver, mine in _groups(target, flows["start"]):
        made.slices(
            lanes[mine],
            flows["start"][mine],
            flows["end"][mine],
            kind="flow",
            text=f"to {names[receiver] if receiver >= 0 else _SWITCH}",
            sums={"bytes": flows["bytes"][mine].astype(np.int64)},
        )
    return made


def _groups(rank: np.ndarray, start: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Each rank with the flows that have it, by their start."""
    order = np.lexsort((start, rank))
    cuts = np.flatnonzero(np.diff(rank[order])) + 1
    parts = np.split(order, cuts) if len(order) else []
    return [(int(rank[part[0]]), part) for part in parts]
