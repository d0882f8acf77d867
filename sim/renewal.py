"""Instants of a Poisson process, compiled: what `mltwin.workloads.arrivals` defines, in one pass.

The same bits as the NumPy form, without the interpreter's lock: a sweep draws a process anew for
each rate and seed.
"""

import math
from typing import Any

import numpy as np

from .jit import array_type, kernel, types
from .rng import ARRIVALS, keyed_exponential
from .ticks import MAX_S, TICKS_PER_S


@kernel(types.int64(types.int64, types.float64, array_type(np.int64)))
def poisson_ticks(seed: int, rate_per_s: float, when: Any) -> int:
    """Fill `when` with the first instants in ticks, non-decreasing.

    Returns:
        How many are filled: fewer than asked for where one lies beyond the range of ticks.
    """
    amount = 0.0
    last = 0
    for i in range(len(when)):
        amount += keyed_exponential(seed, ARRIVALS, i, 0)
        at_s = amount / rate_per_s
        if not at_s <= MAX_S:
            return i
        whole = math.floor(at_s)
        tick = int(whole) * TICKS_PER_S + int(np.rint((at_s - whole) * 1e12))
        last = max(last, tick)
        when[i] = last
    return len(when)
