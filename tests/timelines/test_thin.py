"""Thinning keeps what it says it keeps: time by kind and lane, peaks, draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.timelines.perfetto import microseconds
from mltwin.timelines.thin import Series, Slices, first_fit, merge_slices, sample, thin_series
from mltwin.timelines.timeline import Timeline


def random_work(seed: int, n: int = 400, lanes: int = 3) -> Slices:
    rng = np.random.default_rng(seed)
    made = Timeline()
    for lane in range(lanes):
        made.lane("p", f"w{lane}")
        gaps = rng.integers(0, 50, 2 * n) * rng.integers(0, 2, 2 * n)
        times = np.cumsum(gaps + np.tile([0, 1], n))
        kinds = rng.integers(0, 3, n)
        work = rng.integers(0, 9, n)
        made.slices(lane, times[::2], times[1::2], kind=kinds, sums={"w": work}, peaks={"p": work})
    return made.work


def by_lane_and_kind(work: Slices, column: np.ndarray) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    rows = zip(work.lane.tolist(), work.kind.tolist(), column.tolist(), strict=True)
    for lane, kind, value in rows:
        found[lane, kind] = found.get((lane, kind), 0) + value
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([9, 30, 100, 700, 1199]))
def test_merging_keeps_the_time_of_each_kind(seed: int, most: int) -> None:
    work = random_work(seed)
    merged, width = merge_slices(work, most)
    assert len(merged) <= most and width > 0
    assert (merged.end - merged.start == merged.busy).all()
    for name in ("busy", "count"):
        before, after = getattr(work, name), getattr(merged, name)
        assert by_lane_and_kind(work, before) == by_lane_and_kind(merged, after)
    assert by_lane_and_kind(work, work.sums["w"]) == by_lane_and_kind(merged, merged.sums["w"])
    assert merged.peaks["p"].max() == work.peaks["p"].max()
    same = merged.lane[1:] == merged.lane[:-1]
    assert (merged.start[1:] >= merged.end[:-1])[same].all()
    for lane in range(3):
        before, after = work.rows(work.lane == lane), merged.rows(merged.lane == lane)
        assert after.start.min() == before.start.min() and after.end.max() <= before.end.max()


def test_what_fits_is_left_alone() -> None:
    work = random_work(1)
    assert merge_slices(work, len(work)) == (work, 0)


def test_merging_uses_the_budget() -> None:
    """The next narrower bins would exceed it; a wider one would show less than it could."""
    work = random_work(2, 3000)
    merged, width = merge_slices(work, 1000)
    finer, narrower = merge_slices(work, 2000)
    assert 1000 >= len(merged) > 300 and len(finer) > len(merged) and narrower < width


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_counters_keep_their_extremes_and_their_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counter = np.repeat([0, 1], 500)
    time = np.concatenate([np.sort(rng.integers(0, 10**5, 500)) for _ in range(2)])
    series = Series(counter, time, rng.integers(0, 100, 1000).astype(float))
    thinned, width = thin_series(series, 120)
    assert len(thinned) <= 120 and width > 0
    for c in (0, 1):
        before, after = series.value[counter == c], thinned.value[thinned.counter == c]
        assert after.min() == before.min() and after.max() == before.max()
        assert after[-1] == before[-1]
        assert (np.diff(thinned.time[thinned.counter == c]) >= 0).all()


def test_steps_that_repeat_are_not_kept() -> None:
    series = Series(np.zeros(5, int), np.arange(5), np.array([1.0, 1.0, 2.0, 2.0, 1.0]))
    assert thin_series(series, 10)[0].time.tolist() == [0, 2, 4]


def test_samples_hold_the_greatest_and_are_nested() -> None:
    weight = np.arange(1000.0)
    small, large = sample(weight, 50, 3), sample(weight, 200, 3)
    assert len(set(small)) == 50 and list(small[:10]) == list(range(999, 989, -1))
    assert set(small[10:]) <= set(large) | set(range(960, 1000))
    assert (sample(weight, 50, 3) == small).all() and set(sample(weight, 50, 4)) != set(small)
    assert sorted(sample(weight, 5000, 0)) == list(range(1000))
    assert len(sample(np.zeros(0), 5, 0)) == 0 and len(sample(weight, 0, 0)) == 0


def test_draws_are_even() -> None:
    """Each of the others is drawn equally often: 400 draws of 80 of 980, four sigma."""
    counts = np.zeros(1000)
    for seed in range(400):
        counts[sample(np.arange(1000.0), 100, seed)[20:]] += 1
    expected = 400 * 80 / 980
    assert abs(counts[:490].sum() - counts[490:980].sum()) < 4 * np.sqrt(400 * 80)
    assert counts[:980].max() < expected + 5.5 * np.sqrt(expected) and counts[980:].sum() == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=40))
def test_first_fit_never_overlaps_and_uses_few_rows(pairs: list[tuple[int, int]]) -> None:
    pairs = sorted((a, a + d) for a, d in pairs)
    start, end = np.array(pairs, np.int64).reshape(-1, 2).T
    rows = first_fit(start, end)
    for row in set(rows.tolist()):
        mine = rows == row
        assert (start[mine][1:] >= end[mine][:-1]).all()
    busiest = max((int(((start <= t) & (end > t)).sum()) for t in start), default=0)
    assert len(set(rows.tolist())) <= max(busiest, 1)


@pytest.mark.parametrize("scale", [1, 1000, 8_000_000_000_000_000])
def test_microseconds_give_the_nanoseconds_back(scale: int) -> None:
    ns = np.arange(0, 200_000, 7, dtype=np.int64) + scale
    assert ((microseconds(ns) * 1000.0).astype(np.int64) == ns).all()
