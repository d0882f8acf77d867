"""Interval laws of mean 1 from uniform draws (inversion, so that each draw keeps its key)."""

import math

import numpy as np
from numpy.typing import NDArray


def gamma_gaps(u: NDArray[np.float64], shape: float) -> NDArray[np.float64]:
    """Gamma of mean 1; CV = shape**-0.5, so below 1 is burstier than Poisson (as in vLLM)."""
    from scipy.special import gammaincinv

    return gammaincinv(shape, u) / shape


def weibull_gaps(u: NDArray[np.float64], shape: float) -> NDArray[np.float64]:
    """Weibull of mean 1."""
    return (-np.log1p(-u)) ** (1.0 / shape) / math.gamma(1.0 + 1.0 / shape)


def weibull_cv(shape: float) -> float:
    """Coefficient of variation of a Weibull law; falls as the shape grows."""
    log_ratio = math.lgamma(1.0 + 2.0 / shape) - 2.0 * math.lgamma(1.0 + 1.0 / shape)
    return math.sqrt(math.expm1(log_ratio)) if log_ratio < 700 else math.inf


def weibull_shape(cv: float) -> float:
    """The shape with this coefficient of variation, by bisection (0.02 to 200)."""
    low, high = 0.02, 200.0
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if weibull_cv(middle) > cv else (low, middle)
    return high
