"""Fits of the operators of :mod:`mltwin.models.gpu.operators` to measured timings.

All are least squares of log(model / measured) with a soft-L1 loss (scale 0.1), in the logarithm
of the parameters within physical bounds: relative errors count alike at all sizes and outliers
little. Deterministic: no random start, no random split.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.models.gpu.operators import (
    AllReduceCost,
    DecodeCost,
    ElementwiseCost,
    GemmCost,
    MoeCost,
    PrefillCost,
    Residual,
)

from .read import held_out

Array = npt.NDArray[np.float64]
Bounds = Mapping[str, tuple[float, float, float]]
LOSS_SCALE = 0.1
GEMM_LEAST = {"bfloat16": 64, "fp8": 64, "fp8_block": 512}
"""Smallest n and k fitted: block-scaled kernels are launch-bound and erratic below."""


@dataclass(frozen=True)
class FitError:
    """Absolute relative error on rows the fit did not see.

    Attributes:
        rows, held_rows: rows fitted to and rows held out.
        median, p95: of the absolute error, as fractions.
        bias: median of the signed error.
    """

    rows: int
    held_rows: int
    median: float
    p95: float
    bias: float


def fit_error(predicted: Array, measured: Array, held: npt.NDArray[np.bool_]) -> FitError:
    """Error on the held-out rows (on all rows when none are held out)."""
    scored = held if held.any() else np.ones_like(held)
    error = predicted[scored] / measured[scored] - 1
    median, p95 = np.quantile(np.abs(error), [0.5, 0.95])
    return FitError(
        rows=int((~held).sum()),
        held_rows=int(held.sum()),
        median=round(float(median), 4),
        p95=round(float(p95), 4),
        bias=round(float(np.median(error)), 4),
    )


def robust_fit(
    predict: Callable[[dict[str, float]], Array], measured: Array, bounds: Bounds
) -> dict[str, float]:
    """Parameters that minimise the robust log error.

    Args:
        predict: from named parameters to times, shape of ``measured``.
        bounds: name to (least, start, most), all positive.
    """
    from scipy.optimize import least_squares

    names = list(bounds)
    low, start, high = (np.log([bounds[n][i] for n in names]) for i in range(3))

    def parameters(x: Array) -> dict[str, float]:
        return dict(zip(names, np.exp(x).tolist(), strict=True))

    def residuals(x: Array) -> Array:
        return np.log(predict(parameters(x)) / measured)

    found = least_squares(
        residuals,
        start,
        bounds=(low - 1e-9, high + 1e-9),
        loss="soft_l1",
        f_scale=LOSS_SCALE,
        x_scale=0.3,
        max_nfev=80,
    )
    # Six digits are far below the fit's error and keep the files short and stable.
    return {name: float(f"{value:.6g}") for name, value in parameters(found.x).items()}


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


def fit_decode(
    rows: pd.DataFrame,
    *,
    sms: int,
    bandwidth: float,
    kv_bytes: float,
    l2_bytes: float,
    serial: bool,
) -> tuple[DecodeCost, FitError]:
    """Decode attention without window; head configurations are held out.

    A benchmark repeats one call, so keys and values below the L2 size are read from L2; in
    serving the weights stream through between two calls. Of contexts above 128 tokens, rows
    between 2 MB (where latency rules) and twice the L2 size are therefore left out. Shorter
    contexts, for which some kernels skip the combining step, serve only to see the cost of a
    work item: up to 16 tokens, at least 8 items a multiprocessor.
    """
    batch, kv_heads, context, measured, head_dim = (
        rows[c].to_numpy(float) for c in ("batch", "kv_heads", "context", "seconds", "head_dim")
    )
    size = 2 * batch * context * kv_heads * head_dim * kv_bytes
    long = (context > 128) & ((size < 2e6) | (size > 2 * l2_bytes))
    many = (context <= 16) & (batch * kv_heads >= 8 * sms)
    keep = long | many
    rows = rows[keep]
    batch, kv_heads, context, measured, size = (
        values[keep] for values in (batch, kv_heads, context, measured, size)
    )
    alone = (rows["heads"] == rows["kv_heads"]).to_numpy()
    held = held_out(rows["heads"], rows["kv_heads"], rows["head_dim"])

    def times(p: dict[str, float], pick: npt.NDArray[np.bool_]) -> Array:
        cost = DecodeCost(**p)
        one, many = (
            cost.seconds(batch[pick], kv_heads[pick], size[pick], context[pick], group)
            for group in (1, 2)
        )
        return np.where(alone[pick], one, many)

    bounds = {
        "overhead_s": (1e-6, 1e-5, 3e-5),
        "item_s": (1e-10, 2e-8, 1e-6),
        "bandwidth": (0.3 * bandwidth, 0.85 * bandwidth, bandwidth),
        "power": (1.0, 1.5, 8.0),
    }
    if serial:
        bounds["serial_s"] = (1e-10, 2e-8, 1e-6)
        bounds["ungrouped_overhead_s"] = (1e-6, 1e-5, 3e-5)
    found = robust_fit(lambda p: times(p, ~held), measured[~held], bounds)
    return DecodeCost(**found), fit_error(times(found, held | ~held), measured, held)


def fit_prefill(rows: pd.DataFrame, *, flops: float) -> tuple[PrefillCost, FitError]:
    """Prefill attention without window, one head size, sequences of 16 tokens and more."""
    rows = rows[rows["tokens"] >= 16]
    head_dim = int(rows["head_dim"].iloc[0])
    batch, tokens, heads, kv_heads, measured = (
        rows[c].to_numpy(float) for c in ("batch", "tokens", "heads", "kv_heads", "seconds")
    )
    new, pairs = batch * tokens, batch * tokens * (tokens + 1) / 2
    held = held_out(rows["heads"], rows["kv_heads"], rows["head_dim"])

    def times(p: dict[str, float], pick: npt.NDArray[np.bool_]) -> Array:
        return PrefillCost(**p).seconds(
            new[pick], pairs[pick], tokens[pick], heads[pick], kv_heads[pick], head_dim
        )

    bounds = {
        "overhead_s": (1e-6, 1e-5, 5e-5),
        "flops": (0.1 * flops, 0.6 * flops, flops),
        "token_s": (1e-15, 2e-12, 1e-10),
        "kv_share": (0.01, 1.0, 10.0),
        "serial_s": (1e-12, 1e-10, 1e-8),
        "power": (1.0, 2.0, 8.0),
    }
    found = robust_fit(lambda p: times(p, ~held), measured[~held], bounds)
    return PrefillCost(**found), fit_error(times(found, held | ~held), measured, held)


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


def usable_experts(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows to fit experts to, ``width`` that of one shard.

    Left out: expert parallelism, more than 8 shards or 16,384 tokens (slivers and spills that no
    serving engine meets), and the ungated experts (those that choose 22).
    """
    kept = rows[
        (rows["ep"] == 1) & (rows["tp"] <= 8) & (rows["tokens"] <= 16384) & (rows["chosen"] != 22)
    ]
    return kept.assign(width=kept["width"] / kept["tp"])


