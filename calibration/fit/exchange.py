"""Fits of :mod:`mltwin.models.network.collectives_experts` to DeepEP's tables, and their errors."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.models.network.collectives_experts import ExchangeLaw, RdmaRate, sent_bytes

from .robust import robust_fit

Array = npt.NDArray[np.float64]
SHAPE = ["hidden", "chosen", "experts"]
_BOUNDS = {
    "start_s": (1e-6, 1e-5, 1e-4),
    "expert_s": (1e-11, 1e-8, 1e-6),
    "token_s": (1e-13, 1e-10, 1e-6),
    "byte_s": (1e-16, 1e-12, 1e-9),
    "sent_s": (1e-15, 3e-12, 1e-9),
    "crowd_s": (1e-16, 1e-12, 1e-7),
    "power": (0.7, 2.0, 8.0),
}
_SHARED = {"sms": (0.5, 16.0, 100.0), "sharpness": (0.5, 3.0, 20.0)}


def fit_exchange(rows: pd.DataFrame, half: str, ranks: int) -> ExchangeLaw:
    """The law of one half.

    Args:
        rows: of :func:`mltwin.calibration.read.read_deepep`, of one mode.
        ranks: of the exchange (the tables do not say).
    """
    per_expert = str(rows["mode"].iloc[0]) == "ll"
    bounds = _BOUNDS if per_expert else {**_BOUNDS, **_SHARED}
    measured = rows[f"{half}_s"].to_numpy(float)
    fixed: dict[str, Any] = {"per_expert": per_expert, "ranks": ranks}

    def told(p: dict[str, Any]) -> Array:
        return _told(ExchangeLaw(**fixed, **p), rows)

    found = robust_fit(told, measured, bounds)
    law = ExchangeLaw(**fixed, **found)
    ratio = pd.Series(np.log(measured / _told(law, rows)))
    medians = ratio.groupby(rows["tokens"].to_numpy()).median().sort_index()
    return ExchangeLaw(
        **fixed,
        **found,
        tokens=tuple(float(v) for v in medians.index),
        log_ratio=tuple(round(float(v), 5) for v in medians),
    )


def _told(law: ExchangeLaw, rows: pd.DataFrame) -> Array:
    sms = rows["sms"].clip(lower=1).to_numpy(float)
    t, h, k, e = (rows[c].to_numpy(float) for c in ("tokens", *SHAPE))
    return law.seconds(t, h, k, e, sms)


def shape_errors(rows: pd.DataFrame, half: str, ranks: int) -> Array:
    """Errors (predicted over measured, less 1) on shapes (hidden, chosen, experts), each left out
    in its turn."""
    found = []
    for place in rows.groupby(SHAPE).indices.values():
        out = np.zeros(len(rows), bool)
        out[place] = True
        law = fit_exchange(rows[~out].reset_index(drop=True), half, ranks)
        found.append(_told(law, rows[out]) / rows.loc[out, f"{half}_s"].to_numpy(float) - 1)
    return np.concatenate(found)


def fit_rdma(rows: pd.DataFrame) -> RdmaRate:
    """Bandwidth by ranks, of the rows of one half and mode of DeepEP's own tables."""
    rows = rows.sort_values("ranks")
    return RdmaRate(
        tuple(int(v) for v in rows["ranks"]), tuple(float(v) for v in rows["bandwidth"])
    )


def rank_errors(rows: pd.DataFrame) -> Array:
    """Errors of the bandwidth at numbers of ranks between others, each left out in its turn."""
    rows = rows.sort_values("ranks").reset_index(drop=True)
    inner = range(1, len(rows) - 1)
    return np.array(
        [
            fit_rdma(rows.drop(index=i)).rate(int(rows["ranks"][i])) / rows["bandwidth"][i] - 1
            for i in inner
        ]
    )


def byte_count_error(rows: pd.DataFrame, half: str, tokens: int) -> Array:
    """How far :func:`sent_bytes` over the stated bandwidth is from the stated seconds (7,168
    hidden, 8 of 256 experts, low-latency kernels), less 1."""
    each = sent_bytes(half, "ll", 7168, 8, 256, 8)
    told = tokens * each / rows["bandwidth"].to_numpy(float)
    return np.asarray(told / rows["seconds"].to_numpy(float) - 1)
