"""How far a metric has moved, and how sure that is: paired by seed, or not where pairs are lost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Values that agree to this share of their size differ by rounding only.
_ROUNDING = 1e-12
LEAST_UNPAIRED = 30
"""Values that each side needs for a comparison without pairs."""


@dataclass(frozen=True)
class Difference:
    """An estimated change with its standard error.

    centre: now less base, as a share of the base where `relative`, else in the metric's unit.
    error: standard error of the centre; 0 where all pairs say the same.
    freedom: degrees of freedom of Student's t.
    n: values on each side.
    """

    centre: float
    error: float
    freedom: float
    n: int
    relative: bool
    paired: bool = True

    def above(self, margin: float) -> float:
        """p-value of "the true change is at most margin": small where it surely is more."""
        return self._p(self.centre - margin)

    def below(self, margin: float) -> float:
        """p-value of "the true change is at least margin": small where it surely is less."""
        return self._p(margin - self.centre)

    def _p(self, beyond: float) -> float:
        from scipy.special import stdtr

        if self.error == 0:
            return 0.0 if beyond > 0 else 1.0
        return float(stdtr(self.freedom, -beyond / self.error))

    def interval(self, tail: float) -> tuple[float, float]:
        """(low, high), each of which errs with probability `tail`."""
        from scipy.special import stdtrit

        if self.error == 0:
            return self.centre, self.centre
        half = float(stdtrit(self.freedom, 1 - tail)) * self.error
        return self.centre - half, self.centre + half


def paired(new: Sequence[float], old: Sequence[float], *, relative: bool) -> Difference | None:
    """Mean of the differences seed by seed, Student's t on n - 1 degrees of freedom.

    Relative ones are new / old - 1; where some old value is 0, (new - old) over the mean size of
    the old; where all are 0 there is nothing to relate to and the differences are absolute. None
    for fewer than two pairs that differ: one pair does not tell chance from change.
    """
    a, b = np.asarray(new, float), np.asarray(old, float)
    scale, relative = _scale(b, relative)
    found = (a - b) / scale
    n = len(found)
    size = float(np.abs(found).max(initial=0.0))
    # Two equal values may differ in their last bits after a change of compiler or machine.
    if n and size <= _ROUNDING:
        return Difference(0.0, 0.0, max(n - 1, 1), n, relative)
    if n < 2:
        return None
    spread = float(np.std(found, ddof=1))
    error = spread / math.sqrt(n) if spread > _ROUNDING * size else 0.0
    return Difference(math.fsum(found) / n, error, n - 1, n, relative)


def unpaired(new: Sequence[float], old: Sequence[float], *, relative: bool) -> Difference | None:
    """Welch's comparison of two means (Biometrika 34, 1947), relative by the delta method.

    The change is mean(new) / mean(old) - 1, its variance to first order
    (v_new + r^2 v_old) / mean(old)^2 with r the ratio of the means and v the variances of the
    means; degrees of freedom by Welch and Satterthwaite. None for fewer than `LEAST_UNPAIRED`
    values on a side.
    """
    a, b = np.asarray(new, float), np.asarray(old, float)
    if min(len(a), len(b)) < LEAST_UNPAIRED:
        return None
    relative = relative and float(b.mean()) != 0.0
    scale = abs(float(b.mean())) if relative else 1.0
    ratio = float(a.mean()) / float(b.mean()) if relative else 1.0
    parts = [float(a.var(ddof=1)) / len(a), ratio**2 * float(b.var(ddof=1)) / len(b)]
    error = math.sqrt(sum(parts)) / scale
    centre = (float(a.mean()) - float(b.mean())) / scale
    n = min(len(a), len(b))
    if error <= _ROUNDING * max(abs(centre), 1.0):
        return Difference(
            centre if abs(centre) > _ROUNDING else 0.0, 0.0, n - 1, n, relative, False
        )
    below = sum(v**2 / (len(x) - 1) for v, x in zip(parts, (a, b), strict=True))
    return Difference(centre, error, sum(parts) ** 2 / below, n, relative, False)


def _scale(old: np.ndarray, relative: bool) -> tuple[np.ndarray | float, bool]:
    """What differences are divided by, and whether that makes them relative."""
    if not relative or not np.any(old):
        return 1.0, False
    if np.all(old):
        return np.abs(old), True
    return math.fsum(np.abs(old)) / len(old), True
