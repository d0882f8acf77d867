"""Transfers that share the links of their ends in equal parts, for engines in plain Python."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mltwin.models.federation.phases import LONGEST
from mltwin.models.federation.tables import TICKS_PER_S, Clients

Key = tuple[int, int, int, int]
"""Sender, receiver, kind, number."""


@dataclass(slots=True)
class Flow:
    """Bytes on their way: what is left since a tick, the rate, and when they will have gone."""

    remaining: float
    since: int
    rate: float = 0.0
    end: int = -1


class Flows:
    """All transfers under way.

    The rate of one is min(up / flows out of its sender, down / flows in to its receiver), worked
    out anew when either number changes. A peer sends (receives) as long as anything flows.

    Args:
        clients: the peers.
        moved: called with (key, tick) whenever the end of a flow is set.
    """

    def __init__(self, clients: Clients, moved: Callable[[Key, int], None]) -> None:
        self.up = clients.up_bytes_per_s.tolist()
        self.down = clients.down_bytes_per_s.tolist()
        self.moved = moved
        self.flows: dict[Key, Flow] = {}
        count = len(clients)
        self.out: list[set[Key]] = [set() for _ in range(count)]
        self.into: list[set[Key]] = [set() for _ in range(count)]
        self.sending = [0] * count
        self.receiving = [0] * count
        self._since_out = [0] * count
        self._since_in = [0] * count

    def __len__(self) -> int:
        return len(self.flows)

    def start(self, key: Key, size: float, now: int) -> None:
        """Bytes begin to flow."""
        sender, receiver = key[:2]
        if not self.out[sender]:
            self._since_out[sender] = now
        if not self.into[receiver]:
            self._since_in[receiver] = now
        self.flows[key] = Flow(size, now)
        self.out[sender].add(key)
        self.into[receiver].add(key)
        self._rerate(sender, receiver, now)

    def stop(self, key: Key, now: int) -> None:
        """A flow has ended, or is broken off."""
        sender, receiver = key[:2]
        del self.flows[key]
        self.out[sender].remove(key)
        self.into[receiver].remove(key)
        if not self.out[sender]:
            self.sending[sender] += now - self._since_out[sender]
        if not self.into[receiver]:
            self.receiving[receiver] += now - self._since_in[receiver]
        self._rerate(sender, receiver, now)

    def of(self, peer: int) -> list[Key]:
        """The flows from and to a peer, ascending."""
        return sorted(self.out[peer] | self.into[peer])

    def _touched(self, sender: int, receiver: int) -> Iterator[Key]:
        yield from self.out[sender]
        yield from (key for key in self.into[receiver] if key[0] != sender)

    def _rerate(self, sender: int, receiver: int, now: int) -> None:
        for key in self._touched(sender, receiver):
            i, j = key[:2]
            rate = min(self.up[i] / len(self.out[i]), self.down[j] / len(self.into[j]))
            flow = self.flows[key]
            if rate == flow.rate:
                continue
            if now > flow.since:
                gone = flow.rate * ((now - flow.since) / TICKS_PER_S)
                flow.remaining = max(0.0, flow.remaining - gone)
                flow.since = now
            flow.rate = rate
            ticks = math.ceil(min(flow.remaining / rate * TICKS_PER_S, float(LONGEST)))
            flow.end = now + ticks
            self.moved(key, flow.end)
