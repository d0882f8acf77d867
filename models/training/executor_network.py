"""Transfers of a graph that share the links of a network.

The flows of `models.network.shared` stand in the executor's own World, so a transfer begins, shares
links and ends in the same loop as the tasks around it, and all that begin or end at one instant
cost one solve.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import int64, void
from numpy.typing import NDArray

from mltwin.models.network.flows import FlowTable
from mltwin.models.network.routing import Routes, link_bytes
from mltwin.models.network.shared import (
    network_tables,
    next_end,
    pop_ended,
    settle,
    start_flow,
)
from mltwin.sim.heap import make_pairs, pairs_pop, pairs_push
from mltwin.sim.jit import handler, kernel
from mltwin.sim.ticks import NEVER, ticks
from mltwin.sim.world import world_type

from .executor import GraphRun, finished
from .executor_kernel import choose_all, end_due, end_instants, end_task, next_time, release_first
from .executor_tables import GraphPlan, index_body, make_world, world_dtypes

if TYPE_CHECKING:
    from mltwin.models.network.topology import Topology


def run_with_network(plan: GraphPlan, found: Routes, topology: "Topology") -> GraphRun:
    """Run a plan whose wired transfers share the links of a topology."""
    nbytes = plan.graph.bytes[plan.work != plan.graph.kind]
    world = make_network_world(plan, found, topology)
    advance(world, NEVER - 1)
    return finished(plan, world, link_bytes(topology, found, nbytes))


def make_network_world(plan: GraphPlan, found: Routes, topology: "Topology") -> Any:
    """The state of `advance` before the first tick."""
    sent = plan.graph.bytes[plan.work != plan.graph.kind]
    flows = FlowTable.make(
        sent[found.flow] * found.share, found.first, found.links, delay=ticks(found.latency_s)
    )
    wire = np.cumsum(plan.work != plan.graph.kind, dtype=np.int32) - np.int32(1)
    extra = _tables(topology.bytes_per_s, flows, found.flow, len(sent), wire)
    return make_world(plan, extra, _index)


def _tables(
    bytes_per_s: NDArray[np.float64],
    flows: FlowTable,
    owner: NDArray[np.int32],
    wires: int,
    wire: NDArray[np.int32],
) -> dict[str, np.ndarray]:
    parts = np.bincount(owner, minlength=wires)
    return {
        **network_tables(bytes_per_s, flows),
        "wire": wire,
        "wire_task": np.flatnonzero(np.diff(wire, prepend=-1)).astype(np.int32),
        "part_first": np.concatenate([[0], np.cumsum(parts)]).astype(np.int64),
        "part_wire": owner.astype(np.int32),
        "part_delay": flows.delay.copy(),
        "parts_left": parts.astype(np.int32),
        **make_pairs(len(flows), "delays"),
    }


@handler
def send(S: Any, now: int) -> None:
    """Part 3: the bytes of transfers move once their latency has passed."""
    state = S.state[0]
    for place in range(state.sends):
        wire = S.wire[S.sends[place]]
        for part in range(S.part_first[wire], S.part_first[wire + 1]):
            pairs_push(S.delays, S.delays_count, now + S.part_delay[part], part)
    state.sends = 0
    while S.delays_count[0] > 0 and S.delays[0].time == now:
        start_flow(S, pairs_pop(S.delays, S.delays_count), now)
    settle(S, now)


@handler
def deliver(S: Any, now: int) -> None:
    """Part 1 for transfers: one ends with its last part."""
    part = pop_ended(S, now)
    while part >= 0:
        wire = S.part_wire[part]
        S.parts_left[wire] -= 1
        if S.parts_left[wire] == 0:
            end_task(S, now, S.wire_task[wire])
        part = pop_ended(S, now)
    end_instants(S, now)


def advance_body(S: Any, until: int) -> None:
    """Handle all instants up to and including `until`."""
    release_first(S)
    while True:
        now = min(next_time(S), next_end(S))
        if S.delays_count[0] > 0:
            now = min(now, S.delays[0].time)
        if now > until or now == NEVER:
            return
        S.state[0].now = now
        end_due(S, now)
        deliver(S, now)
        choose_all(S, now)
        send(S, now)


NETWORK_WORLD = world_type(
    world_dtypes(
        _tables(
            np.ones(1),
            FlowTable.make([1.0], [0, 1], [0]),
            np.zeros(1, np.int32),
            1,
            np.zeros(1, np.int32),
        )
    )
)
_index = kernel(void(NETWORK_WORLD))(index_body)
advance = kernel(void(NETWORK_WORLD, int64))(advance_body)
