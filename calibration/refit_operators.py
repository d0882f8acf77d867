"""Fits of single operators to our own measurements, with bounds wide enough for any device.

Our measurements read weights and key-value caches from memory, not from cache, so no time needs
to be mended for that (as :mod:`mltwin.calibration.fit` does).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.models.gpu.operators import (
    DecodeCost,
    ElementwiseCost,
    GemmCost,
    MoeCost,
    PrefillCost,
)
from mltwin.models.gpu.profile import Facts
from mltwin.models.llm.precision import precision

from . import fit, read

Array = npt.NDArray[np.float64]
BASE = "bfloat16"
LEAST_FOR_TREES = 60
TREES = {"rounds": 100, "leaves": 15}
HEADS = ("heads", "kv_heads", "head_dim")
EXPERTS = ("hidden", "width", "experts", "chosen")


@dataclass(frozen=True)
class Fitted:
    """One operator's fit and the rows it was made from.

    Attributes:
        operator: as in a profile's provenance.
        cost: what was fitted.
        rows: measured.
        shape: columns that name a shape.
        predicted: seconds of the rows.
        held: rows held out.
        method: one sentence.
        size, axis: what to draw errors against, and its name.
    """

    operator: str
    cost: Any
    rows: pd.DataFrame
    shape: tuple[str, ...]
    predicted: Array
    held: npt.NDArray[np.bool_]
    method: str
    size: Array
    axis: str

    @property
    def measured(self) -> Array:
        """Seconds of the rows."""
        return self.rows["seconds"].to_numpy(float)

    @property
    def error(self) -> fit.FitError:
        """On the rows held out (on all, where none were)."""
        return fit.fit_error(
            self.predicted, self.measured, self.held, fit.shapes(self.rows, *self.shape)
        )


@dataclass(frozen=True)
class _Law:
    """How to fit one operator: its physics, and what trees look at."""

    bounds: fit.robust.Bounds
    make: Callable[[dict[str, Any]], Any]
    times: Callable[[Any], Array]
    inputs: Callable[[Any], Array] | None = None


def fit_gemm(facts: Facts, operator: str, dtype: str, rows: pd.DataFrame) -> Fitted:
    """Columns m, n, k, seconds; (n, k) pairs are held out."""
    m, n, k = columns(rows, "m", "n", "k")
    width, peak = precision(dtype).weight_bytes, _peak(facts, operator)
    start = GemmCost(
        facts.sms, 1e-6, peak, facts.hbm_bandwidth, 1e-6, 2, 0.5, 1, width, max(width, 2.0),
        least=_ends(m, n, k, min), most=_ends(m, n, k, max),
    )  # fmt: skip
    law = _Law(
        bounds={
            "overhead_s": (1e-8, 2e-6, 1e-3),
            "flops": (0.02 * peak, 0.6 * peak, 1.2 * peak),
            "bandwidth": _bandwidth_bounds(facts),
            "tile_s": (1e-9, 1e-6, 1e-3),
            "power": (1.0, 2.0, 8.0),
            "whole_wave": (0.02, 0.5, 1.0),
            "split_cost": (0.1, 1.0, 20.0),
        },
        make=lambda p: replace(start, **p),
        times=lambda cost: cost.seconds(m, n, k),
        inputs=lambda cost: cost.inputs(m, n, k),
    )
    method = f"wave-quantised roofline, timed in {dtype}"
    work = ("floating-point operations of a call", 2 * m * n * k)
    return _fit(operator, rows, ("n", "k"), ("m",), law, method, work)


def fit_decode(facts: Facts, operator: str, dtype: str, rows: pd.DataFrame) -> Fitted:
    """Columns batch, context, heads, kv_heads, head_dim, seconds; heads are held out."""
    b, c, h, k, d = columns(rows, "batch", "context", *HEADS)
    width = precision(dtype).weight_bytes

    def times(cost: DecodeCost) -> Array:
        return cost.seconds(b, b * c, c, h, k, d, warm=True)

    law = _Law(
        bounds={
            "overhead_s": (1e-7, 1e-5, 1e-2),
            "item_s": (1e-12, 1e-8, 1e-2),
            "bandwidth": _bandwidth_bounds(facts),
            "power": (1.0, 1.5, 8.0),
        },
        make=lambda p: DecodeCost(**p, kv_bytes=width, sms=facts.sms),
        times=times,
        inputs=lambda cost: cost.inputs(b, b * c, h, k, times(cost)),
    )
    method = f"overhead and p-norm of work items and bytes, timed in {dtype}"
    read_bytes = ("bytes of keys and values", 2 * b * c * k * d * width)
    return _fit(operator, rows, HEADS, ("batch", "context"), law, method, read_bytes)


def fit_prefill(facts: Facts, operator: str, dtype: str, rows: pd.DataFrame) -> Fitted:
    """Columns batch, tokens, heads, kv_heads, head_dim, seconds; heads are held out."""
    b, t, h, k, d = columns(rows, "batch", "tokens", *HEADS)
    new, pairs, size, peak = b * t, b * t * (t + 1) / 2, int(d[0]), _peak(facts, operator)

    def times(cost: PrefillCost) -> Array:
        return cost.seconds(new, pairs, t, h, k, size)

    law = _Law(
        bounds={
            "overhead_s": (1e-7, 1e-5, 1e-2),
            "flops": (0.002 * peak, 0.3 * peak, 1.2 * peak),
            "token_s": (1e-16, 2e-12, 1e-7),
            "kv_share": (0.01, 1.0, 10.0),
            "serial_s": (1e-15, 1e-10, 1e-6),
            "power": (1.0, 2.0, 8.0),
        },
        make=lambda p: PrefillCost(**p, sms=facts.sms),
        times=times,
        inputs=lambda cost: cost.inputs(new, pairs, h, k, times(cost)),
    )
    method = f"overhead and p-norm of pairs and longest chain, timed in {dtype}"
    work = ("operations under the mask", 4 * h * d * pairs)
    return _fit(operator, rows, HEADS, ("batch", "tokens"), law, method, work)


def fit_moe(facts: Facts, operator: str, dtype: str, rows: pd.DataFrame) -> Fitted:
    """Columns tokens, hidden, width, experts, chosen, seconds; shapes are held out."""
    sizes = columns(rows, "tokens", *EXPERTS)
    width, peak = precision(dtype).weight_bytes, _peak(facts, operator)
    law = _Law(
        bounds={
            "overhead_s": (1e-6, 2e-5, 1e-2),
            "expert_s": (1e-9, 1e-7, 1e-3),
            "flops": (0.002 * peak, 0.4 * peak, 1.2 * peak),
            "bandwidth": _bandwidth_bounds(facts),
            "power": (1.0, 2.0, 8.0),
            "block": (1.0, 32.0, 256.0),
            "skew": (0.05, 0.7, 1.5),
            "row_s": (1e-16, 2e-13, 1e-8),
        },
        make=lambda p: MoeCost(**p, weight_bytes=width),
        times=lambda cost: cost.seconds(*sizes),
        inputs=lambda cost: cost.inputs(*sizes, 1, cost.physical(*sizes)),
    )
    method = f"p-norm of compute and expert reads, power law 1.01, timed in {dtype}"
    return _fit(operator, rows, EXPERTS, ("tokens",), law, method, ("tokens", sizes[0]))


def fit_elementwise(facts: Facts, rows: pd.DataFrame) -> Fitted:
    """Columns op, dtype, tokens, width, seconds: one law for norms (a number read and one
    written) and gated activations (two read); token counts are held out."""
    tokens, width = columns(rows, "tokens", "width")
    number = rows["dtype"].map(lambda d: precision(d).weight_bytes).to_numpy(float)
    size = rows["op"].map({"norm": 2.0, "activation": 3.0}).to_numpy(float) * tokens * width
    # Models count 2-byte numbers, whatever was timed: the bandwidth is that of theirs.
    wide = float(number.max()) / 2
    law = _Law(
        bounds={
            "kernel_s": (1e-8, 2e-6, 1e-3),
            "bandwidth": tuple(v / wide for v in _bandwidth_bounds(facts)),  # type: ignore[dict-item]
        },
        make=lambda p: ElementwiseCost(**p),
        times=lambda cost: cost.seconds(1, size * number / wide),
    )
    method = "launch and bandwidth of norms and gated activations"
    moved = ("bytes moved", size * number)
    return _fit("elementwise", rows, ("tokens",), ("width",), law, method, moved)


def stored(table: pd.DataFrame) -> dict[str, tuple[str, pd.DataFrame]]:
    """Rows by the format that a profile calls them, with the format that was timed.

    Of the wide formats one stands for ``bfloat16``, which every profile must have: bfloat16, else
    float16, else float32 (a processor's).
    """
    found = {}
    timed = set(table["dtype"])
    base = next((d for d in (BASE, "float16", "float32") if d in timed), None)
    for dtype in sorted(timed):
        if dtype != base and precision(dtype).compute in (BASE, "float32"):
            continue
        rows = table[table["dtype"] == dtype].reset_index(drop=True)
        found[BASE if dtype == base else dtype] = dtype, rows
    return found


def columns(rows: pd.DataFrame, *names: str) -> tuple[Array, ...]:
    """Columns as arrays of floats."""
    return tuple(rows[name].to_numpy(float) for name in names)


def _fit(
    operator: str,
    rows: pd.DataFrame,
    shape: tuple[str, ...],
    rest: tuple[str, ...],
    law: _Law,
    method: str,
    size: tuple[str, Array],
) -> Fitted:
    """Physics on the rows that are not held out, then trees for what it leaves over."""
    measured = rows["seconds"].to_numpy(float)
    held, said = _hold_out(rows, shape, rest)
    seen = ~held
    found = fit.robust_fit(lambda p: law.times(law.make(p))[seen], measured[seen], law.bounds)
    cost = law.make(found)
    if law.inputs is not None and seen.sum() >= LEAST_FOR_TREES:
        left_over = np.log(measured / law.times(cost))
        trees = fit.fit_trees(law.inputs(cost)[seen], left_over[seen], **TREES)
        cost = replace(cost, trees=trees)
        method += ", and boosted trees"
    return Fitted(
        operator, cost, rows, shape, law.times(cost), held, f"{method}; {said}", size[1], size[0]
    )


def _hold_out(
    rows: pd.DataFrame, shape: tuple[str, ...], rest: tuple[str, ...]
) -> tuple[npt.NDArray[np.bool_], str]:
    """A fifth of the shapes; where none falls among them, of the points."""
    for names, said in ((shape, "shapes"), ((*shape, *rest), "points")):
        held = read.held_out(*(rows[name].astype(int) for name in names))
        if 0 < held.sum() <= len(held) / 2:
            return held, f"a fifth of {said} held out"
    return np.zeros(len(rows), bool), "nothing held out: the error is that of the fitted rows"


def _peak(facts: Facts, operator: str) -> float:
    return facts.peak_flops.get(operator.split(".")[1], facts.peak_flops[BASE])


def _ends(
    m: Array, n: Array, k: Array, end: Callable[[Array], float]
) -> tuple[float, float, float]:
    return float(end(m)), float(end(n)), float(end(k))


def _bandwidth_bounds(facts: Facts) -> tuple[float, float, float]:
    return 0.005 * facts.hbm_bandwidth, 0.7 * facts.hbm_bandwidth, 1.2 * facts.hbm_bandwidth
