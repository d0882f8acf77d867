"""Sums over updates in a fixed order, so that no result depends on threads or libraries."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import float32, float64, void

from mltwin.sim.jit import JIT_DISABLED, kernel

Array = npt.NDArray[Any]


def _add_rows(coefficients: Any, rows: Any, total: Any) -> None:
    for i in range(rows.shape[0]):
        c = coefficients[i]
        for j in range(rows.shape[1]):
            total[j] += c * np.float64(rows[i, j])


_add_single = kernel(void(float64[::1], float32[:, ::1], float64[::1]))(_add_rows)
_add_double = kernel(void(float64[::1], float64[:, ::1], float64[::1]))(_add_rows)


def weighted_sum(coefficients: Array, rows: Array) -> Array:
    """float64[d], sum of coefficients[i] * rows[i], added row by row in float64."""
    total = np.zeros(rows.shape[1])
    weights = np.ascontiguousarray(coefficients, np.float64)
    if weights.shape != (len(rows),):
        raise ValueError(f"{weights.shape} coefficients for {len(rows)} rows")
    if JIT_DISABLED:
        for weight, row in zip(weights, rows, strict=True):
            total += weight * row.astype(np.float64)
    elif rows.dtype == np.float32:
        _add_single(weights, np.ascontiguousarray(rows), total)
    else:
        _add_double(weights, np.ascontiguousarray(rows, np.float64), total)
    return total
