"""`Timeline`: what happened where and when, for any system. Perfetto and the replay view read it.

A system fills it in its Result's `timeline` method:

    timeline = Timeline("toy run")
    worker = timeline.lane("workers", "worker 0")
    timeline.slices(worker, start, end, kind="compute")
    timeline.counter("workers", "queue", times, lengths)

Times are int64 ticks. On one lane slices must not overlap; `timeline.rows_of` lays overlapping ones
out on several.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S

from .thin import Ints, Series, Slices, drop_repeats, first_fit, merge_slices, thin_series

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from .replay import Replay

MAX_EVENTS = 300_000
FRAME_ROWS = 5_000
Window = tuple[float, float]


class Lane(NamedTuple):
    """One row of the picture: `thread` (a replica, a link) of `process` (a pool)."""

    process: str
    thread: str


@dataclass(frozen=True)
class Kind:
    """A kind of slice: its name, how a slice of it is called, its colour in the replay view.

    text: a format over the slice's numbers, e.g. "prefill {prefill_tokens}".
    """

    name: str
    text: str = ""
    colour: str = ""


class Counter(NamedTuple):
    """A number over time, of a process; `shown`: in the replay view too."""

    process: str
    name: str
    unit: str
    shown: bool


@dataclass(frozen=True)
class Tracks:
    """Things that go through phases and may overlap (requests, jobs), most important first.

    id: int64[n]; name: what each is called (equal names share a row of Perfetto); start, end:
    ticks; numbers: columns shown with each. Phases: owner (row above), start, end, kind.
    """

    process: str
    name: list[str]
    id: Ints
    start: Ints
    end: Ints
    numbers: Mapping[str, NDArray[Any]]
    phase_owner: Ints
    phase_start: Ints
    phase_end: Ints
    phase_name: list[str]


@dataclass(frozen=True)
class Arrows:
    """From a moment of work on one lane to one on another; a name for all of them."""

    name: str
    source: Ints
    leaves: Ints
    target: Ints
    arrives: Ints


class Instant(NamedTuple):
    """Something that took no time, on a lane."""

    lane: int
    time: int
    text: str


@dataclass
class Timeline:
    """See the module. `window` is in ticks, None for all of the run.

    notes: what is not shown, one sentence each; files and views repeat them.
    run_s: seconds that the whole run lasts, where the window is a part of it.
    """

    title: str = ""
    window: tuple[int, int] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    run_s: float | None = None
    lanes: list[Lane] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    tracks: list[Tracks] = field(default_factory=list)
    arrows: list[Arrows] = field(default_factory=list)
    instants: list[Instant] = field(default_factory=list)
    _parts: list[Slices] = field(default_factory=list)
    _samples: list[Series] = field(default_factory=list)
    _table: Slices | None = None
    _series: Series | None = None
    _lane_of: dict[Lane, int] = field(default_factory=dict)

    def lane(self, process: str, thread: str) -> int:
        """The number of a lane, made when it is first named; lanes are drawn in that order."""
        lane = Lane(process, thread)
        if lane not in self._lane_of:
            self._lane_of[lane] = len(self.lanes)
            self.lanes.append(lane)
        return self._lane_of[lane]

    def kind(self, name: str, *, text: str = "", colour: str = "") -> int:
        """The number of a kind of slice; `text` and `colour` as in `Kind`."""
        names = [kind.name for kind in self.kinds]
        if name not in names:
            self.kinds.append(Kind(name, text, colour))
            return len(names)
        return names.index(name)

    def slices(
        self,
        lane: ArrayLike,
        start: ArrayLike,
        end: ArrayLike,
        *,
        kind: str | ArrayLike,
        text: str | None = None,
        sums: Mapping[str, ArrayLike] | None = None,
        peaks: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Add work on lanes. All arguments broadcast.

        Args:
            lane: numbers from `lane`.
            start, end: int64 ticks.
            kind: a name, or numbers from `kind`.
            text: what these slices are called, instead of their kind's text.
            sums, peaks: whole numbers of each slice; where slices are merged they are added up,
                or the greatest is kept.

        Raises InputError for a slice that ends before it starts.
        """
        code = self.kind(kind) if isinstance(kind, str) else kind
        label = -1
        if text is not None:
            label = len(self.texts)
            self.texts.append(text)
        numbers = {**(sums or {}), **(peaks or {})}
        columns = [lane, start, end, code, label, *numbers.values()]
        wide = np.broadcast_arrays(*[np.atleast_1d(np.asarray(c, np.int64)) for c in columns])
        lanes, begins, ends, codes, labels = wide[:5]
        if (ends < begins).any():
            row = int(np.argmax(ends < begins))
            raise InputError(
                f"a slice starts at tick {begins[row]} and ends at {ends[row]}",
                where=f"lane {self.lanes[int(lanes[row])].thread!r}",
            )
        values = dict(zip(numbers, wide[5:], strict=True))
        self._parts.append(
            Slices(
                lanes,
                begins,
                ends,
                codes,
                ends - begins,
                np.ones(len(begins), np.int64),
                labels,
                {name: values[name] for name in sums or {}},
                {name: values[name] for name in peaks or {}},
            )
        )
        self._table = None

    def counter(
        self,
        process: str,
        name: str,
        time: ArrayLike,
        value: ArrayLike,
        *,
        unit: str = "",
        shown: bool = False,
    ) -> None:
        """Add a number over time: each value holds from its tick until the next, 0 before all."""
        times = np.asarray(time, np.int64)
        order = np.argsort(times, kind="stable")
        code = np.full(len(times), len(self.counters), np.int64)
        self.counters.append(Counter(process, name, unit, shown))
        self._series = None
        self._samples.append(Series(code, times[order], np.asarray(value, np.float64)[order]))

    def rows_of(self, process: str, thread: str, start: Ints, end: Ints) -> Ints:
        """Lanes for intervals that may overlap (sorted by start): `thread`, `thread (2)`, ..."""
        rows = first_fit(start, end)
        names = [thread, *(f"{thread} ({i + 1})" for i in range(1, int(rows.max(initial=0)) + 1))]
        lanes = np.array([self.lane(process, name) for name in names], np.int64)
        return lanes[rows]

    @property
    def work(self) -> Slices:
        """All slices, sorted by (lane, start).

        Raises InputError where two on a lane overlap.
        """
        if self._table is None:
            joined = _joined(self._parts)
            table = joined.rows(np.lexsort((joined.end, joined.start, joined.lane)))
            over = (table.start[1:] < table.end[:-1]) & (table.lane[1:] == table.lane[:-1])
            if over.any():
                row = int(np.argmax(over))
                lane = self.lanes[int(table.lane[row])]
                raise InputError(
                    f"two slices overlap at tick {table.start[row + 1]}",
                    where=f"lane {lane.thread!r} of {lane.process!r}",
                    mend="give them lanes of their own (`rows_of`)",
                )
            self._table = table
        return self._table

    @property
    def samples(self) -> Series:
        """All counters' samples that change something, sorted by (counter, time)."""
        if self._series is None:
            none = Series(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
            parts = zip(
                *((s.counter, s.time, s.value) for s in [none, *self._samples]), strict=True
            )
            self._series = drop_repeats(Series(*(np.concatenate(part) for part in parts)))
        return self._series

    def slice_text(self, work: Slices, row: int) -> str:
        """What a slice is called."""
        kind, count = self.kinds[int(work.kind[row])], int(work.count[row])
        if count > 1:
            return f"{kind.name}, {count} slices"
        if work.text[row] >= 0:
            return self.texts[int(work.text[row])]
        if not kind.text:
            return kind.name
        numbers = {n: int(c[row]) for part in (work.sums, work.peaks) for n, c in part.items()}
        return kind.text.format_map(numbers)

    def span_s(self) -> Window:
        """Seconds of the first and the last thing on it (0, 0 when empty)."""
        if self.window is not None:
            return self.window[0] / TICKS_PER_S, self.window[1] / TICKS_PER_S
        times = [self.work.start, self.work.end, self.samples.time]
        times += [column for t in self.tracks for column in (t.start, t.end)]
        have = [column for column in times if len(column)]
        if not have:
            return 0.0, 0.0
        low, high = (min(c.min() for c in have), max(c.max() for c in have))
        return float(low / TICKS_PER_S), float(high / TICKS_PER_S)

    def frame(self, window_s: Window | None = None, *, rows: int = FRAME_ROWS) -> "pd.DataFrame":
        """Slices that touch a window, merged to at most `rows` (one a kind and lane at least).

        Columns: process, lane, start_s, end_s, kind, text, busy_s, count.
        """
        import pandas as pd

        work = self.work
        if window_s is not None:
            low, high = window_ticks(window_s)
            work = work.rows((work.end > low) & (work.start < high))
        work, _ = merge_slices(work, rows)
        names = np.array([lane.thread for lane in self.lanes] or [""], object)
        processes = np.array([lane.process for lane in self.lanes] or [""], object)
        kinds = np.array([kind.name for kind in self.kinds] or [""], object)
        return pd.DataFrame(
            {
                "process": processes[work.lane],
                "lane": names[work.lane],
                "start_s": work.start / TICKS_PER_S,
                "end_s": work.end / TICKS_PER_S,
                "kind": kinds[work.kind],
                "text": [self.slice_text(work, row) for row in range(len(work))],
                "busy_s": work.busy / TICKS_PER_S,
                "count": work.count,
            }
        )

    def counter_frame(
        self, window_s: Window | None = None, *, rows: int = FRAME_ROWS
    ) -> "pd.DataFrame":
        """Samples of the counters that the replay view shows, thinned to about `rows`.

        A counter that began before the window has its value at the window's start.
        Columns: process, counter, unit, time_s, value.
        """
        import pandas as pd

        series = self.samples
        series = series.rows(np.array([c.shown for c in self.counters], bool)[series.counter])
        if window_s is not None:
            series = _within(series, *window_ticks(window_s))
        series, _ = thin_series(series, rows)
        of = [self.counters[i] for i in series.counter.tolist()]
        return pd.DataFrame(
            {
                "process": [counter.process for counter in of],
                "counter": [counter.name for counter in of],
                "unit": [counter.unit for counter in of],
                "time_s": series.time / TICKS_PER_S,
                "value": series.value,
            }
        )

    def replay(self, window_s: Window | None = None, *, rows: int = FRAME_ROWS) -> "Replay":
        """What the replay view of a window shows: its tables, and a chart of them."""
        from .replay import replay_of

        return replay_of(self, window_s, rows)

    def chart(
        self, window_s: Window | None = None, *, rows: int = FRAME_ROWS
    ) -> "alt.VConcatChart":
        """The replay view: lanes over time, counters below, a brush to choose the time."""
        return self.replay(window_s, rows=rows).chart()

    def save(self, path: str | Path, *, max_events: int = MAX_EVENTS) -> list[str]:
        """Write a file for Perfetto (`.json` or `.json.gz`); what it leaves out, in sentences.

        Raises InputError: another ending, too few events for the lanes, or no place to write.
        """
        from .perfetto import write_perfetto

        return write_perfetto(self, Path(path), max_events)


def window_ticks(window_s: Window) -> tuple[int, int]:
    """A window in ticks; its end may lie beyond any run.

    Raises InputError for one that is none.
    """
    low, high = window_s
    if not 0 <= low < high:
        raise InputError(
            f"{low:g} to {high:g} s is no window", where="window_s", mend="give 0 <= from < to"
        )
    far = (1 << 62) // TICKS_PER_S
    return int(min(low, far) * TICKS_PER_S), int(min(high, far) * TICKS_PER_S)


def _joined(parts: list[Slices]) -> Slices:
    """One table of all; numbers that some lack are 0 there."""

    def column(name: str) -> Ints:
        found = [getattr(part, name) for part in parts]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def numbers(name: str) -> dict[str, Ints]:
        names = dict.fromkeys(key for part in parts for key in getattr(part, name))
        return {
            key: np.concatenate(
                [getattr(p, name).get(key, np.zeros(len(p), np.int64)) for p in parts]
            )
            for key in names
        }

    plain = {n: column(n) for n in ("lane", "start", "end", "kind", "busy", "count", "text")}
    return Slices(**plain, sums=numbers("sums"), peaks=numbers("peaks"))


def _within(series: Series, low: int, high: int) -> Series:
    """Samples of a window; the last one before it stands at its start."""
    before = series.time <= low
    if not len(series):
        return series
    last = before & np.r_[(np.diff(series.counter) != 0) | ~before[1:], True]
    kept = series.rows(last | ((series.time > low) & (series.time < high)))
    return Series(kept.counter, np.maximum(kept.time, low), kept.value)
