"""Time of one iteration of a model on a replica, composed of measured operators.

    t = GEMMs(tokens) + experts(tokens) + norms and activations(tokens) + all-reduces(tokens)
        + attention(prefill chunks) + attention(decodes) + head(sequences) + host

Operators run one after another, as in a CUDA graph on one stream; nothing overlaps. Prefill and
decode attention of a mixed batch run in one kernel call, so the larger of their overheads counts
once. The work itself is added (a mixed kernel is measured 10-25 % faster than the sum: a limit
of this model).

Pipeline parallelism assumes a full pipeline: the batch is cut into pp equal micro-batches, so an
iteration lasts as long as all layers at 1/pp of the tokens, contexts and sequences, plus pp - 1
hops. A pipeline that drains is not modelled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import Model
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from .operators import AllReduceCost, Array, Number
from .profile import GpuProfile, load_profile

if TYPE_CHECKING:
    from .table import IterationTable

# Kernels of a layer besides GEMMs and attention: two fused add-norms, activation, rotary
# embedding, cache write; an expert layer also picks and weighs its experts.
ELEMENTWISE_KERNELS = 5
ROUTING_KERNELS = 2
KV_FORMATS = ("bfloat16", "float16", "fp8")
_Cost = TypeVar("_Cost")


@dataclass(frozen=True)
class Batch:
    """What an iteration holds, as numbers or arrays that broadcast together.

    Attributes:
        tokens: all tokens, decode and prefill.
        sequences: sequences in the batch.
        decoding: sequences that each make one token.
        context: per window (0 = full), the sum over decoding sequences of the tokens attended.
        longest: per window, the most of them in one sequence.
        prefill: tokens of prefill chunks.
        pairs: per window, (query, key) pairs of prefill chunks.
        chunk: per window, tokens of the longest prefill chunk, at most the window. A short chunk
            after a long cached context is not a long chain: kernels split its keys.
    """

    tokens: Number
    sequences: Number
    decoding: Number
    context: Mapping[int, Number]
    longest: Mapping[int, Number]
    prefill: Number = 0
    pairs: Mapping[int, Number] = field(default_factory=dict)
    chunk: Mapping[int, Number] = field(default_factory=dict)


def prefill_pairs(chunk: int, before: int, window: int = 0) -> int:
    """Causal (query, key) pairs of ``chunk`` new tokens after ``before`` cached ones.

    Each query sees itself and all before it, at most ``window`` of them (0: no limit).
    """
    if window <= 0 or before + chunk <= window:
        return chunk * before + chunk * (chunk + 1) // 2
    growing = max(0, min(chunk, window - before))
    return growing * before + growing * (growing + 1) // 2 + (chunk - growing) * window


def make_batch(
    windows: Iterable[int],
    prefill_chunks: Sequence[tuple[int, int]],
    decode_contexts: Sequence[int] | npt.NDArray[np.int64],
) -> Batch:
    """The batch of given chunks (tokens, context before) and decode contexts.

    Raises:
        InputError: a chunk without tokens, or a negative context.
    """
    if any(tokens < 1 or before < 0 for tokens, before in prefill_chunks):
        raise InputError(
            f"prefill chunks {list(prefill_chunks)}", mend="give (tokens >= 1, context >= 0)"
        )
    contexts = np.asarray(decode_contexts, dtype=np.int64)
    if contexts.size and contexts.min() < 1:
        raise InputError(
            f"decode context {contexts.min()}", mend="the token being made counts: give >= 1"
        )
    prefill = sum(tokens for tokens, _ in prefill_chunks)
    context, longest, pairs, chunk = {}, {}, {}, {}
    for window in set(windows):
        seen = np.minimum(contexts, window) if window else contexts
        context[window] = int(seen.sum())
        longest[window] = int(seen.max(initial=0))
        pairs[window] = sum(prefill_pairs(c, before, window) for c, before in prefill_chunks)
        most = max((c for c, _ in prefill_chunks), default=0)
        chunk[window] = min(most, window) if window else most
    return Batch(
        tokens=prefill + len(contexts),
        sequences=len(prefill_chunks) + len(contexts),
        decoding=len(contexts),
        context=context,
        longest=longest,
        prefill=prefill,
        pairs=pairs,
        chunk=chunk,
    )


class IterationModel:
    """Iteration times of ``model`` on a replica of tp x pp GPUs of one type.

    Args:
        model: a Model, a config.json or a shipped name.
        profile: a GpuProfile, a JSON file or a shipped name.
        tp, pp: tensor- and pipeline-parallel GPUs.
        dtype: format of the linear weights (default: as the model stores them).
        kv_dtype: format of the KV cache (default: the model's).
        host_overhead_s, sequence_overhead_s: host time per iteration and per sequence (default:
            the profile's).
        launch_floor_s: the GPU's part lasts at least this long. 0 suits engines that replay CUDA
            graphs; engines that launch every kernel from Python need 0.3-0.7 ms a layer.

    ``window_layers`` counts layers by sliding window (0: full attention); ``notes`` says where an
    operator was not measured for what it is used for here.

    Raises:
        InputError: unknown names, heads that do not divide, all-reduce not measured for tp.
    """

    linear_in_context = True
    """The lowered table is linear in the context sum within each of its cells."""

    def __init__(
        self,
        model: Model | str,
        profile: GpuProfile | str,
        tp: int = 1,
        pp: int = 1,
        dtype: str | None = None,
        kv_dtype: str | None = None,
        host_overhead_s: float | None = None,
        sequence_overhead_s: float | None = None,
        launch_floor_s: float = 0.0,
    ) -> None:
        model = load_model(model) if isinstance(model, str) else model
        self.profile = load_profile(profile) if isinstance(profile, str) else profile
        self.model = model.with_weights(dtype) if dtype else model
        self.model.check_parallelism(tp, pp)
        self.tp, self.pp = tp, pp
        self.kv_dtype = precision(kv_dtype or model.dtype).name
        if self.kv_dtype not in KV_FORMATS:
            raise InputError(f"KV cache of {self.kv_dtype}", mend=f"use one of {KV_FORMATS}")
        host = self.profile.host
        self.host_s = host.iteration_s if host_overhead_s is None else host_overhead_s
        self.sequence_s = host.sequence_s if sequence_overhead_s is None else sequence_overhead_s
        self.launch_floor_s = launch_floor_s
        self.notes: list[str] = []
        self._choose_operators()

    def _choose_operators(self) -> None:
        model, operators = self.model, self.profile.operators
        self.window_layers = {w: model.windows.count(w) for w in sorted(set(model.windows))}
        self._gemms = model.gemms(self.tp)
        self._plain_gemm, self._plain_width = self._by_format(operators.gemm, model.dtype, "GEMM")
        self._gemm, self._width = self._by_format(operators.gemm, model.weight_dtype, "GEMM")
        if model.moe:
            self._moe, self._moe_width = self._by_format(
                operators.moe, model.expert_dtype, "expert"
            )
        kv = "fp8" if self.kv_dtype == "fp8" else "bfloat16"
        if kv not in operators.decode:
            raise InputError(
                f"{kv} KV cache is not measured on {self.profile.name}",
                mend=f"use one of {sorted(operators.decode)}",
            )
        decode_dim = model.mla.latent if model.mla else model.head_dim
        self._decode = self._by_head_size(operators.decode[kv], decode_dim, "decode")
        prefill_dim = self._prefill_head_size()
        self._prefill = self._by_head_size(operators.prefill[kv], prefill_dim, "prefill")
        self._all_reduce = self._find_all_reduce()

    def _by_format(
        self, costs: Mapping[str, _Cost], stored: str, what: str
    ) -> tuple[_Cost, float | None]:
        """The cost of a weight format, and the weight's width where it differs from the fit's."""
        if stored in costs:
            return costs[stored], None
        compute = precision(stored).compute
        if compute in costs and stored in ("float16", "bfloat16"):
            return costs[compute], None
        compute = compute if compute in costs else "bfloat16"
        if compute not in costs:
            raise InputError(
                f"no {what} timings of {stored} on {self.profile.name}",
                mend=f"use one of {sorted(costs)}",
            )
        self.notes.append(
            f"{what}: {stored} weights are not measured on {self.profile.name}; "
            f"{compute} timings with fewer bytes are used"
        )
        return costs[compute], precision(stored).weight_bytes

    def _by_head_size(self, costs: Mapping[int, _Cost], size: int, what: str) -> _Cost:
        if size in costs:
            return costs[size]
        nearest = min(costs, key=lambda known: (abs(np.log(known / size)), known))
        self.notes.append(
            f"{what} attention: head size {size} is not measured on {self.profile.name}; "
            f"that of {nearest} is used"
        )
        return costs[nearest]

    def _find_all_reduce(self) -> AllReduceCost | None:
        if self.tp == 1:
            return None
        known = self.profile.operators.all_reduce
        if self.tp not in known:
            raise InputError(
                f"all-reduce over tp={self.tp} is not measured on {self.profile.name}",
                mend=f"use one of {[1, *sorted(known)]}",
            )
        return known[self.tp]

    def _prefill_head_size(self) -> int:
        """MLA multiplies keys of n + r with values of v: the mean stands for both."""
        mla = self.model.mla
        if not mla:
            return self.model.head_dim
        return (mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim) // 2

    @property
    def gpus(self) -> int:
        return self.tp * self.pp

    def seconds(
        self,
        prefill_chunks: Sequence[tuple[int, int]] = (),
        decode_contexts: Sequence[int] | npt.NDArray[np.int64] = (),
    ) -> float:
        """Seconds of one iteration.

        Args:
            prefill_chunks: (tokens, context before) of each chunk.
            decode_contexts: KV length of each decoding request, the token being made included.

        Raises:
            InputError: an empty batch, an empty chunk, or a context below 1.
        """
        batch = make_batch(self.window_layers, prefill_chunks, decode_contexts)
        if batch.tokens == 0:
            raise InputError("an iteration needs at least one token")
        return float(self.batch_seconds(batch))

    def batch_seconds(self, batch: Batch) -> Array:
        """Seconds of batches given by their sums (arrays allowed)."""
        share = _micro_batch(batch, self.pp) if self.pp > 1 else batch
        time = (
            self.linear_seconds(share.tokens)
            + self._attention_seconds(share)
            + self.head_seconds(share.sequences)
        )
        time = np.maximum(time, self.launch_floor_s)
        time = time + self.host_s + self.sequence_s * np.asarray(batch.sequences, float)
        if self.pp > 1:
            hidden = np.asarray(share.tokens, float) * self.model.hidden_size * 2
            hop = self.profile.host.hop_s + hidden / self.profile.facts.nvlink_bandwidth
            time = time + (self.pp - 1) * hop
        return np.asarray(time, float)

    def linear_seconds(self, tokens: Number) -> Array:
        """All that depends on the tokens alone: GEMMs, experts, norms, all-reduces."""
        m = np.asarray(tokens, float)
        model = self.model
        time = self._elementwise_seconds(m)
        for gemm in self._gemms:
            if gemm.kind != "token":
                continue
            if gemm.name == "router":
                one = self._plain_gemm.seconds(m, gemm.n, gemm.k, self._plain_width)
            else:
                one = self._gemm.seconds(m, gemm.n, gemm.k, self._width)
            time = time + gemm.count * one
        if model.moe:
            width = -(-model.moe.intermediate_size // self.tp)
            one = self._moe.seconds(
                m,
                model.hidden_size,
                width,
                model.moe.experts,
                model.moe.experts_per_token,
                self._moe_width,
            )
            time = time + model.moe.layers * one
        if self._all_reduce:
            message = m * model.hidden_size * 2
            time = time + 2 * model.layers * self._all_reduce.seconds(message)
        return time

    def _elementwise_seconds(self, m: Array) -> Array:
        """Norms, activations, rotary embedding and cache writes of all layers, in 2-byte numbers.

        A fused add-norm moves 4h numbers a token, the activation 3I, the rotary embedding
        2(H + K)D, the cache write 4KD.
        """
        model, tp = self.model, self.tp
        head_size = model.head_dim if not model.mla else self._prefill_head_size()
        kv_heads = self._kv_heads()
        numbers = 8 * model.hidden_size
        numbers += 2 * (model.heads // tp + kv_heads) * head_size + 4 * kv_heads * head_size
        numbers *= model.layers
        numbers += model.dense_layers * 3 * model.intermediate_size // tp
        kernels = model.layers * (ELEMENTWISE_KERNELS + model.qk_norm)
        if model.moe:
            numbers += model.moe.layers * 3 * model.moe.shared_intermediate_size // tp
            kernels += model.moe.layers * ROUTING_KERNELS
        return self.profile.operators.elementwise.seconds(kernels, 2 * numbers * m)

    def head_seconds(self, sequences: Number) -> Array:
        """The output projection and sampling: one row of logits a sequence."""
        rows = np.maximum(np.asarray(sequences, float), 1.0)
        head = self._gemms[-1]
        time = self._plain_gemm.seconds(rows, head.n, head.k, self._plain_width)
        # Sampling widens the logits to float32 and passes over them about four times.
        sampled = 4 * 4 * rows * self.model.vocab_size
        time = time + self.profile.operators.elementwise.seconds(4, sampled)
        if self.tp > 1:
            gathered = rows * self.model.vocab_size * 2
            time = time + gathered / self.profile.facts.nvlink_bandwidth
        return time

    def _attention_seconds(self, batch: Batch) -> Array:
        time: Array = np.zeros(())
        mixed = (np.asarray(batch.decoding) > 0) & (np.asarray(batch.prefill) > 0)
        group = self._group()
        once = min(self._decode.overhead(group), self._prefill.overhead_s)
        for window, layers in self.window_layers.items():
            layer = self._decode_seconds(batch, window) + self._prefill_seconds(batch, window)
            time = time + layers * (layer - np.where(mixed, once, 0.0))
        return time

    def _decode_seconds(self, batch: Batch, window: int) -> Array:
        model, tp = self.model, self.tp
        width = precision(self.kv_dtype).weight_bytes
        context = np.asarray(batch.context[window], float)
        if not model.mla:
            kv_heads = self._kv_heads()
            size = 2 * kv_heads * model.head_dim * width * context
            return self._decode.seconds(
                batch.decoding, kv_heads, size, batch.longest[window], self._group()
            )
        # The latent serves all heads, so the products may outweigh the bytes: count the larger.
        flops = 2 * model.heads // tp * (model.mla.latent + model.mla.kv_lora_rank) * context
        size = np.maximum(
            model.mla.latent * width * context, flops / self._prefill.flops * self._decode.bandwidth
        )
        return self._decode.seconds(batch.decoding, 1, size, batch.longest[window], self._group())

    def _prefill_seconds(self, batch: Batch, window: int) -> Array:
        if not batch.pairs:
            return np.zeros(())
        return self._prefill.seconds(
            batch.prefill,
            batch.pairs[window],
            batch.chunk[window],
            self.model.heads // self.tp,
            # MLA widens its latent to as many keys and values as queries before a prefill.
            self.model.heads // self.tp if self.model.mla else self._kv_heads(),
            self._prefill_head_size(),
        )

    def pair_seconds(self) -> float:
        """Seconds that one more (query, key) pair of prefill adds in one layer."""
        heads = self.model.heads // self.tp
        return float(self._prefill.per_pair_s(heads, self._prefill_head_size()))

    def _kv_heads(self) -> int:
        """Key-value heads on one GPU; the latent of MLA counts as one."""
        return 1 if self.model.mla else max(1, self.model.kv_heads // self.tp)

    def _group(self) -> int:
        """Query heads per key-value head on one GPU."""
        return self.model.heads // self.tp // self._kv_heads()

    def lower(
        self, max_tokens: int, max_context: int, max_decode: int = 256, tolerance: float = 0.005
    ) -> "IterationTable":
        """Integer tables for the kernels; see :func:`mltwin.models.gpu.lowering.lower`."""
        from .lowering import lower

        return lower(self, max_tokens, max_context, max_decode, tolerance)

    def kv_blocks(
        self,
        block_tokens: int = 16,
        gpu_memory_utilization: float = 0.9,
        activation_bytes: float | None = None,
    ) -> int:
        """KV blocks of the replica; see :func:`mltwin.models.gpu.memory.kv_blocks`."""
        from .memory import kv_blocks

        return kv_blocks(self, block_tokens, gpu_memory_utilization, activation_bytes)

    def power_w(self) -> dict[str, float | None]:
        """Watts of the whole replica: prefill, decode, idle, tdp; None where not measured."""
        power = self.profile.power
        values: dict[str, Any] = {
            "prefill": power.busy_prefill_w,
            "decode": power.busy_decode_w,
            "idle": power.idle_w,
            "tdp": self.profile.facts.tdp_w,
        }
        return {k: None if v is None else v * self.gpus for k, v in values.items()}


def _micro_batch(batch: Batch, pp: int) -> Batch:
    """1/pp of a batch: sums are divided, the longest sequence is not."""

    def part(value: Number) -> Array:
        return np.asarray(value, float) / pp

    return Batch(
        tokens=part(batch.tokens),
        sequences=part(batch.sequences),
        decoding=part(batch.decoding),
        context={w: part(v) for w, v in batch.context.items()},
        longest=batch.longest,
        prefill=part(batch.prefill),
        pairs={w: part(v) for w, v in batch.pairs.items()},
        chunk=batch.chunk,
    )
