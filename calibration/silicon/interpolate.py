"""Curves and surfaces through measured points, in the logarithm of sizes and times."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]


def groups(rows: pd.DataFrame, *names: str) -> Iterator[tuple[tuple[int, ...], pd.DataFrame]]:
    """Rows by the whole numbers of some columns, in rising order."""
    for key, group in rows.groupby(list(names), sort=True):
        yield tuple(int(str(value)) for value in key), group


def fastest(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The fastest of several kernels of one point: an engine's tuner takes it."""
    return rows.groupby(names, as_index=False)[["seconds"]].min()


@dataclass(frozen=True)
class Curve:
    """Time against one size: straight between points in log-log, the law of the edge beyond.

    Attributes:
        x: log of the sizes, rising.
        y: log of the times, never falling: where a smaller size was measured slower than a larger
            one (noise, or a poor choice of kernel), it takes the larger one's time.
        rise: slope beyond the last point (1: proportional).
    """

    x: Array
    y: Array
    rise: float

    def seconds(self, size: Array) -> Array:
        """Times at sizes; below the first point its time."""
        at = np.log(np.maximum(np.asarray(size, float), 1e-9))
        inside = np.interp(at, self.x, self.y)
        return np.exp(inside + self.rise * np.maximum(at - self.x[-1], 0.0))


def curve(
    size: npt.ArrayLike, seconds: npt.ArrayLike, *, most: float = 1.0, least: float = 0.0
) -> Curve:
    """A curve through points; repeated sizes count with their median.

    Args:
        size, seconds: the points, in any order.
        most, least: bounds of the slope beyond the last point, which is that of the last factor
            of 4 in size.
    """
    size, seconds = np.asarray(size, float), np.asarray(seconds, float)
    unique, group = np.unique(size, return_inverse=True)
    if len(unique) < len(size):
        seconds = np.array([np.median(seconds[group == i]) for i in range(len(unique))])
    else:
        seconds = seconds[np.argsort(size)]
    x, y = np.log(unique), np.minimum.accumulate(np.log(seconds)[::-1])[::-1]
    rise = most
    if len(x) > 1:
        back = max(0, min(int(np.searchsorted(x, x[-1] - np.log(4.0))), len(x) - 2))
        rise = float(np.clip((y[-1] - y[back]) / (x[-1] - x[back]), least, most))
    return Curve(x, y, rise)


@dataclass(frozen=True)
class Surface:
    """Time against two sizes: a curve along the second at each measured value of the first.

    Between two curves the logarithm is interpolated; beyond the last value of the first size time
    is proportional to it, below the first value it falls in proportion, but not under ``floor``.
    """

    first: Array
    curves: tuple[Curve, ...]
    floor: float

    def seconds(self, first: Array, second: Array) -> Array:
        """Times at pairs of sizes (broadcast together)."""
        first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
        at = np.log(np.maximum(first, 1e-9))
        inside = np.clip(at, self.first[0], self.first[-1])
        index = np.clip(np.searchsorted(self.first, inside, side="right") - 1, 0, None)
        if len(self.curves) == 1:
            value = np.log(self.curves[0].seconds(second))
        else:
            index = np.minimum(index, len(self.curves) - 2)
            low, high = (np.zeros(np.shape(second)) for _ in range(2))
            for i in np.unique(index):
                here = index == i
                low[here] = np.log(self.curves[i].seconds(second[here]))
                high[here] = np.log(self.curves[i + 1].seconds(second[here]))
            width = self.first[index + 1] - self.first[index]
            share = (inside - self.first[index]) / width
            value = low + share * (np.maximum(high, low) - low)
        time = np.exp(value + (at - inside))
        return np.where(at < self.first[0], np.maximum(time, np.minimum(self.floor, np.exp(value))),
                        time)  # fmt: skip


def surface(
    first: npt.ArrayLike, second: npt.ArrayLike, seconds: npt.ArrayLike, *, most: float
) -> Surface:
    """A surface through scattered points; values of ``first`` with one point only are left out
    where others have more.

    Args:
        most: largest slope of a curve beyond its last point (1 linear, 2 quadratic).
    """
    first, second, seconds = (np.asarray(v, float) for v in (first, second, seconds))
    values, counts = np.unique(first, return_counts=True)
    if np.any(counts > 1):
        values = values[counts > 1]
    curves = tuple(
        curve(second[first == v], seconds[first == v], most=most, least=min(1.0, most) * 0.5)
        for v in values
    )
    return Surface(np.log(values), curves, float(seconds.min()))
