"""Seconds of the kernels of one training step, on one GPU and for one micro-batch.

Where each efficiency comes from:

- matrix products: the GPU profile's measured fit (:class:`mltwin.models.gpu.operators.GemmCost`),
  times :class:`mltwin.models.training.operators_rates.TrainingRates` for a GPU that never rests.
  y = x W^T with x [m, k], W [n, k] has two products backward, each timed at its own shape:
  dx = dy W ([m, k], inner n) and dW = dy^T x ([n, k], inner m).
- attention: the profile's prefill fit forward. Where that is of FlashAttention-3 (Hopper),
  FlashAttention-2 reaches 35 % of the peak instead (arXiv 2407.08608, abstract). FlashAttention in
  Triton takes 1.8 times as long as FlashAttention-2, the geometric middle of "1.3-2.5x" (arXiv
  2307.08691, section 4). Backward does 5 products for 2 (ibid., section 3.1) at 63/73 of the
  forward rate (ibid., section 1).
- everything else: bytes over measured bandwidths, counted by
  :class:`mltwin.models.training.step_recipe.Recipe`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.models.llm.model import LINEAR, Gemm, Model
from mltwin.sim.errors import InputError

from .operators_rates import training_rates
from .plan import TrainingBatch, TrainingPlan
from .step_recipe import Recipe

FLASH3_GPUS = ("h100-sxm-80gb", "h200-sxm")
"""Profiles whose prefill attention was timed with FlashAttention-3."""
FLASH2_HOPPER_SHARE = 0.35
TRITON_FACTOR = (1.3 * 2.5) ** 0.5
BACKWARD_FLOPS = 2.5
BACKWARD_RATE = 63 / 73


def flash2_factor(profile: Any) -> float:
    """How much longer FlashAttention-2 takes than the profile's prefill attention."""
    if profile.name not in FLASH3_GPUS:
        return 1.0
    reached = FLASH2_HOPPER_SHARE * profile.facts.peak_flops["bfloat16"]
    return float(profile.operators.prefill["bfloat16"][128].flops / reached)


@dataclass(frozen=True)
class Half:
    """Seconds of one half of a block (attention or feed-forward), without exchanges.

    Attributes:
        forward, dgrad, wgrad: forward pass, gradients of inputs (with everything that is not a
            matrix product), gradients of weights.
        recompute: what the backward pass makes again first.
        core_forward, core_backward: the attention's core, part of forward and dgrad.
        products: matrix products of the forward pass, under which exchanges may hide.
    """

    forward: float
    dgrad: float
    wgrad: float
    recompute: float
    core_forward: float = 0.0
    core_backward: float = 0.0
    products: float = 0.0


@dataclass(frozen=True)
class Ends:
    """Seconds of the embedding, and of the last norm, head and loss."""

    embedding_forward: float
    embedding_backward: float
    head_forward: float
    head_dgrad: float
    head_wgrad: float


