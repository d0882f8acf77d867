"""Parts of the SimPy twin: availability as lists of intervals, one dispatch, versions in use."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mltwin.sim.rng import FAILURES, SERVICE, keyed_normal, keyed_uniform
from mltwin.sim.ticks import NEVER

from .events import Limits
from .hooks import DONE, FAILED, OFFLINE
from .phases import LONGEST
from .tables import FINISH, PAUSE, TICKS_PER_S, Availability, Clients


class Presence:
    """When clients are there, in plain Python."""

    def __init__(self, availability: Availability) -> None:
        self.of = availability

    def intervals(self, client: int, now: int) -> Iterator[tuple[int, int]]:
        """(begin, end) of the times that end after now, rising; those that touch are joined."""
        trace = int(self.of.trace[client])
        if trace < 0:
            yield 0, NEVER
            return
        first, last = (int(row) for row in self.of.first[trace : trace + 2])
        rows = [(int(self.of.begin[row]), int(self.of.end[row])) for row in range(first, last)]
        period, offset = int(self.of.period[trace]), int(self.of.offset[client])
        if period and rows == [(0, period)]:
            yield 0, NEVER
            return
        cycle = (now + offset) // period if period else 0
        joined: tuple[int, int] | None = None
        while rows:
            for begin, end in rows:
                begin, end = (tick + cycle * period - offset for tick in (begin, end))
                if end <= now:
                    continue
                if joined and joined[1] == begin:
                    joined = joined[0], end
                else:
                    if joined:
                        yield joined
                    joined = begin, end
            if not period:
                break
            cycle += 1
        if joined:
            yield joined

    def here(self, client: int, now: int) -> bool:
        """Whether a client is there."""
        return next(self.intervals(client, now), (NEVER, NEVER))[0] <= now

    def returns(self, client: int, now: int) -> int:
        """When a client is there next, now if it is; NEVER."""
        return max(now, next(self.intervals(client, now), (NEVER, NEVER))[0])

    def after_work(self, client: int, begin: int, work: int) -> tuple[bool, int]:
        """(True, when a client that works only while it is there has worked so long), or (False,
        when it leaves for good)."""
        left = begin
        for start, end in self.intervals(client, begin):
            start = max(start, begin)
            if start + work <= end:
                return True, start + work
            work -= end - start
            left = end
        return False, left

    def worked(self, client: int, begin: int, now: int) -> int:
        """Ticks between begin and now at which a client was there."""
        total = 0
        for start, end in self.intervals(client, begin):
            if max(start, begin) >= now:
                break
            total += min(end, now) - max(start, begin)
        return total


@dataclass
class Work:
    """One dispatch, from its sending until it has been handed over."""

    client: int
    number: int
    held: int
    slot: int
    begin: int
    receive: int
    compute: int
    send: int
    steps: int
    tag: int
    down_bytes: float
    up_bytes: float
    status: int = DONE
    ends: int = 0  # when it arrives or is lost
    over: int = 0  # when the server learned of it
    spent: int = 0
    lost: bool = False  # and the server does not know
    standard: bool = False  # what refills give: its bytes are counted, then multiplied

    @property
    def total(self) -> int:
        return self.receive + self.compute + self.send


def fails_after(work: Work, chance: float, seed: int) -> int | None:
    """Ticks of work after which a dispatch fails; None: it does not."""
    client, number = work.client, work.number
    if chance <= 0.0 or keyed_uniform(seed, FAILURES, client, 2 * number) >= chance:
        return None
    part = keyed_uniform(seed, FAILURES, client, 2 * number + 1)
    return 1 + int(part * (work.total - 1))


def plan_end(
    work: Work, presence: Presence, now: int, limits: Limits, clients: Clients, seed: int
) -> None:
    """Work out how and when a dispatch ends."""
    client = work.client
    fails = fails_after(work, float(clients.failure[client]), seed)
    need = work.total if fails is None else fails
    work.status = DONE if fails is None else FAILED
    if limits.interruption == FINISH:
        work.ends = work.begin + need
    elif limits.interruption == PAUSE:
        comes, work.ends = presence.after_work(client, work.begin, need)
        work.status = work.status if comes else OFFLINE
        work.ends = max(work.ends, now + 1)
    else:
        leaves = next(presence.intervals(client, now))[1]
        work.ends = work.begin + need
        if work.ends > leaves:
            work.status, work.ends = OFFLINE, leaves


def drawn_compute(
    overhead_s: float, compute_s: float, sigma: float, key: tuple[int, int, int]
) -> int:
    """Ticks of training: the seconds with their jitter."""
    factor = 1.0
    if sigma > 0.0:
        seed, client, number = key
        z = keyed_normal(seed, SERVICE, client, number)
        factor = math.exp(sigma * z - 0.5 * sigma * sigma)
    return int(min(round((overhead_s + compute_s * factor) * TICKS_PER_S), LONGEST))


class Slots:
    """Who holds which version: slots of the ring, given out and freed once each."""

    def __init__(self) -> None:
        self.holders = {0: 0}
        self.free: list[int] = []
        self.current = 0
        self.made, self.freed, self.most = 1, 0, 1

    def hold(self) -> int:
        """One more dispatch of the current version; its slot."""
        self.holders[self.current] += 1
        return self.current

    def release(self, slot: int) -> None:
        """One holder less."""
        self.holders[slot] -= 1
        assert self.holders[slot] >= 0, "a version was released twice"
        self._drop(slot)

    def new(self) -> int:
        """The slot of a new current version."""
        before, self.current = self.current, -1
        self._drop(before)
        self.current = self.free.pop() if self.free else len(self.holders)
        self.holders[self.current] = 0
        self.made += 1
        self.most = max(self.most, self.made - self.freed)
        return self.current

    def _drop(self, slot: int) -> None:
        if self.holders[slot] == 0 and slot != self.current:
            self.free.append(slot)
            self.freed += 1
