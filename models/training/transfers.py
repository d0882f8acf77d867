"""Which links the transfers of a graph cross, and how long each takes if it is alone there."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mltwin.models.network.routing import Routes, routes
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import NEVER, TICKS_PER_S, ticks

from .tables import Graph

if TYPE_CHECKING:
    from mltwin.models.network.topology import Topology


def transfer_routes(
    graph: Graph, wired: NDArray[np.bool_], topology: "Topology", routing: str, **options: Any
) -> Routes:
    """The ways of the transfers in `wired`, in the order of tasks.

    ECMP hashes source and target: transfers between two ranks are of one connection, and take the
    same way.

    Raises:
        InputError: a rank that the topology does not have, or a broken link on a way.
    """
    tasks = np.flatnonzero(wired)
    for ends in (graph.source[tasks], graph.target[tasks]):
        wrong = np.flatnonzero(ends >= topology.ranks)
        if len(wrong):
            raise InputError(
                f"{graph.label(int(tasks[wrong[0]]))} names rank {ends[wrong[0]]}, which topology "
                f"{topology.name!r} has not",
                mend=f"its ranks are 0 to {topology.ranks - 1}",
            )
    source, target = graph.source[tasks], graph.target[tasks]
    connection = source.astype(np.int64) * topology.ranks + target
    found = routes(topology, source, target, routing=routing, keys=connection, **options)
    broken = np.flatnonzero(topology.bytes_per_s[found.links] <= 0)
    if len(broken):
        part = int(np.searchsorted(found.first, broken[0], side="right")) - 1
        raise InputError(
            f"link {topology.link_name(int(found.links[broken[0]]))} has no bandwidth, but "
            f"{graph.label(int(tasks[found.flow[part]]))} crosses it",
            mend="give the link a bandwidth, or route around it",
        )
    return found


def alphabeta_durations(
    nbytes: NDArray[np.float64], found: Routes, topology: "Topology"
) -> NDArray[np.int64]:
    """int64[F] ticks: latency + bytes / narrowest bandwidth, of the slowest part of each flow."""
    rate = found.bottleneck_bytes_per_s(topology) / TICKS_PER_S
    moving = np.ceil(nbytes[found.flow] * found.share / rate)
    if np.any(moving >= NEVER):
        flow = int(found.flow[np.argmax(moving)])
        raise InputError(f"transfer {flow} of {nbytes[flow]:g} bytes takes more than 100 days")
    longest = np.zeros(len(nbytes), np.int64)
    np.maximum.at(longest, found.flow, ticks(found.latency_s) + moving.astype(np.int64))
    return longest
