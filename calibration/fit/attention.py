"""Fits of attention."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import DecodeCost, PrefillCost

from .robust import Array, FitError, fit_error, robust_fit, shapes
from .trees import fit_trees


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
    every = rows
    names = ("batch", "context", "heads", "kv_heads", "head_dim", "seconds")
    batch, context, heads, kv_heads, head_dim, measured = (rows[c].to_numpy(float) for c in names)
    size = 2 * batch * context * kv_heads * head_dim * kv_bytes
    long = (context > 128) & ((size < 2e6) | (size > 2 * l2_bytes))
    many = (context <= 16) & (batch * kv_heads >= 8 * sms)
    keep = long | many
    rows, measured = rows[keep], measured[keep]
    arguments = [v[keep] for v in (batch, batch * context, context, heads, kv_heads, head_dim)]
    held = held_out(rows["heads"], rows["kv_heads"], rows["head_dim"])

    def times(p: dict[str, Any], pick: npt.NDArray[np.bool_]) -> Array:
        return DecodeCost(**p, kv_bytes=kv_bytes).seconds(*(v[pick] for v in arguments))

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
    cost = DecodeCost(**found, kv_bytes=kv_bytes, sms=sms, l2_bytes=float(l2_bytes))
    return _with_decode_trees(cost, every)


def _with_decode_trees(cost: DecodeCost, rows: pd.DataFrame) -> tuple[DecodeCost, FitError]:
    """Trees for what the physics leaves over, on all rows; the error is that of rows as they were
    measured, L2 included."""
    names = ("batch", "context", "heads", "kv_heads", "head_dim", "seconds")
    b, c, h, k, d, measured = (rows[name].to_numpy(float) for name in names)
    held = held_out(rows["heads"], rows["kv_heads"], rows["head_dim"])
    physical = cost.seconds(b, b * c, c, h, k, d)
    inputs = cost.inputs(b, b * c, h, k, physical)
    left_over = np.log(measured / physical)
    cost = replace(cost, trees=fit_trees(inputs[~held], left_over[~held], rounds=150))
    predicted = cost.seconds(b, b * c, c, h, k, d, warm=True)
    return cost, fit_error(predicted, measured, held, shapes(rows, "heads", "kv_heads"))


def fit_prefill(rows: pd.DataFrame, *, flops: float, sms: int) -> tuple[PrefillCost, FitError]:
    """Prefill attention without window, one head size, sequences of 16 tokens and more."""
    rows = rows[rows["tokens"] >= 16]
    head_dim = int(rows["head_dim"].iloc[0])
    batch, tokens, heads, kv_heads, measured = (
        rows[c].to_numpy(float) for c in ("batch", "tokens", "heads", "kv_heads", "seconds")
    )
    new, pairs = batch * tokens, batch * tokens * (tokens + 1) / 2
    held = held_out(rows["heads"], rows["kv_heads"], rows["head_dim"])

    def times(p: dict[str, Any], pick: npt.NDArray[np.bool_]) -> Array:
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
    cost = PrefillCost(**found, sms=sms)
    physical = times(found, held | ~held)
    inputs = cost.inputs(new, pairs, heads, kv_heads, physical)
    left_over = np.log(measured / physical)
    cost = replace(cost, trees=fit_trees(inputs[~held], left_over[~held], rounds=150))
    predicted = cost.seconds(new, pairs, tokens, heads, kv_heads, head_dim)
    return cost, fit_error(predicted, measured, held, shapes(rows, "heads", "kv_heads"))
