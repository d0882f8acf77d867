"""The operations of `lanes` without the compiler: a value is float32[16]."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ZERO = np.float32(0)


def load(array: Array, at: int) -> Array:
    """As `lanes.load`."""
    return array[at : at + 16].copy()


def store(array: Array, at: int, lanes: Array) -> None:
    """As `lanes.store`."""
    array[at : at + 16] = lanes


def splat(value: Any) -> Array:
    """As `lanes.splat`."""
    return np.full(16, value, np.float32)


def spread(array: Array, at: int) -> Array:
    """As `lanes.spread`."""
    return np.full(16, array[at], np.float32)


def first(lanes: Array, count: int, other: Any) -> Array:
    """As `lanes.first`."""
    return np.where(np.arange(16) < count, lanes, np.float32(other))


def minus_one_at(lanes: Array, place: int) -> Array:
    """As `lanes.minus_one_at`."""
    return np.where(np.arange(16) == place, lanes - np.float32(1), lanes)


def where_positive(signs: Array, lanes: Array) -> Array:
    """As `lanes.where_positive`."""
    return np.where(signs > 0, lanes, _ZERO)


def not_below(lanes: Array, limit: Any) -> Array:
    """As `lanes.not_below`."""
    return np.where(lanes < limit, np.float32(limit), lanes)


def power_of_two(shifted: Array) -> Array:
    """As `lanes.power_of_two`."""
    return ((shifted.view(np.int32) << 23) + (127 << 23)).view(np.float32)


def total(lanes: Array) -> Any:
    """As `lanes.total`."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


def largest(lanes: Array) -> Any:
    """As `lanes.largest`."""
    return np.max(lanes)
