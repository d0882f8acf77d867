"""Time of one iteration of a model on a replica, composed of measured operators.

    t = GEMMs(tokens) + experts(tokens) + norms and activations(tokens) + communication(tokens)
        + attention(prefill chunks, decodes) + head(sequences) + host

Operators run one after another, as in a CUDA graph on one stream; ``overlap_comm`` hides a share
of the communication under the rest. Prefill and decode attention of a mixed batch run in one
kernel call (:class:`mltwin.models.gpu.operators.MixedCost`); where that was not measured their
times are added, the smaller of their overheads counted once.

Attention-data parallelism: the model describes one of ``dp`` ranks and takes the others to hold
an equal batch; experts see the tokens of all ranks. Ranks that differ wait for the slowest, which
is not modelled.

Pipeline parallelism assumes a full pipeline: the batch is cut into pp equal micro-batches, so an
iteration lasts as long as all layers at 1/pp of the tokens, contexts and sequences, plus pp - 1
hops. A pipeline that drains is not modelled.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import LINEAR, Model
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from .batch import Batch, make_batch, micro_batch, prefill_pairs
from .communication import Communication
from .operators import Array, MixedCost, Number
from .parallel import Plan
from .profile import GpuProfile, load_profile

if TYPE_CHECKING:
    from .table import IterationTable

__all__ = ["Batch", "IterationModel", "make_batch", "prefill_pairs"]

# Besides two fused add-norms, activation, rotary embedding and cache write, an expert layer picks
# and weighs its experts.
ROUTING_KERNELS = 2
KV_FORMATS = ("bfloat16", "float16", "fp8")
LAUNCH_S_PER_LAYER = 5e-4
Graphs = Literal["full", "decode", "none"]
_Cost = TypeVar("_Cost")


class IterationModel:
    """Iteration times of ``model`` on a replica of tp x pp GPUs of one type.

    Args:
        model: a Model, a config.json or a shipped name.
        profile: a GpuProfile, a JSON file or a shipped name; or anything with a profile's
            ``name``, ``facts``, ``host``, ``power`` and ``operators``.
        tp, pp, ep, dp: see :class:`mltwin.models.gpu.parallel.Plan`.
        dtype: format of the linear weights (default: as the model stores them).
        kv_dtype: format of the KV cache (default: the model's).
        host_overhead_s, sequence_overhead_s: host time per iteration and per sequence (default:
            the profile's).
        launch_floor_s: the GPU's part lasts at least this long, whatever it holds.
        graphs: what the engine replays as CUDA graphs: ``full`` (everything), ``decode``
            (iterations with prefill launch kernel by kernel), ``none``.
        launch_s_per_layer: least time of a layer that is launched kernel by kernel (0.3-0.7 ms
            where Python does it).
        overlap_comm: share of the communication hidden under computation, as far as there is
            enough of it.

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
        profile: GpuProfile | str | Any,
        tp: int = 1,
        pp: int = 1,
        dtype: str | None = None,
        kv_dtype: str | None = None,
        host_overhead_s: float | None = None,
        sequence_overhead_s: float | None = None,
        launch_floor_s: float = 0.0,
        *,
        ep: int = 1,
        dp: int = 1,
        graphs: Graphs = "full",
        launch_s_per_layer: float = LAUNCH_S_PER_LAYER,
        overlap_comm: float = 0.0,
    ) -> None:
        model = load_model(model) if isinstance(model, str) else model
        self.profile = load_profile(profile) if isinstance(profile, str) else profile
        self.model = model.with_weights(dtype) if dtype else model
        self.plan = Plan(tp=tp, pp=pp, ep=ep, dp=dp)
        self.plan.check(self.model)
        self.tp, self.pp = tp, pp
        self.kv_dtype = precision(kv_dtype or model.dtype).name
        if self.kv_dtype not in KV_FORMATS:
            raise InputError(f"KV cache of {self.kv_dtype}", mend=f"use one of {KV_FORMATS}")
        if graphs not in ("full", "decode", "none"):
            raise InputError(f"graphs {graphs!r}", mend="use 'full', 'decode' or 'none'")
        if not 0 <= overlap_comm <= 1:
            raise InputError(f"overlap_comm {overlap_comm}", mend="give a share in [0, 1]")
        host = self.profile.host
        self.host_s = host.iteration_s if host_overhead_s is None else host_overhead_s
        self.sequence_s = host.sequence_s if sequence_overhead_s is None else sequence_overhead_s
        self.launch_floor_s = launch_floor_s
        self.graphs, self.launch_s_per_layer = graphs, launch_s_per_layer
        self.overlap_comm = overlap_comm
        self.notes: list[str] = []
        self._choose_operators()

    def _choose_operators(self) -> None:
        model, operators = self.model, self.profile.operators
        windows = sorted(set(model.windows) - {LINEAR})
        self.window_layers = {w: model.windows.count(w) for w in windows}
        if model.sparse:
            self.window_layers = {model.sparse.top: model.cached_layers}
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
        self._prefill_size = self._prefill_head_size()
        self._prefill = self._by_head_size(operators.prefill[kv], self._prefill_size, "prefill")
        self._mla_decode = getattr(operators, "mla_decode", {}).get(kv) if model.mla else None
        self._mla_prefill = getattr(operators, "mla_prefill", {}).get(kv) if model.mla else None
        self.mixed = getattr(operators, "mixed", None)
        if getattr(self.mixed, "chain_s", 0.0) and (kv == "fp8" or model.mla):
            # FlashAttention-2 does neither: other kernels do, and run each half by itself.
            self.mixed = MixedCost()
        self._linear_attention = getattr(operators, "linear_attention", None)
        self.communication = Communication(
            self.profile, model, self.plan, self.notes, self._exchange_width()
        )

    def _exchange_width(self) -> float:
        """Bytes of one number sent to the experts: 8-bit where they multiply in 8 bits or less."""
        return 1.0 if precision(self.model.expert_dtype).compute != "bfloat16" else 2.0

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

    def _prefill_head_size(self) -> int:
        """MLA multiplies keys of n + r with values of v: the mean stands for both."""
        mla = self.model.mla
        if not mla:
            return self.model.head_dim
        return (mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim) // 2

    @property
    def gpus(self) -> int:
        """GPUs of one replica (with attention-data parallelism: of one rank)."""
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
        return float(self.batch_seconds(self._batch(prefill_chunks, decode_contexts)))

    def breakdown(
        self,
        prefill_chunks: Sequence[tuple[int, int]] = (),
        decode_contexts: Sequence[int] | npt.NDArray[np.int64] = (),
    ) -> dict[str, float]:
        """Seconds by operator of one iteration; ``idle`` is what a launch floor adds, and
        ``overlapped`` (negative) what is hidden. They sum to :meth:`seconds`."""
        batch = self._batch(prefill_chunks, decode_contexts)
        parts = self._parts(micro_batch(batch, self.pp) if self.pp > 1 else batch)
        found = {name: float(value) for name, value in parts.items()}
        found["host"] = float(self.host_s + self.sequence_s * batch.sequences)
        hops = (self.pp - 1) * self._hop_seconds(batch)
        if self.pp > 1:
            found["hops"] = float(hops)
        hidden = -min(self.overlap_comm * found["communication"], self._computing(found))
        if hidden:
            found["overlapped"] = hidden
        total = float(self.batch_seconds(batch))
        found["idle"] = max(0.0, total - sum(found.values()))
        return found

    def _batch(
        self,
        prefill_chunks: Sequence[tuple[int, int]],
        decode_contexts: Sequence[int] | npt.NDArray[np.int64],
    ) -> Batch:
        windows = {*self.window_layers, 0}
        batch = make_batch(windows, prefill_chunks, decode_contexts)
        if batch.tokens == 0:
            raise InputError("an iteration needs at least one token")
        return batch

    def batch_seconds(self, batch: Batch) -> Array:
        """Seconds of batches given by their sums (arrays allowed)."""
        share = micro_batch(batch, self.pp) if self.pp > 1 else batch
        parts = self._parts(share)
        time: Array = np.asarray(sum(parts.values()), float)
        if self.overlap_comm:
            hidden = self.overlap_comm * parts["communication"]
            time = time - np.minimum(hidden, self._computing(parts))
        time = np.maximum(time, self._floor(batch))
        time = time + self.host_s + self.sequence_s * np.asarray(batch.sequences, float)
        if self.pp > 1:
            time = time + (self.pp - 1) * self._hop_seconds(batch)
        return np.asarray(time, float)

    def _parts(self, share: Batch) -> dict[str, Array]:
        """Seconds on the GPU by operator."""
        m = np.asarray(share.tokens, float)
        return {
            "gemm": self._gemm_seconds(m),
            "experts": self._expert_seconds(m),
            "elementwise": self._elementwise_seconds(m),
            "communication": self.communication.seconds(m),
            "attention": self._attention_seconds(share),
            "linear_attention": self._linear_seconds(m, share.sequences),
            "head": self.head_seconds(share.sequences),
        }

    @staticmethod
    def _computing(parts: Mapping[str, Any]) -> Any:
        return parts["gemm"] + parts["experts"] + parts["attention"]

    def _floor(self, batch: Batch) -> Array:
        """Least GPU seconds: kernels cannot run before they are launched."""
        launched = self.launch_s_per_layer * self.model.layers / self.pp
        if self.graphs == "none":
            return np.maximum(self.launch_floor_s, launched)
        if self.graphs == "decode":
            eager = np.asarray(batch.prefill, float) > 0
            return np.maximum(self.launch_floor_s, np.where(eager, launched, 0.0))
        return np.asarray(self.launch_floor_s, float)

    def _hop_seconds(self, batch: Batch) -> Array:
        hidden = np.asarray(batch.tokens, float) / self.pp * self.model.hidden_size * 2
        link = hidden / self.profile.facts.nvlink_bandwidth
        return np.asarray(self.profile.host.hop_s + link)

    def _gemm_seconds(self, m: Array) -> Array:
        time: Array = np.zeros(())
        for gemm in self._gemms:
            if gemm.kind != "token":
                continue
            plain = gemm.name in ("router", "linear_gates", "index_key")
            cost, width = (
                (self._plain_gemm, self._plain_width) if plain else (self._gemm, self._width)
            )
            time = time + gemm.count * cost.seconds(m, gemm.n, gemm.k, width)
        return time

    def _expert_seconds(self, m: Array) -> Array:
        moe, plan = self.model.moe, self.plan
        if not moe:
            return np.zeros(())
        one = self._moe.seconds(
            m * plan.dp,
            self.model.hidden_size,
            -(-moe.intermediate_size // plan.expert_tp),
            moe.experts,
            moe.experts_per_token,
            self._moe_width,
            ep=plan.ep,
        )
        return moe.layers * one

    def _elementwise_seconds(self, m: Array) -> Array:
        """Norms, activations, rotary embedding and cache writes of all layers, in 2-byte numbers.

        A fused add-norm moves 4h numbers a token, the activation 3I, the rotary embedding
        2(H + K)D, the cache write 4KD.
        """
        model, tp = self.model, self.tp
        kv_heads = self._kv_heads()
        rotary = (2 * (model.heads // tp + kv_heads) + 4 * kv_heads) * self._prefill_size
        numbers = 8 * model.hidden_size * model.layers + rotary * model.cached_layers
        numbers += model.dense_layers * 3 * model.intermediate_size // tp
        each = self.profile.operators.elementwise.per_layer + model.qk_norm
        kernels = model.layers * each
        if model.moe:
            numbers += model.moe.layers * 3 * model.moe.shared_intermediate_size // tp
            kernels += model.moe.layers * ROUTING_KERNELS
        return self.profile.operators.elementwise.seconds(kernels, 2 * numbers * m)

    def head_seconds(self, sequences: Number) -> Array:
        """The output projection and sampling: one row of logits a sequence."""
        rows = np.maximum(np.asarray(sequences, float), 1.0)
        head = self._gemms[-1]
        time = self._plain_gemm.seconds(rows, head.n, head.k, self._plain_width)
        # Two passes over the logits in 4 bytes (vLLM's sampler, RTX 4090 and RTX PRO 6000: 1.8).
        sampled = 2 * 4 * rows * self.model.vocab_size
        time = time + self.profile.operators.elementwise.seconds(4, sampled)
        if self.tp > 1:
            gathered = rows * self.model.vocab_size * 2
            time = time + gathered / self.profile.facts.nvlink_bandwidth
        return time

    def _attention_seconds(self, batch: Batch) -> Array:
        time: Array = np.zeros(())
        mixed = (np.asarray(batch.decoding) > 0) & (np.asarray(batch.prefill) > 0)
        for window, layers in self.window_layers.items():
            decode, prefill = (
                self._decode_seconds(batch, window),
                self._prefill_seconds(batch, window),
            )
            if self.mixed is not None:
                both = self.mixed.seconds(
                    prefill,
                    decode,
                    batch.prefill,
                    batch.decoding,
                    batch.context[window],
                    batch.longest[window],
                    batch.chunk.get(window, 0),
                    self.model.heads // self.tp,
                    self._kv_heads(),
                    self.model.head_dim,
                )
            else:
                both = decode + prefill - self._shared_overhead()
            layer = np.where(mixed, both, decode + prefill)
            time = time + layers * (layer + self._indexer_seconds(batch))
        return time

    def _shared_overhead(self) -> float:
        """The smaller overhead of the two kernels, which one call pays once."""
        overhead = getattr(self._decode, "overhead", None)
        if overhead is None or not hasattr(self._prefill, "overhead_s"):
            return 0.0
        return float(min(overhead(self._group()), self._prefill.overhead_s))

    def _decode_seconds(self, batch: Batch, window: int) -> Array:
        model, heads = self.model, self.model.heads // self.tp
        context, longest = batch.context[window], batch.longest[window]
        if not model.mla:
            return self._decode.seconds(
                batch.decoding, context, longest, heads, self._kv_heads(), model.head_dim, window
            )
        if self._mla_decode is not None:
            return self._mla_decode.seconds(batch.decoding, context, longest, heads)
        # One latent of c + r serves all heads: half of it stands for the keys, half for the
        # values. Its products may outweigh its bytes; then the context counts for more.
        latent, width = model.mla.latent, precision(self.kv_dtype).weight_bytes
        flops = 2 * heads * (latent + model.mla.kv_lora_rank)
        heavier = flops / self._prefill.flops * self._decode.bandwidth / (latent * width)
        counted = max(1.0, heavier) * np.asarray(context, float)
        group = max(2, heads)
        return self._decode.seconds(batch.decoding, counted, longest, group, 1, latent / 2, window)

    def _prefill_seconds(self, batch: Batch, window: int) -> Array:
        if not batch.pairs:
            return np.zeros(())
        heads = self.model.heads // self.tp
        sums = (batch.prefill, batch.pairs[window], batch.chunk[window])
        if self._mla_prefill is not None:
            return self._mla_prefill.seconds(*sums, heads)
        # MLA widens its latent to as many keys and values as queries before a prefill.
        kv_heads = heads if self.model.mla else self._kv_heads()
        time = self._prefill.seconds(*sums, heads, kv_heads, self._prefill_size, window)
        chained = getattr(self.mixed, "prefill", None)
        return time if chained is None else chained(time, *sums, self.model.head_dim, window)

    def _indexer_seconds(self, batch: Batch) -> Array:
        """Sparse attention's indexer: reads one 8-bit key for every token in the context and
        scores it for each of its heads (DeepSeek-V3.2, arXiv 2512.02556, section 2.1)."""
        sparse = self.model.sparse
        if not sparse:
            return np.zeros(())
        pairs = np.asarray(batch.context[0], float) + np.asarray(batch.pairs.get(0, 0), float)
        size = np.asarray(batch.context[0], float) * sparse.head_dim
        scored = 2.0 * pairs * sparse.heads * sparse.head_dim
        rate = self.profile.facts.peak_flops["bfloat16"] / 2
        kernel = self.profile.operators.elementwise.seconds(1, size)
        return np.asarray(kernel + scored / rate)

    def _linear_seconds(self, m: Array, sequences: Number) -> Array:
        """Linear attention: reads and writes one state a sequence, in float32."""
        linear = self.model.linear
        if not linear:
            return np.zeros(())
        heads = max(1, linear.value_heads // self.tp)
        if self._linear_attention is not None:
            one = self._linear_attention.seconds(m, sequences, heads, linear.head_dim)
            return linear.layers * one
        state = linear.state_numbers / self.tp * 4 * 2 * np.asarray(sequences, float)
        columns = (2 * linear.key_heads + 2 * linear.value_heads) * linear.head_dim / self.tp
        one = self.profile.operators.elementwise.seconds(3, state + 4 * columns * m)
        # A chunk of C tokens costs C D products a value head besides those with the state.
        scored = 2.0 * m * heads * linear.head_dim * (2 * linear.head_dim + 64)
        return linear.layers * (one + scored / (self.profile.facts.peak_flops["bfloat16"] / 4))

    def pair_seconds(self) -> float:
        """Seconds that one more (query, key) pair of prefill adds in one layer."""
        heads = self.model.heads // self.tp
        if self._mla_prefill is not None:
            return float(self._mla_prefill.per_pair_s(heads))
        return float(self._prefill.per_pair_s(heads, self._prefill_size))

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
