"""Sizes of objects: one for each object at all its requests; correlated with popularity or not."""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator

from mltwin.sim import rng_arrays as rng
from mltwin.workloads.spec import Spec

Bytes = Annotated[int, Field(ge=1, le=1 << 40)]


class _Sizes(Spec):
    """`low` and `high` clip what is drawn."""

    low: Bytes = Field(default=1, description="least size, bytes")
    high: Bytes = Field(default=1 << 40, description="greatest size, bytes")
    popularity: float = Field(
        default=0.0, ge=-1, le=1, description="rank correlation of size and popularity"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "_Sizes":
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bytes, not rounded, at standard normal scores."""
        raise NotImplementedError

    def of(
        self, keys: NDArray[np.int64], shares: NDArray[np.float64] | None, seed: int
    ) -> NDArray[np.int64]:
        """int64[n] bytes of objects, given their keys and the shares of more popular ones.

        The size's normal score is r s + sqrt(1 - r**2) z with s the popularity's, z drawn by key,
        and r = 2 sin(pi rho / 6) for the rank correlation rho over the objects (Kruskal, JASA 53,
        1958). Objects without ranks (scans, loops) take z alone.
        """
        from scipy.special import ndtri

        drawn = rng.normals(seed, rng.LENGTHS, keys)
        if self.popularity and shares is not None:
            r = 2.0 * math.sin(math.pi * self.popularity / 6.0)
            joined = r * ndtri(1.0 - shares) + math.sqrt(max(0.0, 1.0 - r * r)) * drawn
            drawn = np.where(np.isnan(shares), drawn, joined)
        return np.rint(np.clip(self.quantile(drawn), self.low, self.high)).astype(np.int64)


class FixedSize(_Sizes):
    """All alike."""

    law: Literal["fixed"] = Field(description="all objects of one size")
    value: Bytes = Field(default=4096, description="bytes")

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value."""
        return np.full(score.shape, float(self.value))


class LogNormalSize(_Sizes):
    """Log-normal over objects, by median and sigma."""

    law: Literal["lognormal"] = Field(description="log-normal over objects")
    median: PositiveFloat = Field(default=4096.0, description="bytes")
    sigma: float = Field(default=1.0, ge=0, le=10, description="of the logarithm of the size")

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """median exp(sigma z)."""
        return self.median * np.exp(np.minimum(self.sigma * score, 60.0))


class ParetoSize(_Sizes):
    """Pareto over objects from `low`: P(size > x) = (low / x)**shape, clipped at `high`."""

    law: Literal["pareto"] = Field(description="Pareto over objects")
    shape: PositiveFloat = Field(default=1.2, description="tail exponent; small is heavy")
    low: Bytes = Field(default=1024, description="least size, bytes")

    def quantile(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """low (1 - F)**(-1 / shape) with F the normal distribution function at the score."""
        from scipy.special import ndtr

        return self.low * np.maximum(ndtr(-score), 1e-300) ** (-1.0 / self.shape)


Sizes = Annotated[FixedSize | LogNormalSize | ParetoSize, Field(discriminator="law")]
