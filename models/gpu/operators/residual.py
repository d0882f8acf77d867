"""Learned corrections of a physical formula."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import Array, Number


@dataclass(frozen=True)
class Residual:
    """A smooth correction on a grid: the logarithm of measured over physical time.

    Trilinear in log2 of (m, n, k), constant beyond the grid. ``milli`` holds thousandths, m
    slowest, k fastest.
    """

    m: tuple[float, ...]
    n: tuple[float, ...]
    k: tuple[float, ...]
    milli: tuple[int, ...]

    def weights(self, m: Number, n: Number, k: Number) -> tuple[npt.NDArray[np.int64], Array]:
        """Indices into ``milli`` and weights of the 8 corners, each of shape (8, points)."""
        sizes = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (m, n, k)))
        lower, share = [], []
        for values, knots in zip(sizes, (self.m, self.n, self.k), strict=True):
            grid = np.log2(np.asarray(knots))
            x = np.log2(values)
            i = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(grid) - 2)
            lower.append(i)
            share.append(np.clip((x - grid[i]) / (grid[i + 1] - grid[i]), 0.0, 1.0))
        index, weight = [], []
        for corner in range(8):
            up = [corner >> 2 & 1, corner >> 1 & 1, corner & 1]
            i, j, l = (low + u for low, u in zip(lower, up, strict=True))  # noqa: E741
            index.append((i * len(self.n) + j) * len(self.k) + l)
            weight.append(np.prod([s if u else 1 - s for s, u in zip(share, up, strict=True)], 0))
        return np.array(index), np.array(weight)

    def factor(self, m: Number, n: Number, k: Number) -> Array:
        """What physical time is multiplied by."""
        index, weight = self.weights(m, n, k)
        values = np.asarray(self.milli)[index]
        return np.exp(np.sum(values * weight, axis=0) / 1000.0)
