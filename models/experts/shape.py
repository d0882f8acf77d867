"""What an expert cache needs to know of a model and a GPU: bytes, and times of a roofline.

A pass of n tokens takes, of one layer,

    dense(n) = max((W + n c k) / (L e_m B), 2 n P / (L e_c F)) + o
    expert(t) = max(w / (e_m B), 2 t p / (e_c F)) + o

with W and P the bytes and parameters of all that is not a routed expert or the embedding table, k
the KV bytes of a token, c the tokens of context, L the layers with experts (what other layers do
is spread over them), w and p the bytes and parameters of one expert, t the tokens that chose it, B
and F bandwidth and peak of the GPU, e_m and e_c the shares of them that are reached, o a fixed
overhead (launches). Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009.
"""

from dataclasses import dataclass

import numpy as np

from mltwin.models.llm import Model, precision
from mltwin.sim.errors import InputError


@dataclass(frozen=True)
class MoeShape:
    """A mixture-of-experts model as bytes.

    Attributes:
        layers: those that have experts.
        experts, chosen: of a layer; of them per token.
        expert_bytes, expert_parameters: of one expert.
        other_bytes: all weights that are not routed experts.
        pass_bytes, pass_parameters: of these, what a pass reads and multiplies (no embeddings).
        kv_bytes_per_token: KV cache of one token, all layers.
    """

    layers: int
    experts: int
    chosen: int
    expert_bytes: int
    expert_parameters: int
    other_bytes: int
    pass_bytes: int
    pass_parameters: int
    kv_bytes_per_token: int

    @property
    def all_bytes(self) -> int:
        """All weights."""
        return self.other_bytes + self.layers * self.experts * self.expert_bytes


def shape_of(model: Model) -> MoeShape:
    """The shape of a language model.

    Raises InputError for one without experts.
    """
    if model.moe is None:
        raise InputError(f"{model.name!r} has no experts", mend="choose a mixture-of-experts model")
    expert = round(model.expert_parameters * precision(model.expert_dtype).weight_bytes)
    routed = model.moe_layers * model.moe.experts * expert
    table = 0 if model.tied_embeddings else model.embedding_parameters
    chosen = model.moe_layers * model.moe.experts_per_token * model.expert_parameters
    return MoeShape(
        layers=model.moe_layers,
        experts=model.moe.experts,
        chosen=model.moe.experts_per_token,
        expert_bytes=expert,
        expert_parameters=model.expert_parameters,
        other_bytes=model.weight_bytes - routed,
        pass_bytes=model.weight_bytes - routed - round(table * precision(model.dtype).weight_bytes),
        pass_parameters=model.active_parameters - chosen - table,
        kv_bytes_per_token=model.kv_bytes_per_token(),
    )


@dataclass(frozen=True)
class Roofline:
    """The speed of a GPU: bytes/s, FLOP/s, the shares of them that are reached, seconds."""

    bandwidth: float
    flops: float
    memory_efficiency: float
    compute_efficiency: float
    overhead_s: float

    def dense_s(self, shape: MoeShape, tokens: np.ndarray, context_tokens: int) -> np.ndarray:
        """Seconds of one layer without its routed experts, for passes of so many tokens."""
        read = shape.pass_bytes + tokens * float(context_tokens * shape.kv_bytes_per_token)
        return self._time(read, 2.0 * tokens * shape.pass_parameters, shape.layers)

    def expert_s(self, shape: MoeShape, tokens: np.ndarray) -> np.ndarray:
        """Seconds of one expert that so many tokens chose."""
        read = np.full(np.shape(tokens), float(shape.expert_bytes))
        return self._time(read, 2.0 * tokens * shape.expert_parameters, 1)

    def _time(self, read: np.ndarray, flops: np.ndarray, layers: int) -> np.ndarray:
        memory = read / (layers * self.memory_efficiency * self.bandwidth)
        compute = flops / (layers * self.compute_efficiency * self.flops)
        return np.asarray(np.maximum(memory, compute) + self.overhead_s)
