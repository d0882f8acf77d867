"""Count-min sketch of 4-bit-like counters that are halved from time to time (TinyLFU).

Einziger, Friedman, Manes, "TinyLFU: a highly efficient cache admission policy", ACM TOS 13 (4),
2017, section 3: an estimate is the least of `ROWS` counters, counters stop at MOST, and after a
sample of requests all are halved. `own[SAMPLED]` counts the requests of the sample.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.rng import keyed_bits

ROWS = 4
SPREAD = 4
"""Counters of a row for each object that fits: with one, collisions cost a percent of the hits."""
MOST = 15
SAMPLED = 15  # place in `own`


def sketch_length(capacity: int) -> int:
    """Bytes of a sketch for a cache of so many objects: 4 rows of a power of two of counters."""
    return ROWS * SPREAD * max(16, 1 << (int(capacity) - 1).bit_length())


@handler
def _cell(S: Any, x: Any, row: int) -> int:
    width = len(S.sketch) // ROWS
    spread = keyed_bits(0, 0, np.int64(x), row)
    return row * width + np.int64(spread & np.uint64(width - 1))


@handler
def sketch_count(S: Any, x: Any) -> int:
    """Estimated requests of row x in the last samples, at most MOST."""
    least = MOST
    for row in range(ROWS):
        least = min(least, np.int64(S.sketch[_cell(S, x, row)]))
    return least


@handler
def sketch_add(S: Any, x: Any) -> None:
    """Count a request of row x; halve all after about 10 requests for each object that fits."""
    for row in range(ROWS):
        cell = _cell(S, x, row)
        if S.sketch[cell] < MOST:
            S.sketch[cell] += 1
    S.own[SAMPLED] += 1
    if S.own[SAMPLED] >= 10 * (len(S.sketch) // (ROWS * SPREAD)):
        for i in range(len(S.sketch)):
            S.sketch[i] >>= 1
        S.own[SAMPLED] //= 2
