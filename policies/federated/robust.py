"""One change out of updates of which some may be Byzantine.

A rule takes the place of the sum of c_i D_i with the strategy's coefficients c_i. Each result is
scaled by Sum c_i, so that a rule that picks or averages updates makes a step as long as the
strategy meant it. Rules of order (median, Krum, flag) count all updates alike; where c_i matter,
it is said. f is the number of Byzantine updates that is allowed for, floor(`fraction` n) of n.

Sums run over updates in their order, without BLAS, so that results do not depend on threads. Where
a source names code, the rule was read there; the others are the papers' rules as commonly stated.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Combine, Server

from .limits import part, within
from .registry import named

Array = npt.NDArray[Any]

TINY = 1e-300


@dataclass
class Rule(Combine):
    """A rule on updates as float64[n, d], with coefficients of sum 1."""

    def combine(self, server: Server, coefficients: Array, deltas: Array) -> Array:
        """float64[d], the rule's result times the sum of the coefficients."""
        whole = float(np.sum(coefficients))
        shares = coefficients / whole if whole else np.full(len(deltas), 1.0 / len(deltas))
        return whole * self.rule(server, shares, deltas.astype(np.float64))

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """float64[d] of rows float64[n, d] with shares float64[n], n at least 1."""
        raise NotImplementedError


@dataclass
class Trimming(Rule):
    """A rule that allows for a fraction of Byzantine updates.

    Attributes:
        fraction: of the updates, rounded down.
    """

    fraction: float = 0.2

    def __post_init__(self) -> None:
        within(self, fraction=(0, 0.5))


@named("combine", "median", source="Yin et al. 2018 (ICML), algorithm 1, option I")
@dataclass
class Median(Rule):
    """The median of each parameter; of an even number the middle of the two in the middle."""

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """Coordinate-wise."""
        return np.asarray(np.median(rows, axis=0))


@named("combine", "trimmed_mean", source="Yin et al. 2018 (ICML), algorithm 1, option II")
@dataclass
class TrimmedMean(Trimming):
    """The mean of each parameter without its f largest and f smallest values."""

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """Coordinate-wise; the median where nothing would be left."""
        count, cut = len(rows), part(self.fraction, len(rows))
        if count <= 2 * cut:
            return np.asarray(np.median(rows, axis=0))
        kept = np.sort(rows, axis=0)[cut : count - cut]
        return np.asarray(np.add.reduce(kept, axis=0) / len(kept))


@named("combine", "krum", source="Blanchard et al. 2017 (NeurIPS), section 4")
@dataclass
class Krum(Trimming):
    """The update nearest to its n - f - 2 nearest others, by the sum of squared distances.

    Of equal ones the first. The guarantee needs n >= 2 f + 3; with fewer updates at least one
    neighbour counts.
    """

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """The row of the least score."""
        return rows[int(np.argmin(krum_scores(rows, part(self.fraction, len(rows)))))]


@named("combine", "multi_krum", source="Blanchard et al. 2017 (NeurIPS), section 5")
@dataclass
class MultiKrum(Trimming):
    """The mean of the n - f updates with the least Krum scores (scored once)."""

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """Mean of the rows of least score, in the order of arrival."""
        bad = part(self.fraction, len(rows))
        order = np.argsort(krum_scores(rows, bad), kind="stable")
        kept = rows[np.sort(order[: len(rows) - bad])]
        return np.asarray(np.add.reduce(kept, axis=0) / len(kept))


def krum_scores(rows: Array, bad: int) -> Array:
    """float64[n], sum of squared distances to the max(1, n - bad - 2) nearest other rows."""
    count = len(rows)
    if count == 1:
        return np.zeros(1)
    near = min(count - 1, max(1, count - bad - 2))
    scores = np.zeros(count)
    for i in range(count):
        squared = np.sum((rows - rows[i]) ** 2, axis=1)
        scores[i] = np.sum(np.sort(np.delete(squared, i))[:near])
    return scores


@named("combine", "geometric_median", source="Pillutla, Kakade and Harchaoui 2022 (IEEE TSP), RFA")
@dataclass
class GeometricMedian(Rule):
    """The point with the least weighted sum of distances to the updates, by Weiszfeld's steps.

    v <- Sum b_i D_i / Sum b_i with b_i = c_i / max(`smooth`, |v - D_i|), from the weighted mean.

    Attributes:
        steps: at most so many; fewer where v no longer moves.
        smooth: nu, least distance.
    """

    steps: int = 3
    smooth: float = 1e-6

    def __post_init__(self) -> None:
        within(self, steps=(1, 10_000), smooth=(1e-300, 1e9))

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """The smoothed geometric median."""
        middle = np.add.reduce(shares[:, None] * rows, axis=0)
        for _ in range(self.steps):
            weights = shares / np.maximum(self.smooth, norms(rows - middle))
            before = middle
            middle = np.add.reduce((weights / weights.sum())[:, None] * rows, axis=0)
            if np.array_equal(before, middle):
                break
        return np.asarray(middle)


