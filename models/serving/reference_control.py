"""Control of the SimPy twin (rank 0): scripted events, failures, scaling, and the stale view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.errors import KernelError

from .hooks import (
    DRAIN,
    DRAINING,
    FAILED,
    MIXED_ROLE,
    PREFILL_ROLE,
    SET_ROLE,
    START,
    STARTING,
    STOPPED,
    UP,
)
from .outcome import CANCEL, LOST, REPLICA_ROLE
from .reference_clock import CONTROL, SCALE, SCRIPT, SNAPSHOT, Timer, entity
from .reference_replica import Replica
from .reference_request import QUEUED, Request
from .tables import (
    CANCELLED,
    CHANGE_ROLE,
    DRAIN_REPLICA,
    FAIL,
    FETCHING,
    HANDOVER,
    NEW,
    PARKED,
    RECOVER,
    START_REPLICA,
    TRANSFER,
)

if TYPE_CHECKING:
    from .reference import Simulation

IDLE_SCALES = 10_000
"""Scale calls in a row with nothing else pending after which a run counts as stuck."""


class Control:
    """What happens to whole replicas."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.idle_scales = self.idle_since = 0
        inp, clock = simulation.inp, simulation.clock
        for i, row in enumerate(inp.control):
            order = entity(SCRIPT, i)
            Timer(clock, CONTROL, order, partial(self._script, row)).set(int(row["time"]))
        self.scaling = Timer(clock, CONTROL, entity(SCALE, 0), self._scale)
        if inp.scale_every and "scale" in simulation.policies.given:
            self.scaling.set(inp.scale_every)
        self.snapshots = Timer(
            clock, CONTROL, entity(SNAPSHOT, 0), self._take_snapshot, background=True
        )
        if inp.snapshot_every:
            self.snapshots.set(0)

    def _script(self, row: np.void) -> None:
        """A scripted event; one that does not apply is ignored."""
        r, argument = self.simulation.replicas[int(row["replica"])], int(row["argument"])
        kind = int(row["kind"])
        if kind == FAIL and r.state in (UP, DRAINING, STARTING):
            self._fail(r)
        elif kind == RECOVER and r.state == FAILED:
            self.become_up(r)
        elif kind == START_REPLICA and r.state == STOPPED:
            self._start(r)
        elif kind == DRAIN_REPLICA and r.state == UP:
            self._drain(r)
        elif kind == CHANGE_ROLE and PREFILL_ROLE <= argument <= MIXED_ROLE:
            self._set_role(r, argument)

    def _scale(self) -> None:
        sim = self.simulation
        if sim.clock.pending:
            self.idle_scales = 0
        elif self.idle_scales == 0:
            self.idle_since = sim.clock.before
        self.idle_scales += not sim.clock.pending
        if self.idle_scales > IDLE_SCALES:
            if all(q.state == PARKED for q in sim.present.values()):
                sim.clock.last = self.idle_since  # nobody will ever serve them: the end
                return
            raise KernelError(
                f"{sim.left} requests are stuck: nothing is pending, and the scale policy was "
                f"asked {IDLE_SCALES} times"
            )
        self.scaling.set(sim.clock.now + sim.inp.scale_every)
        acted: set[Replica] = set()
        while answer := sim.policies.scale(len(acted)):
            action, argument, r = answer
            what = f"scale answered action {action}, argument {argument} for replica {r.index}"
            if r in acted:
                raise KernelError(f"{what}: a second action for it at this instant")
            acted.add(r)
            if action == START and r.state == STOPPED:
                self._start(r)
            elif action == DRAIN and r.state == UP:
                self._drain(r)
            elif action == SET_ROLE and PREFILL_ROLE <= argument <= MIXED_ROLE:
                self._set_role(r, argument)
            else:
                raise KernelError(f"{what}, which is in state {r.state}: that cannot be")

    def _take_snapshot(self) -> None:
        sim = self.simulation
        sim.policies.snapshot = sim.policies.live_replicas()
        self.snapshots.set(sim.clock.now + sim.inp.snapshot_every)

    # replicas come and go

    def _start(self, r: Replica) -> None:
        r.set_state(STARTING)
        r.ready.set(self.simulation.clock.now + r.kind.startup)

    def become_up(self, r: Replica) -> None:
        """A replica is ready, or has recovered."""
        r.set_state(UP)
        self.simulation.route_parked()

    def _drain(self, r: Replica) -> None:
        r.set_state(DRAINING)
        r.wake()

    def _set_role(self, r: Replica, role: int) -> None:
        if role != r.role:
            r.role = role
            self.simulation.log(REPLICA_ROLE, r.index, role)
            self.simulation.route_parked()

    def _fail(self, r: Replica) -> None:
        """All on r is lost; requests there, on their way there or with KV there start again."""
        sim = self.simulation
        r.set_state(FAILED)
        struck = [q for _, q in sorted(sim.present.items()) if r in (q.replica, q.source)]
        for q in struck:
            self._take_out(q, r)
        r.reset()
        again = []
        for q in struck:
            if q.leaving:
                sim.end(q, CANCELLED, CANCEL, q.state)
            else:
                sim.log(LOST, q.id, r.index)
                sim.move(q, NEW)
                q.tried = False
                q.kv, q.need = 0, q.prompt + q.generated
                q.attempts += 1
                again.append(q)
        for q in again:
            sim.route(q)

    def _take_out(self, q: Request, failed: Replica) -> None:
        """Undoes what a struck request has on replicas that stand, and in any queue."""
        sim, r = self.simulation, q.replica
        assert r is not None
        if q.state == HANDOVER:
            r.coming = [(time, other) for time, other in r.coming if other is not q]
            r.set_hand_over()
        elif q.state == TRANSFER:
            sim.network.stop(q, r.nic)
            r.inbound.remove(q)
            if r is not failed:
                r.memory.release(q.id)
        elif q.state == FETCHING:
            assert sim.stores is not None
            sim.stores.drop(r, q)
        if q.source is failed:
            failed.outbound.remove(q)  # its KV is lost, not released
            q.source = None
        elif q.source is not None:
            sim.leave_source(q)
        if q.state in QUEUED:
            r.leave_queue(q)
        sim.assign(q, None)
        r.wake()
