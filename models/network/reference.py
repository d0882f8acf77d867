"""The same network in plain Python: no heaps, no repair, every rate worked out at every instant.

It adds and subtracts in the order of the kernel with ``incremental=False``, so both give the same
ticks, ``==``; on that the tests stand.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mltwin.sim.ticks import NEVER, TICKS_PER_S

from .flows import Changes, FlowRun, FlowTable
from .simulate import bytes_of_links, check_network, never_ends
from .topology import Topology

INFINITE = math.inf


def simulate_reference(
    network: Topology | ArrayLike, flows: FlowTable, *, changes: Changes | None = None
) -> FlowRun:
    """What `simulate_flows` with ``incremental=False`` gives, to the tick; slow.

    Raises:
        InputError: as `simulate_flows`.
    """
    speed = check_network(network, flows, changes)
    twin = Reference(speed, flows, changes).run()
    for bundle in twin.active:
        broken = [k for k in bundle.path if twin.links[k].capacity <= 0.0]
        raise never_ends(min(bundle.members)[1], broken[0] if broken else -1, network)
    return FlowRun(
        start=np.array(twin.start, np.int64),
        end=np.array(twin.end, np.int64),
        link_bytes=bytes_of_links(flows, len(speed)),
        link_busy_ticks=np.array([link.busy for link in twin.links], np.int64),
        link_peak=np.array([link.peak for link in twin.links], np.int32),
        solves=twin.solves,
        full_solves=twin.solves,
    )


@dataclass
class _Link:
    capacity: float
    left: float = 0.0
    open: float = 0.0
    crossing: list[tuple["_Bundle", int]] = field(default_factory=list)
    flows: int = 0
    peak: int = 0
    since: int = 0
    busy: int = 0


@dataclass
class _Bundle:
    number: int
    path: list[int]
    cap: float
    members: list[tuple[float, int]] = field(default_factory=list)
    weight: float = 0.0
    heaviest: float = 0.0
    share: float = 0.0
    rate: float = 0.0
    work: float = 0.0
    since: int = 0
    ended: int = 0
    open: bool = False
    dirty: bool = False

    def pull(self, now: int) -> None:
        """Bring what each unit of weight has moved up to now."""
        if now > self.since:
            self.work += self.share * (now - self.since)
            self.since = now

    def recount(self) -> None:
        """Count work from here."""
        self.members = [(level - self.work, f) for level, f in self.members]
        self.work, self.ended = 0.0, 0

    def end(self) -> int:
        """The first tick at which its next flow has nothing left."""
        left = min(self.members)[0] - self.work
        if left <= 0.0:
            return self.since
        if self.share <= 0.0:
            return NEVER
        length = left / self.share
        if length > float(NEVER - self.since):
            return NEVER
        return self.since + max(0, math.ceil(length - 1e-3 - length * 1e-15))


class Reference:
    """Flows over links, to their end: `run` fills `start` and `end` (ticks, by flow).

    log holds (tick, what, which) in order: "change" of a link, "end" and "start" of a flow. Without
    merge each flow is a bundle of its own, as in `tables.network_tables`.
    """

    def __init__(
        self,
        bytes_per_s: Any,
        flows: FlowTable,
        changes: Changes | None = None,
        *,
        merge: bool = True,
    ) -> None:
        self.flows = flows
        self.merge = merge
        self.changes = changes or Changes.none()
        self.links = [_Link(float(speed) / TICKS_PER_S) for speed in bytes_per_s]
        self.bundles: list[_Bundle] = []
        self.bundle_of = [self._bundle(f) for f in range(len(flows))]
        self.active: list[_Bundle] = []
        self.start = [-1] * len(flows)
        self.end = [-1] * len(flows)
        self.log: list[tuple[int, str, int]] = []
        self.uneven = bool(np.any(flows.weight != 1.0))
        self.now = 0
        self.solves = 0
        self._changed = False

    def _bundle(self, f: int) -> _Bundle:
        path = self.flows.links[self.flows.first[f] : self.flows.first[f + 1]].tolist()
        cap = float(self.flows.cap[f]) / TICKS_PER_S / float(self.flows.weight[f])
        for bundle in self.bundles if self.merge else ():
            if bundle.path == path and bundle.cap == cap:
                return bundle
        self.bundles.append(_Bundle(len(self.bundles), path, cap))
        return self.bundles[-1]

    def run(self) -> "Reference":
        """Run until nothing more can happen; flows that wait for ever keep their end of -1."""
        n = len(self.flows)
        first, after = self.flows.after_first, self.flows.after
        waits = [set(after[first[f] : first[f + 1]].tolist()) for f in range(n)]
        count = [int(first[f + 1] - first[f]) for f in range(n)]
        due: list[tuple[int, int]] = []
        for f in range(n):
            if count[f] == 0:
                self.start[f] = int(self.flows.release[f])
                due.append((self.start[f] + int(self.flows.delay[f]), f))
        at = 0
        while True:
            times = [bundle.end() for bundle in self.active] + [time for time, _ in due]
            if at < len(self.changes):
                times.append(int(self.changes.time[at]))
            self.now = min(times, default=NEVER)
            if self.now >= NEVER:
                return self
            while at < len(self.changes) and self.changes.time[at] <= self.now:
                self._change(int(self.changes.link[at]), float(self.changes.bytes_per_s[at]))
                at += 1
            ended = self._ended()
            while ended or any(time <= self.now for time, _ in due):
                for f in ended:
                    self._note_end(f)
                    for g in range(n):
                        if f in waits[g]:
                            count[g] -= int(sum(after[first[g] : first[g + 1]] == f))
                            if count[g] == 0:
                                self.start[g] = max(self.now, int(self.flows.release[g]))
                                due.append((self.start[g] + int(self.flows.delay[g]), g))
                ended = []
                ready = sorted(f for time, f in due if time <= self.now)
                if ready:
                    due = [(time, f) for time, f in due if f != ready[0]]
                    ended = self._begin(ready[0])
            if self._changed:
                self._solve()

    def _note_end(self, f: int) -> None:
        self.end[f] = self.now
        self.log.append((self.now, "end", f))

    def _change(self, link: int, bytes_per_s: float) -> None:
        self.log.append((self.now, "change", link))
        self.links[link].capacity = bytes_per_s / TICKS_PER_S
        for bundle, _ in self.links[link].crossing:
            bundle.dirty = self._changed = True

    def _begin(self, f: int) -> list[int]:
        """Flow f begins to move; it has ended if there is nothing to move."""
        self.log.append((self.now, "start", f))
        if self.flows.bytes[f] == 0.0:
            return [f]
        bundle = self.bundle_of[f]
        if not bundle.members:
            bundle.share = bundle.weight = bundle.heaviest = bundle.work = 0.0
            bundle.ended, bundle.since = 0, self.now
            self.active.append(bundle)
            for hop, k in enumerate(bundle.path):
                if not self.links[k].crossing:
                    self.links[k].since = self.now
                self.links[k].crossing.append((bundle, hop))
        else:
            bundle.pull(self.now)
        ask = float(self.flows.bytes[f]) / float(self.flows.weight[f])
        if bundle.work > 2.0**20 * ask:
            bundle.recount()
        bundle.members.append((bundle.work + ask, f))
        bundle.weight += float(self.flows.weight[f])
        bundle.heaviest = max(bundle.heaviest, bundle.weight)
        for k in bundle.path:
            self.links[k].flows += 1
            self.links[k].peak = max(self.links[k].peak, self.links[k].flows)
        bundle.dirty = self._changed = True
        return []

    def _ended(self) -> list[int]:
        """Take out the flows that end now, in the order of their bundles, levels and numbers."""
        found: list[int] = []
        while True:
            over = [bundle for bundle in self.active if bundle.end() <= self.now]
            if not over:
                return found
            bundle = min(over, key=lambda one: (one.end(), one.number))
            bundle.pull(self.now)
            level, f = min(bundle.members)
            bundle.work = max(bundle.work, level)
            bundle.members.remove((level, f))
            bundle.weight -= float(self.flows.weight[f])
            if bundle.weight < 1e-3 * bundle.heaviest:
                numbers = sorted(g for _, g in bundle.members)
                bundle.weight = sum((float(self.flows.weight[g]) for g in numbers), 0.0)
                bundle.heaviest = bundle.weight
            bundle.ended += 1
            for k in bundle.path:
                self.links[k].flows -= 1
            bundle.dirty = self._changed = True
            if not bundle.members:
                self._detach(bundle)
            elif bundle.ended >= len(bundle.members):
                bundle.recount()
            found.append(f)

    def _detach(self, bundle: _Bundle) -> None:
        """Leave all lists; the last of each takes the empty place, as in the kernel."""
        _swap_out(self.active, self.active.index(bundle))
        for hop, k in enumerate(bundle.path):
            link = self.links[k]
            crossing = enumerate(link.crossing)
            place = next(n for n, (one, at) in crossing if one is bundle and at == hop)
            _swap_out(link.crossing, place)
            if not link.crossing:
                link.busy += self.now - link.since

    def _solve(self) -> None:
        """Progressive filling over everything (see `solver`)."""
        self._changed = False
        self.solves += bool(self.active)
        for bundle in self.active:
            bundle.open, bundle.rate = True, 0.0
        for link in self.links:
            link.left = link.capacity
            link.open = 0.0
            for bundle, _ in link.crossing:
                link.open += bundle.weight
        while any(bundle.open for bundle in self.active):
            # ties: links come before caps
            least = min(self._candidates(), key=lambda one: (one[0], one[2], one[1]))
            share, which, capped = least
            if capped:
                self._rate(self.bundles[which], share)
                continue
            link = self.links[which]
            if self.uneven:
                share = self._exact_share(link)
            for bundle, _ in link.crossing:
                if bundle.open:
                    self._rate(bundle, share)
        for bundle in self.active:
            bundle.dirty = False

    def _exact_share(self, link: _Link) -> float:
        link.open = sum((one.weight for one, _ in link.crossing if one.open), 0.0)
        link.left = link.capacity
        for one, _ in link.crossing:
            if not one.open:
                link.left -= one.rate
        return max(0.0, link.left) / link.open if link.capacity > 0.0 else 0.0

    def _candidates(self) -> list[tuple[float, int, bool]]:
        """(share, link or bundle, whether a cap) of all that may hold an open bundle back."""
        found = []
        for k, link in enumerate(self.links):
            if any(bundle.open for bundle, _ in link.crossing):
                share = max(0.0, link.left) / link.open if link.capacity > 0.0 else 0.0
                found.append((share, k, False))
        for bundle in self.active:
            if bundle.open and (bundle.cap < INFINITE or not bundle.path):
                found.append((bundle.cap, bundle.number, True))
        return found

    def _rate(self, bundle: _Bundle, share: float) -> None:
        bundle.open = False
        bundle.rate = bundle.weight * share
        for k in bundle.path:
            link = self.links[k]
            link.left -= bundle.rate
            link.open -= bundle.weight
            if link.open < 1e-3 * bundle.weight:
                link.open = sum((one.weight for one, _ in link.crossing if one.open), 0.0)
        if share != bundle.share:
            bundle.pull(self.now)
            bundle.share = share


def _swap_out(rows: list[Any], place: int) -> None:
    last = rows.pop()
    if place < len(rows):
        rows[place] = last
