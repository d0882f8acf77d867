"""Matrix multiplications from a table: measured (n, k) along m, others scaled from neighbours."""

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import Array, Number

from .answers import EXACT, SCALED, Answers
from .interpolate import Curve, curve, groups

LATENCY_S = 2.5e-6
NEIGHBOURS = 4


class TableGemm:
    """Times of y[m, n] = x[m, k] W[n, k]^T in one number format.

    Args:
        rows: columns m, n, k, seconds.
        peak_flops, bandwidth: of the data sheet; they only scale from measured shapes to others.
        weight_bytes: bytes of one weight.
        answers: where to note shapes that were not measured.
        name: of the operator in those notes.
        quantise: curves against m by k that are taken off (dynamic quantisation that a static
            checkpoint does not do), or None.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        *,
        peak_flops: float,
        bandwidth: float,
        weight_bytes: float,
        answers: Answers,
        name: str,
        quantise: "Quantise | None" = None,
    ) -> None:
        self.peak_flops, self.bandwidth, self.width = peak_flops, bandwidth, weight_bytes
        self.answers, self.name, self.quantise = answers, name, quantise
        self._rows = {(n, k): group for (n, k), group in groups(rows, "n", "k")}
        self._logs = np.log(np.array(sorted(self._rows), float))
        self._keys = sorted(self._rows)
        self._curves: dict[tuple[int, int], Curve] = {}

    def _curve(self, key: tuple[int, int]) -> Curve:
        if key not in self._curves:
            group = self._rows[key]
            seconds = group["seconds"].to_numpy(float)
            if self.quantise is not None:
                m = group["m"].to_numpy(float)
                least = self._roofline(m, key, self.width)
                seconds = np.maximum(seconds - self.quantise.seconds(m, key[1]), least)
            self._curves[key] = curve(group["m"], seconds)
        return self._curves[key]

    def _roofline(self, m: Array, key: tuple[int, int], width: float) -> Array:
        """Time on paper (Williams et al., CACM 2009), plus a launch."""
        n, k = key
        moved = n * k * width + m * k * min(width, 2.0) + m * n * 2
        return LATENCY_S + np.maximum(2 * m * n * k / self.peak_flops, moved / self.bandwidth)

    def seconds(self, m: Number, n: int, k: int, weight_bytes: float | None = None) -> Array:
        """Seconds for m rows (an array); ``weight_bytes`` where they are stored narrower."""
        rows: Array = np.maximum(np.asarray(m, float), 1e-3)
        key = (int(n), int(k))
        if key in self._rows:
            self.answers.add(self.name, EXACT)
            time = self._curve(key).seconds(rows)
        else:
            time = self._from_neighbours(rows, key)
        if weight_bytes is not None and weight_bytes != self.width:
            own, other = (self._roofline(rows, key, w) for w in (self.width, weight_bytes))
            time = time * other / own
        return time

    def _from_neighbours(self, m: Array, key: tuple[int, int]) -> Array:
        """Measured over paper time of the nearest shapes, weighted by distance in log n, log k."""
        distance = np.abs(self._logs - np.log(np.array(key, float))).sum(axis=1)
        nearest = np.argsort(distance, kind="stable")[:NEIGHBOURS]
        weight = 1 / (distance[nearest] + 0.05) ** 2
        ratio = np.zeros(np.shape(m))
        for i, share in zip(nearest, weight / weight.sum(), strict=True):
            other = self._keys[i]
            measured = self._curve(other).seconds(m)
            ratio = ratio + share * np.log(measured / self._roofline(m, other, self.width))
        n, k = self._keys[nearest[0]]
        self.answers.add(
            self.name, SCALED, f"{self.name}: (n, k) = {key} is scaled from {(n, k)} and others"
        )
        return np.exp(ratio) * self._roofline(m, key, self.width)


class Quantise:
    """What dynamic quantisation of the activations takes, by m and k.

    Args:
        parts: tables with columns m, k, seconds; their times add.
    """

    def __init__(self, parts: list[pd.DataFrame]) -> None:
        self._curves = [
            {k: curve(g["m"], g["seconds"]) for (k,), g in groups(part, "k")} for part in parts
        ]

    def seconds(self, m: Array, k: int) -> Array:
        """Seconds for m rows of k columns; of the nearest k that was measured, in proportion."""
        total = np.zeros(np.shape(m))
        for curves in self._curves:
            nearest = min(curves, key=lambda known: abs(np.log(known / k)))
            total = total + curves[nearest].seconds(m * (k / nearest))
        return total


def plausible(rows: pd.DataFrame, others: list[pd.DataFrame], factor: float = 3.0) -> pd.DataFrame:
    """Rows, those of implausible shapes replaced.

    A shape whose times are at the median more than ``factor`` times those of the best of the
    other frameworks' tables (same GPU, format and shape) was measured launch-bound or with a
    kernel that no engine would keep; the other table's rows take its place.
    """
    best: dict[tuple[int, ...], pd.DataFrame] = {}
    medians: dict[tuple[int, ...], float] = {}
    for other in others:
        for key, group in groups(other, "n", "k"):
            median = float(np.exp(np.log(group["seconds"]).mean()))
            if key not in medians or median < medians[key]:
                medians[key], best[key] = median, group
    kept = []
    for key, group in groups(rows, "n", "k"):
        mean = float(np.exp(np.log(group["seconds"]).mean()))
        kept.append(best[key] if key in medians and mean > factor * medians[key] else group)
    return pd.concat(kept, ignore_index=True)
