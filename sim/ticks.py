"""Simulated time: an int64 count of ticks of 1 ps.

Integer time makes event skipping bit-exact, lets two engines be compared with ``==``, and keeps
results free of the order in which floats are added. Durations become ticks once, where a model
returns them. The range is +-9.2e6 s (106 days).
"""

from typing import Any, overload

import numpy as np
import numpy.typing as npt

TICKS_PER_S = 10**12
NEVER = 2**63 - 2**59
"""Later than every event (100 days); 6.7 days below the int64 limit, room to add a duration."""

MAX_S = 9.2e6


@overload
def ticks(seconds: float) -> int: ...
@overload
def ticks(seconds: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]: ...
def ticks(seconds: float | npt.NDArray[np.generic]) -> int | npt.NDArray[np.int64]:
    """Seconds as ticks, rounded to the nearest (ties to even).

    Whole seconds and fraction are converted apart, so 5000.5 s is exact although
    5000.5e12 needs more digits than the fraction leaves.

    Raises:
        ValueError: NaN, infinite, or beyond +-9.2e6 s (the first such value is named).
    """
    values = np.asarray(seconds)
    if values.dtype.kind not in "iu":
        values = values.astype(np.float64)
    wrong = ~(np.abs(values) <= MAX_S) if values.dtype.kind == "f" else _int_out_of_range(values)
    if np.any(wrong):
        first = np.flatnonzero(wrong)[0]
        place = f" at index {first}" if values.ndim else ""
        raise ValueError(
            f"time of {values.reshape(-1)[first]} s{place} is not within +-{MAX_S:g} s"
        )
    whole = np.floor(values)
    fraction = values - whole
    result = whole.astype(np.int64) * TICKS_PER_S + np.rint(fraction * 1e12).astype(np.int64)
    return int(result) if values.ndim == 0 else result


def _int_out_of_range(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    limit = int(MAX_S)
    return np.asarray((values < -limit) | (values > limit))


@overload
def seconds(ticks: int) -> float: ...
@overload
def seconds(ticks: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]: ...
def seconds(ticks: int | npt.NDArray[np.generic]) -> float | npt.NDArray[np.float64]:
    """Ticks as float64 seconds.

    ``ticks(seconds(t)) == t`` holds up to 2**51 ticks (2,251 s); beyond, float64 is coarser than
    a tick. Scalars and arrays give the same bits.
    """
    result = np.asarray(ticks, dtype=np.int64) / float(TICKS_PER_S)
    return float(result) if result.ndim == 0 else result
