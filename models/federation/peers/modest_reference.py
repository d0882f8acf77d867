"""The SimPy twin of MoDeST, close to the words of the protocol: peers as objects with dictionaries.

Entities that wait for something hold its SimPy event and take it back; flows are worked out from
lists; samples by hashing every name anew.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from mltwin.models.federation.phases import LONGEST
from mltwin.models.federation.tables import TICKS_PER_S

from .modest_draws import Draws
from .modest_reference_peer import Peer, Transfer
from .modest_tables import (
    ACK,
    EVENT_CODES,
    FLOW,
    MESSAGE,
    MESSAGE_KINDS,
    NEWS,
    PING,
    PONG,
    PRESENCE,
    USED,
    Aggregate,
    ModestRaw,
)
from .presence import NEVER, PeerPresence
from .timeline import Setting

if TYPE_CHECKING:
    from .modest import Modest


class Due(simpy.Event):
    """An action at a time; equal times in the order of a tuple of integers."""

    def __init__(self, world: "ModestReference", time: int, order: tuple, action: Callable) -> None:
        env = world.env
        super().__init__(env)
        self._ok, self._value = True, None
        self.callbacks = [lambda _: world.happens(action)]
        env.schedule(self, order, time - world.clock)

    def take_back(self) -> None:
        """It will not happen."""
        self.callbacks = []


class ModestReference:
    """One run; see `modest` for the rules."""

    def __init__(
        self, protocol: "Modest", setting: Setting, versions: int | None, updates: int | None
    ) -> None:
        self.rule, self.setting = protocol, setting
        self.versions, self.updates = versions, updates
        self.env = simpy.Environment()
        self.now = 0
        self.draws = Draws(setting)
        self.presence = PeerPresence(setting.clients.availability)
        count = setting.peers
        self.own, self.site, self.between = setting.overlay.latency_ticks(setting.clients.latency_s)
        self.peers = [Peer(self, p, self.presence.here(p, 0)) for p in range(count)]
        for peer in self.peers:
            peer.view = {p.number: (-1, 0, not p.there) for p in self.peers}
        self.transfers: dict[tuple[int, int, int, int], Transfer] = {}
        self.raw = ModestRaw()
        self.arrived = self.acks = 0
        for counts in (self.raw.sent, self.raw.received, self.raw.lost, self.raw.under_way):
            counts.update(dict.fromkeys(MESSAGE_KINDS, 0.0))
        self.raw.up_bytes, self.raw.down_bytes = [0.0] * count, [0.0] * count
        self.raw.sending, self.raw.receiving = [0] * count, [0] * count
        self.busy_since: dict[tuple[str, int], int] = {}

    @property
    def clock(self) -> int:
        """SimPy's time, which events that were taken back move too."""
        return int(self.env.now)

    def run(self) -> ModestRaw:
        """All events in order."""
        raw = self.raw
        for peer in self.peers:
            self.watch(peer)
        here = np.array([peer.number for peer in self.peers if peer.there], np.int64)
        for number in self.draws.some(here, self.rule.sample, 0, 0):
            self.peers[number].take_part(1, 0)
        while not raw.ended:
            if not self.alive():
                self.end("nobody trains, sends or aggregates any more: round "
                         f"{len(raw.costs) + 1} never ends", False)  # fmt: skip
            elif self.env.peek() > self.setting.until:
                self.end(f"{self.setting.plan.until_s or 0:g} s are over")
                raw.end = self.setting.until
            else:
                self.env.step()
        for kind in MESSAGE_KINDS:
            raw.under_way[kind] = raw.sent[kind] - raw.received[kind] - raw.lost[kind]
        return raw

    def alive(self) -> bool:
        return bool(self.acks or self.transfers) or any(
            peer.training or peer.asking or peer.rounds for peer in self.peers
        )

    def end(self, why: str, complete: bool = True) -> None:
        self.raw.ended, self.raw.complete, self.raw.end = why, complete, self.now

    def at(self, time: int, order: tuple, action: Callable) -> Due:
        return Due(self, time, order, action)

    def happens(self, action: Callable) -> None:
        """An event that was not taken back."""
        self.now = self.clock
        action()

    def note(self, kind: str, peer: int, value: int) -> None:
        if self.setting.record:
            self.raw.log.append((self.now, EVENT_CODES[kind], peer, value))

    def average(self, peer: Peer, index: int, members: list[int]) -> int:
        """The number of an average that a peer made."""
        raw = self.raw
        for member in members:
            raw.trainings[member].status = USED
        first = index - 1 == len(raw.costs) + 1
        raw.aggregates.append(Aggregate(peer.number, index - 1, self.now, members, first))
        peer.note("aggregated", index)
        if first:
            clients = self.setting.clients
            send = np.dot(clients.send_w, raw.sending)
            joules = float(send + np.dot(clients.receive_w, raw.receiving)) / TICKS_PER_S
            raw.costs.append((sum(raw.down_bytes), sum(raw.up_bytes), joules))
            raw.in_flight.append(sum(p.training is not None for p in self.peers))
            if self.versions is not None and len(raw.costs) >= self.versions:
                self.end(f"version {self.versions} was made, the last one asked for")
        return len(raw.aggregates)

    # -- small messages --------------------------------------------------------------------------

    def latency(self, a: int, b: int) -> int:
        return int(self.own[a] + self.own[b] + self.between[self.site[a], self.site[b]])

    def send(self, peer: Peer, other: int, kind: int, *content: int) -> None:
        self.raw.sent[MESSAGE_KINDS[kind]] += self.rule.message_bytes
        self.raw.up_bytes[peer.number] += self.rule.message_bytes
        self.acks += kind == ACK
        time = self.now + self.latency(peer.number, other)
        order = (MESSAGE, other, peer.number, kind, *content)
        self.at(time, order, partial(self.heard, self.peers[other], peer.number, kind, content))

    def heard(self, peer: Peer, sender: int, kind: int, content: tuple[Any, ...]) -> None:
        self.acks -= kind == ACK
        size, name = self.rule.message_bytes, MESSAGE_KINDS[kind]
        if not peer.there:
            self.raw.lost[name] += size
            peer.note("unheard", sender)
            return
        self.raw.received[name] += size
        self.raw.down_bytes[peer.number] += size
        if kind == NEWS:
            peer.told(sender, content[0], content[1], bool(content[2]))
        elif kind == ACK:
            peer.acknowledged(sender, content[0], bool(content[1]))
        else:
            serial, number, index = content
            peer.hear(sender, number)
            peer.answered(sender, index)
            if kind == PING:
                self.send(peer, sender, PONG, serial, peer.latest, peer.news - 1)
            else:
                peer.pong(sender, serial)

    # -- models ----------------------------------------------------------------------------------

    def sizes(self) -> tuple[float, float]:
        return self.setting.model_bytes, float(self.rule.view_entry_bytes * len(self.peers))

    def tally(self, where: dict[str, float]) -> None:
        where["model"] += self.sizes()[0]
        where["view"] += self.sizes()[1]

    def start(self, letter: Transfer) -> None:
        self.transfers[letter.key] = letter
        self.tally(self.raw.sent)
        self.raw.up_bytes[letter.a.number] += sum(self.sizes())
        letter.left, letter.since, letter.flowing = sum(self.sizes()), self.now, True
        self.busy_since.setdefault(("out", letter.a.number), self.now)
        self.busy_since.setdefault(("in", letter.b.number), self.now)
        self.share()

    def flowing(self) -> list[Transfer]:
        return [t for t in self.transfers.values() if t.flowing]

    def share(self) -> None:
        """Equal parts of the links of both ends."""
        clients, flows = self.setting.clients, self.flowing()
        for flow in flows:
            out = sum(other.a is flow.a for other in flows)
            into = sum(other.b is flow.b for other in flows)
            rate = min(float(clients.up_bytes_per_s[flow.a.number]) / out,
                       float(clients.down_bytes_per_s[flow.b.number]) / into)  # fmt: skip
            if rate == flow.rate:
                continue
            if self.now > flow.since:
                moved = flow.rate * ((self.now - flow.since) / TICKS_PER_S)
                flow.left, flow.since = max(0.0, flow.left - moved), self.now
            flow.rate = rate
            if flow.due is not None:
                flow.due.take_back()
            ticks = math.ceil(min(flow.left / rate * TICKS_PER_S, float(LONGEST)))
            flow.due = self.at(self.now + ticks, (FLOW, *flow.key), partial(self.flowed, flow))

    def unflow(self, letter: Transfer) -> None:
        letter.flowing = False
        a, b = letter.a, letter.b
        if not any(flow.a is a for flow in self.flowing()):
            self.raw.sending[a.number] += self.now - self.busy_since.pop(("out", a.number))
        if not any(flow.b is b for flow in self.flowing()):
            self.raw.receiving[b.number] += self.now - self.busy_since.pop(("in", b.number))
        self.share()

    def flowed(self, letter: Transfer) -> None:
        self.unflow(letter)
        a, b, kind, index = letter.key
        order = (MESSAGE, b, a, kind, index)
        self.at(self.now + self.latency(a, b), order, partial(self.arrived_model, letter))

    def arrived_model(self, letter: Transfer) -> None:
        del self.transfers[letter.key]
        if letter.b.there:
            self.tally(self.raw.received)
            self.raw.down_bytes[letter.b.number] += sum(self.sizes())
            letter.b.got(letter)
        else:
            self.tally(self.raw.lost)
            letter.b.note("unheard", letter.a.number)
        if letter.a.there and not self.raw.ended:
            letter.a.sent(letter)

    def break_off(self, peer: Peer) -> None:
        """The flows of one who leaves."""
        mine = [t for t in self.flowing() if peer in (t.a, t.b)]
        for letter in sorted(mine, key=lambda t: t.key):
            assert letter.due is not None
            letter.due.take_back()
            self.unflow(letter)
            del self.transfers[letter.key]
            self.tally(self.raw.lost)
            letter.a.note("broken", letter.b.number)
            if letter.a.there:
                letter.a.sent(letter)

    # -- presence --------------------------------------------------------------------------------

    def watch(self, peer: Peer) -> None:
        coming = self.presence.next_change(peer.number, self.now)
        if coming < NEVER:
            self.at(coming, (PRESENCE, peer.number), partial(self.change, peer))

    def change(self, peer: Peer) -> None:
        if peer.there:
            peer.leave()
        else:
            peer.join()
        self.watch(peer)
