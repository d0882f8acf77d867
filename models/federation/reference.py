"""The SimPy twin of the kernel: one timer a client, sets and lists, plain integers.

Readable first: O(N) where the kernel is clever. The order of events and the rules are in the
package's docstring.
"""

import heapq
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.serving.reference_clock import Clock, Timer
from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import LOG
from mltwin.sim.rng import SELECTION, keyed_below
from mltwin.sim.ticks import NEVER

from .events import (
    AWAITED,
    E_ARRIVED,
    E_CANCELLED,
    E_LOST,
    E_NOTICED,
    E_RETURNED,
    E_SENT,
    E_STEP,
    E_TIMER,
    FORCED,
    LIMIT,
    MISSES,
    NOTHING,
    OVER,
    RANK_ARRIVAL,
    RANK_LOSS,
    RANK_NOTICE,
    RANK_REFILL,
    RANK_TIMER,
    REFILL,
    STUCK,
    TIMER,
    Limits,
    Spent,
)
from .hooks import DONE, Arrivals
from .outcome import CLIENT_COLUMNS
from .phases import Phases
from .reference_parts import Presence, Slots, Work, drawn_compute, plan_end
from .reference_rates import Links
from .tables import FINISH, PAUSE, TICKS_PER_S, Clients

Array = npt.NDArray[Any]
REFILLED, SETTLED = 1, 2


