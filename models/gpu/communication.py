"""What a layer's GPUs say to each other, by the parallel plan."""

from typing import Any

import numpy as np

from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

from .operators import Array, Number
from .parallel import Plan

# Start-up of a collective that was not measured, about that of NCCL inside a node.
UNMEASURED_LATENCY_S = 1.5e-5


class Communication:
    """Collectives of one pass.

    - tp > 1: an all-reduce after attention and one after each dense feed-forward block or shared
      expert (Megatron-LM, arXiv 1909.08053, section 3).
    - tp > 1 and a norm of queries and keys over all heads (MiniMax-M2): the ranks add their sums of
      squares, two numbers in 4 bytes a token (vLLM's MiniMaxText01RMSNormTP).
    - Experts with dp = 1: the same all-reduce sums the experts' parts, whatever ep is.
    - Experts with dp > 1: every rank sends each token to the ranks of its experts and gets their
      results back (dispatch and combine; DeepSeek-V3, arXiv 2412.19437, section 3.2), or, where
      no such exchange was measured, gathers all tokens and scatters the sums. If tp > 1 as well,
      the tokens of one attention group are split over its GPUs before.

    Args:
        profile: what :class:`mltwin.models.gpu.iteration.IterationModel` takes.
        notes: where to say what was not measured.
        width: bytes of one number sent to the experts; results come back in 2 bytes.

    Raises:
        InputError: an all-reduce over tp that was not measured.
    """

    def __init__(
        self, profile: Any, model: Model, plan: Plan, notes: list[str], width: float = 2.0
    ) -> None:
        self.profile, self.model, self.plan, self.notes = profile, model, plan, notes
        self.width = width
        self._all_reduce = self._find_all_reduce()
        self._exchange = getattr(profile.operators, "moe_exchange", None)
        if plan.dp > 1 and self._exchange is None:
            found = self._collective("all_gather") and self._collective("reduce_scatter")
            if not found:
                notes.append(
                    f"expert exchange over {plan.group} GPUs is not measured on {profile.name}; "
                    "link bandwidth and an assumed latency are used"
                )

    def _find_all_reduce(self) -> Any:
        tp = self.plan.tp
        if tp == 1:
            return None
        known = self.profile.operators.all_reduce
        if tp not in known:
            raise InputError(
                f"all-reduce over tp={tp} is not measured on {self.profile.name}",
                mend=f"use one of {[1, *sorted(known)]}",
            )
        return known[tp]

    def _collective(self, name: str) -> Any:
        known = getattr(self.profile.operators, "collectives", {}) or {}
        return known.get(name, {}).get(self.plan.group)

    def seconds(self, tokens: Number) -> Array:
        """Seconds of all layers for ``tokens`` of this attention rank."""
        m, model = np.asarray(tokens, float), self.model
        time: Array = np.zeros(())
        reductions = 2 * model.layers if self.plan.dp == 1 else model.layers + model.dense_layers
        if self._all_reduce is not None:
            time = time + reductions * self._all_reduce.seconds(m * model.hidden_size * 2)
            if model.qk_norm_over_heads:
                time = time + model.layers * self._all_reduce.seconds(m * 2 * 4)
        if self.plan.dp > 1 and model.moe:
            time = time + model.moe.layers * self.exchange_seconds(m)
        return time

    def exchange_seconds(self, m: Array) -> Array:
        """Dispatch and combine of one layer, ``m`` tokens a rank."""
        moe, h, group = self.model.moe, self.model.hidden_size, self.plan.group
        assert moe is not None
        own = m / self.plan.tp
        if self._exchange is not None:
            return self._exchange.seconds(own, h, moe.experts_per_token, moe.experts, group)
        gather, scatter = self._collective("all_gather"), self._collective("reduce_scatter")
        if gather is not None and scatter is not None:
            size = own * h * group
            return gather.seconds(size * self.width) + scatter.seconds(size * 2)
        # Each token crosses the link once for each other GPU that holds one of its experts.
        reached = (group - 1) * -np.expm1(moe.experts_per_token * np.log1p(-1 / group))
        size = own * h * reached * (self.width + 2)
        return 2 * UNMEASURED_LATENCY_S + size / self.profile.facts.nvlink_bandwidth
