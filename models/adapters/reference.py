"""The SimPy twin of `paging`: the same rules with lists, dicts and one process a request."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import simpy

from mltwin.sim.rng_arrays import POLICY, bits

from .tables import (
    ARRIVED,
    DELAYED,
    EVICTED,
    FINISHED,
    GDSF,
    HIT,
    LFU,
    LOAD_BEGAN,
    LOAD_ENDED,
    LRU,
    MISS,
    ORACLE,
    STARTED,
    STATIC,
    PagingInput,
    PagingOutcome,
    next_uses,
)

_LOAD_END, _SERVICE_END, _ARRIVAL = range(3)


class _At(simpy.Event):
    """An event at a tick, ordered among equals by (rank, entity) as SimPy's priority."""

    def __init__(
        self, env: simpy.Environment, at: int, rank: int, entity: int, action: Callable[[], None]
    ) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        self.callbacks = [lambda _: action()]
        env.schedule(self, rank << 48 | entity, at - int(env.now))


class Server:
    """Slots, a link and memory for adapters."""

    def __init__(self, given: PagingInput) -> None:
        self.given = given
        self.env = simpy.Environment()
        n, adapters = len(given.arrival), len(given.size)
        self.following, first = next_uses(given.adapter, adapters)
        self.size = [int(v) for v in given.size]
        self.load = [int(v) for v in given.load]
        self.known = [int((given.adapter == a).sum()) for a in range(adapters)]
        self.resident: set[int] = {int(a) for a in given.warm}
        self.loading: int | None = None
        self.queue: deque[int] = deque()
        self.waiting: dict[int, list[int]] = {}
        self.ready_requests: list[int] = []
        self.users = [0] * adapters
        self.last, self.count = [-1] * adapters, [0] * adapters
        self.next = [int(v) for v in first]
        self.value = [0.0] * adapters  # H of gdsf
        self.inflation = 0.0
        self.running = 0
        self.before = 0  # tick of the event before
        self.ready, self.start, self.finish = ([-1] * n for _ in range(3))
        self.found = [HIT] * n
        self.log: list[tuple[int, int, int]] = []
        self.totals = dict.fromkeys(
            ("evictions", "loads", "bytes_in", "bytes_out", "link_busy", "done", "blocked"), 0
        )
        for request, at in enumerate(given.arrival):
            self._at(int(at), _ARRIVAL, request, self._arrive)

    def _at(self, at: int, rank: int, entity: int, action: Callable[[int], None]) -> None:
        def happen() -> None:
            if self.loading is None and self.queue:
                self.totals["blocked"] += self.now - self.before
            self.before = self.now
            action(entity)
            self._start_ready()
            self._begin_load()

        _At(self.env, at, rank, entity, happen)

    @property
    def now(self) -> int:
        """The tick."""
        return int(self.env.now)

    def _note(self, kind: int, entity: int) -> None:
        self.log.append((self.now, kind, entity))

    def _arrive(self, request: int) -> None:
        a = int(self.given.adapter[request])
        self._note(ARRIVED, request)
        self.users[a] += 1
        self.last[a], self.count[a] = request, self.count[a] + 1
        self.next[a] = int(self.following[request])
        self.value[a] = self.inflation + self.count[a] * float(self.load[a]) / self.size[a]
        if a in self.resident:
            self.ready[request] = self.now
            self.ready_requests.append(request)
            return
        self.found[request] = DELAYED if a in self.waiting else MISS
        if a not in self.waiting:
            self.queue.append(a)
        self.waiting.setdefault(a, []).append(request)

    def _start_ready(self) -> None:
        self.ready_requests.sort()
        while self.ready_requests and self.running < self.given.slots:
            request = self.ready_requests.pop(0)
            self.running += 1
            self.start[request] = self.now
            self._note(STARTED, request)
            end = self.now + int(self.given.service[request])
            self._at(end, _SERVICE_END, request, self._finish)

    def _finish(self, request: int) -> None:
        self.finish[request] = self.now
        self.running -= 1
        self.users[int(self.given.adapter[request])] -= 1
        self.totals["done"] += 1
        self._note(FINISHED, request)

    def _score(self, a: int) -> float:
        policy = self.given.policy
        if policy == LRU:
            return self.last[a]
        if policy == LFU:
            return self.count[a]
        if policy == STATIC:
            return self.known[a]
        if policy == GDSF:
            return self.value[a]
        if policy == ORACLE:
            return -self.next[a]
        return int(bits(self.given.seed, POLICY, [a], self.totals["evictions"])[0]) >> 11

    def _fits(self, a: int, staying: set[int]) -> bool:
        used = sum(self.size[b] for b in staying)
        room = used + self.size[a] <= self.given.capacity_bytes
        return room and len(staying) + 1 <= self.given.capacity

    def _begin_load(self) -> None:
        if self.loading is not None or not self.queue:
            return
        a = self.queue[0]
        if not self._fits(a, {b for b in self.resident if self.users[b]}):
            return
        while not self._fits(a, self.resident):
            idle = [b for b in self.resident if not self.users[b]]
            victim = min(idle, key=lambda b: (self._score(b), self.last[b], b))
            self.inflation = self._score(victim)
            self.resident.remove(victim)
            self.count[victim], self.value[victim] = 0, 0.0
            self.totals["evictions"] += 1
            self.totals["bytes_out"] += self.size[victim]
            self._note(EVICTED, victim)
        self.queue.popleft()
        self.loading = a
        self._note(LOAD_BEGAN, a)
        self._at(self.now + self.load[a], _LOAD_END, a, self._end_load)

    def _end_load(self, a: int) -> None:
        self.loading = None
        self.resident.add(a)
        self.totals["loads"] += 1
        self.totals["bytes_in"] += self.size[a]
        self.totals["link_busy"] += self.load[a]
        self._note(LOAD_ENDED, a)
        for request in self.waiting.pop(a):
            self.ready[request] = self.now
            self.ready_requests.append(request)


def simulate_reference(given: PagingInput) -> PagingOutcome:
    """Run the twin until all requests have ended; its log is always kept.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    server = Server(given)
    server.env.run()
    columns: Any = (server.ready, server.start, server.finish)
    ready, start, finish = (np.array(column, np.int64) for column in columns)
    return PagingOutcome(
        ready=ready,
        start=start,
        finish=finish,
        found=np.array(server.found, np.int8),
        totals=server.totals,
        log=np.array(server.log, np.int64).reshape(-1, 3),
        resident=np.array(sorted(server.resident), np.int64),
    )