class Reference:
    """The engine of a run, see `events.Engine`."""

    def __init__(self, clients: Clients, limits: Limits, seed: int) -> None:
        self.clients, self.limits, self.seed = clients, limits, seed
        self.clock = Clock()
        self.presence = Presence(clients.availability)
        self.links: Links | None = None
        if clients.links is not None:
            pauses = limits.interruption == PAUSE
            self.links = Links(clients, clients.links, self.presence, pauses=pauses)
        self.slots = Slots()
        self.at_work: dict[int, Work] = {}  # as the server believes
        self.timers: dict[int, Timer] = {}
        self.rings = Timer(self.clock, RANK_TIMER, 0, self._ring)
        self.returning = Timer(self.clock, RANK_REFILL, 0, self._returned)
        self.came: list[Work] = []
        self.version = 0
        self.concurrency, self.selects = 0, False
        self.awaited, self.at_once = 1, False
        self.given: Phases | None = None
        self.ready = 0
        self.instant = 0  # what of its end has been done: nothing, REFILLED, SETTLED
        self.rung = False
        self.draws = 0
        self.losses = 0  # in a row
        self.costs = Spent()
        self.tally: dict[str, list[Any]] = {name: [0] * len(clients) for name in CLIENT_COLUMNS}
        self.counted = [0] * len(clients)  # standard dispatches that arrived
        self.rows: list[tuple[int, int, int, int]] = []

    @property
    def now(self) -> int:
        """Ticks."""
        return self.clock.now

    @property
    def in_flight(self) -> int:
        return len(self.at_work)

    @property
    def arrived(self) -> int:
        return sum(self.tally["arrived"])

    # -- who is there --------------------------------------------------------------------------

    def _is_idle(self, client: int) -> bool:
        return client not in self.at_work and self.presence.here(client, self.now)

    def idle(self) -> Array:
        everyone = range(len(self.clients))
        return np.array([client for client in everyone if self._is_idle(client)], np.int32)

    def uniform(self, count: int) -> Array:
        chosen: list[int] = []
        misses = 0
        while len(chosen) < count and misses < MISSES:
            client = self._draw(len(self.clients))
            if client in chosen or not self._is_idle(client):
                misses += 1
            else:
                chosen.append(client)
                misses = 0
        if len(chosen) < count:
            left = [int(client) for client in self.idle() if client not in chosen]
            while left and len(chosen) < count:
                chosen.append(left.pop(self._draw(len(left))))
        return np.array(chosen, np.int32)

    def _draw(self, below: int) -> int:
        self.draws += 1
        return int(keyed_below(self.seed, SELECTION, 0, self.draws - 1, below))

    def next_available(self) -> int | None:
        free = [client for client in range(len(self.clients)) if client not in self.at_work]
        ticks = [self.presence.returns(client, self.now) for client in free]
        return min((tick for tick in ticks if self.now < tick < NEVER), default=None)

    # -- what the server does ------------------------------------------------------------------

    def send(self, clients: Array, phases: Phases, tags: Array, ready: int) -> None:
        for row, client in enumerate(int(one) for one in clients):
            if not self._is_idle(client):
                what = "at work" if client in self.at_work else "away"
                raise InputError(f"client {client} is {what} and cannot be sent work")
            self._send(client, phases, row, int(tags[row]), ready)

    def _send(self, client: int, phases: Phases, row: int, tag: int, ready: int) -> None:
        number = self.tally["dispatches"][client]
        self.tally["dispatches"][client] += 1
        work = Work(
            client=client,
            number=number,
            held=self.version,
            slot=self.slots.hold(),
            begin=max(self.now, ready),
            receive=int(phases.receive[row]),
            compute=drawn_compute(
                self.limits.overhead_s,
                float(phases.compute_s[row]),
                float(self.clients.jitter[client]),
                (self.seed, client, number),
            ),
            send=int(phases.send[row]),
            steps=int(phases.steps[row]),
            tag=tag,
            down_bytes=float(phases.down_bytes[row]),
            up_bytes=float(phases.up_bytes[row]),
            standard=self._is_standard(client, phases),
        )
        if self.links is not None:
            self.links.plan(work)
        if work.total == 0:
            work.compute = 1
        self.at_work[client] = work
        self._note(E_SENT, client, work.held)
        self._plan(work)

    def _is_standard(self, client: int, phases: Phases) -> bool:
        """Whether work is what refills give, at constant rates."""
        return phases is self.given and (self.links is None or not self.links.follows(client))

    def _plan(self, work: Work) -> None:
        """When a dispatch arrives or is lost."""
        client = work.client
        plan_end(work, self.presence, self.now, self.limits, self.clients, self.seed)
        if work.status == DONE:
            self._set(client, RANK_ARRIVAL, work.ends, self._arrives)
        else:
            self._set(client, RANK_LOSS, work.ends, self._lose)

    def _set(self, client: int, rank: int, tick: int, action: Any) -> None:
        self.timers[client] = Timer(self.clock, rank, client, lambda: action(client))
        self.timers[client].set(tick)

    def standard(self, phases: Phases) -> None:
        self.given = phases

    def wait(self, count: int) -> None:
        if count == 0:
            self.at_once = True
        else:
            self.awaited = count

    def set_timer(self, at: int) -> None:
        self.rings.clear()
        if at < NEVER:
            self.rings.set(max(at, self.now))

    def cancel(self, clients: Array) -> None:
        for client in (int(one) for one in clients if int(one) in self.at_work):
            work = self.at_work.pop(client)
            if client in self.timers:
                self.timers.pop(client).clear()
            if not work.lost:
                self._spend(work, arrived=False)
                self.tally["cancelled"][client] += 1
                self.slots.release(work.slot)
            self._note(E_CANCELLED, client, work.held)

    def step(self, used: int) -> int:
        self.version += 1
        self._note(E_STEP, self.version, used)
        return self.slots.new()

    def release(self, slots: Array) -> None:
        for slot in slots:
            self.slots.release(int(slot))

    def take(self) -> tuple[Arrivals, Array]:
        came, self.came = self.came, []
        kinds = {"client": np.int32, "status": np.int8}
        columns = {
            name: np.array([getattr(work, of) for work in came], kinds.get(name, np.int64))
            for name, of in (
                ("client", "client"), ("dispatch", "number"), ("held", "held"), ("sent", "begin"),
                ("arrived", "over"), ("steps", "steps"), ("status", "status"), ("tag", "tag"),
                ("spent", "spent"),
            )
        }  # fmt: skip
        slots = np.array([work.slot for work in came if work.status == DONE], np.int64)
        return Arrivals(**columns), slots

    # -- events --------------------------------------------------------------------------------

    def _arrives(self, client: int) -> None:
        work = self.at_work.pop(client)
        del self.timers[client]
        self._spend(work, arrived=True)
        self.tally["arrived"][client] += 1
        self.losses = 0
        work.over = self.now
        self.came.append(work)
        self._note(E_ARRIVED, client, work.held)

    def _lose(self, client: int) -> None:
        work = self.at_work[client]
        del self.timers[client]
        work.lost = True
        self._spend(work, arrived=False)
        self.tally["lost"][client] += 1
        self.losses += 1
        self.slots.release(work.slot)
        self._note(E_LOST, client, work.status)
        if self.limits.detect >= 0:
            self._set(client, RANK_NOTICE, self.now + self.limits.detect, self._notice)

    def _notice(self, client: int) -> None:
        work = self.at_work.pop(client)
        del self.timers[client]
        work.over = self.now
        self.came.append(work)
        self._note(E_NOTICED, client, work.status)

    def _ring(self) -> None:
        self._note(E_TIMER, 0, 0)
        self.rung = True

    def _returned(self) -> None:
        self._note(E_RETURNED, 0, 0)

    def _worked(self, work: Work) -> int:
        """Ticks that the client has worked for a dispatch so far."""
        if self.limits.interruption == PAUSE:
            done = self.presence.worked(work.client, work.begin, self.now)
        else:
            done = max(0, self.now - work.begin)
        return done if self.limits.interruption == FINISH else min(done, work.total)

    def _parts(self, work: Work, *, arrived: bool) -> tuple[int, int, int, float, float]:
        """Ticks of download, training and upload that are done, and bytes moved."""
        done = work.total if arrived else self._worked(work)
        receive = min(done, work.receive)
        compute = min(done - receive, work.compute)
        send = done - receive - compute
        begun = float(self.now >= work.begin)
        down = work.down_bytes * (receive / work.receive if work.receive else begun)
        up = work.up_bytes * (send / work.send if work.send else float(arrived))
        if self.links is not None and not arrived:
            moved = (
                self.links.moved(work, False, receive, self.now),
                self.links.moved(work, True, send, self.now),
            )
            down = down if moved[0] is None else moved[0]
            up = up if moved[1] is None else moved[1]
        return receive, compute, send, down, up

    def _spend(self, work: Work, *, arrived: bool) -> None:
        """Costs of a dispatch that ends."""
        client, clients, tally = work.client, self.clients, self.tally
        receive, compute, send, down, up = self._parts(work, arrived=arrived)
        work.spent = receive + compute + send
        tally["receive_ticks"][client] += receive
        tally["compute_ticks"][client] += compute
        tally["send_ticks"][client] += send
        if arrived and work.standard:
            self.counted[client] += 1
        else:
            tally["down_bytes"][client] += down
            tally["up_bytes"][client] += up
        self.costs.down_bytes += down
        self.costs.up_bytes += up
        self.costs.joules += (
            float(clients.compute_w[client]) * (compute / TICKS_PER_S)
            + float(clients.send_w[client]) * (send / TICKS_PER_S)
            + float(clients.receive_w[client]) * (receive / TICKS_PER_S)
        )
        if not arrived:
            tally["wasted_ticks"][client] += work.spent
            self.costs.wasted += work.spent

    # -- time ----------------------------------------------------------------------------------

    def advance(self) -> int:
        while True:
            reason = self._decision()
            if reason is None and self._coming() > self.now:
                reason = self._end_instant()
            if reason is None and self._coming() >= NEVER:
                reason = NOTHING
            if reason is None and self._coming() > self.limits.until:
                reason = OVER
            if reason is not None:
                self.instant = self.instant if reason == REFILL else 0
                return reason
            self.clock.env.step()
            self.instant = 0

    def _decision(self) -> int | None:
        done = sum(work.status == DONE for work in self.came)
        if self.at_once or done >= self.awaited:
            self.at_once = False
            return AWAITED
        if self.arrived >= self.limits.updates:
            return LIMIT
        if self.losses >= self.limits.losses:
            return STUCK
        if self.rung:
            self.rung = False
            return TIMER
        return None

    def _coming(self) -> int:
        """When the next event is; those taken back are forgotten."""
        queue = self.clock.env._queue
        while queue and not queue[0][3].callbacks:
            heapq.heappop(queue)
        return int(queue[0][0]) if queue else NEVER

    def _end_instant(self) -> int | None:
        """Refill, then hand over what there is if nothing else can come."""
        missing = self.concurrency - self.in_flight
        if self.instant == 0:
            self.instant = REFILLED
            if missing > 0 and self.selects:
                return REFILL
            if missing > 0 and self.given is not None:
                for client in self.uniform(missing):
                    self._send(int(client), self.given, int(client), 0, self.ready)
        if self.instant == REFILLED:
            self.instant = SETTLED
            self.returning.clear()
            short = self.in_flight < self.concurrency
            returns = self.next_available() if short else None
            if returns is not None:
                self.returning.set(returns)
            elif self.in_flight == 0 and self.came:
                return FORCED
        return None

    # -- what is left --------------------------------------------------------------------------

    def spent(self) -> Spent:
        return replace(self.costs)

    def tallies(self) -> dict[str, Array]:
        columns = {
            name: np.array(column, np.float64 if name.endswith("_bytes") else np.int64)
            for name, column in self.tally.items()
        }
        if self.given is not None:
            for name in ("down_bytes", "up_bytes"):
                columns[name] += np.array(self.counted) * getattr(self.given, name)
        return columns

    def counts(self) -> dict[str, int]:
        return {
            "dispatched": sum(self.tally["dispatches"]),
            "lost": sum(self.tally["lost"]),
            "cancelled": sum(self.tally["cancelled"]),
            "in_flight": sum(not work.lost for work in self.at_work.values()),
            "versions_made": self.slots.made,
            "versions_freed": self.slots.freed,
            "versions_live": sum(
                slot == self.slots.current or held > 0 for slot, held in self.slots.holders.items()
            ),
            "versions_live_most": self.slots.most,
        }

    def log(self) -> Any:
        rows = np.zeros(len(self.rows), LOG)
        for place, name in enumerate(LOG.names or ()):
            rows[name] = [row[place] for row in self.rows]
        return rows.view(np.recarray)

    def _note(self, kind: int, entity: int, value: int) -> None:
        self.rows.append((self.now, kind, entity, value))
