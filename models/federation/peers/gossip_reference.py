"""The SimPy twin of gossip: peers as objects, flows in sets, plain integers."""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.federation.phases import LONGEST
from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.models.serving.reference_clock import Clock, Timer
from mltwin.sim.eventlog import LOG
from mltwin.sim.rng import FAILURES, ROUTING, SERVICE, keyed_below, keyed_normal, keyed_uniform

from .gossip_tables import EVENT_NAMES, PRESENCE, STALENESS_MOST, TRAIN, TRANSFER
from .presence import NEVER, PeerPresence
from .timeline import Setting
from .work import base_seconds

if TYPE_CHECKING:
    from .gossip import Gossip, Raw

KINDS = {name: kind for kind, name in EVENT_NAMES.items()}
PHASES = ("idle", "rest", "training", "paused", "sending", "waiting")


class _Peer:
    """What one peer does, and its own transfer."""

    def __init__(self, twin: "GossipReference", number: int) -> None:
        self.number = number
        self.there = False
        self.phase = "idle"
        self.dispatches = self.began = self.length = self.left = self.merges = 0
        self.fails = False
        self.flow = self.tail = False
        self.partner: _Peer | None = None
        self.incoming: set[_Peer] = set()  # peers whose flow comes here
        self.remaining = self.rate = 0.0
        self.since = self.flow_began = self.busy_since = 0
        self.count = dict.fromkeys(
            ("arrived", "used", "lost", "compute", "send", "receive", "wasted"), 0
        )
        self.up_bytes = self.down_bytes = 0.0
        clock = twin.clock
        self.train = Timer(clock, TRAIN, number, partial(twin.trained, self))
        self.transfer = Timer(clock, TRANSFER, number, partial(twin.moved, self))
        self.presence = Timer(clock, PRESENCE, number, partial(twin.change, self))


