"""Fits of collectives."""

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import AllReduceCost

from .robust import FitError, fit_error, robust_fit


def fit_all_reduce(rows: pd.DataFrame, *, bandwidth: float) -> tuple[AllReduceCost, FitError]:
    """One node and number of GPUs; every fifth size is held out."""
    rows = rows.sort_values("size_bytes")
    size, measured = rows["size_bytes"].to_numpy(float), rows["seconds"].to_numpy(float)
    held = np.arange(len(rows)) % 5 == 2
    bounds = {
        "alpha_s": (1e-6, 5e-6, 5e-5),
        "bandwidth": (0.02 * bandwidth, 0.5 * bandwidth, 2 * bandwidth),
        "power": (0.3, 1.0, 8.0),
    }
    found = robust_fit(lambda p: AllReduceCost(**p).seconds(size[~held]), measured[~held], bounds)
    cost = AllReduceCost(**found)
    return cost, fit_error(cost.seconds(size), measured, held)
