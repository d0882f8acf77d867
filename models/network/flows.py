"""Flows: how many bytes go over which links, from when on, and after which others.

`FlowTable` is what a simulation is given, `Changes` what happens to links meanwhile, `FlowRun` what
it leaves. Times are ticks of 1 ps, bytes are float64, a flow's path is a list of links.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import NEVER

MAX_FLOWS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class FlowTable:
    """F flows; `make` fills in defaults and checks.

    A flow is released at `release` or when all flows it comes after have ended, whichever is later;
    `delay` ticks later its bytes begin to move (so a flow takes nothing from others during its
    latency, as in SimGrid's CM02). Its rate is `weight` times the fair share of its links, and at
    most `cap`.

    Attributes:
        release: int64[F] ticks.
        bytes: float64[F], 0 or more.
        first: int64[F + 1]; links: int32[...]: flow f crosses ``links[first[f] : first[f + 1]]``.
            A link that stands twice is used twice; an empty path is as fast as the cap.
        weight: float64[F], above 0.
        cap: float64[F] bytes per second, above 0; inf: none.
        delay: int64[F] ticks, latency and set-up.
        after_first: int64[F + 1]; after: int32[...]: flow f waits for
            ``after[after_first[f] : after_first[f + 1]]``.
    """

    release: NDArray[np.int64]
    bytes: NDArray[np.float64]
    first: NDArray[np.int64]
    links: NDArray[np.int32]
    weight: NDArray[np.float64]
    cap: NDArray[np.float64]
    delay: NDArray[np.int64]
    after_first: NDArray[np.int64]
    after: NDArray[np.int32]

    @classmethod
    def make(
        cls,
        bytes: ArrayLike,
        first: ArrayLike,
        links: ArrayLike,
        *,
        release: ArrayLike = 0,
        weight: ArrayLike = 1.0,
        cap: ArrayLike = np.inf,
        delay: ArrayLike = 0,
        after_first: ArrayLike | None = None,
        after: ArrayLike = (),
    ) -> "FlowTable":
        """A checked table; scalars hold for all flows.

        Raises:
            InputError: a column of another length, a value out of its range, a flow that waits for
                none of the table. Cycles are found by `simulate_flows`.
        """
        amount = np.atleast_1d(np.asarray(bytes, np.float64))
        n = len(amount)
        if after_first is None:
            after_first = np.zeros(n + 1, np.int64)
        table = cls(
            release=_column("release", release, n, np.int64),
            bytes=amount,
            first=np.ascontiguousarray(first, np.int64),
            links=np.ascontiguousarray(links, np.int32),
            weight=_column("weight", weight, n, np.float64),
            cap=_column("cap", cap, n, np.float64),
            delay=_column("delay", delay, n, np.int64),
            after_first=np.ascontiguousarray(after_first, np.int64),
            after=np.ascontiguousarray(after, np.int32),
        )
        table.check()
        return table

    @classmethod
    def of_paths(
        cls,
        bytes: ArrayLike,
        paths: Sequence[Sequence[int]],
        *,
        after: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> "FlowTable":
        """The same from lists: the links of each flow, and what each waits for."""
        first, links = lists_to_rows(paths)
        if after is not None:
            columns["after_first"], columns["after"] = lists_to_rows(after)
        return cls.make(bytes, first, links, **columns)

    def __len__(self) -> int:
        return len(self.bytes)

    def check(self) -> None:
        """Raise InputError at the first value that makes no sense."""
        n = len(self.bytes)
        if n > MAX_FLOWS:
            raise InputError(f"{n:,} flows are too many", where="flows")
        _check_rows("links", self.first, self.links, n)
        _check_rows("after", self.after_first, self.after, n)
        rules = (
            ("bytes", ~(np.isfinite(self.bytes) & (self.bytes >= 0)), "0 or more"),
            ("weight", ~(np.isfinite(self.weight) & (self.weight > 0)), "above 0"),
            ("cap", ~(self.cap > 0), "bytes per second above 0; inf for none"),
            ("release", (self.release < 0) | (self.release >= NEVER), "ticks, 0 or more"),
            ("delay", (self.delay < 0) | (self.delay >= NEVER), "ticks, 0 or more"),
        )
        for name, wrong, mend in rules:
            if wrong.any():
                f = int(np.flatnonzero(wrong)[0])
                raise InputError(f"{name} {getattr(self, name)[f]}", where=f"flow {f}", mend=mend)
        wrong = (self.after < 0) | (self.after >= n)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            f = int(np.searchsorted(self.after_first, row, side="right")) - 1
            raise InputError(
                f"waits for flow {self.after[row]}, which there is not",
                where=f"flow {f}",
                mend=f"the table has flows 0 to {n - 1}",
            )
        if len(self.links) and self.links.min() < 0:
            raise InputError(f"link {self.links.min()} in a path", where="flows")

    def check_links(self, n_links: int) -> None:
        """Raise InputError if a path names a link beyond the n_links there are."""
        if len(self.links) and self.links.max() >= n_links:
            row = int(np.argmax(self.links))
            f = int(np.searchsorted(self.first, row, side="right")) - 1
            raise InputError(
                f"crosses link {self.links[row]}, which there is not",
                where=f"flow {f}",
                mend=f"the network has links 0 to {n_links - 1}",
            )


@dataclass(frozen=True, eq=False)
class Changes:
    """What becomes of links: at tick ``time[k]`` link ``link[k]`` has ``bytes_per_s[k]``; 0 breaks.

    Rows of one tick hold in their order; `make` sorts by time.
    """

    time: NDArray[np.int64]
    link: NDArray[np.int32]
    bytes_per_s: NDArray[np.float64]

    @classmethod
    def make(cls, time: ArrayLike, link: ArrayLike, bytes_per_s: ArrayLike) -> "Changes":
        """Checked and sorted by time; scalars hold for all rows. Raises InputError."""
        when = np.atleast_1d(np.asarray(time, np.int64))
        which = _column("link", link, len(when), np.int32)
        speed = _column("bytes_per_s", bytes_per_s, len(when), np.float64)
        for name, wrong in (
            ("time", (when < 0) | (when >= NEVER)),
            ("link", which < 0),
            ("bytes_per_s", ~(np.isfinite(speed) & (speed >= 0))),
        ):
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                value = (when, which, speed)[("time", "link", "bytes_per_s").index(name)][row]
                raise InputError(f"{name} {value}", where=f"change {row}", mend="give 0 or more")
        order = np.argsort(when, kind="stable")
        return cls(when[order], which[order], speed[order])

    @classmethod
    def none(cls) -> "Changes":
        """No changes at all."""
        return cls.make([], [], [])

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, eq=False)
class FlowRun:
    """What a simulation of flows leaves.

    Attributes:
        start: int64[F] ticks, when each flow was released and all it waits for had ended; its delay
            comes after.
        end: int64[F] ticks, the first at which nothing of it is left.
        link_bytes: float64[L], what crossed each link.
        link_busy_ticks: int64[L], how long something crossed it (alphabeta: summed over flows).
        link_peak: int32[L], most flows at a time on it (alphabeta: 0).
        solves: how often rates were worked out; full_solves: of these, for all flows.
        thawed: bundles whose rate was worked out, summed over solves.
        violations: broken laws of conservation, each a line; empty in every right run.
        rates: with ``record=True`` rows (tick, link, bytes a second carried from then on).
        log: with ``record=True`` rows of `sim.eventlog.LOG`; kinds: `network_kernel.EVENTS`.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    link_bytes: NDArray[np.float64]
    link_busy_ticks: NDArray[np.int64]
    link_peak: NDArray[np.int32]
    solves: int = 0
    full_solves: int = 0
    thawed: int = 0
    violations: tuple[str, ...] = ()
    rates: tuple[tuple[int, int, float], ...] = field(default=(), repr=False)
    log: NDArray[Any] | None = field(default=None, repr=False)

    @property
    def makespan(self) -> int:
        """Ticks at which the last flow ends, 0 without flows."""
        return int(self.end.max(initial=0))


def lists_to_rows(lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Lists as one array and where each begins: (first int64[n + 1], values int32)."""
    first = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(one) for one in lists], out=first[1:])
    return first, np.array([value for one in lists for value in one], np.int32)


def _column(name: str, given: ArrayLike, n: int, dtype: Any) -> NDArray[Any]:
    values = np.asarray(given)
    if values.ndim and values.shape != (n,):
        raise InputError(f"column {name!r} has {values.size} rows for {n}", where="flows")
    if np.dtype(dtype).kind == "i" and values.size and values.dtype.kind not in "iu":
        raise InputError(f"column {name!r} must hold integers, not {values.dtype}", where="flows")
    return np.array(np.broadcast_to(values, (n,)), dtype)


def _check_rows(name: str, first: NDArray[np.int64], rows: NDArray[np.int32], n: int) -> None:
    ends = len(first) == n + 1 and first[0] == 0 and first[-1] == len(rows)
    if not ends or np.any(first[1:] < first[:-1]):
        raise InputError(
            f"{name!r}: the places where lists begin do not fit {n} flows and {len(rows)} rows",
            where="flows",
        )
