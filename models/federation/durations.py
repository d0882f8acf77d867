"""The arithmetic of `phases`, compiled: rounds of a few clients are planned in their hundreds
of thousands."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import boolean, float64, int32, int64

from mltwin.sim.jit import entry, kernel

from .tables import TICKS_PER_S, Clients

Array = npt.NDArray[Any]

LONGEST = 10**18
"""Ticks of a part (31 years)."""
LONGEST_S = LONGEST / TICKS_PER_S
PARTS = ("download", "training", "upload")
_INTS, _FLOATS = int64[::1], float64[::1]


def parts(
    clients: Clients,
    which: Array,
    batch: int,
    factor: float,
    steps: Array,
    scale: Array,
    down_bytes: Array,
    up_bytes: Array,
) -> tuple[Array, Array, bool]:
    """Download, training and upload of dispatches to clients `which`, as `phases` says.

    Args:
        batch: samples of a step, 0: all of a client's; factor: of the compute time.
        steps, scale, down_bytes, up_bytes: of each.

    Returns:
        float64[3, n] seconds, int64[3, n] ticks, and whether all are possible.
    """
    count = len(which)
    seconds, ticks = np.empty((3, count)), np.empty((3, count), np.int64)
    right = _parts(
        np.ascontiguousarray(which, np.int32),
        _ints(clients.samples),
        _floats(clients.s_per_sample),
        _floats(clients.latency_s),
        _floats(clients.down_bytes_per_s),
        _floats(clients.up_bytes_per_s),
        batch,
        factor,
        _ints(steps),
        _floats(scale),
        _floats(down_bytes),
        _floats(up_bytes),
        seconds,
        ticks,
    )
    return seconds, ticks, bool(right)


def _ints(values: Array) -> Array:
    return np.ascontiguousarray(values, np.int64)


def _floats(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float64)


def parts_body(
    which: Any,
    samples: Any,
    s_per_sample: Any,
    latency: Any,
    down_rate: Any,
    up_rate: Any,
    batch: int,
    factor: float,
    steps: Any,
    scale: Any,
    down_bytes: Any,
    up_bytes: Any,
    seconds: Any,
    ticks: Any,
) -> Any:
    """Fill seconds and ticks; whether all are possible."""
    right = True
    for k in range(len(which)):
        i = which[k]
        size = min(batch, samples[i]) if batch != 0 else samples[i]
        seconds[0, k] = latency[i] + down_bytes[k] / down_rate[i]
        seconds[1, k] = steps[k] * size * s_per_sample[i] * factor * scale[k]
        seconds[2, k] = latency[i] + up_bytes[k] / up_rate[i]
        for part in range(3):
            long = seconds[part, k]
            if not 0.0 <= long <= LONGEST_S:
                right = False
                long = 0.0
            ticks[part, k] = np.int64(np.rint(long * TICKS_PER_S))
    return right


_parts = entry(
    kernel(
        boolean(
            *(int32[::1], _INTS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, int64, float64),
            *(_INTS, _FLOATS, _FLOATS, _FLOATS, float64[:, ::1], int64[:, ::1]),
        ),
        error_model="numpy",  # no bytes at no rate: refused by the caller
    )(parts_body)
)
