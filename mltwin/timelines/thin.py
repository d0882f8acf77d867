"""Fewer rows that still tell the whole story: merged slices, extremes of counters, drawn samples.

Nothing is cut off at the end of a window. Slices and counters are thinned by bins of time whose
width is a power of two ticks; the narrowest width that meets the budget is taken. Bins nest, so a
wider one never gives more rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.rng_arrays import RESAMPLING, uniforms

Ints = NDArray[np.int64]
_WIDEST = 62  # of a bin, as a power of two
SLOWEST_SHARE = 0.2


@dataclass(frozen=True)
class Slices:
    """Work on lanes, sorted by (lane, start), n rows; on one lane none overlap.

    lane, kind: numbers in the timeline's lists; start, end, busy: ticks; count: slices that a row
    stands for. `busy` is the time worked, which for a merged row is also its length.
    sums, peaks: what a row did, added up or as its greatest value over what it stands for.
    text: number in the timeline's texts, -1 none of its own.
    """

    lane: Ints
    start: Ints
    end: Ints
    kind: Ints
    busy: Ints
    count: Ints
    text: Ints
    sums: Mapping[str, Ints]
    peaks: Mapping[str, Ints]

    def __len__(self) -> int:
        return len(self.start)

    def rows(self, chosen: NDArray[np.bool_] | Ints) -> "Slices":
        """Only these rows (mask or indices, in that order)."""
        plain: dict[str, Ints] = {name: getattr(self, name)[chosen] for name in _PLAIN}
        return Slices(
            **plain,
            sums={name: column[chosen] for name, column in self.sums.items()},
            peaks={name: column[chosen] for name, column in self.peaks.items()},
        )


_PLAIN = ("lane", "start", "end", "kind", "busy", "count", "text")


def merge_slices(slices: Slices, most: int) -> tuple[Slices, int]:
    """At most `most` rows (or one for each kind on each lane), and the bins' width in ticks.

    Width 0: nothing was merged. In each bin of a lane the slices of a kind become one, as long as
    they took together; the kinds follow one another from the start of the bin's first slice, in
    the order in which they first came. So no time worked is lost, none is added, and rows of a
    lane still do not overlap; within a bin, slices move by less than what the bin spans.
    """
    if len(slices) <= most:
        return slices, 0
    power = _narrowest(
        lambda p: len(_heads(slices.lane, slices.start, p)),
        lambda p: int(_groups(slices, p)[1].sum()),
        most,
    )
    return _merged(slices, power), 1 << power


def _narrowest(bins: Callable[[int], int], rows: Callable[[int], int], most: int) -> int:
    """The least power of two whose bins leave at most that many rows; the widest if none does.

    bins: how many bins that hold something; never more than rows, and quicker to count.
    """
    low, high = 1, _WIDEST
    while low < high:
        middle = (low + high) // 2
        if bins(middle) <= most:
            high = middle
        else:
            low = middle + 1
    while low < _WIDEST and rows(low) > most:
        low += 1
    return low


def _heads(part: Ints, time: Ints, power: int) -> Ints:
    """Where a new bin begins, of rows sorted by (part, time)."""
    bins = time >> power
    return np.flatnonzero(np.r_[True, (np.diff(part) != 0) | (np.diff(bins) != 0)])


def _groups(slices: Slices, power: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Rows ordered by (lane, bin, kind) and where in that order a new group begins."""
    bins = slices.start >> power
    fresh = np.r_[True, (np.diff(slices.lane) != 0) | (np.diff(bins) != 0)]
    key = np.cumsum(fresh) * (int(slices.kind.max()) + 1) + slices.kind
    order = np.argsort(key, kind="stable")
    return order, np.r_[True, np.diff(key[order]) != 0]


def _merged(slices: Slices, power: int) -> Slices:
    order, fresh = _groups(slices, power)
    heads = np.flatnonzero(fresh)
    first = slices.rows(order[heads])
    sorted_ = slices.rows(order)

    def added(column: Ints) -> Ints:
        return np.add.reduceat(column, heads)

    count = added(sorted_.count)
    busy = added(sorted_.busy)
    made = replace(
        first,
        busy=busy,
        count=count,
        text=np.where(np.diff(np.r_[heads, len(order)]) > 1, -1, first.text),
        sums={name: added(column) for name, column in sorted_.sums.items()},
        peaks={name: np.maximum.reduceat(column, heads) for name, column in sorted_.peaks.items()},
    )
    by_time = np.lexsort((made.start, made.lane))
    return _laid_out(made.rows(by_time), power)


