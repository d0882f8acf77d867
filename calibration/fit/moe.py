"""Fits of routed experts."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import MoeCost

from .robust import Array, FitError, fit_error, robust_fit, shapes
from .trees import fit_trees


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

    def times(p: dict[str, Any], pick: npt.NDArray[np.bool_]) -> Array:
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
    sizes = (tokens, hidden, width, experts, chosen)
    physical = cost.seconds(*sizes)
    inputs = cost.inputs(*sizes, 1, physical)
    left_over = np.log(measured / physical)
    cost = replace(cost, trees=fit_trees(inputs[~held], left_over[~held], rounds=120))
    of = shapes(rows, "hidden", "width", "experts", "chosen")
    return cost, fit_error(cost.seconds(*sizes), measured, held, of)
