import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.sim.rng import ARRIVALS, SERVICE, exponentials, normals, uniforms
from mltwin.sim.stats import (
    batch_means_ci,
    bootstrap_ci,
    mean,
    mean_ci,
    paired_ci,
    quantile,
    quantile_ci,
    quantiles,
)

TICKS = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=30)
FLOATS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30)
LEVELS = st.integers(0, 100).map(lambda percent: percent / 100)


@given(TICKS, LEVELS)
def test_quantile_of_ticks_is_exact(values, q):
    rank = Fraction(str(q)) * (len(values) - 1)
    ordered = sorted(values)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    exact = low + (rank - math.floor(rank)) * (high - low)
    found = quantile(np.array(values), q)
    assert isinstance(found, int) and found == round(exact)


@given(FLOATS, LEVELS)
def test_quantile_of_floats_is_numpys(values, q):
    expected = np.quantile(values, q)
    assert quantile(values, q) == pytest.approx(expected, rel=1e-12, abs=1e-6)
    assert min(values) <= quantile(values, q) <= max(values)


def test_quantile_where_float64_would_lose_ticks():
    base = 2**60 + 1
    assert quantile(np.array([base, base, base]), 0.99) == base
    assert quantile(np.array([base, base + 2]), 0.5) == base + 1
    assert mean(np.array([base, base])) == float(base)
    assert quantile(np.arange(101), 0.07) == 7 and quantile(np.arange(101.0), 0.07) == 7.0


def test_quantile_with_infinite_values():
    values = [1.0, 2.0, math.inf, math.inf]
    assert quantiles(values, [0, 1 / 3, 0.5, 1]) == [1.0, 2.0, math.inf, math.inf]


@pytest.mark.parametrize(
    ("values", "q", "message"),
    [
        ([], 0.5, "one value or more"),
        ([[1, 2]], 0.5, "one value or more"),
        ([1.0, math.nan], 0.5, "NaN at index 1"),
        ([1, 2], 1.1, "not within"),
        ([1, 2], math.nan, "not within"),
        (np.array([2**63], np.uint64), 0.5, "exceeds int64"),
    ],
)
def test_bad_values_are_refused(values, q, message):
    with pytest.raises(ValueError, match=message):
        quantile(values, q)


@given(TICKS)
def test_mean_of_ticks_does_not_overflow(values):
    assert mean(np.array(values)) == float(Fraction(sum(values), len(values)))


@given(st.permutations([1e16, 1.0, -1e16, 3.0, 1e-9, -1.0]))
def test_mean_does_not_depend_on_the_order(values):
    assert mean(values) == math.fsum([3.0, 1e-9]) / 6


def test_mean_ci_known_answer():
    """Student's t with 4 degrees of freedom: 2.776445."""
    interval = mean_ci([1.0, 2.0, 3.0, 4.0, 5.0])
    assert interval.estimate == 3.0 and interval.n == 5
    assert interval.half_width == pytest.approx(2.7764451 * math.sqrt(2.5 / 5), rel=1e-7)
    ticks = mean_ci(np.array([1, 2, 3, 4, 5]) * 10**9 + 2**60)
    assert ticks.estimate == float(2**60 + 3 * 10**9)
    assert ticks.half_width == pytest.approx(interval.half_width * 1e9, rel=1e-6)


@pytest.mark.parametrize("values", [[1.0], [1.0, math.inf]])
def test_mean_ci_refuses(values):
    with pytest.raises(ValueError, match="confidence interval"):
        mean_ci(values)
    with pytest.raises(ValueError, match="not within"):
        mean_ci([1.0, 2.0], 95)


def covered(make_interval, truth, trials):
    inside = sum(low <= truth <= high for _, low, high, _ in map(make_interval, range(trials)))
    return inside / trials


def test_coverage_of_the_mean():
    def interval(trial):
        return mean_ci(normals(trial, SERVICE, np.arange(12)), 0.9)

    assert covered(interval, 0.0, 2000) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_coverage_of_the_quantile_is_at_least_nominal(q):
    def interval(trial):
        return quantile_ci(exponentials(trial, SERVICE, np.arange(80)), q, 0.9)

    assert 0.89 < covered(interval, -math.log(1 - q), 600) < 0.97


def test_quantile_ci_known_ranks_and_missing_bounds():
    """n = 20, median, 95 %: the 6th and 15th value (David and Nagaraja, table 7.1)."""
    interval = quantile_ci(np.arange(1, 21), 0.5)
    assert (interval.low, interval.high) == (6, 15) and interval.estimate == round(10.5)
    assert quantile_ci(np.arange(10), 0.99).high == math.inf
    assert quantile_ci(np.arange(10), 0.01).low == -math.inf


def ar1(trial, n, rho):
    noise = normals(trial, ARRIVALS, np.arange(n))
    series, x = np.empty(n), 0.0
    for i in range(n):
        x = rho * x + noise[i]
        series[i] = x
    return series


def test_batch_means_cover_where_independence_fails():
    series = [ar1(trial, 2000, 0.9) for trial in range(150)]
    naive = covered(lambda t: mean_ci(series[t]), 0.0, 150)
    batched = covered(lambda t: batch_means_ci(series[t], 20), 0.0, 150)
    assert naive < 0.5 and batched > 0.85
    with pytest.raises(ValueError, match="cannot make 20 batches"):
        batch_means_ci(np.arange(19))


def test_batch_means_leaves_out_the_start():
    assert batch_means_ci(np.array([999.0, 1.0, 1.0, 3.0, 3.0]), 2).estimate == 2.0


def test_bootstrap_is_repeatable_and_close_to_t():
    values = normals(1, SERVICE, np.arange(200))
    boot, student = bootstrap_ci(values), mean_ci(values)
    assert boot == bootstrap_ci(values) != bootstrap_ci(values, seed=1)
    assert boot.low == pytest.approx(student.low, abs=0.02)
    assert boot.high == pytest.approx(student.high, abs=0.02)


@pytest.mark.parametrize("statistic", [np.mean, np.std, np.median])
def test_bootstrap_agrees_with_scipy(statistic):
    from scipy.stats import bootstrap

    values = exponentials(4, SERVICE, np.arange(40)) ** 2  # skewed, so that BCa differs
    ours = bootstrap_ci(values, lambda v: float(statistic(v)), resamples=4000)
    theirs = bootstrap(
        (values,), statistic, n_resamples=4000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)
    plain = bootstrap(
        (values,), statistic, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    if statistic is not np.median:
        assert abs(plain.high - theirs.high) > 0.05 * width


def test_bootstrap_of_equal_values_and_of_one():
    assert bootstrap_ci([5.0, 5.0, 5.0])[:3] == (5.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="two values"):
        bootstrap_ci([5.0])


def test_paired_difference_is_sharper_than_two_intervals():
    noise = uniforms(1, ARRIVALS, np.arange(10)) * 100
    old, new = noise + 50, (noise + 50) * 1.02
    relative = paired_ci(new, old, relative=True)
    assert relative.estimate == pytest.approx(0.02) and relative.half_width < 1e-9
    assert paired_ci(new, old).low > 0
    assert mean_ci(new).low < mean_ci(old).high
    ticks = np.array([2**61, 2**61 + 10])
    assert paired_ci(ticks + 3, ticks)[:3] == (3.0, 3.0, 3.0)


def test_paired_refuses():
    with pytest.raises(ValueError, match="2 values cannot be paired with 3"):
        paired_ci([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="difference from 0"):
        paired_ci([1, 2], [0, 2], relative=True)