def _laid_out(made: Slices, power: int) -> Slices:
    """The kinds of each bin one after another from the start of its first slice."""
    heads = _heads(made.lane, made.start, power)
    of_bin = np.repeat(np.arange(len(heads)), np.diff(np.r_[heads, len(made)]))
    before = np.cumsum(made.busy) - made.busy
    start = made.start[heads][of_bin] + before - before[heads][of_bin]
    return replace(made, start=start, end=start + made.busy)


@dataclass(frozen=True)
class Series:
    """Samples of several counters, sorted by (counter, time): which, when (ticks), how much."""

    counter: Ints
    time: Ints
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, chosen: NDArray[np.bool_] | Ints) -> "Series":
        """Only these samples (mask or indices, in that order)."""
        return Series(self.counter[chosen], self.time[chosen], self.value[chosen])


def drop_repeats(series: Series) -> Series:
    """Without the samples that repeat the value before them: the same steps."""
    if not len(series):
        return series
    new = (np.diff(series.counter) != 0) | (np.diff(series.value) != 0)
    return series.rows(np.r_[True, new])


def thin_series(series: Series, most: int) -> tuple[Series, int]:
    """At most `most` samples (or two for each counter), and the bins' width in ticks (0: all).

    Of each bin its least, its greatest and its last value stay, so that peaks survive and the
    step goes on from where it was.
    """
    series = drop_repeats(series)
    if len(series) <= most:
        return series, 0
    power = _narrowest(
        lambda p: len(_heads(series.counter, series.time, p)),
        lambda p: int(_extremes(series, p).sum()),
        most,
    )
    return series.rows(_extremes(series, power)), 1 << power


def _extremes(series: Series, power: int) -> NDArray[np.bool_]:
    """The first least, the first greatest and the last sample of each bin."""
    heads = _heads(series.counter, series.time, power)
    ends = np.r_[heads[1:], len(series)]
    kept = np.zeros(len(series), np.bool_)
    kept[ends - 1] = True
    for extreme in (np.minimum, np.maximum):
        reached = series.value == np.repeat(extreme.reduceat(series.value, heads), ends - heads)
        rows = np.flatnonzero(reached)
        group = np.searchsorted(heads, rows, side="right")
        kept[rows[np.r_[True, np.diff(group) != 0]]] = True
    return kept


def sample(weight: NDArray[np.float64], most: int, seed: int) -> Ints:
    """Which of n to show, at most `most`, most important first: int64 indices.

    A fifth are the greatest weights (say, the slowest requests); the others are drawn evenly
    from the rest by keyed draws (one for each index), so that a larger sample holds a smaller
    one's draws and the choice depends on nothing but seed and weights.
    """
    n = len(weight)
    by_weight = np.lexsort((np.arange(n), -np.asarray(weight, np.float64)))
    slow = by_weight[: n if n <= most else round(most * SLOWEST_SHARE)]
    rest = np.setdiff1d(np.arange(n), slow)
    drawn = rest[np.argsort(uniforms(seed, RESAMPLING, rest), kind="stable")] if len(rest) else rest
    return np.concatenate([slow, drawn[: max(0, most - len(slow))]]).astype(np.int64)


def first_fit(start: Ints, end: Ints) -> Ints:
    """A row for each interval such that intervals of a row do not overlap, lowest rows first.

    Intervals must be sorted by start. int64[n], rows numbered from 0.
    """
    import heapq

    free: list[int] = []
    taken: list[tuple[int, int]] = []
    rows = np.zeros(len(start), np.int64)
    most = 0
    for i, (begin, stop) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        while taken and taken[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(taken)[1])
        row = heapq.heappop(free) if free else most
        most = max(most, row + 1)
        rows[i] = row
        heapq.heappush(taken, (stop, row))
    return rows
