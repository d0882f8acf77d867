"""The operations of `lanes` without the compiler: a value is float32[16]."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Group = tuple[Any, ...]

_ZERO = np.float32(0)


def pointer(array: Array) -> Array:
    """As `lanes.pointer`."""
    return array.reshape(-1)


def further(numbers: Array, count: int) -> Array:
    """As `lanes.further`."""
    return numbers[count:]


def load(numbers: Array, at: int) -> Array:
    """As `lanes.load`."""
    return numbers[at : at + 16].copy()


def store(numbers: Array, at: int, lanes: Array) -> None:
    """As `lanes.store`."""
    numbers[at : at + 16] = lanes


def splat(value: Any) -> Array:
    """As `lanes.splat`."""
    return np.full(16, value, np.float32)


def spread(numbers: Array, at: int) -> Array:
    """As `lanes.spread`."""
    return np.full(16, numbers[at], np.float32)


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


def divide(value: Any, lanes: Array) -> Array:
    """As `lanes.divide`."""
    return np.float32(value) / lanes


def binade(lanes: Array, least: int) -> Array:
    """As `lanes.binade`."""
    return ((lanes.view(np.int32) - np.int32(least)) >> 23).astype(np.float32)


def mantissa(lanes: Array, least: int) -> Array:
    """As `lanes.mantissa`."""
    bits = lanes.view(np.int32) - np.int32(least)
    return ((bits & np.int32(0x7FFFFF)) + np.int32(least)).view(np.float32)


def prefetch(numbers: Array, at: int) -> None:
    """As `lanes.prefetch`."""


def total(lanes: Array) -> Any:
    """As `lanes.total`."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


def largest(lanes: Array) -> Any:
    """As `lanes.largest`."""
    return np.max(lanes)


def places(at: Array, start: int, group: Group) -> Group:
    """As `lanes.places`."""
    return tuple(at[start + k] for k in range(len(group)))


def load_rows(numbers: Array, start: int, width: int, group: Group) -> Group:
    """As `lanes.load_rows`."""
    return tuple(load(numbers, start + k * width) for k in range(len(group)))


def store_rows(numbers: Array, start: int, width: int, rows: Group) -> None:
    """As `lanes.store_rows`."""
    for k, row in enumerate(rows):
        store(numbers, start + k * width, row)


def repeat(lanes: Array, group: Group) -> Group:
    """As `lanes.repeat`."""
    return (lanes,) * len(group)


def add_to_each(sums: Group, row: Array, x: Array, starts: Group, f: int) -> Group:
    """As `lanes.add_to_each`."""
    return tuple(a + row * x[start + f] for a, start in zip(sums, starts, strict=True))


def add_products(sums: Group, rows: Group, x: Array, starts: Group, f: int) -> Group:
    """As `lanes.add_products`."""
    found = list(sums)
    for row, start in zip(rows, starts, strict=True):
        for k, so_far in enumerate(found):
            found[k] = so_far + row * x[start + f + k]
    return tuple(found)


def stepped(rows: Group, gradients: Group, share: Any, lr: Any) -> Group:
    """As `lanes.stepped`."""
    return tuple(w - lr * (g * share) for w, g in zip(rows, gradients, strict=True))
