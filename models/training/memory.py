"""Memory of one GPU in training: weights, gradients, optimizer states, activations, buffers.

States are those of mixed-precision AdamW: weights multiplied in 2 bytes, and in 4 bytes a master
copy and two moments (ZeRO, arXiv 1910.02054, section 3.1). Activations are counted as by
Korthikanti et al. (arXiv 2205.05198, section 4) for a block of any widths: what each operator needs
in its backward pass, in 2-byte numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

from .plan import TrainingBatch, TrainingPlan

GIB = 2**30
# CUDA context and libraries; assumed, about what an idle PyTorch process with NCCL takes.
RUNTIME_BYTES = 2.0 * GIB


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one GPU of the fullest stage.

    Attributes:
        weights: 2-byte weights that are held all the time (those gathered for a moment are in
            ``buffers``).
        gradients, optimizer: gradients; master weights and moments.
        activations: kept from forward to backward passes, and of the block that is made again.
        logits: outputs of the head and their gradient.
        buffers: gathered weights and gradients on their way.
        runtime: CUDA and NCCL.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    buffers: float
    runtime: float = RUNTIME_BYTES

    @property
    def total(self) -> float:
        """Their sum."""
        states = self.weights + self.gradients + self.optimizer
        return states + self.activations + self.logits + self.buffers + self.runtime

    def describe(self) -> str:
        """All parts in GiB, the largest first."""
        parts = sorted(((getattr(self, f.name), f.name) for f in fields(self)), reverse=True)
        return ", ".join(f"{name} {size / GIB:.1f}" for size, name in parts if size > 0)


def block_parameters(model: Model, plan: TrainingPlan, *, experts: bool) -> tuple[float, float]:
    """Parameters of one block on one GPU: (without routed experts, routed experts)."""
    norms = 2 * model.hidden_size * (1 + model.layer_norm_bias)
    if not experts:
        return (model.attention_parameters + model.mlp_parameters) / plan.tp + norms, 0.0
    assert model.moe is not None
    h, moe = model.hidden_size, model.moe
    fixed = h * moe.experts + moe.experts * moe.router_bias
    shared = 3 * h * moe.shared_intermediate_size / plan.tp
    routed = moe.experts * model.expert_parameters / (plan.ep * plan.tp)
    return model.attention_parameters / plan.tp + shared + fixed + norms, routed


def end_parameters(model: Model, plan: TrainingPlan) -> tuple[float, float]:
    """Parameters on one GPU of the embedding, and of the last norm with the head (which is the
    embedding again where they are tied)."""
    words = model.vocab_size * model.hidden_size / plan.tp
    places = model.position_embeddings * model.hidden_size
    norm = model.hidden_size * (1 + model.layer_norm_bias)
    return words + places, norm + (0.0 if model.tied_embeddings else words)


def activation_bytes(
    model: Model,
    plan: TrainingPlan,
    *,
    experts: bool = False,
    flash: bool = True,
    dropout: bool = False,
    tokens: int = 0,
) -> float:
    """Bytes that one block keeps of one token on one GPU (of its context-parallel share).

    Without recomputation: inputs and outputs of both norms 8h, queries, keys and values, the
    attention's output, what the feed-forward block multiplies and its activation. For GELU blocks
    with I = 4h, dropout and sequence parallelism that is 34h/tp (arXiv 2205.05198, equation 4), and
    5 H s more per token without a fused attention.

    Args:
        flash: a fused attention keeps no s x s matrix.
        dropout: count its masks, a byte a number.
        tokens: s, needed without ``flash``.
    """
    h, t = model.hidden_size, plan.tp
    own = h / t if plan.sequence_parallel else h
    if plan.recompute == "full":
        return 2 * own
    heads = model.heads / t
    size = model.head_dim
    q, kv = heads * size, max(1.0, model.kv_heads / t) * size
    if experts:
        assert model.moe is not None
        moe = model.moe
        width = moe.experts_per_token * moe.intermediate_size + moe.shared_intermediate_size
        inner = width / t
        entering = 2.0 * moe.experts_per_token * h / t
    else:
        inner, entering = model.intermediate_size / t, 0.0
    matrices = 2 if model.gated_mlp or experts else 1
    if plan.recompute == "operators":
        kept = 2 * q + 2 * kv + 2 * q + 2 * inner + 2 * own
        return kept + 2 * own + entering
    total = 8 * own + 2 * (q + 2 * kv) + 2 * q + 2 * inner * (matrices + 1) + entering
    if dropout:
        total += 2 * own
    if not flash and plan.recompute != "selective":
        total += 5 * heads * tokens
    return total


def in_flight(plan: TrainingPlan, stage: int) -> int:
    """Chunks of micro-batches whose activations a stage holds at most.

    GPipe holds all; 1F1B (and ZB-H1, which keeps its memory) p - stage; interleaved stages
    2 (p - stage - 1) + (v - 1) p + 1 (arXiv 2104.04473, section 2.2).
    """
    m, p = plan.microbatches, plan.pp
    if p == 1:
        return 1
    if plan.schedule == "gpipe":
        return m
    if plan.schedule == "interleaved":
        return min(m * plan.interleave, 2 * (p - stage - 1) + (plan.interleave - 1) * p + 1)
    return min(m, p - stage)


@dataclass(frozen=True)
class _Facts:
    """What all stages of a plan have in common, dense blocks and those of experts apart.

    Attributes:
        layers: blocks of each chunk, and (second row) how many of them have experts.
        parameters: of a block on one GPU.
        kept, again: activation bytes of a token: kept, and of a block that is made again.
        ends: parameters of embedding and head.
    """

    layers: tuple[tuple[int, ...], tuple[int, ...]]
    parameters: tuple[float, float]
    kept: tuple[float, float]
    again: tuple[float, float]
    ends: tuple[float, float]


def _facts(model: Model, plan: TrainingPlan) -> _Facts:
    layers = plan.chunk_layers(model)
    routed = []
    end = 0
    for count in layers:
        end += count
        routed.append(min(count, max(0, end - model.dense_layers)))
    both = (False, True) if model.moe else (False, False)
    whole = replace(plan, recompute="none")
    return _Facts(
        layers=(layers, tuple(routed)),
        parameters=_pair(sum(block_parameters(model, plan, experts=e)) for e in both),
        kept=_pair(activation_bytes(model, plan, experts=e) for e in both),
        again=_pair(activation_bytes(model, whole, experts=e) for e in both),
        ends=end_parameters(model, plan),
    )


def _pair(values: Iterable[float]) -> tuple[float, float]:
    first, second = values
    return first, second


def stage_memory(
    model: Model,
    plan: TrainingPlan,
    batch: TrainingBatch,
    stage: int,
    *,
    loss_bytes: float = 10.0,
) -> TrainingMemory:
    """Memory of a GPU of one stage.

    Args:
        loss_bytes: kept of one logit: 2 for it, 2 for its gradient, and 6 more where the loss is
            computed in float32.
    """
    return _stage_memory(model, plan, batch, stage, loss_bytes, _facts(model, plan))


def _stage_memory(
    model: Model,
    plan: TrainingPlan,
    batch: TrainingBatch,
    stage: int,
    loss_bytes: float,
    facts: _Facts,
) -> TrainingMemory:
    blocks = sum(facts.layers[0][stage :: plan.pp])
    experts = sum(facts.layers[1][stage :: plan.pp])
    dense = blocks - experts
    first, last = stage == 0, stage == plan.pp - 1
    units = [facts.parameters[0]] * (dense > 0) + [facts.parameters[1]] * (experts > 0)
    units += [facts.ends[0]] * first + [facts.ends[1]] * last
    largest = max(units)
    parameters = dense * facts.parameters[0] + experts * facts.parameters[1]
    parameters += facts.ends[0] * first + facts.ends[1] * last
    split = plan.sharding
    gathered = plan.zero == 3 and plan.pp == 1
    weights = 0.0 if gathered else 2.0 * parameters
    kept = 2.0 * (plan.prefetch + 1) * largest if gathered else 0.0
    gradients, arriving = plan.gradient_bytes * parameters, plan.bucket_bytes
    if plan.zero >= 2:
        arriving = plan.gradient_bytes * largest
        if plan.pp == 1:
            gradients = 4.0 * parameters / split
    tokens = batch.sequences * batch.tokens / plan.cp
    chunk = (dense * facts.kept[0] + experts * facts.kept[1]) / plan.interleave
    activations = in_flight(plan, stage) * tokens * chunk
    if plan.recompute != "none":
        activations += tokens * max(facts.again[0] * (dense > 0), facts.again[1] * (experts > 0))
    return TrainingMemory(
        weights=weights,
        gradients=gradients,
        optimizer=12.0 * parameters / (split if plan.zero >= 1 else 1),
        activations=activations,
        logits=loss_bytes * tokens * model.vocab_size / plan.tp if last else 0.0,
        buffers=kept + arriving,
    )


def memory_bytes(
    model: Model, plan: TrainingPlan, batch: TrainingBatch, *, loss_bytes: float = 10.0
) -> TrainingMemory:
    """Memory of the GPU that needs most, over all stages; see `stage_memory`."""
    facts = _facts(model, plan)
    stages = [_stage_memory(model, plan, batch, s, loss_bytes, facts) for s in range(plan.pp)]
    return max(stages, key=lambda parts: parts.total)


def check_memory(
    model: Model,
    plan: TrainingPlan,
    batch: TrainingBatch,
    profile: Any,
    *,
    loss_bytes: float = 10.0,
    usable_bytes: float | None = None,
) -> TrainingMemory:
    """The memory of a plan that fits.

    Args:
        profile: GPU profile whose ``facts.usable_bytes`` there are.
        usable_bytes: instead of the profile's.

    Raises:
        InputError: it does not fit; the parts are named, and changes that would make it fit.
    """
    have = profile.facts.usable_bytes if usable_bytes is None else usable_bytes
    need = memory_bytes(model, plan, batch, loss_bytes=loss_bytes)
    if need.total <= have:
        return need
    fitting = [
        text
        for text, other, smaller in _lighter(plan, batch)
        if memory_bytes(model, other, smaller, loss_bytes=loss_bytes).total <= have
    ]
    raise InputError(
        f"{model.name} with {plan.describe()} needs {need.total / GIB:.1f} GiB a GPU and has "
        f"{have / GIB:.1f} ({need.describe()} GiB)",
        where=profile.name,
        mend="it fits with " + " or ".join(fitting[:3])
        if fitting
        else "use more GPUs: a larger tp or pp, or zero=3 over a larger dp",
    )


def _lighter(
    plan: TrainingPlan, batch: TrainingBatch
) -> list[tuple[str, TrainingPlan, TrainingBatch]]:
    """Changes that keep the GPUs and the tokens of a step, lightest first."""
    found = []
    if plan.recompute != "full":
        found.append(("recompute='full'", replace(plan, recompute="full"), batch))
    if plan.zero < 3 and plan.data_ranks > 1:
        found.append(("zero=3", replace(plan, zero=3), batch))
    if batch.sequences > 1:
        half = TrainingBatch(1, batch.tokens)
        more = replace(plan, microbatches=plan.microbatches * batch.sequences)
        found.append(
            (f"micro-batches of 1 sequence (microbatches={more.microbatches})", more, half)
        )
        if plan.zero < 3 and plan.data_ranks > 1:
            both = replace(more, recompute="full", zero=3)
            found.append(("recompute='full', zero=3 and micro-batches of 1 sequence", both, half))
    if plan.recompute != "full" and plan.zero < 3 and plan.data_ranks > 1:
        found.append(
            ("recompute='full' and zero=3", replace(plan, recompute="full", zero=3), batch)
        )
    return found
