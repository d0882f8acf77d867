"""Keyed random numbers for arrays, and the arithmetic that scalars and arrays share.

The bits: let ``sm(state, n)`` be output n (from 0) of SplitMix64 (Steele, Lea and Flood 2014)
started at ``state``. Then

    bits(seed, stream, entity, counter) = sm(sm(sm(sm(0, seed), stream), entity), counter)

so the draws of one entity are a plain SplitMix64 sequence, and every word of the key is mixed
in full. Draws depend on nothing but the key: not on the order of events, nor on what others draw.

The bodies below use only +, -, *, / and sqrt, which IEEE 754 fixes to the bit, and run on NumPy
arrays, in plain Python and compiled (`rng`). So all three agree bit for bit on every machine,
which the logarithm of a C library does not promise. This module does not import Numba.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ARRIVALS = 1
LENGTHS = 2
ROUTING = 3
PREDICTION = 4
FAILURES = 5
THINK = 6
SESSIONS = 7
SERVICE = 8
NETWORK = 9
SELECTION = 10
THINNING = 11
TENANTS = 12
CLIENTS = 13
POLICY = 14
RESAMPLING = 15
FITS = 16
EMBEDDINGS = 17
CONTENT = 18
OBJECTS = 19
EVICTION = 20
TRAINING = 21
PRIVACY = 22
PEERS = 23

Numbers = int | Sequence[int] | npt.NDArray[Any]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_11, _SHIFT_12, _SHIFT_27, _SHIFT_30, _SHIFT_31 = map(np.uint64, (11, 12, 27, 30, 31))
_ONE = np.uint64(1)

TWO_TO_MINUS_52 = 2.0**-52
TWO_TO_MINUS_53 = 2.0**-53
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # 32 bits, so that its multiples are exact
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")


def uniforms(seed: int, stream: int, entities: Numbers, counter: Numbers = 0) -> Any:
    """Uniform on [0, 1), multiples of 2**-53; entities and counter broadcast."""
    return uniform_of(bits(seed, stream, entities, counter))


def exponentials(seed: int, stream: int, entities: Numbers, counter: Numbers = 0) -> Any:
    """Exponential with mean 1, at most 36.7."""
    fraction, exponent = np.frexp(open_uniform_of(bits(seed, stream, entities, counter)))
    return -_log_array(fraction, exponent)


def normals(seed: int, stream: int, entities: Numbers, counter: Numbers = 0) -> Any:
    """Standard normal by inversion, within +-8.3: increasing in the uniform of the same key."""
    u = open_uniform_of(bits(seed, stream, entities, counter))
    q = u - 0.5
    fraction, exponent = np.frexp(np.minimum(u, 1.0 - u))
    r = np.sqrt(-_log_array(fraction, exponent))
    tail = np.where(r <= 5.0, normal_tail(r), normal_far_tail(r))
    return np.where(np.abs(q) <= 0.425, normal_centre(q), np.copysign(tail, q))


def integers(seed: int, stream: int, entities: Numbers, below: Any, counter: Numbers = 0) -> Any:
    """int64 uniform on 0 ... below - 1 (below <= 2**31; the bias is under 2**-22)."""
    return (uniforms(seed, stream, entities, counter) * below).astype(np.int64)


def bits(seed: Numbers, stream: Numbers, entities: Numbers, counter: Numbers = 0) -> Any:
    """The 64 random bits of each key, as uint64 array of the broadcast shape.

    Raises:
        ValueError: a negative part of the key.
    """
    parts = [np.asarray(part) for part in (seed, stream, entities, counter)]
    if any(part.dtype.kind not in "iu" for part in parts):
        raise ValueError("seed, stream, entities and counter must be integers")
    if any(np.any(part < 0) for part in parts):
        raise ValueError("seed, stream, entities and counter must not be negative")
    words = np.broadcast_arrays(*(np.atleast_1d(part).astype(np.uint64) for part in parts))
    return keyed_hash(*words).reshape(np.broadcast_shapes(*(part.shape for part in parts)))


def keyed_hash(seed: Any, stream: Any, entity: Any, counter: Any) -> Any:
    """The nested SplitMix64 of the module docstring; all uint64."""
    x = (seed + _ONE) * _GOLDEN
    x = (x ^ (x >> _SHIFT_30)) * _FACTOR_1
    x = (x ^ (x >> _SHIFT_27)) * _FACTOR_2
    x = (x ^ (x >> _SHIFT_31)) + (stream + _ONE) * _GOLDEN
    x = (x ^ (x >> _SHIFT_30)) * _FACTOR_1
    x = (x ^ (x >> _SHIFT_27)) * _FACTOR_2
    x = (x ^ (x >> _SHIFT_31)) + (entity + _ONE) * _GOLDEN
    x = (x ^ (x >> _SHIFT_30)) * _FACTOR_1
    x = (x ^ (x >> _SHIFT_27)) * _FACTOR_2
    x = (x ^ (x >> _SHIFT_31)) + (counter + _ONE) * _GOLDEN
    x = (x ^ (x >> _SHIFT_30)) * _FACTOR_1
    x = (x ^ (x >> _SHIFT_27)) * _FACTOR_2
    return x ^ (x >> _SHIFT_31)


def uniform_of(random_bits: Any) -> Any:
    """[0, 1) from the upper 53 bits."""
    return (random_bits >> _SHIFT_11) * TWO_TO_MINUS_53


def open_uniform_of(random_bits: Any) -> Any:
    """(0, 1) from the upper 52 bits: the middles of 2**52 cells, symmetric about 1/2."""
    return (random_bits >> _SHIFT_12) * TWO_TO_MINUS_52 + TWO_TO_MINUS_53


def log_reduced(fraction: Any, exponent: Any) -> Any:
    """Natural log of fraction * 2**exponent, fraction within [sqrt(1/2), sqrt(2)].

    2 atanh(s) with s = (f - 1) / (f + 1), |s| < 0.172; the first term left out is below 2**-55.
    """
    s = (fraction - 1.0) / (fraction + 1.0)
    z = s * s
    p = z * (1 / 21)
    p = z * (1 / 19 + p)
    p = z * (1 / 17 + p)
    p = z * (1 / 15 + p)
    p = z * (1 / 13 + p)
    p = z * (1 / 11 + p)
    p = z * (1 / 9 + p)
    p = z * (1 / 7 + p)
    p = z * (1 / 5 + p)
    p = z * (1 / 3 + p)
    return exponent * _LN2_HIGH + (2.0 * s + (2.0 * s * p + exponent * _LN2_LOW))


def _log_array(fraction: Any, exponent: Any) -> Any:
    low = fraction < SQRT_HALF
    return log_reduced(np.where(low, 2.0 * fraction, fraction), exponent - low.astype(np.int64))


# Inverse of the normal distribution function: algorithm AS 241 (PPND16), Wichura, Applied
# Statistics 37 (1988) 477-484; relative error about 1e-16.


def normal_centre(q: Any) -> Any:
    """The quantile of probability q + 1/2, |q| <= 0.425."""
    r = 0.180625 - q * q
    above = r * 2509.0809287301226727 + 33430.575583588128105
    above = above * r + 67265.770927008700853
    above = above * r + 45921.953931549871457
    above = above * r + 13731.693765509461125
    above = above * r + 1971.5909503065514427
    above = above * r + 133.14166789178437745
    above = above * r + 3.3871328727963666080
    below = r * 5226.4952788528545610 + 28729.085735721942674
    below = below * r + 39307.895800092710610
    below = below * r + 21213.794301586595867
    below = below * r + 5394.1960214247511077
    below = below * r + 687.18700749205790830
    below = below * r + 42.313330701600911252
    below = below * r + 1.0
    return q * above / below


def normal_tail(r: Any) -> Any:
    """The absolute quantile for r = sqrt(-log(tail probability)), r <= 5."""
    r = r - 1.6
    above = r * 7.7454501427834140764e-4 + 0.0227238449892691845833
    above = above * r + 0.241780725177450611770
    above = above * r + 1.27045825245236838258
    above = above * r + 3.64784832476320460504
    above = above * r + 5.76949722146069140550
    above = above * r + 4.63033784615654529590
    above = above * r + 1.42343711074968357734
    below = r * 1.05075007164441684324e-9 + 5.475938084995344946e-4
    below = below * r + 0.0151986665636164571966
    below = below * r + 0.148103976427480074590
    below = below * r + 0.689767334985100004550
    below = below * r + 1.67638483018380384940
    below = below * r + 2.05319162663775882187
    below = below * r + 1.0
    return above / below


def normal_far_tail(r: Any) -> Any:
    """The absolute quantile for r = sqrt(-log(tail probability)), r > 5."""
    r = r - 5.0
    above = r * 2.01033439929228813265e-7 + 2.71155556874348757815e-5
    above = above * r + 1.24266094738807843860e-3
    above = above * r + 0.0265321895265761230930
    above = above * r + 0.296560571828504891230
    above = above * r + 1.78482653991729133580
    above = above * r + 5.46378491116411436990
    above = above * r + 6.65790464350110377720
    below = r * 2.04426310338993978564e-15 + 1.42151175831644588870e-7
    below = below * r + 1.84631831751005468180e-5
    below = below * r + 7.86869131145613259100e-4
    below = below * r + 0.0148753612908506148525
    below = below * r + 0.136929880922735805310
    below = below * r + 0.599832206555887937690
    below = below * r + 1.0
    return above / below
