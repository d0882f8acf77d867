"""How many KV blocks fit beside the weights."""

from typing import TYPE_CHECKING

from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from .iteration import IterationModel

GIB = 2**30
# CUDA context, libraries, graphs and communication buffers of one process; assumed, about what
# serving engines report.
RUNTIME_BYTES = 1.5 * GIB


def weight_bytes_per_gpu(model: "IterationModel") -> int:
    """Weights on the fullest GPU: layers over pp (the first or last stage holds an embedding),
    matrices over tp, routed experts over the tp x dp GPUs that share them; norms repeated (below
    0.1 %, counted as split)."""
    llm = model.model
    ends = llm.vocab_size * llm.hidden_size * precision(llm.dtype).weight_bytes
    embeddings = ends * (1 if llm.tied_embeddings else 2)
    routed = llm.routed_parameters * precision(llm.expert_dtype).weight_bytes
    layers = llm.weight_bytes - embeddings - routed
    share = -(-llm.layers // model.pp) / llm.layers
    stage = layers * share + (embeddings if model.pp == 1 else ends)
    return round(stage / model.tp + routed * share / model.plan.group)


def default_activation_bytes(model: "IterationModel", tokens: int = 8192) -> float:
    """Peak activations of an iteration of ``tokens``: hidden states and residual (4h), the widest
    projection in and out, in 2-byte numbers, and float32 logits of 256 sequences."""
    llm = model.model
    widest = max(g.n for g in llm.gemms(model.tp) if g.kind == "token")
    if llm.moe:
        routed = llm.moe.experts_per_token * (
            3 * llm.moe.intermediate_size // model.tp + llm.hidden_size
        )
        widest = max(widest, routed)
    return 2.0 * tokens * (4 * llm.hidden_size + 1.5 * widest) + 4.0 * 256 * llm.vocab_size


def kv_blocks(
    model: "IterationModel",
    block_tokens: int = 16,
    gpu_memory_utilization: float = 0.9,
    activation_bytes: float | None = None,
) -> int:
    """Blocks of ``block_tokens`` tokens that the replica's KV cache holds.

    Each GPU gives usable memory x utilisation - weights - activations - runtime; the fullest
    decides. Every layer is taken to keep every token (a sliding window frees nothing here).

    Args:
        activation_bytes: peak per GPU (default: :func:`default_activation_bytes`).

    Raises:
        InputError: the model does not fit (need and have are named), or a bad argument.
    """
    if block_tokens < 1 or not 0 < gpu_memory_utilization <= 1:
        raise InputError(
            f"block_tokens {block_tokens}, gpu_memory_utilization {gpu_memory_utilization}",
            mend="give a block of 1 token or more and a utilisation in (0, 1]",
        )
    if activation_bytes is None:
        activation_bytes = default_activation_bytes(model)
    block = block_tokens * model.model.kv_bytes_per_token_per_gpu(
        model.tp, model.pp, model.kv_dtype
    )
    have = model.profile.facts.usable_bytes * gpu_memory_utilization
    need = weight_bytes_per_gpu(model) + activation_bytes + RUNTIME_BYTES
    blocks = int((have - need) // block)
    if blocks < 1:
        raise InputError(
            f"{model.model.name} on {model.gpus} x {model.profile.name} (tp={model.tp}, "
            f"pp={model.pp}) needs {(need + block) / GIB:.1f} GiB a GPU and has {have / GIB:.1f}",
            mend="use more GPUs, narrower weights or a higher gpu_memory_utilization",
        )
    return blocks
