"""Intervals of presence: what availability readers and generators give, and how clients use it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S, Availability
from mltwin.sim.errors import InputError

from .draws import AVAILABILITY, OFFSET, Array, client_uniforms

DAY_S = 86_400.0


@dataclass(frozen=True, eq=False)
class Presence:
    """T traces of when a device is there.

    Attributes:
        first: int64[T+1], rows of a trace's intervals.
        begin_s, end_s: float64[I], rising and disjoint within a trace.
        period_s: float64[T], after which a trace starts again.
        names: device models or ids, or none.
        facts: where they are from, and what was dropped on reading.
    """

    first: Array
    begin_s: Array
    end_s: Array
    period_s: Array
    names: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def join(
        cls,
        traces: Sequence[tuple[Array, Array]],
        period_s: Array | float,
        names: tuple[str, ...] = (),
        facts: dict[str, Any] | None = None,
    ) -> "Presence":
        """From (begins, ends) of each trace, in seconds; intervals that touch are joined."""
        merged = [_joined(np.asarray(b, float), np.asarray(e, float)) for b, e in traces]
        sizes = [len(begin) for begin, _ in merged]
        return cls(
            np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            np.concatenate([begin for begin, _ in merged] or [np.zeros(0)]),
            np.concatenate([end for _, end in merged] or [np.zeros(0)]),
            np.broadcast_to(np.asarray(period_s, float), (len(merged),)).copy(),
            names,
            dict(facts or {}),
        )

    def __len__(self) -> int:
        return len(self.period_s)

    @property
    def counts(self) -> Array:
        """int64[T], intervals of each trace."""
        return np.diff(self.first)

    @property
    def lengths_s(self) -> Array:
        """float64[I]."""
        return self.end_s - self.begin_s

    @property
    def trace(self) -> Array:
        """int64[I], the trace of each interval."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def duty(self) -> Array:
        """float64[T], part of its period that a device is there."""
        return np.bincount(self.trace, self.lengths_s, len(self)) / self.period_s

    @property
    def gaps_s(self) -> Array:
        """float64[...], from each end to the next begin of the same trace."""
        same = self.trace[1:] == self.trace[:-1]
        return (self.begin_s[1:] - self.end_s[:-1])[same]

    def take(self, rows: Array) -> "Presence":
        """Some of the traces, in the order given; `rows` are numbers or a mask."""
        rows = np.arange(len(self))[rows]
        traces = [
            (
                self.begin_s[self.first[r] : self.first[r + 1]],
                self.end_s[self.first[r] : self.first[r + 1]],
            )
            for r in rows
        ]
        names = tuple(self.names[r] for r in rows) if self.names else ()
        return Presence.join(traces, self.period_s[rows], names, self.facts)

    def by_hour(self, bins: int = 24) -> Array:
        """float64[bins]: mean part of each hour of the day that a device is there."""
        width = DAY_S / bins
        held = np.zeros(bins)
        for b, e in zip(self.begin_s.tolist(), self.end_s.tolist(), strict=True):
            k = int(b // width)
            while k * width < e:
                held[k % bins] += min(e, (k + 1) * width) - max(b, k * width)
                k += 1
        return held / (self.period_s.sum() / bins)

    def availability(
        self,
        clients: int,
        *,
        seed: int = 0,
        zones: int = 1,
        shift: str = "days",
        wrap: bool = True,
    ) -> Availability:
        """Availability of N clients, each with one of these traces and an offset in it.

        Args:
            clients: N; the first clients have a trace each, as far as there are traces, further
                ones any; of more traces than clients they are drawn.
            seed: of the draws.
            zones: time zones that clients live in, whole hours apart, 1 to 24.
            shift: where in its trace a client begins: "none", "days" (whole days, so that hours of
                the day stay what they are) or "any".
            wrap: traces start again after their period; False: they end.

        Raises:
            InputError: no client or trace, another shift, no such number of zones.
        """
        if clients < 1 or not len(self):
            raise InputError(f"{clients} clients, {len(self)} traces", where="availability")
        if shift not in ("none", "days", "any"):
            raise InputError(
                f"shift is {shift!r}", where="availability", mend="use 'none', 'days' or 'any'"
            )
        if not 1 <= zones <= 24:
            raise InputError(f"zones is {zones}", where="availability", mend="give 1 to 24")
        who = np.arange(clients)
        trace = (client_uniforms(seed, AVAILABILITY, who) * len(self)).astype(np.int64)
        if clients >= len(self):
            trace[: len(self)] = np.arange(len(self))
        period = self.period_s[trace]
        u = client_uniforms(seed, OFFSET, who)
        days = np.maximum(1.0, np.floor(period / DAY_S))
        offset_s = np.zeros(clients)
        if shift == "days":
            offset_s = np.floor(u * days) * DAY_S
        elif shift == "any":
            offset_s = u * period
        if zones > 1:
            zone = np.floor(client_uniforms(seed, OFFSET, who, 1) * zones)
            offset_s = offset_s + zone * DAY_S / 24
        ticks = [
            np.rint(values * TICKS_PER_S).astype(np.int64)
            for values in (
                self.begin_s,
                self.end_s,
                self.period_s,
                offset_s % np.maximum(period, 1e-9),
            )
        ]
        begin, end, periods, offset = ticks
        return Availability(
            self.first,
            begin,
            np.maximum(end, begin + 1),
            periods if wrap else np.zeros_like(periods),
            trace.astype(np.int32),
            offset,
        )


def _joined(begin: Array, end: Array) -> tuple[Array, Array]:
    """Intervals sorted, those that touch or overlap made one."""
    if not len(begin):
        return begin, end
    order = np.lexsort((end, begin))
    begin, end = begin[order], np.maximum.accumulate(end[order])
    new = np.concatenate(([True], begin[1:] > end[:-1]))
    last = np.append(np.flatnonzero(new)[1:] - 1, len(begin) - 1)
    return begin[new], end[last]
