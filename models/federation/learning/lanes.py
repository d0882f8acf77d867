"""Sixteen float32 numbers as one: the vectors that the kernels of this folder calculate with.

In a kernel a value of type `LANES` is LLVM's <16 x float>: one register with AVX-512, two with AVX,
four with NEON; the operations are those of IEEE 754 on each lane, so the bits are the same on all
of them. Numba's own vectoriser cannot be relied on for them: the forward pass of softmax regression
written as loops took 22 times as long. Without the compiler a value is a NumPy array of sixteen.

Values add, subtract and multiply with + - *. The other operations stand below.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.jit import JIT_DISABLED, handler

Array = npt.NDArray[Any]

WIDTH = 16

# exp of Cephes, expf.c (S. L. Moshier): error below 2 units in the last place.
_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_SMALLEST = np.float32(-87.0)
_TO_INTEGER = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to whole numbers
_P0, _P1, _P2 = (
    np.float32(1.9875691500e-4),
    np.float32(1.3981999507e-3),
    np.float32(8.3334519073e-3),
)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(0.5)
_ONE, _HALF = np.float32(1), np.float32(0.5)

# log of Cephes, logf.c.
_L0, _L1, _L2 = (
    np.float32(7.0376836292e-2),
    np.float32(-1.1514610310e-1),
    np.float32(1.1676998740e-1),
)
_L3, _L4, _L5 = (
    np.float32(-1.2420140846e-1),
    np.float32(1.4249322787e-1),
    np.float32(-1.6668057665e-1),
)
_L6, _L7, _L8 = (
    np.float32(2.0000714765e-1),
    np.float32(-2.4999993993e-1),
    np.float32(3.3333331174e-1),
)
_ROOT_BITS = 0x3F3504F3
"""Of the square root of 1/2: fractions are between it and the root of 2."""

load: Callable[[Array, int], Any]
"""load(array, at): lanes array[at : at + 16]."""
store: Callable[[Array, int, Any], None]
"""store(array, at, lanes): the other way round."""
splat: Callable[[Any], Any]
"""splat(value): the same float32 in all lanes."""
spread: Callable[[Array, int], Any]
"""spread(array, at): array[at] in all lanes."""
first: Callable[[Any, int, Any], Any]
"""first(lanes, count, other): the first count lanes, the float32 other in the rest."""
minus_one_at: Callable[[Any, int], Any]
"""minus_one_at(lanes, place): 1 less in one lane; in none if there is no such lane."""
where_positive: Callable[[Any, Any], Any]
"""where_positive(signs, lanes): lanes where signs are above 0, elsewhere 0 (also at NaN)."""
not_below: Callable[[Any, Any], Any]
"""not_below(lanes, limit): lanes, those below the float32 limit replaced by it; NaN stays."""
power_of_two: Callable[[Any], Any]
"""power_of_two(shifted): 2**k where shifted is k + 1.5 * 2**23, -126 <= k <= 127."""
total: Callable[[Any], Any]
"""total(lanes): float32 sum, by halves: lanes 0-7 and 8-15 first."""
largest: Callable[[Any], Any]
"""largest(lanes): float32 maximum; undefined where a lane is NaN."""

if JIT_DISABLED:
    from . import lanes_plain as operations
else:
    from . import lanes_compiled as operations  # type: ignore[no-redef]

load, store, splat, spread = (
    operations.load,
    operations.store,
    operations.splat,
    operations.spread,
)
first = operations.first
where_positive, not_below = operations.where_positive, operations.not_below
minus_one_at = operations.minus_one_at
power_of_two, total, largest = operations.power_of_two, operations.total, operations.largest


@handler
def exp(x: Any) -> Any:
    """exp of lanes that are at most 0, as of -87 below that (1.6e-38); of NaN it is NaN."""
    bounded = not_below(x, _SMALLEST)
    shifted = bounded * splat(_LOG2_E) + splat(_TO_INTEGER)
    whole = shifted - splat(_TO_INTEGER)
    rest = (bounded - whole * splat(_LN2_HIGH)) - whole * splat(_LN2_LOW)
    series = splat(_P0) * rest + splat(_P1)
    series = series * rest + splat(_P2)
    series = series * rest + splat(_P3)
    series = series * rest + splat(_P4)
    series = series * rest + splat(_P5)
    series = series * (rest * rest) + rest + splat(_ONE)
    return series * power_of_two(shifted)


@handler
def log32(x: Any) -> Any:
    """Natural log of one float32 that is at least 1; of inf and NaN it is NaN."""
    bits = np.float32(x).view(np.int32) - _ROOT_BITS
    exponent = np.float32(bits >> 23)
    fraction = np.int32((bits & 0x7FFFFF) + _ROOT_BITS).view(np.float32)
    fraction = fraction - _ONE
    square = fraction * fraction
    series = _L0 * fraction + _L1
    series = series * fraction + _L2
    series = series * fraction + _L3
    series = series * fraction + _L4
    series = series * fraction + _L5
    series = series * fraction + _L6
    series = series * fraction + _L7
    series = series * fraction + _L8
    series = series * fraction * square
    series = series + exponent * _LN2_LOW - square * _HALF
    return (fraction + series + exponent * _LN2_HIGH) + (x - x)
