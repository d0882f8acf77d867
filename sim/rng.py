"""Keyed random numbers: a draw is a function of (seed, stream, entity, counter) and nothing else.

So two policies see the same world (common random numbers), one more draw somewhere shifts
nothing elsewhere, and a run may be cut or reordered freely. ``stream`` is one of the constants
below, one for each purpose; ``entity`` is the request, client or replica; ``counter`` numbers the
draws of one entity in one stream.

The scalar functions work inside kernels and in plain Python; `uniforms`, `exponentials` and
`normals` make arrays with the same bits. The construction is described in `rng_arrays`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import rng_arrays
from .jit import JIT_DISABLED, handler
from .rng_arrays import (
    ARRIVALS,
    CLIENTS,
    CONTENT,
    EMBEDDINGS,
    EVICTION,
    FAILURES,
    FITS,
    LENGTHS,
    NETWORK,
    OBJECTS,
    PEERS,
    POLICY,
    PREDICTION,
    PRIVACY,
    RESAMPLING,
    ROUTING,
    SELECTION,
    SERVICE,
    SESSIONS,
    SQRT_HALF,
    TENANTS,
    THINK,
    THINNING,
    TRAINING,
    bits,
    exponentials,
    integers,
    normals,
    uniforms,
)

__all__ = [
    "ARRIVALS",
    "CLIENTS",
    "CONTENT",
    "EMBEDDINGS",
    "EVICTION",
    "FAILURES",
    "FITS",
    "LENGTHS",
    "NETWORK",
    "OBJECTS",
    "PEERS",
    "POLICY",
    "PREDICTION",
    "PRIVACY",
    "RESAMPLING",
    "ROUTING",
    "SELECTION",
    "SERVICE",
    "SESSIONS",
    "TENANTS",
    "THINK",
    "THINNING",
    "TRAINING",
    "bits",
    "exponentials",
    "integers",
    "keyed_below",
    "keyed_bits",
    "keyed_exponential",
    "keyed_normal",
    "keyed_uniform",
    "normals",
    "uniforms",
]


def _scalar(body: Callable[..., Any]) -> Callable[..., Any]:
    """Compile body; without the compiler, let its uint64 arithmetic wrap without a warning."""
    if not JIT_DISABLED:
        return handler(body)

    @functools.wraps(body)
    def quiet(*arguments: Any) -> Any:
        with np.errstate(over="ignore"):
            return body(*arguments)

    return quiet


_hash = _scalar(rng_arrays.keyed_hash)
_uniform_of = _scalar(rng_arrays.uniform_of)
_open_uniform_of = _scalar(rng_arrays.open_uniform_of)
_log_reduced = _scalar(rng_arrays.log_reduced)
_normal_centre = _scalar(rng_arrays.normal_centre)
_normal_tail = _scalar(rng_arrays.normal_tail)
_normal_far_tail = _scalar(rng_arrays.normal_far_tail)


@handler
def keyed_bits(seed: int, stream: int, entity: int, counter: int) -> Any:
    """64 random bits as uint64. No part of the key may be negative."""
    return _hash(np.uint64(seed), np.uint64(stream), np.uint64(entity), np.uint64(counter))


@handler
def keyed_uniform(seed: int, stream: int, entity: int, counter: int) -> float:
    """Uniform on [0, 1), a multiple of 2**-53."""
    return _uniform_of(keyed_bits(seed, stream, entity, counter))


@handler
def keyed_exponential(seed: int, stream: int, entity: int, counter: int) -> float:
    """Exponential with mean 1, at most 36.7."""
    return -_log(_open_uniform_of(keyed_bits(seed, stream, entity, counter)))


@handler
def keyed_normal(seed: int, stream: int, entity: int, counter: int) -> float:
    """Standard normal by inversion, within +-8.3."""
    u = _open_uniform_of(keyed_bits(seed, stream, entity, counter))
    q = u - 0.5
    if abs(q) <= 0.425:
        return _normal_centre(q)
    r = math.sqrt(-_log(min(u, 1.0 - u)))
    tail = _normal_tail(r) if r <= 5.0 else _normal_far_tail(r)
    return tail if q > 0.0 else -tail


@handler
def keyed_below(seed: int, stream: int, entity: int, counter: int, below: int) -> Any:
    """Uniform on 0 ... below - 1 (below <= 2**31; the bias is under 2**-22)."""
    return np.int64(keyed_uniform(seed, stream, entity, counter) * below)


@handler
def _log(x: Any) -> Any:
    fraction, exponent = math.frexp(x)
    if fraction < SQRT_HALF:
        return _log_reduced(2.0 * fraction, exponent - 1)
    return _log_reduced(fraction, exponent)
