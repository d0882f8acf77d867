"""Model and hardware FLOPs utilisation, as the papers count them.

PaLM (arXiv 2204.02311, appendix B): a token takes 6 N FLOPs of matrix products in forward and
backward passes and 12 L H Q T of attention (no causal mask taken off), MFU is the tokens per second
times that over the peak. llm-foundry counts the same: 6 N + 12 L h T. HFU also counts what is made
again in the backward pass.
"""

from mltwin.models.llm.model import Model


def model_flops(model: Model, tokens: int, *, parameters: float | None = None) -> float:
    """FLOPs of one token of a training step: 6 N + 12 L H D T.

    Args:
        tokens: T, of one sequence.
        parameters: N; by default all that one token passes, without an embedding that the head does
            not share (PaLM leaves it out).
    """
    if parameters is None:
        parameters = model.active_parameters
        if not model.tied_embeddings:
            parameters -= model.embedding_parameters
    return 6.0 * parameters + 3.0 * attention_flops(model, tokens)


def attention_flops(model: Model, tokens: int) -> float:
    """Forward FLOPs of the attention's core for one token, unmasked: 4 L H D T."""
    return 4.0 * model.layers * model.heads * model.head_dim * tokens


def hardware_flops(model: Model, tokens: int, recompute: str = "none") -> float:
    """FLOPs of one token with what is made again: ``full`` is one more forward pass of the blocks
    (8 N instead of 6 N, as llm-foundry counts it), ``selective`` of the core alone, ``operators``
    of every second matrix product of the blocks."""
    flops = model_flops(model, tokens)
    core = attention_flops(model, tokens)
    if recompute == "full":
        return flops * 4 / 3
    if recompute == "selective":
        return flops + core
    if recompute == "operators":
        h = model.hidden_size
        keys = h * model.kv_heads * model.head_dim
        output = h * model.heads * model.head_dim
        return flops + 2.0 * model.layers * (keys + output + h * model.intermediate_size)
    return flops


def mfu(
    model: Model,
    tokens: int,
    tokens_per_s_per_gpu: float,
    peak_flops: float,
    *,
    parameters: float | None = None,
) -> float:
    """Model FLOPs utilisation as a fraction; ``tokens`` of one sequence, see `model_flops`."""
    return model_flops(model, tokens, parameters=parameters) * tokens_per_s_per_gpu / peak_flops
