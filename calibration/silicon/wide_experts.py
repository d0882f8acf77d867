"""Experts of SGLang's large-scale expert parallelism (DeepEP), from tables of their own.

Recipes of GB200 start attention-data-parallel workers with DeepEP (``moe-a2a-backend: deepep``;
srt-slurm ``recipes/gb200-fp8``), whose grouped products are other kernels than those of a single
node: masked ones in decode, contiguous ones in prefill.
"""

from dataclasses import replace
from typing import Any

from mltwin.models.gpu.operators import Array, Number

from .moe import TableMoe, moe_table
from .package import Tables
from .profile import DISTRIBUTION, MeasuredProfile

PHASES = {"prefill": "wideep_context_moe", "decode": "wideep_generation_moe"}


class WideExperts:
    """Times of the experts of one layer on one of ``ranks`` GPUs, each with whole experts.

    Args:
        table: by tokens of all ranks.
        ranks: GPUs over which the experts are spread.
        width: intermediate size of an expert.
    """

    def __init__(self, table: TableMoe, ranks: int, width: int) -> None:
        self.table, self.ranks, self.width = table, ranks, width

    def seconds(
        self,
        tokens: Number,
        hidden: int,
        width: int,
        experts: int,
        chosen: int,
        weight_bytes: float | None = None,
        ep: int = 1,
    ) -> Array:
        """Seconds of one layer; see :class:`mltwin.models.gpu.operators.MoeCost`. Experts are
        whole and spread over all ranks, whatever ``width`` and ``ep`` say."""
        return self.table.seconds(
            tokens, hidden, self.width, experts, chosen, weight_bytes, self.ranks
        )


def wide_experts(profile: MeasuredProfile, system: str, phase: str, ranks: int) -> MeasuredProfile:
    """``profile`` with DeepEP's experts, where the system has a table of them; else itself.

    Args:
        profile: of SGLang and a model with experts.
        system: GPU system.
        phase: ``prefill`` or ``decode``.
        ranks: GPUs of the worker.
    """
    model = profile.deployment.model
    rows = Tables(system).read("moe", PHASES[phase], "sglang")
    if rows is None or model.moe is None:
        return profile
    same: Any = rows[
        (rows["hidden_size"] == model.hidden_size)
        & (rows["num_experts"] == model.moe.experts)
        & (rows["moe_dtype"] == model.expert_dtype)
        & (rows["distribution"] == DISTRIBUTION)
    ]
    if same.empty:
        return profile
    table = moe_table(same, profile.facts, model.expert_dtype, profile.answers)
    wide = WideExperts(table, ranks, model.moe.intermediate_size)
    operators = replace(profile.operators, moe={model.expert_dtype: wide})
    return replace(profile, operators=operators)
