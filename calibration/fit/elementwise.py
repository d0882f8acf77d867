"""Fits of kernels that only move bytes."""

import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import ElementwiseCost

from .robust import FitError, fit_error, robust_fit


def fit_elementwise(
    rows: pd.DataFrame, *, kernel_s: float, bandwidth: float
) -> tuple[ElementwiseCost, FitError]:
    """Bandwidth of the gated activation at 512 tokens and more; ``kernel_s`` is given."""
    rows = rows[rows["tokens"] >= 512]
    size, measured = rows["size_bytes"].to_numpy(float), rows["seconds"].to_numpy(float)
    held = held_out(rows["tokens"])
    bounds = {
        # The eager launch, measured with the kernel and dropped afterwards.
        "launch_s": (1e-6, 1e-5, 1e-4),
        "bandwidth": (0.1 * bandwidth, 0.6 * bandwidth, bandwidth),
    }
    found = robust_fit(
        lambda p: p["launch_s"] + size[~held] / p["bandwidth"], measured[~held], bounds
    )
    predicted = found["launch_s"] + size / found["bandwidth"]
    return ElementwiseCost(kernel_s, found["bandwidth"]), fit_error(predicted, measured, held)
