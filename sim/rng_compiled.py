"""Draws for a handful of keys at a time, as a hook of a policy asks for them.

The same bits as `rng_arrays`, which takes some 50 us for any number of keys up to hundreds.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import float64, int64, void

from . import rng_arrays
from .jit import JIT_DISABLED, entry, kernel
from .rng import keyed_exponential, keyed_uniform

Array = npt.NDArray[Any]

_SIGNATURE = void(int64, int64, int64[::1], int64[::1], float64[::1])


@kernel(_SIGNATURE)
def _uniforms(seed: int, stream: int, entities: Any, counters: Any, out: Any) -> None:
    for k in range(len(out)):
        out[k] = keyed_uniform(seed, stream, entities[k], counters[k])


@kernel(_SIGNATURE)
def _exponentials(seed: int, stream: int, entities: Any, counters: Any, out: Any) -> None:
    for k in range(len(out)):
        out[k] = keyed_exponential(seed, stream, entities[k], counters[k])


def uniforms(seed: int, stream: int, entities: Array, counters: Array) -> Array:
    """float64[n], uniform on [0, 1), one for each of n keys, of which no part is negative."""
    if JIT_DISABLED:
        return np.asarray(rng_arrays.uniforms(seed, stream, entities, counters))
    return _filled(_CODES[0], seed, stream, entities, counters)


def exponentials(seed: int, stream: int, entities: Array, counters: Array) -> Array:
    """float64[n], exponential with mean 1; as `uniforms`."""
    if JIT_DISABLED:
        return np.asarray(rng_arrays.exponentials(seed, stream, entities, counters))
    return _filled(_CODES[1], seed, stream, entities, counters)


def _filled(code: Any, seed: int, stream: int, entities: Array, counters: Array) -> Array:
    out = np.empty(len(entities))
    keys = np.ascontiguousarray(entities, np.int64), np.ascontiguousarray(counters, np.int64)
    if len(keys[1]) != len(out):
        raise ValueError(f"{len(keys[1])} counters for {len(out)} entities")
    code(seed, stream, *keys, out)
    return out


_CODES = entry(_uniforms), entry(_exponentials)
