"""Fits of matrix multiplications."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import GemmCost, Residual

from .robust import LOSS_SCALE, Array, FitError, fit_error, robust_fit

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
    """Wave-quantised roofline, then a smooth residual; (n, k) pairs are held out."""
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
    log_error = np.log(measured / cost.physical(m, n, k))
    cost = replace(cost, residual=fit_residual(m[~held], n[~held], k[~held], log_error[~held]))
    return cost, fit_error(cost.seconds(m, n, k), measured, held)


RESIDUAL_M = (1, 16, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 8192, 32768)
RESIDUAL_NK = (64, 256, 1024, 2048, 4096, 8192, 16384, 65536)


def fit_residual(m: Array, n: Array, k: Array, log_error: Array) -> Residual:
    """Grid values that explain ``log_error`` with small differences between neighbours.

    Iteratively reweighted ridge regression on the trilinear basis: neighbouring knots are tied
    with weight 1 (one measurement), and all to 0 with weight 0.1.
    """
    from scipy.sparse import csr_matrix, diags, eye, kron, vstack
    from scipy.sparse.linalg import spsolve

    knots_m = tuple(float(v) for v in RESIDUAL_M if v <= m.max())
    knots = tuple(float(v) for v in RESIDUAL_NK)
    shape = (len(knots_m), len(knots), len(knots))
    grid = Residual(knots_m, knots, knots, ())
    index, weight = grid.weights(m, n, k)
    points = np.tile(np.arange(len(m)), 8)
    basis = csr_matrix(
        (weight.ravel(), (points, index.ravel())), shape=(len(m), int(np.prod(shape)))
    )

    def difference(size: int) -> Any:
        return diags([-np.ones(size - 1), np.ones(size - 1)], [0, 1], shape=(size - 1, size))

    one = [eye(size) for size in shape]
    steps = vstack(
        [
            kron(kron(difference(shape[0]), one[1]), one[2]),
            kron(kron(one[0], difference(shape[1])), one[2]),
            kron(kron(one[0], one[1]), difference(shape[2])),
        ]
    )
    penalty = steps.T @ steps + 0.1 * eye(int(np.prod(shape)))
    trust = np.ones(len(m))
    values = np.zeros(int(np.prod(shape)))
    for _ in range(6):
        normal = (basis.T @ diags(trust) @ basis + penalty).tocsc()
        values = spsolve(normal, basis.T @ (trust * log_error))
        trust = 1 / np.sqrt(1 + ((log_error - basis @ values) / LOSS_SCALE) ** 2)
    milli = tuple(int(v) for v in np.rint(1000 * values))
    return replace(grid, milli=milli)
