"""The histogram of token gaps, counted by the kernel (`outcome.gap_bin` is the same in Python)."""

import math
from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .outcome import GAP_BINS


@handler
def count_gaps(S: Any, gap: int, n: int) -> None:
    """Add n token gaps of `gap` ticks to the histogram (`outcome.gap_bin`, compiled)."""
    S.gaps[_gap_bin(gap)] += n


@handler
def _gap_bin(gap: int) -> int:
    if gap < 1048576:  # 2**20
        return np.int64(0)
    if gap >= 4503599627370496:  # 2**52
        return np.int64(GAP_BINS - 1)
    octave = np.int64(math.frexp(np.float64(gap))[1]) - 1
    return 1 + (octave - 20) * 64 + ((gap - (np.int64(1) << octave)) >> (octave - 6))


@handler
def count_run(S: Any, gap: int, growth: int, n: int, times: int) -> None:
    """Count n gaps for each of `times` iterations whose gaps grow by `growth`."""
    left = times
    while left > 0:
        place = _gap_bin(gap)
        run = left
        if growth > 0 and 0 < place < GAP_BINS - 1:
            octave = (place - 1) // 64 + 20
            edge = (np.int64(1) << octave) + (((place - 1) % 64 + 1) << (octave - 6))
            run = min(left, (edge - 1 - gap) // growth + 1)
        elif growth > 0:
            run = np.int64(1)
        S.gaps[place] += n * run
        gap += growth * run
        left -= run
