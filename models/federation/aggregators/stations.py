"""Time and waiting lines: an event heap, stations with some servers, work that goes its way."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DONE, ARRIVAL, CLOSE = range(3)
"""Ranks of events at one tick."""

Then = Callable[[], None]


class Clock:
    """Events in the order (tick, rank, number); a number has at most one event of a rank."""

    def __init__(self) -> None:
        self.now = 0
        self.works = 0
        self._heap: list[tuple[int, int, int, Then]] = []

    def at(self, tick: int, rank: int, number: int, then: Then) -> None:
        """Something happens at a tick."""
        heapq.heappush(self._heap, (tick, rank, number, then))

    def number(self) -> int:
        """Of some new work."""
        self.works += 1
        return self.works

    def run(self, over: Callable[[], bool]) -> None:
        """Until something is over, or nothing is left to happen."""
        while self._heap and not over():
            self.now, _, _, then = heapq.heappop(self._heap)
            then()

    def run_until(self, tick: int) -> None:
        """All that happens up to a tick."""
        self.run(lambda: self._heap[0][0] > tick)


@dataclass(eq=False)
class Station:
    """Servers that work in line.

    Attributes:
        servers: that work at a time.
        busy: ticks of all servers so far, by kind of work.
    """

    clock: Clock
    servers: int
    busy: Counter[str] = field(default_factory=Counter)
    _working: int = 0
    _line: deque[tuple[int, str, int, Then]] = field(default_factory=deque)

    def do(self, ticks: int, kind: str, number: int, then: Then) -> None:
        """Work of so many ticks, at once or when its turn comes; then something."""
        if self._working < self.servers:
            self._begin(ticks, kind, number, then)
        else:
            self._line.append((ticks, kind, number, then))

    def _begin(self, ticks: int, kind: str, number: int, then: Then) -> None:
        self._working += 1
        self.busy[kind] += ticks

        def ended() -> None:
            self._working -= 1
            if self._line:
                self._begin(*self._line.popleft())
            then()

        self.clock.at(self.clock.now + ticks, DONE, number, ended)


@dataclass(frozen=True)
class Stage:
    """A part of a way.

    Attributes:
        station: None: nobody needs to work, it takes only time.
        ticks: how long.
        kind: of the work.
    """

    station: Station | None
    ticks: int
    kind: str


def travel(clock: Clock, way: Sequence[Stage], number: int, arrived: Then) -> None:
    """Take the stages of a way one after another; those of no ticks are left out."""
    rest = [stage for stage in way if stage.ticks > 0]

    def on(place: int) -> None:
        if place == len(rest):
            arrived()
            return
        stage = rest[place]
        if stage.station is None:
            clock.at(clock.now + stage.ticks, DONE, number, lambda: on(place + 1))
        else:
            stage.station.do(stage.ticks, stage.kind, number, lambda: on(place + 1))

    on(0)
