"""A fitted operator on a GPU that nobody measured: its parameters scaled by the data sheets."""

from dataclasses import replace
from typing import Any

from mltwin.models.gpu.profile import Facts

BASE = "bfloat16"


def scale_cost(family: str, cost: Any, old: Facts, new: Facts, narrow: float = 1.0) -> Any:
    """The cost of one operator, carried over from ``old`` to ``new``.

    Rates scale with the data sheet's peak and bandwidth, what one multiprocessor does with the
    peak of one, what is spread over all of them with their number; latencies stay. The learned
    correction is taken as it is, at the other GPU's physical times and waves.

    Args:
        family: ``gemm``, ``decode``, ``prefill`` or ``moe``.
        cost: of that family, on the old GPU.
        narrow: how much more the new GPU gains from the format than the old one does.
    """
    peak = new.peak_flops[BASE] / old.peak_flops[BASE] * narrow
    memory = new.hbm_bandwidth / old.hbm_bandwidth
    many = new.sms / old.sms
    if family == "gemm":
        return replace(
            cost, sms=new.sms, flops=cost.flops * peak, bandwidth=cost.bandwidth * memory
        )
    if family == "decode":
        return replace(
            cost,
            bandwidth=cost.bandwidth * memory,
            item_s=cost.item_s / many,
            sms=new.sms,
            l2_bytes=float(new.l2_bytes),
        )
    if family == "prefill":
        return replace(
            cost,
            flops=cost.flops * peak,
            token_s=cost.token_s / peak,
            serial_s=cost.serial_s * many / peak,
            sms=new.sms,
        )
    if family == "moe":
        return replace(
            cost,
            flops=cost.flops * peak,
            bandwidth=cost.bandwidth * memory,
            row_s=cost.row_s / memory,
        )
    raise ValueError(f"no way to scale {family!r}")
