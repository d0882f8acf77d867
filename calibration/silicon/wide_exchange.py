"""TensorRT-LLM's exchange of tokens between expert ranks over NVLink, from its own table."""

from dataclasses import replace
from typing import Any

import numpy as np

from mltwin.models.gpu.operators import Array, Number

from .answers import SCALED
from .interpolate import Curve, curve
from .package import Tables
from .profile import MeasuredProfile

TABLE = "trtllm_alltoall"
MEASURED = "gb200"
NVLINK5 = ("gb200", "b200_sxm", "b300_sxm")
"""Systems whose GPUs have the fabric that was measured."""


class AlltoallExchange:
    """Dispatch and combine of one layer.

    Args:
        curves: seconds by tokens of a rank, for each number of ranks.
        hidden, chosen: the model that they were measured with.
    """

    def __init__(self, curves: dict[int, Curve], hidden: int, chosen: int) -> None:
        self.curves, self.hidden, self.chosen = curves, hidden, chosen

    def seconds(self, tokens: Number, hidden: int, chosen: int, experts: int, group: int) -> Array:
        """Seconds for ``tokens`` a rank among ``group`` ranks; other sizes count as more or fewer
        tokens, other groups as the nearest."""
        nearest = min(self.curves, key=lambda n: (abs(np.log(n / group)), n))
        counted = np.asarray(tokens, float) * hidden * chosen / (self.hidden * self.chosen)
        return self.curves[nearest].seconds(np.maximum(counted, 1e-3))


def alltoall(profile: MeasuredProfile, system: str) -> MeasuredProfile:
    """``profile`` with the NVLink exchange, where it was measured on a fabric like the system's;
    else itself.

    Args:
        profile: of TensorRT-LLM and a model with experts.
        system: GPU system.
    """
    moe = profile.deployment.model.moe
    if moe is None or system not in NVLINK5:
        return profile
    rows = Tables(MEASURED).read("comm", TABLE, "trtllm")
    if rows is None:
        return profile
    sent = "nvfp4" if profile.deployment.model.expert_dtype == "nvfp4" else "fp8"
    same: Any = rows[(rows["moe_dtype"] == sent) & (rows["distribution"] == "balanced")]
    if same.empty:
        return profile
    low = same["op_name"].str.endswith("low_precision")
    same = same.assign(op=same["op_name"].str.removesuffix("_low_precision"), low=low)
    steps = same.groupby(["kernel_source", "moe_ep_size", "num_tokens", "op"])["seconds"].min()
    whole = steps.groupby(["kernel_source", "moe_ep_size", "num_tokens"]).sum()
    best = whole.groupby(["moe_ep_size", "num_tokens"]).min().reset_index()
    curves = {
        int(str(ranks)): curve(group["num_tokens"], group["seconds"], least=0.5)
        for ranks, group in best.groupby("moe_ep_size")
    }
    if system != MEASURED:
        profile.answers.add("expert exchange", SCALED, f"expert exchange: measured on {MEASURED}")
    exchange = AlltoallExchange(curves, int(same["hidden_size"].iloc[0]), int(same["topk"].iloc[0]))
    return replace(profile, operators=replace(profile.operators, moe_exchange=exchange))
