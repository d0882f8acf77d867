"""Fits of attention calls that hold a prefill chunk and decodes."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import MixedCost
from mltwin.sim.errors import InputError

from .robust import Array, FitError, fit_error, robust_fit, shapes

_PREFILL = ["prefill_tokens", "prefill_context"]
_DECODE = ["decodes", "decode_context"]
_TILE = 64
LEAST_CHAIN_ROWS = 8


def mixed_rows(table: pd.DataFrame, *, heads: int, kv_heads: int, head_dim: int) -> pd.DataFrame:
    """The calls that hold both, with what each half takes by itself in the same table.

    Args:
        table: of :func:`mltwin.calibration.read.read_mixed_attention`; repeats are allowed (the
            median counts).
        heads, kv_heads, head_dim: of the layer on one GPU.

    Returns:
        The table's columns and prefill_s, decode_s, heads, kv_heads, head_dim. Calls whose halves
        were not measured alone are left out.

    Raises:
        InputError: no call is left.
    """
    table = table.groupby(_PREFILL + _DECODE)["seconds"].median().reset_index()
    chunk, number = table["prefill_tokens"] > 0, table["decodes"] > 0
    prefill = table[chunk & ~number].rename(columns={"seconds": "prefill_s"})
    decode = table[~chunk & number].rename(columns={"seconds": "decode_s"})
    prefill, decode = prefill[[*_PREFILL, "prefill_s"]], decode[[*_DECODE, "decode_s"]]
    rows = table[chunk & number].merge(prefill, on=_PREFILL).merge(decode, on=_DECODE)
    if rows.empty:
        raise InputError("no call with a chunk and decodes whose halves were measured alone")
    return rows.assign(heads=heads, kv_heads=kv_heads, head_dim=head_dim)


def mixed_seconds(cost: MixedCost, rows: pd.DataFrame) -> Array:
    """What the cost says of rows of :func:`mixed_rows`."""
    number, context = rows["decodes"].to_numpy(float), rows["decode_context"].to_numpy(float)
    names = ("heads", "kv_heads", "head_dim")
    return cost.seconds(
        rows["prefill_s"].to_numpy(float),
        rows["decode_s"].to_numpy(float),
        rows["prefill_tokens"].to_numpy(float),
        number,
        number * context,
        context,
        rows["prefill_tokens"].to_numpy(float),
        *(rows[name].to_numpy(float) for name in names),
    )


def fit_mixed(
    rows: pd.DataFrame, *, sms: int, bandwidth: float, l2_bytes: float
) -> tuple[MixedCost, FitError]:
    """The ragged FlashAttention-2 call (see :class:`MixedCost`) of one GPU.

    Args:
        rows: of :func:`mixed_rows`, of any number of layers put together.
        sms, bandwidth, l2_bytes: of the GPU's data sheet.

    Pairs of decodes and their length are held out.
    """
    measured = rows["seconds"].to_numpy(float)
    held = held_out(rows["decodes"], rows["decode_context"])
    fitted = rows[~held]

    def made(p: dict[str, Any]) -> MixedCost:
        return MixedCost(**p, sms=sms, l2_bytes=float(l2_bytes))

    bounds = {
        "power": (1.0, 3.0, 16.0),
        "chain_s": (1e-11, 2e-10, 2e-9),
        "overhead_s": (1e-6, 7e-6, 5e-5),
        "crowd": (0.2, 1.1, 4.0),
        "item_tokens": (1.0, 100.0, 2000.0),
        "empty_s": (1e-9, 3e-7, 1e-5),
        "bandwidth": (0.2 * bandwidth, 0.8 * bandwidth, bandwidth),
    }
    cost = made(robust_fit(lambda p: mixed_seconds(made(p), fitted), measured[~held], bounds))
    labels = shapes(rows, "decodes", "decode_context", "heads", "kv_heads")
    return cost, fit_error(mixed_seconds(cost, rows), measured, held, labels)


def fit_overlap(rows: pd.DataFrame) -> tuple[MixedCost, FitError]:
    """The p-norm of the two halves alone, one parameter: the form that knows no kernel.

    Shown beside :func:`fit_mixed`, and for kernels that do not lose what they do for decodes.
    """
    measured = rows["seconds"].to_numpy(float)
    held = held_out(rows["decodes"], rows["decode_context"])

    def times(p: dict[str, float]) -> Array:
        return mixed_seconds(MixedCost(p["power"]), rows[~held])

    cost = MixedCost(**robust_fit(times, measured[~held], {"power": (0.2, 1.0, 16.0)}))
    return cost, fit_error(mixed_seconds(cost, rows), measured, held)


def fit_chain(rows: pd.DataFrame, *, sms: int) -> tuple[MixedCost, FitError]:
    """``chain_s`` and ``overhead_s`` of a GPU from prefill alone: t = overhead + chain_s D c.

    Where all query tiles of a prompt (64 rows of a head each) run at once, its last tile decides,
    which passes the keys of all c tokens. So a GPU of which no mixed call was measured tells the
    parameter on which mixed calls depend most; see :func:`transfer_mixed`.

    Args:
        rows: of :func:`mltwin.calibration.read.read_prefill_attention`.

    Raises:
        InputError: fewer than 8 rows are of that kind.
    """
    tiles = rows["batch"] * rows["heads"] * np.ceil(rows["tokens"] / _TILE)
    rows = rows[(rows["tokens"] >= 256) & (tiles <= sms)]
    if len(rows) < LEAST_CHAIN_ROWS:
        raise InputError(
            f"{len(rows)} prompts of 256 tokens and more whose tiles fit on {sms} multiprocessors",
            mend=f"give at least {LEAST_CHAIN_ROWS}",
        )
    length = (rows["tokens"] * rows["head_dim"]).to_numpy(float)
    measured = rows["seconds"].to_numpy(float)
    held = held_out(rows["heads"], rows["kv_heads"], rows["head_dim"])
    bounds = {"overhead_s": (1e-7, 8e-6, 5e-5), "chain_s": (1e-12, 1e-10, 1e-8)}

    def times(p: dict[str, float], pick: npt.NDArray[np.bool_]) -> Array:
        return np.asarray(p["overhead_s"] + p["chain_s"] * length[pick])

    found = robust_fit(lambda p: times(p, ~held), measured[~held], bounds)
    error = fit_error(times(found, held | ~held), measured, held)
    return MixedCost(chain_s=found["chain_s"], overhead_s=found["overhead_s"], sms=sms), error


def transfer_mixed(
    cost: MixedCost, chain: MixedCost, *, bandwidth: float, of_bandwidth: float, l2_bytes: float
) -> MixedCost:
    """The cost of another GPU of which only prefill was measured.

    Args:
        cost: fitted on a GPU whose data sheet says ``of_bandwidth``.
        chain: of :func:`fit_chain` on the new one.
        bandwidth, l2_bytes: of the new one's data sheet.

    The power, the crowd, the padding of an item and the cost of an empty tile are kept (on two
    GPUs they were found equal within 10 to 20 %), the reached share of the bandwidth too.
    """
    return replace(
        cost,
        chain_s=chain.chain_s,
        overhead_s=chain.overhead_s,
        bandwidth=float(f"{cost.bandwidth * bandwidth / of_bandwidth:.6g}"),
        sms=chain.sms,
        l2_bytes=float(l2_bytes),
    )
