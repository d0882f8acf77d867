"""Statistics of simulation output: exact quantiles, means, and intervals that say how sure we are.

Times are int64 ticks, which float64 cannot hold exactly beyond 2.5 h: sums and order statistics of
integers are therefore taken as integers, and become floats at the end.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .rng_arrays import RESAMPLING, integers

JACKKNIFE_GROUPS = 200

Values = npt.NDArray[Any] | Sequence[float]
Statistic = Callable[[npt.NDArray[Any]], float]


class Interval(NamedTuple):
    """An estimate with its confidence interval; n is the number of independent values."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def quantile(values: Values, q: float) -> float:
    """The q-quantile by linear interpolation, NumPy's default (Hyndman and Fan 1996, type 7).

    Integers give an integer: the exact quantile rounded to nearest, ties to even.
    """
    return quantiles(values, [q])[0]


def quantiles(values: Values, qs: Sequence[float]) -> list[float]:
    """Several quantiles at the price of one sort.

    q is read as the decimal it is written as, so the 0.99-quantile of 101 values is the 100th.

    Raises:
        ValueError: no values, NaN among them, or q outside [0, 1].
    """
    ordered = np.sort(_checked(values))
    return [_quantile_of_sorted(ordered, q) for q in qs]


def mean(values: Values) -> float:
    """The mean, from the exact sum: the order of the values does not matter."""
    array = _checked(values)
    return float(_exact_sum(array) / len(array))


def mean_ci(values: Values, confidence: float = 0.95) -> Interval:
    """Student's t interval for the mean of independent values.

    Raises:
        ValueError: fewer than two values, or an infinite one.
    """
    from scipy.special import stdtrit

    array = _checked(values)
    n = len(array)
    if n < 2:
        raise ValueError("a confidence interval needs two values or more")
    if not np.all(np.isfinite(array)):
        raise ValueError("the mean of infinite values has no confidence interval")
    shifted = array - array[0]  # exact for ticks, where the squares of large floats are not
    deviations = shifted - mean(shifted)
    error = math.sqrt(math.fsum(deviations * deviations) / (n - 1) / n)
    half = float(stdtrit(n - 1, 0.5 + _level(confidence) / 2)) * error
    centre = mean(array)
    return Interval(centre, centre - half, centre + half, n)


def batch_means_ci(series: Values, batches: int = 20, confidence: float = 0.95) -> Interval:
    """Interval for the mean of a correlated series, from the means of consecutive batches.

    Batches must be much longer than the correlation; 10 to 30 of them suffice (Schmeiser,
    Operations Research 30, 1982). Values that fill no batch are left out at the start.

    Raises:
        ValueError: fewer than two batches, or fewer values than batches.
    """
    array = _checked(series)
    length = len(array) // batches if batches >= 2 else 0
    if length == 0:
        raise ValueError(f"{len(array)} values cannot make {batches} batches")
    kept = array[len(array) - length * batches :].reshape(batches, length)
    return mean_ci([mean(batch) for batch in kept], confidence)


def paired_ci(
    new: Values, old: Values, confidence: float = 0.95, *, relative: bool = False
) -> Interval:
    """Interval for the mean of new - old (or new / old - 1), pair by pair.

    With common random numbers the pairs share their noise, and small differences show.

    Raises:
        ValueError: unequal lengths, fewer than two pairs, or a relative difference from 0.
    """
    a, b = _checked(new), _checked(old)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values cannot be paired with {len(b)}")
    if not relative:
        return mean_ci(a - b, confidence)
    if np.any(b == 0):
        raise ValueError("a relative difference from 0 has no meaning")
    return mean_ci((a - b) / b, confidence)


