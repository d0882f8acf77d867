"""Errors of predictions: medians and means in per cent, with intervals that say how sure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .pairs import Pair

RESAMPLES = 500


@dataclass(frozen=True)
class Score:
    """How far predictions lie from what was measured; errors in per cent of the measured value.

    Attributes:
        rows, answered: pairs, and those of them that were predicted.
        median_abs, mean_abs, p95_abs: of the absolute errors.
        median_low, median_high: 95 % bootstrap interval of ``median_abs`` (NaN below two rows).
        mean_low, mean_high: the same of ``mean_abs``.
        median_signed, mean_signed: of the signed errors; positive means predicted too slow.

    All but the counts are NaN where nothing was answered.
    """

    rows: int
    answered: int
    median_abs: float
    median_low: float
    median_high: float
    mean_abs: float
    mean_low: float
    mean_high: float
    p95_abs: float
    median_signed: float
    mean_signed: float

    @property
    def answered_share(self) -> float:
        """Share of the rows that the twin answered."""
        return self.answered / self.rows if self.rows else math.nan

    def data(self) -> dict[str, Any]:
        """As JSON-able values, NaN as None."""
        found = {**self.__dict__, "answered_share": self.answered_share}
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in found.items()
        }


def score(pairs: Iterable[Pair], seed: int = 0) -> Score:
    """The errors of some pairs.

    The intervals resample runs, not pairs: several numbers of one run (its mean and its p99, say)
    stand or fall together (cluster bootstrap; Davison and Hinkley, Bootstrap Methods, 1997,
    section 3.8). Draws are keyed: the same pairs give the same interval.
    """
    pairs = list(pairs)
    answered = [pair for pair in pairs if pair.predicted is not None]
    signed = np.array([pair.error_pct for pair in answered])
    if not len(signed):
        return Score(len(pairs), 0, *[math.nan] * 9)
    absolute = np.abs(signed)
    clusters = _clusters(answered, absolute)
    median = _interval(clusters, lambda values: float(np.median(values)), seed)
    mean = _interval(clusters, lambda values: float(np.mean(values)), seed)
    return Score(
        rows=len(pairs),
        answered=len(answered),
        median_abs=float(np.median(absolute)),
        median_low=median[0],
        median_high=median[1],
        mean_abs=float(np.mean(absolute)),
        mean_low=mean[0],
        mean_high=mean[1],
        p95_abs=float(np.quantile(absolute, 0.95)),
        median_signed=float(np.median(signed)),
        mean_signed=float(np.mean(signed)),
    )


def _clusters(pairs: Sequence[Pair], values: np.ndarray) -> list[np.ndarray]:
    """Values of each run, runs in order of their first pair."""
    found: dict[tuple[str, str], list[float]] = {}
    for pair, value in zip(pairs, values.tolist(), strict=True):
        found.setdefault((pair.source, pair.row_id), []).append(value)
    return [np.array(group) for group in found.values()]


def _interval(
    clusters: list[np.ndarray], statistic: Callable[[np.ndarray], float], seed: int
) -> tuple[float, float]:
    """95 % bootstrap interval over runs; NaN for a single run."""
    from mltwin.sim.stats import bootstrap_ci

    if len(clusters) < 2:
        return math.nan, math.nan

    alone = all(len(cluster) == 1 for cluster in clusters)
    flat = np.concatenate(clusters)

    def of(places: np.ndarray) -> float:
        if alone:
            return statistic(flat[places])
        return statistic(np.concatenate([clusters[int(place)] for place in places]))

    found = bootstrap_ci(np.arange(len(clusters)), of, seed=seed, resamples=RESAMPLES)
    return found.low, found.high


def grouped(pairs: Iterable[Pair], key: Callable[[Pair], Any]) -> dict[Any, list[Pair]]:
    """Pairs by what ``key`` says of each, in order of first appearance."""
    found: dict[Any, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(key(pair), []).append(pair)
    return found
