"""The SimPy twin where transfers share links: flows in the plain network of `models.network`."""

from typing import Any

from mltwin.models.network.reference import Reference as PlainNetwork
from mltwin.models.serving.reference_clock import Timer
from mltwin.sim.ticks import NEVER

from .events import RANK_ARRIVAL, RANK_LOSS, RANK_STAGE, Limits
from .hooks import DONE, FAILED, OFFLINE
from .links import COARSER, SharedLinks
from .reference import Reference
from .reference_parts import Work, fails_after
from .tables import FINISH, TICKS_PER_S, Clients

RANK_TRANSFERS = -1
WAITING, DOWN, WORKING, UP, THERE = range(5)


class Stage:
    """Where a dispatch is."""

    def __init__(self, loss: int, why: int) -> None:
        self.loss, self.why = loss, why
        self.at = WAITING
        self.received = 0


class SharedReference(Reference):
    """The engine of a run over shared links."""

    def __init__(self, clients: Clients, limits: Limits, seed: int, links: SharedLinks) -> None:
        super().__init__(clients, limits, seed)
        self.flows = links.flows(clients)
        self.network = PlainNetwork(links.bytes_per_s * COARSER, self.flows)
        self.transfers = Timer(self.clock, RANK_TRANSFERS, 0, self._transfers_end)
        self.stages: dict[int, Stage] = {}

    def _latency(self, client: int) -> int:
        return round(float(self.clients.latency_s[client]) * TICKS_PER_S)

    def _plan(self, work: Work) -> None:
        client = work.client
        fails = fails_after(work, float(self.clients.failure[client]), self.seed)
        loss, why = (NEVER, DONE) if fails is None else (work.begin + fails, FAILED)
        if self.limits.interruption != FINISH:
            leaves = next(self.presence.intervals(client, self.now))[1]
            if leaves < loss:
                loss, why = leaves, OFFLINE
        self.stages[client] = Stage(loss, why)
        self._set_stage(client, work.begin + self._latency(client))

    def _set_stage(self, client: int, tick: int) -> None:
        """The next stage begins at a tick, NEVER: with the end of a flow; or the loss is first."""
        stage = self.stages[client]
        if client in self.timers:
            self.timers.pop(client).clear()
        if stage.loss < tick:
            self._set(client, RANK_LOSS, stage.loss, self._lose)
        elif tick < NEVER:
            self._set(client, RANK_STAGE, tick, self._next_stage)

    def _flow(self, client: int) -> int:
        return 2 * client + (self.stages[client].at == UP)

    def _next_stage(self, client: int) -> None:
        work, stage = self.at_work[client], self.stages[client]
        stage.at = DOWN if stage.at == WAITING else UP
        f = self._flow(client)
        amount = work.down_bytes if stage.at == DOWN else work.up_bytes
        self.flows.bytes[f] = amount
        bundle = self.network.bundle_of[f]
        if amount <= 0.0 or (not bundle.path and bundle.cap == float("inf")):
            self._end_stage(client)
            return
        self._touch()
        self.network._begin(f)
        self._set_stage(client, NEVER)

    def _end_stage(self, client: int) -> None:
        work, stage = self.at_work[client], self.stages[client]
        if stage.at == DOWN:
            stage.at, stage.received = WORKING, self.now
            self._set_stage(client, self.now + work.compute + self._latency(client))
        else:
            stage.at = THERE
            if client in self.timers:
                self.timers.pop(client).clear()
            self._set(client, RANK_ARRIVAL, self.now, self._arrives)

    def _transfers_end(self) -> None:
        self._touch()
        for f in self.network._ended():
            self._end_stage(f // 2)

    def _touch(self) -> None:
        """Flows change now: rates, and what ends next, are worked out when the instant is over."""
        self.transfers.clear()
        self.network.now = self.now
        self.network._changed = True

    def _coming(self) -> int:
        coming = super()._coming()
        if coming > self.now and self.network._changed:
            self.network.now = self.now
            self.network._solve()
            ends = min((bundle.end() for bundle in self.network.active), default=NEVER)
            if ends < NEVER:
                self.transfers.set(ends)
            coming = super()._coming()
        return coming

    def _lose(self, client: int) -> None:
        self.at_work[client].status = self.stages[client].why
        super()._lose(client)

    def _parts(self, work: Work, *, arrived: bool) -> tuple[int, int, int, float, float]:
        stage = self.stages[work.client]
        down = work.down_bytes if stage.at >= DOWN else 0.0
        up = work.up_bytes if stage.at >= UP else 0.0
        if stage.at in (DOWN, UP):
            left = self._take_out(self._flow(work.client))
            down, up = (down - left, up) if stage.at == DOWN else (down, up - left)
        if stage.at < WORKING:
            return max(0, self.now - work.begin), 0, 0, down, up
        after = self.now - stage.received
        compute = min(after, work.compute)
        return stage.received - work.begin, compute, after - compute, down, up

    def _take_out(self, f: int) -> float:
        """End a flow early; the bytes that it had still to move."""
        self._touch()
        network: Any = self.network
        bundle = network.bundle_of[f]
        bundle.pull(self.now)
        level = next(level for level, number in bundle.members if number == f)
        left = max(0.0, level - bundle.work)
        bundle.members.remove((level, f))
        bundle.weight -= 1.0
        bundle.ended += 1
        for k in bundle.path:
            network.links[k].flows -= 1
        bundle.dirty = True
        if not bundle.members:
            network._detach(bundle)
        elif bundle.ended >= len(bundle.members):
            bundle.recount()
        return left