def quantile_ci(values: Values, q: float, confidence: float = 0.95) -> Interval:
    """Distribution-free interval for the q-quantile of independent values.

    Order statistics whose ranks the binomial distribution gives (David and Nagaraja, Order
    Statistics, 2003, section 7.1); it covers at least the confidence asked for. A bound is
    infinite where the sample is too small to give one.
    """
    from scipy.stats import binom

    ordered = np.sort(_checked(values))
    n = len(ordered)
    tail = (1 - _level(confidence)) / 2
    low_rank = int(binom.ppf(tail, n, q))
    high_rank = int(binom.ppf(1 - tail, n, q)) + 1
    low = ordered[low_rank - 1].item() if low_rank >= 1 else -math.inf
    high = ordered[high_rank - 1].item() if high_rank <= n else math.inf
    return Interval(_quantile_of_sorted(ordered, q), low, high, n)


def bootstrap_ci(
    values: Values,
    statistic: Statistic = mean,
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval (Efron, JASA 82, 1987).

    Keyed draws: the same values and seed give the same interval. Falls back to plain percentiles
    where the correction is undefined (all resamples on one side of the estimate). The statistic
    is evaluated resamples + min(n, 200) times.

    Raises:
        ValueError: fewer than two values.
    """
    array = _checked(values)
    n = len(array)
    if n < 2:
        raise ValueError("a confidence interval needs two values or more")
    estimate = statistic(array)
    places = np.arange(n)
    replicates = np.sort(
        [statistic(array[integers(seed, RESAMPLING, r, n, places)]) for r in range(resamples)]
    )
    tail = (1 - _level(confidence)) / 2
    low, high = _bca_levels(array, statistic, estimate, replicates, tail)
    return Interval(
        estimate, _quantile_of_sorted(replicates, low), _quantile_of_sorted(replicates, high), n
    )


def _bca_levels(
    array: npt.NDArray[Any],
    statistic: Statistic,
    estimate: float,
    replicates: npt.NDArray[Any],
    tail: float,
) -> tuple[float, float]:
    """The two percentile levels that BCa reads the sorted replicates at."""
    below = (np.sum(replicates < estimate) + 0.5 * np.sum(replicates == estimate)) / len(replicates)
    if not 0 < below < 1:
        return tail, 1 - tail
    normal = NormalDist()
    bias = normal.inv_cdf(float(below))
    groups = np.array_split(np.arange(len(array)), min(len(array), JACKKNIFE_GROUPS))
    left_out = np.array([statistic(np.delete(array, group)) for group in groups])
    d = left_out.mean() - left_out
    spread = float(np.sum(d * d)) ** 1.5
    skew = float(np.sum(d**3)) / (6 * spread) if spread > 0 else 0.0

    def level(z: float) -> float:
        return normal.cdf(bias + (bias + z) / (1 - skew * (bias + z)))

    return level(normal.inv_cdf(tail)), level(normal.inv_cdf(1 - tail))


def _checked(values: Values) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"need a series of one value or more, not shape {array.shape}")
    if array.dtype.kind in "biu":
        if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{array.max()} exceeds int64")
        return array.astype(np.int64)
    array = array.astype(np.float64)
    if np.isnan(array).any():
        raise ValueError(f"NaN at index {int(np.flatnonzero(np.isnan(array))[0])}")
    return array


def _quantile_of_sorted(ordered: npt.NDArray[Any], q: float) -> float:
    if not 0 <= q <= 1:
        raise ValueError(f"quantile {q} is not within [0, 1]")
    rank = Fraction(repr(float(q))) * (len(ordered) - 1)
    below = math.floor(rank)
    part = rank - below
    low = ordered[below].item()
    if part == 0:
        return low
    high = ordered[below + 1].item()
    if isinstance(low, int):
        return low + round(part * (high - low))
    return low if low == high else low + float(part) * (high - low)


def _exact_sum(array: npt.NDArray[Any]) -> Fraction | float:
    if array.dtype.kind == "f":
        return math.fsum(array)
    high = int(np.sum(array >> 32))  # in halves, as the sum of 1e6 ticks may exceed int64
    low = int(np.sum(array & 0xFFFFFFFF))
    return Fraction((high << 32) + low)


def _level(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not within (0, 1)")
    return confidence
