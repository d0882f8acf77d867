"""How long iterations take: integer cells, and runs of identical iterations in closed form.

A plan is `planned` iterations of the same batch. The first takes `ticks`; each next one `growth`
more, because every decoding request reads one more KV token. So the end of the k-th is
start + k ticks + growth k (k - 1) / 2, an integer: skipping is bit-exact.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler


@handler
def cell_of(S: Any, kind: int, tokens: int, context: int, prefill: bool) -> int:
    """Index of the cell of a kind for tokens in the iteration and KV tokens read.

    prefill: whether some of the tokens are of prompts.
    """
    k = S.kinds[kind]
    column = np.int64(0)
    knots = S.knots
    while context >= knots[k.knot_start + column + 1]:
        column += 1
    start = k.prefill_start if prefill else k.row_start
    row = np.int64(S.token_row[start + min(tokens, k.row_last)])
    return k.cell_start + row * k.columns + column


@handler
def next_knot(S: Any, kind: int, context: int) -> int:
    """The smallest context knot above context."""
    k = S.kinds[kind]
    column = np.int64(1)
    while context >= S.knots[k.knot_start + column]:
        column += 1
    return np.int64(S.knots[k.knot_start + column])


@handler
def span(x: Any, k: int) -> int:
    """Ticks from the start of the plan of private record x to the end of its k-th iteration."""
    return x.ticks * k + x.growth * (k * (k - 1) // 2)


@handler
def iterations_until(x: Any, elapsed: int) -> int:
    """Smallest k >= 1 with span(k) >= elapsed: a float guess, corrected in integers."""
    if x.growth > 0:
        half = np.float64(x.growth) * 0.5
        b = np.float64(x.ticks) - half
        k = np.int64((np.sqrt(b * b + 4.0 * half * np.float64(elapsed)) - b) / (2.0 * half))
    else:
        k = np.int64(elapsed // x.ticks)
    if k < 1:
        k = np.int64(1)
    while span(x, k) < elapsed:
        k += 1
    while k > 1 and span(x, k - 1) >= elapsed:
        k -= 1
    return k
