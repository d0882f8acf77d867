"""Synthetic prompt and output lengths, keyed by request: they do not depend on arrivals."""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mltwin.sim import rng_arrays as rng

from .spec import Spec
from .table import MAX_TOKENS

Z90 = 1.2815515655446004  # the normal law's 90th percentile


class _Law(Spec):
    """`low` and `high` (tokens) clip what is drawn."""

    low: int = Field(default=1, ge=1, le=MAX_TOKENS)
    high: int = Field(default=MAX_TOKENS, ge=1, le=MAX_TOKENS)

    @model_validator(mode="after")
    def _ordered(self) -> "_Law":
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tokens, not rounded, at standard normal scores."""
        raise NotImplementedError

    def tokens(self, score: NDArray[np.float64]) -> NDArray[np.int64]:
        """Whole tokens within `low` and `high`."""
        drawn = np.clip(self.quantile(score), self.low, self.high)
        return np.rint(drawn).astype(np.int64)


class LogNormal(_Law):
    """Log-normal by `mean` and `cv`, or by `p50` and `p90` (tokens)."""

    law: Literal["lognormal"]
    mean: PositiveFloat | None = None
    cv: float | None = Field(default=None, ge=0)
    p50: PositiveFloat | None = None
    p90: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "LogNormal":
        by_moments = self.mean is not None and self.cv is not None
        by_percentiles = self.p50 is not None and self.p90 is not None
        given = sum(part is not None for part in (self.mean, self.cv, self.p50, self.p90))
        if given != 2 or not (by_moments or by_percentiles):
            raise ValueError("give mean and cv, or p50 and p90")
        if self.p50 is not None and self.p90 is not None and self.p90 < self.p50:
            raise ValueError("p90 must not be below p50")
        return self

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """exp(mu + sigma z)."""
        if self.mean is not None and self.cv is not None:
            variance = math.log1p(self.cv**2)
            mu, sigma = math.log(self.mean) - variance / 2.0, math.sqrt(variance)
        else:
            assert self.p50 is not None and self.p90 is not None
            mu, sigma = math.log(self.p50), math.log(self.p90 / self.p50) / Z90
        return np.exp(np.minimum(mu + sigma * score, 40.0))


class Fixed(_Law):
    """Always `value` tokens."""

    law: Literal["fixed"]
    value: PositiveInt

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value."""
        return np.full(score.shape, float(self.value))


class Uniform(_Law):
    """Each whole number from `low` to `high` alike."""

    law: Literal["uniform"]

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """low, ..., high with equal shares."""
        return np.floor(self.low + normal_share(score) * (self.high - self.low + 1))


class Knots(_Law):
    """A law by its quantiles: `values` (tokens) at shares `at` from 0 to 1, geometric between."""

    law: Literal["knots"]
    at: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=2)
    values: list[PositiveFloat] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> "Knots":
        if len(self.at) != len(self.values):
            raise ValueError("at and values must be of equal length")
        if self.at[0] != 0.0 or self.at[-1] != 1.0 or np.any(np.diff(self.at) <= 0):
            raise ValueError("at must rise from 0 to 1")
        if np.any(np.diff(self.values) < 0):
            raise ValueError("values must not fall")
        return self

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Interpolation of log tokens between the knots."""
        return np.exp(np.interp(normal_share(score), self.at, np.log(self.values)))


class Empirical(_Law):
    """Resampling of given `values` (tokens), each alike."""

    law: Literal["empirical"]
    values: list[PositiveInt] = Field(min_length=1)

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sorted values' inverse distribution function."""
        ranked = np.sort(np.array(self.values, float))
        place = (normal_share(score) * ranked.size).astype(np.int64)
        return ranked[np.minimum(place, ranked.size - 1)]


Law = Annotated[
    LogNormal | Fixed | Uniform | Knots | Empirical,
    Field(discriminator="law"),
]


def normal_share(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard normal distribution function."""
    from scipy.special import ndtr

    return ndtr(score)


def draw_lengths(
    prompt: _Law, output: _Law, entities: NDArray[np.int64], seed: int, spearman: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prompt and output tokens of each entity, joined by a Gaussian copula of rank correlation.

    The normal scores' correlation is 2 sin(pi rho / 6) for Spearman's rho (Kruskal 1958).
    """
    first = rng.normals(seed, rng.LENGTHS, entities, 0)
    second = rng.normals(seed, rng.LENGTHS, entities, 1)
    r = 2.0 * math.sin(math.pi * spearman / 6.0)
    joined = r * first + math.sqrt(max(0.0, 1.0 - r * r)) * second
    return prompt.tokens(first), output.tokens(joined)


def resample(
    prompt: NDArray[np.int32], output: NDArray[np.int32], entities: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whole (prompt, output) pairs of a trace, drawn with replacement: all dependence is kept."""
    rows = rng.integers(seed, rng.LENGTHS, entities, prompt.size)
    return prompt[rows].astype(np.int64), output[rows].astype(np.int64)
