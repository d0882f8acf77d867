"""Laws of random times as tables, so that a draw costs a look-up and no power or exponential.

A law is a function of x = -ln(p) for the probability p of being *at most* that large (step
times), or of an exponential draw (times between failures), at points x = 2**e (1 + i / 32),
e = -41 ... 5: linear between them. Two things become exact and cheap:

- the largest of n independent draws has p = u**(1 / n), so x is an exponential draw over n
  (order statistics: David and Nagaraja, Order Statistics, 2003, section 2.1): one draw instead
  of n for the slowest of n nodes;
- only +, -, * and / are used in a run, so that it is the same bits everywhere.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler

OCTAVES, PER_OCTAVE, LOWEST = 47, 32, -41
LAW_POINTS = OCTAVES * PER_OCTAVE + 1


@handler
def look_up(law: Any, x: float) -> float:
    """The law at x > 0; beyond its ends the value at the end."""
    fraction, exponent = math.frexp(x)  # x = fraction * 2**exponent, fraction in [1/2, 1)
    octave = exponent - 1 - LOWEST
    if octave < 0:
        return law[0]
    if octave >= OCTAVES:
        return law[LAW_POINTS - 1]
    place = (2.0 * fraction - 1.0) * PER_OCTAVE
    k = int(place)
    share = place - k
    at = octave * PER_OCTAVE + k
    low = law[at]
    return low + (law[at + 1] - low) * share


def law_points() -> np.ndarray:
    """The x of the table's rows: float64[LAW_POINTS]."""
    number = np.arange(LAW_POINTS)
    return np.ldexp(1.0 + number % PER_OCTAVE / PER_OCTAVE, LOWEST + number // PER_OCTAVE)


def constant_law() -> np.ndarray:
    """Always 1."""
    return np.ones(LAW_POINTS)


def exponential_law() -> np.ndarray:
    """Exponential of mean 1, as a function of an exponential draw."""
    return law_points()


def weibull_law(shape: float) -> np.ndarray:
    """Weibull of mean 1: E**(1 / shape) / Gamma(1 + 1 / shape) of an exponential draw E.

    A shape below 1 has failures in bursts (0.7 to 0.8 in Schroeder and Gibson, A large-scale study
    of failures in high-performance computing systems, DSN 2006).

    Raises InputError for a shape that is not positive.
    """
    if not shape > 0:
        raise InputError(f"a Weibull shape of {shape}", mend="give a positive one")
    return _rounded(law_points() ** (1 / shape) / math.gamma(1 + 1 / shape))


def lognormal_law(sigma: float) -> np.ndarray:
    """Lognormal factor of median 1.

    Raises InputError for a negative sigma.
    """
    if not sigma >= 0:
        raise InputError(f"a lognormal sigma of {sigma}", mend="give one of at least 0")
    return _rounded(np.exp(sigma * _scores()))


def quantile_law(probabilities: Sequence[float], factors: Sequence[float]) -> np.ndarray:
    """Measured quantiles, linear in the normal score between them and level beyond the ends.

    Raises InputError unless both are non-decreasing, of one length, and factors are positive.
    """
    from scipy.special import ndtri

    p, q = np.asarray(probabilities, float), np.asarray(factors, float)
    if len(p) != len(q) or len(p) < 2 or np.any(np.diff(p) <= 0) or p[0] <= 0 or p[-1] >= 1:
        raise InputError("quantiles need increasing probabilities within 0 and 1, one a factor")
    if np.any(np.diff(q) < 0) or q[0] <= 0:
        raise InputError("factors of quantiles must be positive and must not fall")
    return _rounded(np.interp(_scores(), ndtri(p), q))


def law_mean(law: np.ndarray, largest_of: int = 1) -> float:
    """Mean of the largest of so many draws of a step-time law, by quadrature: exact to 1e-4.

    E[T(E / n)] for an exponential E; the test of the kernel's step times.
    """
    x = law_points()
    weight = np.exp(-largest_of * x)
    # Between neighbours the law is linear; weights of an exponential of rate n in closed form.
    width = np.diff(x)
    inside = weight[:-1] - weight[1:]
    first = (weight[:-1] - weight[1:] * (1 + largest_of * width)) / largest_of
    slope = np.diff(law) / width
    middle = float((law[:-1] * inside + slope * first).sum())
    return middle + float(law[0] * (1 - weight[0]) + law[-1] * weight[-1])


def _scores() -> np.ndarray:
    """Normal scores of p = exp(-x)."""
    from scipy.special import ndtri_exp

    return np.asarray(ndtri_exp(-law_points()))


def _rounded(law: np.ndarray) -> np.ndarray:
    """Nine digits after the point, for the same bits with any build of the special functions."""
    return np.round(law, 9)
