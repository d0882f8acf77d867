"""What peers of MoDeST send: bytes counted by kind, flows, latencies, and the heap of events."""

from heapq import heappush
from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S

from .flows import Flows, Key
from .modest_state import Letter
from .modest_tables import (
    AGGREGATED,
    EVENT_CODES,
    FLOW,
    MESSAGE,
    MESSAGE_KINDS,
    TRAINED,
    ModestRaw,
)
from .timeline import Setting

if TYPE_CHECKING:
    from .modest import Modest


class Wire:
    """Messages under way. A heap of integer tuples (time, rank, peer, ...), in which what was
    taken back stays and is skipped."""

    def __init__(self, protocol: "Modest", setting: Setting) -> None:
        self.rule, self.setting = protocol, setting
        self.now = 0
        self.heap: list[tuple[int, ...]] = []
        own, site, between = setting.overlay.latency_ticks(setting.clients.latency_s)
        self.own, self.site, self.between = own.tolist(), site.tolist(), between.tolist()
        self.flows = Flows(setting.clients, self._flow_moves)
        self.letters: dict[Key, Letter] = {}
        self.model_bytes = setting.model_bytes
        self.view_bytes = float(protocol.view_entry_bytes * setting.peers)
        self.raw = ModestRaw(up_bytes=[0.0] * setting.peers, down_bytes=[0.0] * setting.peers)
        for counts in (self.raw.sent, self.raw.received, self.raw.lost, self.raw.under_way):
            counts.update(dict.fromkeys(MESSAGE_KINDS, 0.0))

    def _note(self, kind: str, peer: int, value: int) -> None:
        if self.setting.record:
            self.raw.log.append((self.now, EVENT_CODES[kind], peer, value))

    def _count(self, where: dict[str, float], kind: int) -> None:
        if kind in (TRAINED, AGGREGATED):
            where["model"] += self.model_bytes
            where["view"] += self.view_bytes
        else:
            where[MESSAGE_KINDS[kind]] += self.rule.message_bytes

    def _post(self, key: Key, letter: Letter) -> None:
        """A model and a view begin to flow."""
        size = self.model_bytes + self.view_bytes
        self._count(self.raw.sent, key[2])
        self.raw.up_bytes[key[0]] += size
        self.letters[key] = letter
        self.flows.start(key, size, self.now)

    def _flow_moves(self, key: Key, end: int) -> None:
        heappush(self.heap, (end, FLOW, *key))

    def _flowed(self, key: Key) -> None:
        self.flows.stop(key, self.now)
        heappush(self.heap, (self.now + self._latency(*key[:2]), MESSAGE, key[1], key[0], *key[2:]))

    def _latency(self, a: int, b: int) -> int:
        return int(self.own[a] + self.own[b] + self.between[self.site[a]][self.site[b]])

    def _send(self, peer: int, other: int, kind: int, *content: int) -> None:
        size = self.rule.message_bytes
        self.raw.sent[MESSAGE_KINDS[kind]] += size
        self.raw.up_bytes[peer] += size
        time = self.now + self._latency(peer, other)
        heappush(self.heap, (time, MESSAGE, other, peer, kind, *content))

    def _settle(self) -> None:
        """Count what is under way at the end."""
        raw = self.raw
        for key in self.letters:
            self._count(raw.under_way, key[2])
        for event in self.heap:
            if event[1] == MESSAGE and event[4] not in (TRAINED, AGGREGATED):
                self._count(raw.under_way, event[4])
        raw.sending, raw.receiving = self.flows.sending, self.flows.receiving

    def _joules(self) -> float:
        """Of links that have fallen silent since."""
        clients = self.setting.clients
        send = np.dot(clients.send_w, self.flows.sending)
        return float(send + np.dot(clients.receive_w, self.flows.receiving)) / TICKS_PER_S
