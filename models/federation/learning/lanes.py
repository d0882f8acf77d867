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
Group = tuple[Any, ...]
"""So many at a time: of a `group` only its length counts."""

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

pointer: Callable[[Array], Any]
"""pointer(array): where its numbers are, which must be kept by who calls the kernel.

It is indexed like an array, from 0 and unchecked. Without the compiler it is the array.
"""
further: Callable[[Any, int], Any]
"""further(numbers, count): the pointer to numbers[count]."""
load: Callable[[Any, int], Any]
"""load(numbers, at): lanes numbers[at : at + 16]."""
store: Callable[[Any, int, Any], None]
"""store(numbers, at, lanes): the other way round."""
splat: Callable[[Any], Any]
"""splat(value): the same float32 in all lanes."""
spread: Callable[[Any, int], Any]
"""spread(numbers, at): numbers[at] in all lanes."""
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
divide: Callable[[Any, Any], Any]
"""divide(value, lanes): a float32 over each lane."""
binade: Callable[[Any, int], Any]
"""binade(lanes, least): k where the lane is in [2**k, 2**(k + 1)) times the float of bits least."""
mantissa: Callable[[Any, int], Any]
"""mantissa(lanes, least): the lane over 2**k of `binade`."""
prefetch: Callable[[Any, int], None]
"""prefetch(numbers, at): fetch numbers[at] into the cache; `at` may be anywhere."""
places: Callable[[Any, int, Group], Group]
"""places(at, start, group): at[start], at[start + 1], ...: as many as the group has."""
load_rows: Callable[[Any, int, int, Group], Group]
"""load_rows(numbers, start, width, group): as many lanes, each width further on."""
store_rows: Callable[[Any, int, int, Group], None]
"""store_rows(numbers, start, width, rows): the other way round."""
repeat: Callable[[Any, Group], Group]
"""repeat(lanes, group): the same lanes as many times."""
add_to_each: Callable[[Group, Any, Array, Group, int], Group]
"""add_to_each(sums, row, x, starts, f): sums[k] + row * x[starts[k] + f] for each k."""
add_products: Callable[[Group, Group, Array, Group, int], Group]
"""add_products(sums, rows, x, starts, f): to sums[j] rows[k] * x[starts[k] + f + j], k by k."""
stepped: Callable[[Group, Group, Any, Any], Group]
"""stepped(rows, gradients, share, lr): rows[k] - lr * (gradients[k] * share) for each k."""
total: Callable[[Any], Any]
"""total(lanes): float32 sum, by halves: lanes 0-7 and 8-15 first."""
largest: Callable[[Any], Any]
"""largest(lanes): float32 maximum; undefined where a lane is NaN."""

if JIT_DISABLED:
    from . import lanes_plain as operations
else:
    from . import lanes_compiled as operations  # type: ignore[no-redef]

pointer, further = operations.pointer, operations.further
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
divide, binade, mantissa = operations.divide, operations.binade, operations.mantissa
prefetch, places, repeat = operations.prefetch, operations.places, operations.repeat
load_rows, store_rows = operations.load_rows, operations.store_rows
add_to_each, add_products = operations.add_to_each, operations.add_products
stepped = operations.stepped


@handler(forceinline=True)
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


@handler(forceinline=True)
def log(x: Any) -> Any:
    """Natural log of lanes that are at least 1; of inf and NaN it is NaN."""
    exponent = binade(x, _ROOT_BITS)
    fraction = mantissa(x, _ROOT_BITS) - splat(_ONE)
    square = fraction * fraction
    series = splat(_L0) * fraction + splat(_L1)
    series = series * fraction + splat(_L2)
    series = series * fraction + splat(_L3)
    series = series * fraction + splat(_L4)
    series = series * fraction + splat(_L5)
    series = series * fraction + splat(_L6)
    series = series * fraction + splat(_L7)
    series = series * fraction + splat(_L8)
    series = series * fraction * square
    series = series + exponent * splat(_LN2_LOW) - square * splat(_HALF)
    return (fraction + series + exponent * splat(_LN2_HIGH)) + (x - x)
