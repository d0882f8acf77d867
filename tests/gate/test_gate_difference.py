"""Differences against SciPy and by hand; what zero, one seed and equal values mean."""

import math

import numpy as np
import pytest
from scipy import stats

from mltwin.gate.difference import paired, unpaired
from mltwin.sim.stats import paired_ci

RNG = np.random.default_rng(3)
OLD = 100 + 5 * RNG.standard_normal(12)
NEW = OLD * (1.02 + 0.003 * RNG.standard_normal(12))


@pytest.mark.parametrize("relative", [True, False])
def test_paired_is_students_t(relative):
    found = paired(NEW, OLD, relative=relative)
    values = NEW / OLD - 1 if relative else NEW - OLD
    margin = 0.015 if relative else 1.5
    test = stats.ttest_1samp(values, margin, alternative="greater")
    assert found.above(margin) == pytest.approx(test.pvalue)
    assert found.below(margin) == pytest.approx(1 - test.pvalue)
    interval = paired_ci(NEW, OLD, 0.9, relative=relative)
    assert found.interval(0.05) == pytest.approx((interval.low, interval.high))
    assert found.n == 12 and found.relative == relative and found.paired


def test_unpaired_is_welchs_t():
    old, new = 3 + RNG.standard_normal(40), 3.4 + 2 * RNG.standard_normal(31)
    found = unpaired(new, old, relative=False)
    test = stats.ttest_ind(new, old, equal_var=False, alternative="greater")
    assert found.above(0.0) == pytest.approx(test.pvalue)
    assert found.freedom == pytest.approx(test.df)
    assert not found.paired and found.n == 31


def test_unpaired_relative_covers_the_ratio():
    """95 % intervals of the ratio of two means hold the truth in about 95 % of 1,000 cases."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(1000):
        old, new = rng.gamma(4, 25, 30), rng.gamma(4, 26, 30)
        low, high = unpaired(new, old, relative=True).interval(0.025)
        held += low <= 0.04 <= high
    assert 930 <= held <= 970


def test_equal_values_leave_no_doubt():
    same = paired(OLD, OLD, relative=True)
    assert (same.centre, same.error) == (0.0, 0.0)
    assert same.above(0.0) == 1.0 and same.below(0.0) == 1.0
    all_up = paired(OLD * 1.02, OLD, relative=True)
    assert all_up.error == 0.0 and all_up.above(0.01) == 0.0 and all_up.above(0.03) == 1.0
    assert all_up.interval(0.01) == (all_up.centre, all_up.centre)


def test_last_bits_are_no_change():
    assert paired(np.nextafter(OLD, 1e9), OLD, relative=True).centre == 0.0


def test_few_seeds():
    assert paired([1.0], [2.0], relative=True) is None
    assert paired([2.0], [2.0], relative=True).centre == 0.0
    assert unpaired(OLD, NEW, relative=True) is None


def test_a_zero_among_the_old_values_scales_by_their_mean():
    found = paired([0, 2, 4, 7], [0, 2, 4, 6], relative=True)
    assert found.relative and found.centre == pytest.approx(1 / 12)


def test_only_zeros_make_it_absolute():
    found = paired([0, 1, 2], [0, 0, 0], relative=True)
    assert not found.relative and found.centre == 1.0
    assert unpaired(np.arange(30), np.zeros(30), relative=True).centre == pytest.approx(14.5)
    same = unpaired(np.zeros(30), np.zeros(30), relative=True)
    assert same.centre == same.error == 0.0


def test_negative_values_keep_the_sign():
    found = paired([-9.0, -10.5], [-10.0, -10.0], relative=True)
    assert found.centre == pytest.approx(0.025) and math.isfinite(found.error)