@named("combine", "clipped", source="Sun et al. 2019, norm thresholding")
@dataclass
class Clipped(Combine):
    """The weighted sum of updates whose length is cut.

    Sum c_i D_i min(1, `norm` / |D_i|).

    Attributes:
        norm: of an update at most.
    """

    norm: float = 1.0

    def __post_init__(self) -> None:
        within(self, norm=(1e-30, 1e30))

    def combine(self, server: Server, coefficients: Array, deltas: Array) -> Array:
        """The sum of cut updates."""
        rows = deltas.astype(np.float64)
        weights = coefficients * np.minimum(1.0, self.norm / np.maximum(norms(rows), TINY))
        return np.asarray(np.add.reduce(weights[:, None] * rows, axis=0))


@named("combine", "centred_clipping", source="Karimireddy, He and Jaggi 2021 (ICML), algorithm 2")
@dataclass
class CentredClipping(Rule):
    """Updates are cut to a radius about the last result.

    v <- v + Sum c_i (D_i - v) min(1, `radius` / |D_i - v|); v begins with the last round's result,
    in the first with 0. The paper adds momentum at the clients.

    Attributes:
        radius: tau.
        steps: times that v is moved each round.
    """

    radius: float = 1.0
    steps: int = 1
    _run: Any = field(init=False, repr=False, default=None)
    _centre: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        within(self, radius=(1e-30, 1e30), steps=(1, 10_000))

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """The new centre."""
        if self._run is not server:
            self._run, self._centre = server, np.zeros(rows.shape[1])
        for _ in range(self.steps):
            away = rows - self._centre
            cut = shares * np.minimum(1.0, self.radius / np.maximum(norms(away), TINY))
            self._centre = self._centre + np.add.reduce(cut[:, None] * away, axis=0)
        return np.asarray(self._centre)


@named("combine", "flag", source="Almasi et al. 2024 (ICLR); code hamidralmasi/FlagAggregator")
@dataclass
class Flag(Rule):
    """The mean of the updates, projected on the directions that most of them share.

    Y, d x m with orthonormal columns, makes Sum_i sqrt(1 - |Y^T x_i|^2) small for the updates'
    directions x_i = D_i / |D_i|: Y = first m left singular vectors of the columns
    x_i (1 - |Y^T x_i|^2 + 1e-7)^(-1/4), `steps` times over. The change is Y Y^T of the mean of x_i
    times the median norm of D_i.

    Verified in the authors' code: weights, exponent, number of iterations, unit vectors. Different:
    Y begins with equal weights (there at random), the code's sum over unit vectors divided by m
    becomes their mean at the median length of an update, and the pairwise term (weight lambda, off
    by default in the code) is left out. The paper's own constants were not readable.

    Attributes:
        columns: m.
        steps: iterations.
    """

    columns: int = 1
    steps: int = 4

    def __post_init__(self) -> None:
        within(self, columns=(1, 1e6), steps=(1, 10_000))

    def rule(self, server: Server, shares: Array, rows: Array) -> Array:
        """All through the n x n products of updates: no matrix of d rows is decomposed."""
        length = norms(rows)
        if not np.isfinite(length).all():
            return np.full(rows.shape[1], np.nan)
        some = length > TINY
        if not some.any():
            return np.zeros(rows.shape[1])
        unit = rows[some] / length[some][:, None]
        products = np.array([np.sum(unit * one, axis=1) for one in unit])
        weights = np.ones(len(unit))
        for _ in range(self.steps):
            basis = self._basis(products, weights)
            inside = np.sum(_times(products, basis) ** 2, axis=1)
            weights = 1.0 / np.sqrt(np.sqrt(np.abs(1.0 - inside) + 1e-7))
        basis = self._basis(products, weights)
        mean = np.full(len(unit), 1.0 / len(unit))
        inside = np.sum(basis * _times(products, mean[:, None]), axis=0)
        mix = np.sum(basis * inside, axis=1)
        return float(np.median(length)) * np.add.reduce(mix[:, None] * unit, axis=0)

    def _basis(self, products: Array, weights: Array) -> Array:
        """float64[n, m]: Y = unit^T times it."""
        from .eigen import eigen  # compiled: not where policies are only listed

        values, vectors = eigen(weights[:, None] * products * weights)
        kept = np.argsort(-values, kind="stable")[: self.columns]
        kept = kept[values[kept] > 1e-12 * values.max()]
        return np.asarray(weights[:, None] * vectors[:, kept] / np.sqrt(values[kept]))


def norms(rows: Array) -> Array:
    """float64[n]."""
    return np.asarray(np.sqrt(np.sum(rows * rows, axis=1)))


def _times(matrix: Array, columns: Array) -> Array:
    """matrix times columns in a fixed order of sums."""
    return np.array([np.sum(matrix * column, axis=1) for column in columns.T]).T
