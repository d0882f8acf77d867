"""The SimPy twin where transfers share links: flows in the plain network of `models.network`."""

import itertools
from typing import Any

from mltwin.models.network.reference import Reference as PlainNetwork
from mltwin.models.serving.reference_clock import Timer
from mltwin.sim.ticks import NEVER
from mltwin.sim.ticks import TICKS_PER_S as NETWORK_TICKS_PER_S

from .events import RANK_ARRIVAL, RANK_LOSS, RANK_STAGE, Limits
from .hooks import DONE, FAILED, OFFLINE
from .links import COARSER, SharedLinks
from .phases import STAYS, Phases
from .reference import Reference
from .reference_parts import Work, fails_after
from .tables import FINISH, PAUSE, TICKS_PER_S, Clients

RANK_TRANSFERS = -1
WAITING, DOWN, WORKING, UP, THERE = range(5)


class Stage:
    """Where a dispatch is."""

    def __init__(self, loss: int, why: int) -> None:
        self.loss, self.why = loss, why
        self.at = WAITING
        self.received = 0
        self.left: float | None = None  # bytes of a flow that waits
        self.waits = 0  # for its client, of a transfer at a rate that follows a trace


class SharedReference(Reference):
    """The engine of a run over shared links."""

    def __init__(self, clients: Clients, limits: Limits, seed: int, links: SharedLinks) -> None:
        super().__init__(clients, limits, seed)
        self.flows = links.flows(clients)
        self.network = PlainNetwork(
            links.bytes_per_s * COARSER, self.flows, merge=self.links is None
        )
        self.transfers = Timer(self.clock, RANK_TRANSFERS, 0, self._transfers_end)
        self.stages: dict[int, Stage] = {}

    def _is_standard(self, client: int, phases: Phases) -> bool:
        return False

    def _latency(self, client: int) -> int:
        return round(float(self.clients.latency_s[client]) * TICKS_PER_S)

    def _plan(self, work: Work) -> None:
        client = work.client
        fails = fails_after(work, float(self.clients.failure[client]), self.seed)
        loss, why = NEVER, DONE
        if fails is not None:
            loss, why = self._after(client, work.begin, fails), FAILED
        if self.limits.interruption != FINISH:
            leaves = self._leaves(client, for_good=self.pauses)
            if leaves < loss:
                loss, why = leaves, OFFLINE
        self.stages[client] = Stage(loss, why)
        self._set_stage(client, self._after(client, work.begin, self._latency(client)))

    @property
    def pauses(self) -> bool:
        """Whether a client that leaves goes on when it is back."""
        return self.limits.interruption == PAUSE

    def _leaves(self, client: int, *, for_good: bool = False) -> int:
        """When a client that is there leaves; NEVER."""
        trace = int(self.presence.of.trace[client])
        if for_good and trace >= 0 and self.presence.of.period[trace]:
            return NEVER
        ends = [end for _, end in itertools.islice(
            self.presence.intervals(client, self.now), None if for_good else 1
        )]  # fmt: skip
        return ends[-1]

    def _after(self, client: int, begin: int, work: int) -> int:
        """When latency or training of so many ticks has passed; NEVER."""
        if not self.pauses or not work:
            return begin + work
        ends, tick = self.presence.after_work(client, begin, work)
        return tick if ends else NEVER

    def _between(self, client: int, begin: int, end: int) -> int:
        """Ticks in which a dispatch went on."""
        return self.presence.worked(client, begin, end) if self.pauses else max(0, end - begin)

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
        if stage.at in (DOWN, UP):
            self._move(client)
            return
        stage.at = DOWN if stage.at == WAITING else UP
        f = self._flow(client)
        amount = work.down_bytes if stage.at == DOWN else work.up_bytes
        bundle = self.network.bundle_of[f]
        free = not bundle.path and bundle.cap == float("inf") and self._own(client) is None
        if amount <= 0.0 or free:
            self._end_stage(client)
        else:
            stage.left, stage.waits = amount, 0
            self._move(client)

    def _own(self, client: int) -> tuple[float, int] | None:
        """(rate of the client's link now, when its trace goes on); None: it has no trace."""
        if self.links is None:
            return None
        of = self.links.of
        trace = int((of.up if self.stages[client].at == UP else of.down)[client])
        if trace < 0:
            return None
        rate = self.links.rates[trace]
        place = self.now + int(of.offset[client])
        place = place % rate.period if rate.period else place
        end, speed = next((end, speed) for end, speed, *_ in rate.pieces if place < end)
        changes = end < NEVER and len(rate.pieces) > 1
        return speed, self.now + end - place if changes else NEVER

    def _move(self, client: int) -> None:
        """From now on bytes move, or wait: for the client, or for its link."""
        stage, f, own = self.stages[client], self._flow(client), self._own(client)
        next_tick = NEVER if own is None else own[1]
        there = self.presence.here(client, self.now)
        if self.pauses and not there and stage.waits < STAYS:
            stage.waits += own is not None
            self._stop(client)
            next_tick = self.presence.returns(client, self.now)
        elif own is not None and own[0] == 0.0:
            self._stop(client)
        elif stage.left is not None and stage.left <= 0.0:
            stage.left = None
            self._end_stage(client)
            return
        else:
            self._go(client, f, own)
            if self.pauses and stage.waits < STAYS:
                next_tick = min(next_tick, self._leaves(client))
        self._set_stage(client, next_tick if next_tick < stage.loss else NEVER)

    def _go(self, client: int, f: int, own: tuple[float, int] | None) -> None:
        """Bytes move at the rate of the client's own link, if it has a trace."""
        stage, bundle = self.stages[client], self.network.bundle_of[f]
        if own is not None:
            bundle.cap = own[0] * COARSER / NETWORK_TICKS_PER_S
            bundle.dirty = True
            self._touch()
        if stage.left is not None:
            self.flows.bytes[f] = stage.left
            stage.left = None
            self._touch()
            self.network._begin(f)

    def _stop(self, client: int) -> None:
        """What is left of a flow waits."""
        stage = self.stages[client]
        if stage.left is None:
            stage.left = self._take_out(self._flow(client))

    def _end_stage(self, client: int) -> None:
        work, stage = self.at_work[client], self.stages[client]
        if stage.at == DOWN:
            stage.at, stage.received = WORKING, self.now
            training = work.compute + self._latency(client)
            self._set_stage(client, self._after(client, self.now, training))
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
            left = self._take_out(self._flow(work.client)) if stage.left is None else stage.left
            down, up = (down - left, up) if stage.at == DOWN else (down, up - left)
        if stage.at < WORKING:
            return self._between(work.client, work.begin, self.now), 0, 0, down, up
        received = self._between(work.client, work.begin, stage.received)
        rest = self._between(work.client, stage.received, self.now)
        compute = min(rest, work.compute)
        return received, compute, rest - compute, down, up

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
