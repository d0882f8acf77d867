"""The statistics of paired runs against published values, other programs and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mltwin.inference import (
    MOST_SEEDS,
    holm,
    paired_differences,
    paired_p,
    paired_power,
    seeds_needed,
    simultaneous_level,
)
from mltwin.sim.rng_arrays import SERVICE
from mltwin.sim.rng_arrays import normals as keyed_normals
from mltwin.sim.stats import paired_ci


def normals(seed: int, rows: int, columns: int) -> np.ndarray:
    """Keyed standard normal draws."""
    return keyed_normals(seed, SERVICE, np.arange(rows * columns)).reshape(rows, columns)


def test_holm_gives_the_published_values() -> None:
    # The worked example of many texts; and R's p.adjust(c(.01, .02, .03, .04, .05), "holm").
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([]).tolist() == [] and holm([0.7, 0.9]).tolist() == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_lies_between_the_raw_and_bonferroni(p_values: list[float]) -> None:
    raw, adjusted = np.array(p_values), holm(p_values)
    assert np.all(adjusted >= raw) and np.all(adjusted <= np.minimum(1, raw * len(raw)))
    order = np.argsort(raw)
    assert np.all(np.diff(adjusted[order]) >= 0)
    assert holm(raw[order]) == pytest.approx(adjusted[order])


@pytest.mark.parametrize("wrong", [[-0.1], [1.1], [np.nan], [[0.1]]])
def test_holm_refuses_what_is_no_p_value(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm(wrong)


@pytest.mark.parametrize("side", ["two", "greater", "less"])
@pytest.mark.parametrize("margin", [0.0, 0.02, -0.05])
@pytest.mark.parametrize("relative", [True, False])
def test_the_paired_test_is_scipys(side: str, margin: float, relative: bool) -> None:
    old = 100 + normals(1, 1, 12)[0]
    new = old * (1.01 + 0.02 * normals(2, 1, 12)[0])
    found = paired_differences(new, old, relative=relative)
    other = {"two": "two-sided"}.get(side, side)
    expected = stats.ttest_1samp(found, margin, alternative=other).pvalue
    p = paired_p(new, old, margin=margin, side=side, relative=relative)
    assert p == pytest.approx(expected, rel=1e-9)


def test_equal_differences_leave_no_doubt() -> None:
    old = np.array([3.0, 7.0, 11.0])
    assert paired_p(old, old) == 1.0 and paired_p(1.02 * old, old) == 0.0
    assert paired_p(1.02 * old, old, margin=0.02) == 1.0  # rounding is no evidence
    assert paired_p(1.02 * old, old, margin=0.02, side="greater") == 1.0
    assert paired_p(1.03 * old, old, margin=0.02, side="greater") == 0.0
    assert paired_p(1.03 * old, old, margin=0.02, side="less") == 1.0


def test_what_cannot_be_paired_is_refused() -> None:
    for new, old in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [0.0, 1.0])):
        with pytest.raises(ValueError):
            paired_p(new, old)
    with pytest.raises(ValueError):
        paired_p([1.0, np.inf], [1.0, 1.0])
    with pytest.raises(ValueError, match="side"):
        paired_p([1.0, 2.0], [1.0, 3.0], side="up")


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_are_the_published_ones(effect: float, seeds: int) -> None:
    """Matched pairs, two-sided 5 %, power 80 %: Cohen's small, medium, large effect (G*Power)."""
    assert seeds_needed([0.0, 2**0.5], effect) == seeds


@pytest.mark.parametrize("effect", [0.15, 0.4, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_seeds_needed_against_the_noncentral_t(
    effect: float, power: float, confidence: float
) -> None:
    def exact(n: int) -> float:
        limit = stats.t.ppf(0.5 + confidence / 2, n - 1)
        shift = effect * n**0.5
        below = stats.nct.cdf(-limit, n - 1, shift)  # NaN where it is below 1e-300
        return float(stats.nct.sf(limit, n - 1, shift) + np.nan_to_num(below))

    found = seeds_needed([0.0, 2**0.5], effect, power=power, confidence=confidence)
    assert exact(found) >= power - 1e-5
    assert found == 2 or exact(found - 1) < power + 1e-5
    assert paired_power(effect, found, confidence=confidence) == pytest.approx(
        exact(found), abs=1e-5
    )


def test_seeds_needed_at_the_ends() -> None:
    assert seeds_needed([0.1, 0.1, 0.1], 0.01) == 2
    assert seeds_needed([0.0, 1.0], 1e-9) == MOST_SEEDS
    assert seeds_needed([0.0, 0.1], 1e9) == 2
    for differences, least in (([0.1], 0.1), ([0.1, np.nan], 0.1), ([0, 1], 0), ([0, 1], -1)):
        with pytest.raises(ValueError):
            seeds_needed(differences, least)
    for wrong in ({"power": 1.0}, {"power": 0.0}, {"confidence": 1.0}):
        with pytest.raises(ValueError):
            seeds_needed([0.0, 1.0], 0.1, **wrong)


def test_the_seeds_needed_have_the_power_they_promise() -> None:
    """With as many pairs as it says, the difference is found in 80 % of 4,000 worlds."""
    least, worlds = 0.02, 4000
    shape = normals(5, 1, 2000)[0]
    seeds = seeds_needed(0.03 * (shape - shape.mean()) / shape.std(ddof=1), least)
    assert seeds == 20
    old = 50 + 5 * normals(6, worlds, seeds)
    new = old * (1 + least + 0.03 * normals(7, worlds, seeds))
    found = np.mean([paired_p(a, b) < 0.05 for a, b in zip(new, old, strict=True)])
    assert found == pytest.approx(paired_power(least / 0.03, seeds), abs=0.02)
    assert 0.8 <= paired_power(least / 0.03, seeds) < 0.83


def test_paired_intervals_cover() -> None:
    """95 % of 4,000 intervals of 6 seeds hold the true relative difference (binomial: 94.1-95.9 at
    2.6 standard errors)."""
    worlds, seeds, truth = 4000, 6, 0.03
    old = 20 * np.exp(0.3 * normals(8, worlds, seeds))
    new = old * (1 + truth + 0.05 * normals(9, worlds, seeds))
    hits = 0
    for a, b in zip(new, old, strict=True):
        found = paired_ci(a, b, relative=True)
        hits += found.low <= truth <= found.high
    assert 0.941 <= hits / worlds <= 0.959


def test_many_at_once_raise_few_false_alarms() -> None:
    """Ten metrics without a difference: uncorrected 40 % of worlds raise an alarm, with Holm 5 %;
    the intervals that hold together all hold in 95 %."""
    worlds, seeds, metrics = 4000, 8, 10
    z = normals(10, worlds * metrics, seeds).reshape(worlds, metrics, seeds)
    old = np.full(seeds, 10.0)
    raw = np.array([[paired_p(old * (1 + 0.01 * x), old) for x in world] for world in z])
    assert 0.35 < np.mean(raw.min(axis=1) < 0.05) < 0.45
    alarms = np.mean([holm(p).min() < 0.05 for p in raw])
    assert 0.04 <= alarms <= 0.06
    level = simultaneous_level(0.95, metrics)
    limit = stats.t.ppf(0.5 + level / 2, seeds - 1)
    t = z.mean(axis=2) / (z.std(axis=2, ddof=1) / seeds**0.5)
    assert 0.94 <= np.mean(np.abs(t).max(axis=1) <= limit) <= 0.96
