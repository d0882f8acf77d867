"""Part of the SimPy twin: rates of clients' links that follow traces, piece by piece."""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice

from mltwin.sim.ticks import NEVER

from .phases import LONGEST, STAYS
from .reference_parts import Presence, Work
from .tables import TICKS_PER_S, Clients, LinkTraces


class Rate:
    """The rate of a link over time: a trace's pieces, walked one by one."""

    def __init__(self, links: LinkTraces, trace: int) -> None:
        rows = range(int(links.first[trace]), int(links.first[trace + 1]))
        self.period = int(links.period[trace])
        begins = [int(links.begin[row]) for row in rows]
        self.pieces: list[tuple[int, float, float, float]] = []  # end, rate, moved before, by end
        moved = 0.0
        ends = [*begins[1:], self.period or NEVER]
        for begin, end, row in zip(begins, ends, rows, strict=True):
            rate = float(links.bytes_per_s[row])
            after = moved + rate * (end - begin) / TICKS_PER_S if end < NEVER else math.inf
            self.pieces.append((end, rate, moved, after))
            moved = after
        self.whole = moved

    def ticks(self, place: int, amount: float) -> int:
        """From a place until an amount has moved."""
        if amount <= 0.0:
            return 0
        place = place % self.period if self.period else place
        ticks, wanted, here = 0, amount, place
        for end, rate, before, after in self.pieces:
            if end <= place:
                continue
            if here == place:  # the piece in which it begins
                room = rate * (end - place) / TICKS_PER_S
                if wanted <= room or end == NEVER:
                    return self._last(0, wanted, rate)
                rest = wanted - room
                if rest > self.whole - after:
                    return self._later(place, rest - (self.whole - after))
                ticks, here = end - place, end
                wanted = min(after + rest, self.whole)
                if wanted <= after:
                    return ticks
            elif wanted <= after:
                return self._last(ticks, wanted - before, rate)
            else:
                ticks += end - here
                here = end
        raise AssertionError("an amount did not move")

    def _later(self, place: int, amount: float) -> int:
        """As `ticks` for an amount that moves after the end of the period of a place."""
        turns, over = divmod(Fraction(amount), Fraction(self.whole))
        if over == 0:
            turns, over = turns - 1, Fraction(self.whole)
        start = 0
        for end, rate, before, after in self.pieces:
            if float(over) <= after:
                ticks = self.period - place + turns * self.period + start
                return self._last(ticks, float(over) - before, rate)
            start = end
        raise AssertionError("an amount did not move")

    def _last(self, ticks: int, amount: float, rate: float) -> int:
        """Some ticks, and those of an amount within one piece."""
        return min(LONGEST, ticks + math.ceil(amount * TICKS_PER_S / rate))

    def between(self, begin: int, end: int) -> float:
        """Bytes that can pass between two places."""
        if end <= begin:
            return 0.0
        turns = end // self.period - begin // self.period if self.period else 0
        one, two = ((at % self.period if self.period else at) for at in (begin, end))
        (start, rate, before), (last, speed, passed) = self._piece(one), self._piece(two)
        if turns == 0 and start == last:
            return rate * (end - begin) / TICKS_PER_S
        by_one = before + rate * (one - start) / TICKS_PER_S
        by_two = passed + speed * (two - last) / TICKS_PER_S
        return turns * self.whole + (by_two - by_one) if turns else by_two - by_one

    def _piece(self, place: int) -> tuple[int, float, float]:
        """(begin, rate, bytes moved before) of the piece at a place of the first period."""
        start = 0
        for end, rate, before, _ in self.pieces:
            if place < end:
                return start, rate, before
            start = end
        raise AssertionError("a place is behind the end")


class Links:
    """Clients' links that follow traces."""

    def __init__(
        self, clients: Clients, links: LinkTraces, presence: Presence, *, pauses: bool
    ) -> None:
        self.latency = [round(float(seconds) * TICKS_PER_S) for seconds in clients.latency_s]
        self.of, self.presence, self.pauses = links, presence, pauses
        self.rates = [Rate(links, trace) for trace in range(len(links))]

    def follows(self, client: int) -> bool:
        """Whether a link of a client follows a trace."""
        return int(self.of.down[client]) >= 0 or int(self.of.up[client]) >= 0

    def plan(self, work: Work) -> None:
        """How many ticks of work the parts of a dispatch take."""
        down, up = self._rate(work, False), self._rate(work, True)
        latency = self.latency[work.client]
        if down is not None:
            work.receive = latency + self._ticks(
                work, down, self._from(work, False), work.down_bytes
            )
        if up is not None:
            work.send = latency + self._ticks(work, up, self._from(work, True), work.up_bytes)

    def moved(self, work: Work, up: bool, done: int, now: int) -> float | None:
        """Bytes of a part of which so many ticks are done, not all; None: its rate is constant."""
        rate = self._rate(work, up)
        if rate is None or done >= (work.send if up else work.receive):
            return None
        offset, total = self._offset(work), 0.0
        for start, end in self._stays(work, self._from(work, up)):
            if start >= now:
                break
            total += rate.between(start + offset, min(end, now) + offset)
        return min(total, work.up_bytes if up else work.down_bytes)

    def _rate(self, work: Work, up: bool) -> Rate | None:
        trace = int((self.of.up if up else self.of.down)[work.client])
        return None if trace < 0 else self.rates[trace]

    def _offset(self, work: Work) -> int:
        return int(self.of.offset[work.client])

    def _from(self, work: Work, up: bool) -> int:
        """When the bytes of a part begin to move."""
        ticks = self.latency[work.client] + (work.receive + work.compute if up else 0)
        if self.pauses and ticks:
            return self.presence.after_work(work.client, work.begin, ticks)[1]
        return work.begin + ticks

    def _stays(self, work: Work, tick: int) -> Iterator[tuple[int, int]]:
        """(begin, end) of times after a tick at which bytes move."""
        if not self.pauses:
            yield tick, NEVER
            return
        for start, end in self.presence.intervals(work.client, tick):
            yield max(start, tick), end

    def _ticks(self, work: Work, rate: Rate, tick: int, amount: float) -> int:
        """Of work, from a tick until an amount has moved."""
        offset, done = self._offset(work), 0
        for start, end in islice(self._stays(work, tick), STAYS):
            ticks = rate.ticks(start + offset, amount)
            if ticks <= end - start:
                return done + ticks
            amount -= rate.between(start + offset, end + offset)
            done += end - start
            tick = end
        return min(LONGEST, done + rate.ticks(tick + offset, amount))
