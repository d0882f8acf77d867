"""Fits of matrix multiplications."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import GemmCost

from .robust import Array, FitError, fit_error, robust_fit, shapes
from .trees import fit_trees

GEMM_LEAST = {"bfloat16": 64, "fp8": 64, "fp8_block": 512}
"""Smallest n and k fitted: block-scaled kernels are launch-bound and erratic below."""


def fit_gemm(
    rows: pd.DataFrame,
    *,
    sms: int,
    flops: float,
    bandwidth: float,
    weight_bytes: float,
    activation_bytes: float,
    max_points: int = 6000,
) -> tuple[GemmCost, FitError]:
    """Wave-quantised roofline, then trees for what it leaves over; (n, k) pairs are held out."""
    m, n, k, measured = (rows[c].to_numpy(float) for c in ("m", "n", "k", "seconds"))
    held = held_out(rows["n"], rows["k"])
    start = GemmCost(sms, 2e-6, flops, bandwidth, 1e-6, 2, 0.5, 1, weight_bytes, activation_bytes)
    seen = np.flatnonzero(~held)
    chosen = seen[:: max(1, len(seen) // max_points)]

    def with_parameters(p: dict[str, Any]) -> GemmCost:
        return replace(start, **p)

    def predict(p: dict[str, float]) -> Array:
        return with_parameters(p).physical(m[chosen], n[chosen], k[chosen])

    bounds = {
        "overhead_s": (5e-7, 2e-6, 2e-5),
        "flops": (0.4 * flops, 0.85 * flops, flops),
        "bandwidth": (0.5 * bandwidth, 0.85 * bandwidth, bandwidth),
        "tile_s": (1e-8, 1e-6, 2e-5),
        "power": (1.0, 2.0, 8.0),
        "whole_wave": (0.05, 0.5, 1.0),
        "split_cost": (0.1, 1.0, 20.0),
    }
    cost = with_parameters(robust_fit(predict, measured[chosen], bounds))
    cost = replace(
        cost,
        least=(float(m.min()), float(n.min()), float(k.min())),
        most=(float(m.max()), float(n.max()), float(k.max())),
    )
    left_over = np.log(measured / cost.physical(m, n, k))
    inputs = cost.inputs(m, n, k)
    cost = replace(cost, trees=fit_trees(inputs[~held], left_over[~held]))
    return cost, fit_error(cost.seconds(m, n, k), measured, held, shapes(rows, "n", "k"))