def fit_moe(
    rows: pd.DataFrame, *, flops: float, bandwidth: float, weight_bytes: float
) -> tuple[MoeCost, FitError]:
    """Fused gated experts of one rank (see :func:`usable_experts`); shapes are held out."""
    tokens, hidden, experts, chosen, measured = (
        rows[c].to_numpy(float) for c in ("tokens", "hidden", "experts", "chosen", "seconds")
    )
    width = rows["width"].to_numpy(float)
    held = held_out(*(rows[c].astype(int) for c in ("hidden", "width", "experts", "chosen")))

    def times(p: dict[str, float], pick: npt.NDArray[np.bool_]) -> Array:
        cost = MoeCost(**p, weight_bytes=weight_bytes)
        return cost.seconds(tokens[pick], hidden[pick], width[pick], experts[pick], chosen[pick])

    bounds = {
        "overhead_s": (2e-6, 2e-5, 2e-4),
        "expert_s": (1e-9, 1e-7, 1e-5),
        "flops": (0.05 * flops, 0.6 * flops, flops),
        "bandwidth": (0.2 * bandwidth, 0.8 * bandwidth, bandwidth),
        "power": (1.0, 2.0, 8.0),
        "block": (1.0, 32.0, 256.0),
        "skew": (0.05, 0.7, 1.5),
        "row_s": (1e-16, 2e-13, 1e-11),
    }
    found = robust_fit(lambda p: times(p, ~held), measured[~held], bounds)
    cost = MoeCost(**found, weight_bytes=weight_bytes)
    return cost, fit_error(times(found, held | ~held), measured, held)
