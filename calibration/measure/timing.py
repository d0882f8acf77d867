"""From a call to a time: warm up, repeat, take the median, say how far the repeats lie apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Sampler = Callable[[int], float]
"""Runs a call that many times and gives the seconds of all of them."""


@dataclass(frozen=True)
class Effort:
    """How much work a point gets.

    Attributes:
        warmup_s: seconds of calls before the first sample.
        sample_s: a sample lasts at least so long, so that the clock's grain and the cost of
            reading it vanish.
        samples: samples wanted.
        budget_s: no more samples are begun after so long, but at least 3 are taken.
    """

    warmup_s: float = 0.02
    sample_s: float = 0.002
    samples: int = 15
    budget_s: float = 0.4


QUICK = Effort(warmup_s=0.005, sample_s=0.001, samples=7, budget_s=0.1)


def time_call(sample: Sampler, effort: Effort) -> dict[str, Any]:
    """Median seconds of one call, with its spread.

    Returns:
        ``seconds`` (median of the samples' means), ``spread`` ((p75 - p25) / median), ``repeats``
        (calls in all samples), ``least`` (of the samples).
    """
    one = max(sample(1), 1e-9)
    calls = max(1, int(effort.warmup_s / one))
    # The first call may compile or allocate: the second estimate is the one to go by.
    one = max(sample(min(calls, 1000)) / min(calls, 1000), 1e-9)
    each = int(np.clip(np.ceil(effort.sample_s / one), 1, 10_000))
    times: list[float] = []
    spent = 0.0
    while len(times) < effort.samples and (spent < effort.budget_s or len(times) < 3):
        taken = sample(each)
        spent += taken
        times.append(taken / each)
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    return {
        "seconds": float(f"{middle:.6g}"),
        "spread": round(float((high - low) / middle), 4),
        "repeats": each * len(times),
        "least": float(f"{min(times):.6g}"),
    }
