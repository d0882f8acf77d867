"""A link's capacity over time, piecewise constant."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import MAX_S, TICKS_PER_S, ticks

REPEAT, HOLD, STOP = "repeat", "hold", "stop"
AFTERWARDS = (REPEAT, HOLD, STOP)

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class CapacityTrace:
    """n pieces of constant rate; made and checked by `make`.

    Attributes:
        ticks: int64[n], when each piece begins; the first at 0, strictly increasing.
        bytes_per_s: float64[n], 0 or more.
        end: int64, tick at which the last piece ends.
        afterwards: "repeat" (from the start again, as Mahimahi's mm-link does), "hold" (the last
            rate goes on) or "stop" (0 from then on).
        name: where it is from.
    """

    ticks: Array
    bytes_per_s: Array
    end: int
    afterwards: str = REPEAT
    name: str = "trace"

    @classmethod
    def make(
        cls,
        times_s: npt.ArrayLike,
        bytes_per_s: npt.ArrayLike,
        duration_s: float,
        *,
        afterwards: str = REPEAT,
        name: str = "trace",
    ) -> "CapacityTrace":
        """A checked trace; times are seconds from its start, equal rates in a row become one piece.

        Raises:
            InputError: times that do not start at 0 and rise to below the duration, a negative or
                infinite rate, no piece at all.
        """
        where = f"bandwidth {name!r}"
        seconds = np.atleast_1d(np.asarray(times_s, np.float64))
        rates = np.atleast_1d(np.asarray(bytes_per_s, np.float64))
        if afterwards not in AFTERWARDS:
            raise InputError(
                f"afterwards is {afterwards!r}", where=where, mend=f"use one of {AFTERWARDS}"
            )
        if seconds.ndim != 1 or seconds.shape != rates.shape or not len(seconds):
            raise InputError(f"{seconds.size} times and {rates.size} rates", where=where)
        wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
        if len(wrong):
            raise InputError(
                f"rate {int(wrong[0])} is {rates[wrong[0]]} bytes/s",
                where=where,
                mend="give 0 or more",
            )
        if not (np.all(np.isfinite(seconds)) and 0 < duration_s <= MAX_S):
            raise InputError(f"lasts {duration_s} s, or has a time that is none", where=where)
        when, last = ticks(seconds), ticks(float(duration_s))
        if when[0] != 0 or np.any(np.diff(when) <= 0) or when[-1] >= last:
            raise InputError(f"times do not rise from 0 to below its {duration_s} s", where=where)
        kept = np.concatenate(([True], np.diff(rates) != 0))
        when, rates = when[kept], rates[kept]
        when.flags.writeable = rates.flags.writeable = False
        return cls(when, rates, int(last), afterwards, str(name))

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return self.end / TICKS_PER_S

    @property
    def mean_bytes_per_s(self) -> float:
        """Mean over time, from start to end."""
        return float(self._moved()[-1]) / self.duration_s

    def at(self, tick: npt.ArrayLike) -> Array:
        """float64: bytes/s at ticks, 0 or more, counted from the trace's start."""
        when = np.asarray(tick, np.int64)
        over = when >= self.end
        inside = when % self.end if self.afterwards == REPEAT else when
        found = self.bytes_per_s[np.searchsorted(self.ticks, inside, side="right") - 1]
        return np.where(over, 0.0, found) if self.afterwards == STOP else found

    def bytes_by(self, tick: npt.ArrayLike) -> Array:
        """float64: bytes that can pass from the start to each tick."""
        when = np.asarray(tick, np.int64)
        rounds, inside = np.zeros_like(when), when
        if self.afterwards == REPEAT:
            rounds, inside = when // self.end, when % self.end
        elif self.afterwards == STOP:
            inside = np.minimum(when, self.end)
        moved = self._moved()
        piece = np.searchsorted(self.ticks, inside, side="right") - 1
        part = self.bytes_per_s[piece] * ((inside - self.ticks[piece]) / TICKS_PER_S)
        return rounds * moved[-1] + moved[piece] + part

    def finish_tick(self, amount_bytes: float, start: int = 0) -> int | None:
        """First tick at which a lone flow that began at `start` has moved its bytes; None: never.

        What a simulated link must give: the closed form for one flow.
        """
        wanted = float(self.bytes_by(start)) + amount_bytes
        moved = self._moved()
        total, rounds = float(moved[-1]), 0
        if self.afterwards == REPEAT:
            if total == 0.0 and amount_bytes > 0:
                return None
            rounds = max(0, int(np.ceil(wanted / total)) - 1) if total else 0
            wanted -= rounds * total
        if wanted > total and self.afterwards == STOP:
            return None
        piece = int(np.searchsorted(moved, wanted, side="left")) - 1
        piece = min(max(piece, 0), len(self) - 1)
        rate = float(self.bytes_per_s[piece])
        if rate == 0.0 and wanted > float(moved[piece]):
            return None
        left = (wanted - float(moved[piece])) / rate if rate else 0.0
        tick = int(self.ticks[piece]) + int(np.ceil(left * TICKS_PER_S))
        return max(int(start), rounds * self.end + tick)

    def changes(self, until: int, start: int = 0) -> tuple[Array, Array]:
        """(ticks int64, bytes_per_s float64) at which the rate changes, from tick 0 to `until`.

        The first row is at tick 0. `start` is the place in the trace at which tick 0 lies.
        """
        if until < 0 or start < 0:
            raise InputError(
                f"until {until}, start {start}", where=self.name, mend="give 0 or more"
            )
        last = start + until
        rounds = last // self.end if self.afterwards == REPEAT else 0
        when = (np.arange(rounds + 1)[:, None] * self.end + self.ticks).ravel()
        rates = np.tile(self.bytes_per_s, rounds + 1)
        if self.afterwards == STOP and last >= self.end:
            when, rates = np.append(when, self.end), np.append(rates, 0.0)
        when = when - start
        first = int(np.searchsorted(when, 0, side="right")) - 1
        chosen = slice(first, int(np.searchsorted(when, until, side="right")))
        when, rates = np.maximum(when[chosen], 0), rates[chosen]
        kept = np.concatenate(([True], np.diff(rates) != 0))
        return when[kept], rates[kept]

    def scaled(self, factor: float) -> "CapacityTrace":
        """All rates times a factor (a faster phone in the same place). Raises InputError."""
        if not (np.isfinite(factor) and factor >= 0):
            raise InputError(f"factor is {factor}", where=self.name, mend="give 0 or more")
        return replace(self, bytes_per_s=self.bytes_per_s * factor)

    def resampled(self, window_s: float) -> "CapacityTrace":
        """Means over windows of equal length, about `window_s`; the bytes stay the same."""
        if not (np.isfinite(window_s) and window_s > 0):
            raise InputError(f"window_s is {window_s}", where=self.name, mend="give more than 0")
        pieces = max(1, round(self.duration_s / window_s))
        edges = np.array([self.end * k // pieces for k in range(pieces + 1)], np.int64)
        # The end is the start of the next round where it repeats: the bytes by then are the total.
        moved = np.append(self.bytes_by(edges[:-1]), self._moved()[-1])
        rates = np.diff(moved) / (np.diff(edges) / TICKS_PER_S)
        return replace(self, ticks=edges[:-1], bytes_per_s=np.maximum(rates, 0.0))

    def quantiles(self, shares: npt.ArrayLike) -> Array:
        """float64: the rates below which the trace is for these shares of its time."""
        order = np.argsort(self.bytes_per_s, kind="stable")
        spent = np.cumsum(np.diff(np.append(self.ticks, self.end))[order])
        place = np.searchsorted(spent, np.asarray(shares, float) * self.end, side="left")
        return self.bytes_per_s[order][np.minimum(place, len(self) - 1)]

    def _moved(self) -> Array:
        """float64[n + 1]: bytes that can pass before each piece, and by the end."""
        length = np.diff(np.append(self.ticks, self.end)) / TICKS_PER_S
        return np.concatenate(([0.0], np.cumsum(self.bytes_per_s * length)))


def constant(bytes_per_s: float, name: str = "constant") -> CapacityTrace:
    """A rate that never changes."""
    return CapacityTrace.make([0.0], [bytes_per_s], 1.0, afterwards=HOLD, name=name)
