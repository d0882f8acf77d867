"""Costs of one shape on a grid, once: monotone, and cheap to ask again.

Trees step up and down by a few percent between neighbouring sizes. A composed iteration must not
(a larger batch would now and then be faster, and no linear table could hold it), so a cost with
trees is put on a grid of sizes when a shape is first asked for. Where a smaller size came out
slower than a larger one it takes the larger one's time, as an engine that pads would. Between the
points the *correction*, log of that time over the physical one, is straight in log size.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import Array

COUNTS = 2.0 ** (np.arange(0, 25) / 2)
"""Sequences or prompts: 1 to 4096 by factors of the root of two."""
LENGTHS = 2.0 ** (np.arange(0, 43) / 2)
"""Tokens of one sequence: 1 to 2 M."""
ROWS = np.unique(
    np.concatenate(
        (
            np.arange(1, 257),
            np.arange(256, 1025, 32),
            np.arange(256, 1025, 32) + 0.01,
            np.arange(1024, 8193, 128),
            np.arange(1024, 8193, 128) + 0.01,
            2 ** np.arange(13, 19),
        )
    )
).astype(float)
"""Tokens of a GEMM: all small ones, then both sides of the tile boundaries (micro-batches hold
fractions of a token)."""


@dataclass(frozen=True)
class Correction:
    """Log of monotone over physical time along one size, or over two.

    Attributes:
        first, second: log of the sizes, rising; ``second`` is empty for one size.
        values: (first,) or (first, second).
    """

    first: Array
    second: Array
    values: Array

    def along(self, size: npt.ArrayLike) -> Array:
        """Factors at sizes; the edge's beyond."""
        return np.exp(np.interp(_logs(size), self.first, self.values))

    def over(self, first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
        """Factors at pairs of sizes, bilinear in their logs; the edge's beyond."""
        i, x = _place(self.first, _logs(first))
        j, y = _place(self.second, _logs(second))
        v = self.values
        low = v[i, j] + y * (v[i, j + 1] - v[i, j])
        high = v[i + 1, j] + y * (v[i + 1, j + 1] - v[i + 1, j])
        return np.exp(low + x * (high - low))


def along(sizes: Array, time: Array, physical: Array) -> Correction:
    """The correction along one size; ``time`` is made monotone."""
    rising = np.minimum.accumulate(time[::-1])[::-1]
    return Correction(np.log(sizes), np.empty(0), np.log(rising / physical))


def over(first: Array, second: Array, time: Array, physical: Array) -> Correction:
    """The correction over two sizes; ``time``, (first, second), is made monotone along both."""
    rising = time[::-1, ::-1]
    for axis in (0, 1):
        rising = np.minimum.accumulate(rising, axis=axis)
    return Correction(np.log(first), np.log(second), np.log(rising[::-1, ::-1] / physical))


def _logs(size: npt.ArrayLike) -> Array:
    return np.asarray(np.log(np.maximum(np.asarray(size, float), 1e-9)))


def _place(knots: Array, at: Array) -> tuple[npt.NDArray[np.intp], Array]:
    inside = np.clip(at, knots[0], knots[-1])
    index = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
    return index, (inside - knots[index]) / (knots[index + 1] - knots[index])
