"""Keyed draws of clients and data: which counter is whose, and the laws built on them.

Streams `CLIENTS` (devices, availability) and `CONTENT` (data, splits) of `sim.rng_arrays`. Every
kind of draw has a range of counters to itself, so that asking for one leaves the others as they
are.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.rng_arrays import CLIENTS, CONTENT, exponentials, normals, uniforms

Array = npt.NDArray[Any]

_RANGE = 1 << 32

SPEED, LINK, LATENCY, AVAILABILITY, OFFSET, COPULA, DEVICE, SIZES, JITTER, FAILURE, TRACE, PLACE = (
    kind * _RANGE for kind in range(12)
)
"""Counters of `CLIENTS`."""

HELD_OUT, SHUFFLE, SHARES, PICK, FEATURES, LABELS, AUGMENT, SWAP, WEIGHTS, GROUPS = (
    kind * _RANGE for kind in range(10)
)
"""Counters of `CONTENT`."""


def client_uniforms(seed: int, kind: int, clients: Any, number: Any = 0) -> Array:
    """float64, uniform on [0, 1): one of each client's (and each number's)."""
    return np.asarray(uniforms(seed, CLIENTS, clients, number + kind))


def client_normals(seed: int, kind: int, clients: Any, number: Any = 0) -> Array:
    """float64, standard normal, keyed as `client_uniforms`."""
    return np.asarray(normals(seed, CLIENTS, clients, number + kind))


def data_uniforms(seed: int, kind: int, rows: Any, number: Any = 0) -> Array:
    """float64, uniform on [0, 1), of data."""
    return np.asarray(uniforms(seed, CONTENT, rows, number + kind))


def data_normals(seed: int, kind: int, rows: Any, number: Any = 0) -> Array:
    """float64, standard normal, of data."""
    return np.asarray(normals(seed, CONTENT, rows, number + kind))


def shuffled(seed: int, kind: int, count: int, number: int = 0) -> Array:
    """int64[count], a permutation: the order of keyed uniforms."""
    return np.argsort(data_uniforms(seed, kind, np.arange(count), number), kind="stable")


def dirichlet(seed: int, kind: int, rows: Array, alphas: Array) -> Array:
    """float64[rows, k]: shares of Dirichlet(alphas), one vector a row.

    Gamma variates by Marsaglia and Tsang (ACM TOMS 26, 2000), with shapes below 1 lifted by
    u**(1/alpha) in logarithms, so that tiny alphas give exact zeros and ones and never NaN.
    """
    k = len(alphas)
    cells = (np.asarray(rows, np.int64)[:, None] * k + np.arange(k)).ravel()
    shapes = np.broadcast_to(np.asarray(alphas, np.float64), (len(rows), k)).ravel()
    logs = _log_gammas(seed, kind, cells, np.maximum(shapes, 1.0 + (shapes < 1.0) * shapes))
    small = shapes < 1.0
    if small.any():
        lift = np.asarray(exponentials(seed, CONTENT, cells[small], kind))
        logs[small] -= lift / shapes[small]
    logs = logs.reshape(len(rows), k)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _log_gammas(seed: int, kind: int, cells: Array, shapes: Array) -> Array:
    """Logarithms of gamma variates of shapes of 1 or more; attempts are counters 1, 2, ..."""
    found = np.zeros(len(cells))
    open_cells = np.arange(len(cells))
    attempt = 0
    while len(open_cells):
        d = shapes[open_cells] - 1.0 / 3.0
        z = data_normals(seed, kind, cells[open_cells], 2 * attempt + 1)
        u = data_uniforms(seed, kind, cells[open_cells], 2 * attempt + 2)
        v = (1.0 + z / np.sqrt(9.0 * d)) ** 3
        with np.errstate(invalid="ignore", divide="ignore"):
            taken = (v > 0) & (np.log(u) < 0.5 * z * z + d - d * v + d * np.log(v))
            found[open_cells[taken]] = np.log(d[taken] * v[taken])
        open_cells = open_cells[~taken]
        attempt += 1
    return found
