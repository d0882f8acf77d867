"""Fits of collectives."""

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import CollectiveCost

from .robust import FitError, fit_error, robust_fit


def fit_collective(rows: pd.DataFrame, *, bandwidth: float) -> tuple[CollectiveCost, FitError]:
    """One collective over one number of GPUs; every fifth size is held out to tell the error.

    Repeats of a size count with their median (they are multi-modal where several protocols
    compete). The table that is kept holds all sizes.
    """
    medians = rows.groupby("size_bytes")["seconds"].median().sort_index()
    size, measured = medians.index.to_numpy(float), medians.to_numpy(float)
    held = np.arange(len(size)) % 5 == 2
    # The ends cannot be interpolated.
    held[[0, -1]] = False
    error = fit_error(_cost(size[~held], measured[~held], bandwidth).seconds(size), measured, held)
    return _cost(size, measured, bandwidth), error


def _cost(size: np.ndarray, measured: np.ndarray, bandwidth: float) -> CollectiveCost:
    rising = np.minimum.accumulate(measured[::-1])[::-1]
    bounds = {
        "alpha_s": (1e-6, 5e-6, 1e-3),
        "bandwidth": (0.005 * bandwidth, 0.5 * bandwidth, 2 * bandwidth),
        "power": (0.3, 1.0, 8.0),
    }

    def law(p: dict[str, float]) -> np.ndarray:
        return CollectiveCost((1.0,), (1.0,), **p).law(size)

    found = robust_fit(law, measured, bounds)
    return CollectiveCost(
        tuple(float(v) for v in size), tuple(float(f"{v:.5g}") for v in rising), **found
    )