class GossipReference:
    """One run; see `gossip` for the rules."""

    def __init__(self, protocol: "Gossip", setting: Setting, updates: int) -> None:
        self.setting, self.updates = setting, updates
        self.pair, self.overlap = protocol.mode == "pair", protocol.overlap
        self.period = round(protocol.period_s * TICKS_PER_S)
        self.clients, self.bytes = setting.clients, setting.model_bytes
        self.base_s = base_seconds(setting.clients, setting.plan)
        self.own, self.site, self.between = setting.overlay.latency_ticks(self.clients.latency_s)
        self.clock = Clock()
        self.presence = PeerPresence(self.clients.availability)
        self.peers = [_Peer(self, number) for number in range(setting.peers)]
        edges = setting.overlay.phases[0]
        self.neighbours = [
            edges.to[a:b].tolist() for a, b in zip(edges.first[:-1], edges.first[1:], strict=True)
        ]
        self.state = dict.fromkeys(
            ("now", "arrived", "training", "wasted", "skipped", "undelivered", "merges"), 0
        )
        self.bytes_up = self.bytes_down = self.bytes_lost = self.joules = 0.0
        self.window: list[int] = []
        self.staleness: list[int] = []
        self.rows: list[tuple] = []
        self.log: list[tuple[int, int, int, int]] = []
        self.over = 0
        self.events = 1

    def run(self) -> "Raw":
        """All events in order."""
        from .gossip import Raw

        for peer in self.peers:
            peer.there = self.presence.here(peer.number, 0)
            self._watch(peer)
        for peer in self.peers:
            if peer.there:
                self._start(peer)
        until = self.setting.until
        while not self.over:
            if not self.clock.pending:
                self.over = 2
            elif self.clock.env.peek() > until:
                self._drop_cleared()
                if self.clock.env.peek() > until:
                    self.over = 3
            else:
                self.clock.env.step()
        names = tuple(self.peers[0].count)
        columns = {n: np.array([peer.count[n] for peer in self.peers]) for n in names}
        columns["dispatches"] = np.array([peer.dispatches for peer in self.peers])
        columns["up_bytes"] = np.array([peer.up_bytes for peer in self.peers])
        columns["down_bytes"] = np.array([peer.down_bytes for peer in self.peers])
        log = np.array(self.log, np.int64).reshape(-1, 4)
        rows = np.zeros(len(log), LOG)
        for place, name in enumerate(LOG.names or ()):
            rows[name] = log[:, place]
        state = {**self.state, "up_bytes": self.bytes_up, "down_bytes": self.bytes_down}
        state |= {"lost_bytes": self.bytes_lost, "joules": self.joules, "events": self.events}
        return Raw(
            rows=self.rows,
            peers=columns,
            state=state,
            hist=np.bincount(self.staleness, minlength=STALENESS_MOST + 1),
            under_way=sum(peer.flow or peer.tail for peer in self.peers),
            over=self.over,
            log=rows,
        )

    def _drop_cleared(self) -> None:
        """Events that were taken back still stand in SimPy's queue."""
        queue = self.clock.env._queue
        while queue and not queue[0][-1].callbacks:
            self.clock.env.step()

    def _note(self, kind: str, peer: _Peer, value: int) -> None:
        self.log.append((self.clock.now, KINDS[kind], peer.number, value))

    def _count_event(self) -> None:
        self.events += 1
        self.state["now"] = self.clock.now

    # -- training ------------------------------------------------------------------------------

    def _begin(self, peer: _Peer) -> None:
        earliest = peer.began + self.period
        if peer.dispatches and earliest > self.clock.now:
            peer.phase = "rest"
            peer.train.set(earliest)
        else:
            self._start(peer)

    def _start(self, peer: _Peer) -> None:
        seed, who, number = self.setting.seed, peer.number, peer.dispatches
        peer.dispatches += 1
        sigma, factor = float(self.clients.jitter[who]), 1.0
        if sigma > 0:
            factor = math.exp(
                sigma * keyed_normal(seed, SERVICE, who, number) - 0.5 * sigma * sigma
            )
        seconds = self.setting.plan.overhead_s + float(self.base_s[who]) * factor
        ticks = min(max(round(seconds * TICKS_PER_S), 1), LONGEST)
        chance = float(self.clients.failure[who])
        peer.fails = chance > 0 and keyed_uniform(seed, FAILURES, who, 2 * number) < chance
        if peer.fails:
            ticks = 1 + int(keyed_uniform(seed, FAILURES, who, 2 * number + 1) * (ticks - 1))
        peer.phase, peer.began, peer.length, peer.merges = "training", self.clock.now, ticks, 0
        self.state["training"] += 1
        peer.train.set(self.clock.now + ticks)
        self._note("start", peer, number)

    def _spend(self, peer: _Peer, ticks: int, wasted: bool) -> None:
        peer.count["compute"] += ticks
        self.joules += float(self.clients.compute_w[peer.number]) * ticks / TICKS_PER_S
        if wasted:
            peer.count["lost"] += 1
            peer.count["wasted"] += ticks
            self.state["wasted"] += ticks

    def trained(self, peer: _Peer) -> None:
        """A training ends, or the rest of a period."""
        self._count_event()
        if peer.phase == "rest":
            self._start(peer)
            return
        self.state["training"] -= 1
        self._spend(peer, peer.length, peer.fails)
        if peer.fails:
            self._note("failed", peer, peer.dispatches - 1)
            self._after(peer)
            return
        peer.count["arrived"] += 1
        peer.count["used"] += 1
        self.staleness.append(min(peer.merges, STALENESS_MOST))
        self.window.append(peer.merges)
        self.state["arrived"] += 1
        self._note("done", peer, peer.dispatches - 1)
        arrived, everyone = self.state["arrived"], len(self.peers)
        if arrived % everyone == 0:
            self.rows.append((arrived // everyone, self.clock.now, sum(self.window),
                              max(self.window), self.state["training"], arrived, self.bytes_down,
                              self.bytes_up, self.joules, self.state["wasted"]))  # fmt: skip
            self.window = []
        if arrived >= self.updates:
            self.over = 1
        elif peer.there:
            self._share(peer)
        else:
            peer.phase = "waiting"

    def _after(self, peer: _Peer) -> None:
        if peer.there:
            self._begin(peer)
        else:
            peer.phase = "idle"

    # -- sending -------------------------------------------------------------------------------

    def _chosen(self, peer: _Peer) -> _Peer | None:
        known = self.neighbours[peer.number]
        if not known:
            return None
        key = (self.setting.seed, ROUTING, peer.number, peer.dispatches)
        place = keyed_below(*key, len(known))
        there = [self.peers[n] for n in known[place:] + known[:place] if self.peers[n].there]
        return there[0] if there else None

    def _share(self, peer: _Peer) -> None:
        other = None if peer.flow or peer.tail else self._chosen(peer)
        if other is None:
            self.state["skipped"] += 1
            self._note("skipped", peer, -1)
            self._begin(peer)
            return
        peer.partner, peer.flow, peer.phase = other, True, "sending"
        peer.remaining, peer.rate = self.bytes, 0.0
        peer.since = peer.flow_began = self.clock.now
        other.incoming.add(peer)
        for end in (peer, other) if self.pair else (other,):
            if len(self._flows(end)) == 1:
                end.busy_since = self.clock.now
        for sender in (peer, other) if self.pair else (peer,):
            sender.up_bytes += self.bytes
            self.bytes_up += self.bytes
        self._note("send", peer, other.number)
        self._rerate(peer, other)
        if self.overlap:
            self._begin(peer)

    def _flows(self, peer: _Peer) -> set[_Peer]:
        """Senders of the flows that share a link with what comes to or, in pairs, leaves a peer."""
        return peer.incoming | ({peer} if self.pair and peer.flow else set())

    def _rate(self, peer: _Peer) -> float:
        up, down = self.clients.up_bytes_per_s, self.clients.down_bytes_per_s
        a, b = peer, peer.partner
        assert b is not None
        if not self.pair:
            return float(min(up[a.number], down[b.number] / len(b.incoming)))
        return float(min(min(up[x.number], down[x.number]) / len(self._flows(x)) for x in (a, b)))

    def _rerate(self, *ends: _Peer) -> None:
        """Flows at these peers have come or gone."""
        now = self.clock.now
        for peer in set().union(*(self._flows(end) for end in ends)):
            rate = self._rate(peer)
            if rate == peer.rate:
                continue
            if now > peer.since:
                moved = peer.rate * ((now - peer.since) / TICKS_PER_S)
                peer.remaining, peer.since = max(0.0, peer.remaining - moved), now
            peer.rate = rate
            ticks = math.ceil(min(peer.remaining / rate * TICKS_PER_S, float(LONGEST)))
            peer.transfer.set(now + ticks)

    def _busy(self, peer: _Peer, sending: int, receiving: int) -> None:
        peer.count["send"] += sending
        peer.count["receive"] += receiving
        send, receive = self.clients.send_w, self.clients.receive_w
        watts = float(send[peer.number]) * sending + float(receive[peer.number]) * receiving
        self.joules += watts / TICKS_PER_S

    def _end_flow(self, peer: _Peer) -> None:
        other = peer.partner
        assert other is not None
        other.incoming.remove(peer)
        peer.flow = False
        peer.transfer.clear()
        now = self.clock.now
        if self.pair:
            for end in (peer, other):
                if not self._flows(end):
                    self._busy(end, now - end.busy_since, now - end.busy_since)
        else:
            self._busy(peer, now - peer.flow_began, 0)
            if not other.incoming:
                self._busy(other, 0, now - other.busy_since)
        self._rerate(peer, other)

    def moved(self, peer: _Peer) -> None:
        """A flow ends, or its model arrives."""
        self._count_event()
        other = peer.partner
        assert other is not None
        if peer.flow:
            self._end_flow(peer)
            a, b = peer.number, other.number
            latency = int(self.own[a] + self.own[b] + self.between[self.site[a], self.site[b]])
            if latency > 0:
                peer.tail = True
                peer.transfer.set(self.clock.now + latency)
                return
        peer.tail = False
        if other.there and (peer.there or not self.pair):
            for receiver in (other, peer) if self.pair else (other,):
                receiver.down_bytes += self.bytes
                self.bytes_down += self.bytes
                receiver.merges += 1
            self.state["merges"] += 1
            self._note("merge", other, peer.number)
        else:
            self._undelivered(peer)
        if peer.phase == "sending":
            self._after(peer)

    def _undelivered(self, peer: _Peer) -> None:
        assert peer.partner is not None
        self.state["undelivered"] += 1
        self.bytes_lost += self.bytes * (2.0 if self.pair else 1.0)
        self._note("undelivered", peer, peer.partner.number)

    # -- coming and leaving --------------------------------------------------------------------

    def _watch(self, peer: _Peer) -> None:
        coming = self.presence.next_change(peer.number, self.clock.now)
        if coming < NEVER:
            peer.presence.set(coming)

    def change(self, peer: _Peer) -> None:
        """A peer comes or leaves."""
        self._count_event()
        if peer.there:
            self._leave(peer)
        else:
            self._join(peer)
        self._watch(peer)

    def _leave(self, peer: _Peer) -> None:
        peer.there = False
        self._note("leave", peer, PHASES.index(peer.phase))
        interruption = self.setting.plan.interruption
        if peer.phase == "training" and interruption == "drop":
            peer.train.clear()
            self.state["training"] -= 1
            self._spend(peer, self.clock.now - peer.began, True)
            self._note("dropped", peer, peer.dispatches - 1)
            peer.phase = "idle"
        elif peer.phase == "training" and interruption == "pause":
            peer.left = self.ends(peer) - self.clock.now
            peer.train.clear()
            peer.phase = "paused"
        elif peer.phase in ("rest", "sending"):
            peer.train.clear()
            peer.phase = "idle"
        if peer.flow:
            self._end_flow(peer)
            self._undelivered(peer)
        for sender in sorted(peer.incoming, key=lambda each: each.number):
            self._end_flow(sender)
            self._undelivered(sender)
            if sender.phase == "sending":
                self._after(sender)

    @staticmethod
    def ends(peer: _Peer) -> int:
        """When the timer of a training rings."""
        assert peer.train.due is not None
        return next(t for t, _, _, event in peer.train.due.env._queue if event is peer.train.due)

    def _join(self, peer: _Peer) -> None:
        peer.there = True
        self._note("join", peer, PHASES.index(peer.phase))
        if peer.phase == "paused":
            peer.phase = "training"
            peer.train.set(self.clock.now + peer.left)
        elif peer.phase == "waiting":
            self._share(peer)
        elif peer.phase == "idle":
            self._begin(peer)
