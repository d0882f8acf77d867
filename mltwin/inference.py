"""Statistics of paired runs: is a difference real, among many asked at once, and how many seeds
would show it.

Runs are paired by seed (common random numbers), so the noise that both share cancels. All tests are
Student's t on the differences, as are the intervals of `mltwin.sim.stats.paired_ci`.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Side = Literal["two", "greater", "less"]

CONFIDENCE = 0.95
POWER = 0.8
LEAST_SEEDS = 2
MOST_SEEDS = 1_000_000
_NODES = 200
# Differences that agree to this share of their size differ by rounding only.
_ROUNDING = 1e-12


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p-values of several tests (Holm, Scandinavian Journal of Statistics 6, 1979).

    Rejecting those at or below a level keeps the chance of any false alarm at or below that level,
    however the tests depend on each other. In the order given; [] for none.

    Raises ValueError for a value outside [0, 1].
    """
    given = np.asarray(p_values, float)
    if given.ndim != 1 or not np.all((given >= 0) & (given <= 1)):
        raise ValueError("p-values are a series of numbers within [0, 1]")
    order = np.argsort(given, kind="stable")
    count = len(given)
    stepped = np.maximum.accumulate(given[order] * np.arange(count, 0, -1))
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def simultaneous_level(confidence: float, count: int) -> float:
    """The confidence of each of `count` intervals that together hold with `confidence`.

    Bonferroni's 1 - (1 - confidence) / count: it holds however the intervals depend on each other.
    Holm's procedure has no two-sided intervals that are both bounded and no wider than these
    (Guilbaud, Biometrical Journal 50, 2008), so it may find a difference whose interval still
    holds 0.

    Raises ValueError: a confidence outside (0, 1).
    """
    return 1 - (1 - _share(confidence, "confidence")) / max(count, 1)


def paired_differences(
    new: Sequence[float] | np.ndarray, old: Sequence[float] | np.ndarray, *, relative: bool = True
) -> np.ndarray:
    """new / old - 1 (or new - old), pair by pair.

    Raises ValueError: unequal lengths, NaN, or a relative difference from 0.
    """
    a, b = np.asarray(new, float), np.asarray(old, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"{a.shape} values cannot be paired with {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a value is NaN")
    if relative and np.any(b == 0):
        raise ValueError("a relative difference from 0 has no meaning")
    return (a - b) / b if relative else a - b


def paired_p(
    new: Sequence[float] | np.ndarray,
    old: Sequence[float] | np.ndarray,
    *,
    margin: float = 0.0,
    side: Side = "two",
    relative: bool = True,
) -> float:
    """The p-value of a paired t-test on new / old - 1 (or new - old).

    Args:
        new: one value for each seed.
        old: the base's, in the same order of seeds.
        margin: the mean difference under the null hypothesis, in the units of the difference.
        side: the alternative: a mean difference `greater` or `less` than the margin, or `two`
            for either.
        relative: differences as a share of old.

    Differences that are all the same leave no doubt: 0.0 where they speak for the alternative, else
    1.0.

    Raises ValueError: fewer than two pairs, unequal lengths, NaN or infinite differences, a
    relative difference from 0, or an unknown side.
    """
    from scipy.special import stdtr

    if side not in ("two", "greater", "less"):
        raise ValueError(f"side {side!r}: use 'two', 'greater' or 'less'")
    found = paired_differences(new, old, relative=relative)
    mean, spread = _mean_and_spread(found)
    beyond = mean - margin
    if spread == 0:
        same = abs(beyond) <= _ROUNDING * max(abs(mean), abs(margin), 1e-300)
        speaks = not same and (side == "two" or (beyond > 0) == (side == "greater"))
        return 0.0 if speaks else 1.0
    n = len(found)
    t = beyond / (spread / math.sqrt(n))
    if side == "two":
        return float(min(1.0, 2 * stdtr(n - 1, -abs(t))))
    return float(stdtr(n - 1, -t if side == "greater" else t))


def paired_power(effect: float, seeds: int, *, confidence: float = CONFIDENCE) -> float:
    """The chance that a two-sided paired t-test over `seeds` pairs sees a true mean difference.

    Args:
        effect: the difference divided by the standard deviation of the differences.
        seeds: pairs, two or more.
        confidence: 1 - the level of the test.

    That of the noncentral t distribution (Cohen, Statistical Power Analysis for the Behavioral
    Sciences, 1988, chapter 2), for normal differences, to 1e-5: the normal probability
    given the measured spread, averaged over the spread's chi distribution.
    """
    from scipy.special import chdtri, ndtr, roots_legendre, stdtrit

    freedom = seeds - 1
    limit = float(stdtrit(freedom, 0.5 + _share(confidence, "confidence") / 2))
    shift = abs(effect) * math.sqrt(seeds)
    nodes, weights = roots_legendre(_NODES)
    measured = np.sqrt(chdtri(freedom, (1 - nodes) / 2) / freedom)  # as a share of the true spread
    seen = ndtr(shift - limit * measured) + ndtr(-shift - limit * measured)
    return float(min(1.0, np.dot(weights, seen) / 2))


def seeds_needed(
    differences: Sequence[float] | np.ndarray,
    least: float,
    *,
    power: float = POWER,
    confidence: float = CONFIDENCE,
) -> int:
    """How many seeds show a true mean difference of `least`, judged by the differences at hand.

    Args:
        differences: paired differences that tell the spread, two or more.
        least: the difference to detect, in their units (0.01: 1 % of relative ones).
        power: the chance to detect it.
        confidence: 1 - the level of the two-sided test.

    The smallest number of pairs with that power (`paired_power`), 2 at least and `MOST_SEEDS` at
    most. The spread is taken as it was measured: from few pairs the answer is rough.

    Raises ValueError: fewer than two differences, one that is not finite, `least` not above 0, or
    a power or confidence outside (0, 1).
    """
    if not 0 < least < math.inf:
        raise ValueError(f"{least} is no difference to detect: give a number above 0")
    _share(power, "power")
    _share(confidence, "confidence")
    _, spread = _mean_and_spread(np.asarray(differences, float))
    if spread == 0:
        return LEAST_SEEDS
    effect = least / spread

    def enough(seeds: int) -> bool:
        return paired_power(effect, seeds, confidence=confidence) >= power

    high = LEAST_SEEDS
    while not enough(high):
        if high >= MOST_SEEDS:
            return MOST_SEEDS
        high = min(2 * high, MOST_SEEDS)
    low = high // 2  # not enough, or below the least
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle >= LEAST_SEEDS and enough(middle) else (middle, high)
    return max(high, LEAST_SEEDS)


def _mean_and_spread(found: np.ndarray) -> tuple[float, float]:
    """Mean and (sample) standard deviation; the latter 0 where values differ by rounding only.

    Raises ValueError: fewer than two values, or one that is not finite.
    """
    if found.ndim != 1 or len(found) < 2:
        raise ValueError("a paired test needs two pairs or more")
    if not np.isfinite(found).all():
        raise ValueError("a difference is not finite")
    mean = math.fsum(found) / len(found)
    deviations = found - mean
    spread = math.sqrt(math.fsum(deviations * deviations) / (len(found) - 1))
    return mean, spread if spread > _ROUNDING * float(np.abs(found).max()) else 0.0


def _share(value: float, what: str) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{what} {value} is not within (0, 1)")
    return value