class OperatorTimes:
    """Times of a model's kernels under one plan and recipe.

    Args:
        compute_speed: clock of the GPU over that of the profile (a lower power limit).
        memory_speed: memory bandwidth over that of the profile.
        memo: times already known, shared by plans of one model, GPU, speed and recipe.

    Raises:
        InputError: no matrix products of the plan's precision on this GPU, or linear attention.
    """

    def __init__(
        self,
        model: Model,
        profile: Any,
        plan: TrainingPlan,
        recipe: Recipe,
        *,
        compute_speed: float = 1.0,
        memory_speed: float = 1.0,
        memo: dict[object, object] | None = None,
    ) -> None:
        if LINEAR in model.windows or model.sparse:
            raise InputError(
                "training of linear or sparse attention is not modelled", where=model.name
            )
        wanted = "bfloat16" if plan.precision == "bf16" else "fp8"
        operators = profile.operators
        if wanted not in operators.gemm:
            raise InputError(
                f"no {wanted} matrix products on {profile.name}",
                mend=f"use one of {sorted(operators.gemm)}",
            )
        self.model, self.profile, self.plan, self.recipe = model, profile, plan, recipe
        self._rates = training_rates(profile)
        self._compute, self._memory = compute_speed, memory_speed
        self._gemm, self._plain = operators.gemm[wanted], operators.gemm["bfloat16"]
        known = operators.prefill["bfloat16"]
        self._head_dim = _core_size(model)
        nearest = min(known, key=lambda d: (abs(np.log(d / self._head_dim)), d))
        self._prefill = known[nearest]
        self._memo: dict[Any, Any] = {} if memo is None else memo

    def attention(self, batch: TrainingBatch) -> Half:
        """The attention half of a block."""
        return self._half(batch, "attention")

    def feed_forward(self, batch: TrainingBatch, *, experts: bool = False) -> Half:
        """The feed-forward half of a block, dense or of experts."""
        return self._half(batch, "experts" if experts else "dense")

    def ends(self, batch: TrainingBatch) -> Ends:
        """Embedding, and last norm, head and loss."""
        key = (batch, "ends", self.plan.tp, self.plan.cp, self.plan.sequence_parallel)
        if key not in self._memo:
            self._memo[key] = self._make_ends(batch)
        return self._memo[key]

    def _make_ends(self, batch: TrainingBatch) -> Ends:
        model, r = self.model, self.recipe
        m, h = self._tokens(batch), model.hidden_size
        v = -(-model.vocab_size // self.plan.tp)
        gathered = 4 * m * h + (6 * m * h if model.position_embeddings else 0)
        spread = 6 * m * h + 2.0 * v * h
        own = m / (self.plan.tp if self.plan.sequence_parallel else 1)
        forward, dgrad, wgrad = self._products([(m, v, h)], fp8=False)
        return Ends(
            embedding_forward=self._bytes(gathered),
            embedding_backward=self._bytes(spread),
            head_forward=forward + self._norm(own * h, 0) + self._bytes(r.loss[0] * m * v),
            head_dgrad=dgrad + self._norm(own * h, 1) + self._bytes(r.loss[1] * m * v),
            head_wgrad=wgrad,
        )

    def optimizer(self, parameters: float) -> float:
        """Clipping and AdamW over the parameters that one GPU updates."""
        return self._bytes(self.recipe.optimizer * parameters)

    def flatten(self, parameters: float) -> float:
        """Copying the gradients of ``parameters`` together."""
        return self._bytes(self.recipe.flatten * parameters)

    def _half(self, batch: TrainingBatch, which: str) -> Half:
        p = self.plan
        key = (batch, which, p.tp, p.cp, p.ep, p.sequence_parallel, p.precision, p.recompute)
        if key not in self._memo:
            make = self._make_attention if which == "attention" else self._make_feed_forward
            self._memo[key] = make(batch, which == "experts")
        return self._memo[key]

    def _tokens(self, batch: TrainingBatch) -> float:
        return batch.sequences * batch.tokens / self.plan.cp

    def _make_attention(self, batch: TrainingBatch, _: bool) -> Half:
        model, plan, r = self.model, self.plan, self.recipe
        m = self._tokens(batch)
        gemms = [g for g in model.gemms(plan.tp) if g.name in _ATTENTION]
        forward, dgrad, wgrad = self._products([(m, g.n, g.k) for g in gemms])
        heads = model.heads // plan.tp
        kv = heads if model.mla else max(1, model.kv_heads // plan.tp)
        q, k = heads * self._head_dim * m, kv * self._head_dim * m
        hidden = m * model.hidden_size / (plan.tp if plan.sequence_parallel else 1)
        core = self._core(batch, heads, kv)
        core_back = core * BACKWARD_FLOPS / BACKWARD_RATE
        moved = [
            self._norm(hidden, i)
            + self._bytes(r.residual[i] * hidden + r.rope[i] * (q + k) + r.layout[i] * q)
            for i in (0, 1)
        ]
        biased = model.qkv_bias * (q + 2 * k) + model.output_bias * hidden
        again = {
            "none": 0.0,
            "selective": core,
            "operators": moved[0] + self._second(gemms, m),
            "full": forward + core + moved[0],
        }[plan.recompute]
        return Half(
            forward=forward + core + moved[0],
            dgrad=dgrad + core_back + moved[1] + self._bytes(2 * biased),
            wgrad=wgrad,
            recompute=again,
            core_forward=core,
            core_backward=core_back,
            products=forward,
        )

    def _make_feed_forward(self, batch: TrainingBatch, experts: bool) -> Half:
        model, plan, r = self.model, self.plan, self.recipe
        m = self._tokens(batch)
        hidden = m * model.hidden_size / (plan.tp if plan.sequence_parallel else 1)
        names = _EXPERTS if experts else _DENSE
        gemms = [g for g in model.gemms(plan.tp) if g.name in names]
        chosen = model.moe.experts_per_token if model.moe else 1
        shapes = [(m * (chosen if g.kind == "expert" else 1), g.n, g.k) for g in gemms]
        forward, dgrad, wgrad = self._products(shapes)
        inner = sum(
            rows * k for (rows, _, k), g in zip(shapes, gemms, strict=True) if "down" in g.name
        )
        moved = [
            self._norm(hidden, i)
            + self._bytes(r.residual[i] * hidden)
            + self._activation(r.activation[i] * inner)
            for i in (0, 1)
        ]
        if experts:
            # Tokens are brought into the order of their experts, and back, with weights.
            sorted_bytes = 2 * 4.0 * m * chosen * model.hidden_size
            moved = [value + self._bytes(sorted_bytes) for value in moved]
        biased = model.mlp_bias * (inner + hidden)
        again = {
            "none": 0.0,
            "selective": 0.0,
            "operators": moved[0] + self._second(gemms, m),
            "full": forward + moved[0],
        }[plan.recompute]
        return Half(
            forward=forward + moved[0],
            dgrad=dgrad + moved[1] + self._bytes(2 * biased),
            wgrad=wgrad,
            recompute=again,
            products=forward,
        )

    def _second(self, gemms: list[Gemm], m: float) -> float:
        """Every second product of a block, as torchtitan counts them: of query, key, value, output,
        gate, up, down those of key, output and up."""
        model = self.model
        keys = model.kv_heads / (model.heads + 2 * model.kv_heads)
        share = {"qkv": keys, "output": 1.0, "gate_up": 0.5, "up": 1.0, "down": 0.0}
        total = 0.0
        for g in gemms:
            total += share.get(g.name, 0.5) * self._products([(m, g.n, g.k)])[0]
        return total

    def _core(self, batch: TrainingBatch, heads: int, kv: int) -> float:
        """Forward core of one block, the mean over the model's windows."""
        s, b, cp = batch.tokens, batch.sequences, self.plan.cp
        total = 0.0
        for window in set(self.model.windows):
            w = min(window or s, s)
            pairs = b * (w * (w + 1) / 2 + (s - w) * w) / cp
            seconds = self._prefill.seconds(
                b * s / cp, pairs, w / cp, heads, kv, self._head_dim, window
            )
            total += float(seconds) * self.model.windows.count(window)
        kernel = 1.0 if self.recipe.attention == "flash3" else flash2_factor(self.profile)
        kernel *= TRITON_FACTOR if self.recipe.attention == "triton" else 1.0
        return kernel * total / len(self.model.windows) / self._compute

    def _products(
        self, shapes: list[tuple[float, int, int]], *, fp8: bool = True
    ) -> tuple[float, float, float]:
        """Forward, dgrad and wgrad seconds of x [m, k] W [n, k]^T, summed over the shapes."""
        low = fp8 and self.plan.precision == "fp8"
        key = ("products", low, *shapes)
        if key not in self._memo:
            self._memo[key] = self._time_products(shapes, low)
        first, second, third = self._memo[key]
        return first, second, third

    def _time_products(
        self, shapes: list[tuple[float, int, int]], low: bool
    ) -> tuple[float, float, float]:
        cost = self._gemm if low else self._plain
        m, n, k = (np.array(column, float) for column in zip(*shapes, strict=True))
        rows = np.concatenate((m, m, n))
        columns = np.concatenate((n, k, k))
        inner = np.concatenate((k, n, m))
        seconds = cost.seconds(rows, columns, inner) * self._rates.gemm_time / self._compute
        forward, dgrad, wgrad = (float(part.sum()) for part in np.split(seconds, 3))
        if low:
            operands = float((m * k + n * k).sum())
            forward += self._bytes(self.recipe.cast[0] * operands)
            back = float((m * n).sum())
            dgrad += self._bytes(self.recipe.cast[0] * back)
            extra = (self.recipe.cast[1] - self.recipe.cast[0]) * (operands + back)
            wgrad += self._bytes(extra)
        return forward, dgrad, wgrad

    def _norm(self, numbers: float, way: int) -> float:
        rate = self._rates.norm if self.recipe.fused_norm else self._rates.pointwise
        return self.recipe.norm[way] * numbers / (rate * self._memory)

    def _activation(self, size: float) -> float:
        return size / (self._rates.activation * self._memory)

    def _bytes(self, size: float) -> float:
        return size / (self._rates.pointwise * self._memory)


_ATTENTION = ("qkv", "output", "qkv_down", "query_up", "query_kv_down", "kv_up")
_DENSE = ("gate_up", "up", "down")
_EXPERTS = ("router", "expert_gate_up", "expert_down", "shared_gate_up", "shared_down")


def _core_size(model: Model) -> int:
    """Numbers of one head in the core; MLA's keys and values differ, the mean stands for both."""
    if not model.mla:
        return model.head_dim
    mla = model.mla
    return (mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim) // 2
