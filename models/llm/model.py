"""The shape of a transformer, and what follows from it by counting.

Notation in the formulas: h hidden size, L layers, H query heads, K key-value heads, D head size,
I intermediate size, V vocabulary, E experts, T experts per token, M expert intermediate size.
"""

from dataclasses import dataclass, replace
from typing import Literal

from mltwin.sim.errors import InputError

from .precision import precision

Kind = Literal["token", "expert", "head"]


@dataclass(frozen=True)
class Gemm:
    """One weight matrix of the model on one GPU: y[m, n] = x[m, k] W[n, k]^T.

    Attributes:
        name: which projection.
        n: output columns on one GPU.
        k: inner size on one GPU.
        count: how many such matrices one pass goes through (all layers). For experts: the number
            of MoE layers; one rank holds ``Moe.experts`` of them per layer.
        kind: what m is. ``token``: every token of the iteration; ``expert``: the tokens routed to
            one expert; ``head``: one row a sequence.
    """

    name: str
    n: int
    k: int
    count: int
    kind: Kind


@dataclass(frozen=True)
class Mla:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""

    kv_lora_rank: int
    qk_rope_head_dim: int
    qk_nope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None

    @property
    def latent(self) -> int:
        """Numbers cached per token and layer: the latent and the shared rotary key."""
        return self.kv_lora_rank + self.qk_rope_head_dim


@dataclass(frozen=True)
class Moe:
    """Mixture-of-experts feed-forward layers.

    Attributes:
        experts, experts_per_token, intermediate_size: E, T, M.
        layers: how many of the model's layers are MoE.
        shared_intermediate_size: width of the expert that every token passes (0: none).
        shared_gate: the shared expert has a scalar gate (Qwen2-MoE).
        router_bias: the router has a bias (or a score correction) of E numbers.
        expert_bias: the experts' projections have biases.
    """

    experts: int
    experts_per_token: int
    intermediate_size: int
    layers: int
    shared_intermediate_size: int = 0
    shared_gate: bool = False
    router_bias: bool = False
    expert_bias: bool = False


@dataclass(frozen=True)
class LinearAttention:
    """Layers with a recurrent state instead of a KV cache (gated delta rule, arXiv 2412.06464).

    Attributes:
        layers: how many of the model's layers.
        key_heads, value_heads, head_dim: heads of queries and keys, of values, and their size.
        kernel: width of the causal convolution before it.
    """

    layers: int
    key_heads: int
    value_heads: int
    head_dim: int
    kernel: int = 4

    @property
    def state_numbers(self) -> int:
        """Numbers of one sequence's state in one layer: D D a value head, and the convolution's."""
        columns = (2 * self.key_heads + self.value_heads) * self.head_dim
        return self.value_heads * self.head_dim**2 + (self.kernel - 1) * columns


@dataclass(frozen=True)
class SparseAttention:
    """Attention to the ``top`` best keys, chosen by a light indexer over all of them
    (DeepSeek-V3.2, arXiv 2512.02556, section 2.1).

    Attributes:
        top: keys attended per query.
        heads, head_dim: of the indexer; its one key a token is cached too.
    """

    top: int
    heads: int
    head_dim: int


LINEAR = -1
"""In ``Model.windows``: the layer has linear attention."""


@dataclass(frozen=True)
class Model:
    """Architecture of a decoder-only transformer.

    ``windows`` holds each layer's sliding window in tokens, 0 for full attention, ``LINEAR`` for
    linear attention. ``qk_norm_over_heads``: queries and keys are normed over all heads at once,
    not each head for itself. ``dtype`` is the format of everything that is not quantised
    (embeddings, norms, router, head, KV cache), ``weight_dtype`` that of the linear layers and
    ``expert_dtype`` that of the experts.
    """

    name: str
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    windows: tuple[int, ...]
    max_context: int
    dtype: str = "bfloat16"
    weight_dtype: str = "bfloat16"
    expert_dtype: str = "bfloat16"
    tied_embeddings: bool = False
    gated_mlp: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    qk_norm_over_heads: bool = False
    attention_sinks: bool = False
    layer_norm_bias: bool = False
    position_embeddings: int = 0
    gated_attention: bool = False
    mla: Mla | None = None
    moe: Moe | None = None
    linear: LinearAttention | None = None
    sparse: SparseAttention | None = None

    @property
    def linear_layers(self) -> int:
        return self.linear.layers if self.linear else 0

    @property
    def cached_layers(self) -> int:
        """Layers that keep keys and values of every token."""
        return self.layers - self.linear_layers

    @property
    def moe_layers(self) -> int:
        return self.moe.layers if self.moe else 0

    @property
    def dense_layers(self) -> int:
        """Layers with an ordinary feed-forward block."""
        return self.layers - self.moe_layers

    @property
    def attention_parameters(self) -> int:
        """Parameters of one layer's attention.

        Grouped queries: h(H + 2K)D + HDh, biases (H + 2K)D and h, 2D for norms of query and key,
        H for sinks. MLA: hq + q + qH(n + r) for a query rank q (hH(n + r) without), plus
        h(c + r) + c for the latent, cH(n + v) to widen it and Hvh for the output, with c the
        latent rank and n, r, v the head's plain, rotary and value sizes.
        """
        h = self.hidden_size
        if self.mla:
            m = self.mla
            indexer = self._indexer_parameters
            query_dim = self.heads * (m.qk_nope_head_dim + m.qk_rope_head_dim)
            if m.q_lora_rank:
                query = h * m.q_lora_rank + m.q_lora_rank + m.q_lora_rank * query_dim
            else:
                query = h * query_dim
            latent = h * m.latent + m.kv_lora_rank
            widen = m.kv_lora_rank * self.heads * (m.qk_nope_head_dim + m.v_head_dim)
            return query + latent + widen + self.heads * m.v_head_dim * h + indexer
        qkv_dim = (self.heads * (1 + self.gated_attention) + 2 * self.kv_heads) * self.head_dim
        total = h * qkv_dim + self.heads * self.head_dim * h
        total += qkv_dim * self.qkv_bias + h * self.output_bias
        return total + 2 * self.head_dim * self.qk_norm + self.heads * self.attention_sinks

    @property
    def _indexer_parameters(self) -> int:
        """Queries of the indexer from the query latent, one key and a weight a head from h."""
        if not self.sparse:
            return 0
        s = self.sparse
        source = (self.mla.q_lora_rank if self.mla else None) or self.hidden_size
        return source * s.heads * s.head_dim + self.hidden_size * (s.head_dim + s.heads)

    @property
    def linear_attention_parameters(self) -> int:
        """Parameters of one linear layer's mixer: queries, keys, values and output gate, two
        scalars a value head (decay and step) with biases, the convolution, the output."""
        if not self.linear:
            return 0
        a, h = self.linear, self.hidden_size
        keys, values = a.key_heads * a.head_dim, a.value_heads * a.head_dim
        projections = h * (2 * keys + 2 * values + 2 * a.value_heads) + values * h
        return projections + a.kernel * (2 * keys + values) + 2 * a.value_heads + a.head_dim

    @property
    def mlp_parameters(self) -> int:
        """Parameters of a dense feed-forward block: 3hI if gated, 2hI if not, plus biases."""
        h, i = self.hidden_size, self.intermediate_size
        matrices = 3 if self.gated_mlp else 2
        return matrices * h * i + ((matrices - 1) * i + h) * self.mlp_bias

    @property
    def expert_parameters(self) -> int:
        """Parameters of one routed expert: 3hM, plus 2M + h of biases."""
        if not self.moe:
            return 0
        m = self.moe.intermediate_size
        return 3 * self.hidden_size * m + (2 * m + self.hidden_size) * self.moe.expert_bias

    @property
    def _moe_fixed_parameters(self) -> int:
        """What every token passes in one MoE layer besides the routed experts."""
        if not self.moe:
            return 0
        h, moe = self.hidden_size, self.moe
        router = h * moe.experts + moe.experts * moe.router_bias
        return router + 3 * h * moe.shared_intermediate_size + h * moe.shared_gate

    @property
    def embedding_parameters(self) -> int:
        """Token and learned position embeddings (the head not counted)."""
        return (self.vocab_size + self.position_embeddings) * self.hidden_size

    @property
    def head_parameters(self) -> int:
        """The output projection, 0 when it shares the embedding."""
        return 0 if self.tied_embeddings else self.vocab_size * self.hidden_size

    @property
    def norm_parameters(self) -> int:
        """Two norms a layer and one at the end; LayerNorm also has a bias."""
        return (2 * self.layers + 1) * self.hidden_size * (1 + self.layer_norm_bias)

    def _parameters(self, experts: int) -> int:
        return (
            self.embedding_parameters
            + self.head_parameters
            + self.norm_parameters
            + self.cached_layers * self.attention_parameters
            + self.linear_layers * self.linear_attention_parameters
            + self.dense_layers * self.mlp_parameters
            + self.moe_layers * (self._moe_fixed_parameters + experts * self.expert_parameters)
        )

    @property
    def parameters(self) -> int:
        """All parameters, embeddings and head included; multi-token-prediction layers are not."""
        return self._parameters(self.moe.experts if self.moe else 0)

    @property
    def active_parameters(self) -> int:
        """Parameters that one token passes: T of E experts, embeddings and head included.

        Some publishers leave the embeddings out: subtract ``embedding_parameters`` then.
        """
        return self._parameters(self.moe.experts_per_token if self.moe else 0)

    @property
    def routed_parameters(self) -> int:
        """Parameters of all routed experts of all layers."""
        return self.moe_layers * self.expert_parameters * (self.moe.experts if self.moe else 0)

    @property
    def linear_parameters(self) -> int:
        """Parameters of the layers' matrices without routed experts (what ``weight_dtype``
        applies to; their biases and norms of query and key, below 0.1 %, are counted with them).
        """
        shared = 3 * self.hidden_size * self.moe.shared_intermediate_size if self.moe else 0
        return (
            self.cached_layers * self.attention_parameters
            + self.linear_layers * self.linear_attention_parameters
            + self.dense_layers * self.mlp_parameters
            + self.moe_layers * shared
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights as stored, each part in its own format."""
        plain = self.parameters - self.linear_parameters - self.routed_parameters
        return round(
            plain * precision(self.dtype).weight_bytes
            + self.linear_parameters * precision(self.weight_dtype).weight_bytes
            + self.routed_parameters * precision(self.expert_dtype).weight_bytes
        )

    @property
    def kv_numbers_per_layer(self) -> int:
        """Numbers cached per token in one layer: 2KD, or c + r with MLA, and an indexer's key."""
        numbers = self.mla.latent if self.mla else 2 * self.kv_heads * self.head_dim
        return numbers + (self.sparse.head_dim if self.sparse else 0)

    def kv_bytes_per_token(self, kv_dtype: str | None = None) -> int:
        """KV cache bytes of one token over all layers, as if every layer kept every token.

        A sliding window bounds how many tokens a layer has to keep, not what a token takes.
        """
        width = precision(kv_dtype or self.dtype).weight_bytes
        return round(self.cached_layers * self.kv_numbers_per_layer * width)

    def kv_bytes_per_token_per_gpu(
        self, tp: int = 1, pp: int = 1, kv_dtype: str | None = None
    ) -> int:
        """KV cache bytes of one token on the fullest GPU of tp x pp.

        Key-value heads are split over tp and repeated where tp > K; the MLA latent is repeated on
        every GPU; layers are split over pp, the largest stage counts.
        """
        self.check_parallelism(tp, pp)
        if self.mla:
            numbers = self.kv_numbers_per_layer
        else:
            numbers = 2 * max(1, self.kv_heads // tp) * self.head_dim
        stage_layers = -(-self.cached_layers // pp)
        return round(stage_layers * numbers * precision(kv_dtype or self.dtype).weight_bytes)

    def check_parallelism(self, tp: int, pp: int = 1) -> None:
        """Raises InputError unless the heads divide over tp and the layers over pp."""
        if tp < 1 or pp < 1:
            raise InputError(f"tp={tp}, pp={pp}", where=self.name, mend="both must be 1 or more")
        divides_kv = self.mla or self.kv_heads % tp == 0 or tp % self.kv_heads == 0
        if self.heads % tp or not divides_kv:
            fitting = [t for t in range(1, self.heads + 1) if self._heads_divide(t)]
            raise InputError(
                f"tp={tp} does not divide {self.heads} heads and {self.kv_heads} key-value heads",
                where=self.name,
                mend=f"use one of {fitting}",
            )
        if pp > self.layers:
            raise InputError(
                f"pp={pp} exceeds {self.layers} layers",
                where=self.name,
                mend=f"give at most {self.layers}",
            )

    def _heads_divide(self, tp: int) -> bool:
        kv = bool(self.mla) or self.kv_heads % tp == 0 or tp % self.kv_heads == 0
        return self.heads % tp == 0 and kv

    def gemms(self, tp: int = 1) -> list[Gemm]:
        """Every matrix multiplication of one pass on one of tp GPUs.

        Column-parallel (QKV, gate-up, head) and row-parallel (output, down) as in Megatron-LM
        (arXiv 1909.08053, section 3); the router and the MLA down-projections are repeated.
        MLA's widening matrix is counted as a plain projection of every token; decoding absorbs it
        into two batched products of equal cost.
        """
        self.check_parallelism(tp)
        gemms = self._attention_gemms(tp) + self._linear_gemms(tp)
        h = self.hidden_size
        if self.dense_layers:
            i = -(-self.intermediate_size // tp)
            wide = 2 * i if self.gated_mlp else i
            gemms.append(
                Gemm("gate_up" if self.gated_mlp else "up", wide, h, self.dense_layers, "token")
            )
            gemms.append(Gemm("down", h, i, self.dense_layers, "token"))
        if self.moe:
            gemms += self._moe_gemms(self.moe, tp)
        gemms.append(Gemm("head", -(-self.vocab_size // tp), h, 1, "head"))
        return gemms

    def _attention_gemms(self, tp: int) -> list[Gemm]:
        h, layers, heads = self.hidden_size, self.cached_layers, self.heads // tp
        if not self.mla:
            kv = max(1, self.kv_heads // tp)
            queries = heads * (1 + self.gated_attention)
            return [
                Gemm("qkv", (queries + 2 * kv) * self.head_dim, h, layers, "token"),
                Gemm("output", h, heads * self.head_dim, layers, "token"),
            ]
        m = self.mla
        query_dim = heads * (m.qk_nope_head_dim + m.qk_rope_head_dim)
        if m.q_lora_rank:
            gemms = [
                Gemm("qkv_down", m.q_lora_rank + m.latent, h, layers, "token"),
                Gemm("query_up", query_dim, m.q_lora_rank, layers, "token"),
            ]
        else:
            gemms = [Gemm("query_kv_down", query_dim + m.latent, h, layers, "token")]
        widened = heads * (m.qk_nope_head_dim + m.v_head_dim)
        gemms.append(Gemm("kv_up", widened, m.kv_lora_rank, layers, "token"))
        gemms.append(Gemm("output", h, heads * m.v_head_dim, layers, "token"))
        if self.sparse:
            s = self.sparse
            gemms.append(
                Gemm("index_query", s.heads * s.head_dim, m.q_lora_rank or h, layers, "token")
            )
            gemms.append(Gemm("index_key", s.head_dim + s.heads, h, layers, "token"))
        return gemms

    def _linear_gemms(self, tp: int) -> list[Gemm]:
        if not self.linear:
            return []
        a, h = self.linear, self.hidden_size
        keys = max(1, a.key_heads // tp) * a.head_dim
        values = max(1, a.value_heads // tp) * a.head_dim
        return [
            Gemm("linear_in", 2 * keys + 2 * values, h, a.layers, "token"),
            Gemm("linear_gates", 2 * max(1, a.value_heads // tp), h, a.layers, "token"),
            Gemm("linear_output", h, values, a.layers, "token"),
        ]

    def _moe_gemms(self, moe: Moe, tp: int) -> list[Gemm]:
        h, width = self.hidden_size, -(-moe.intermediate_size // tp)
        gemms = [
            Gemm("router", moe.experts, h, moe.layers, "token"),
            Gemm("expert_gate_up", 2 * width, h, moe.layers, "expert"),
            Gemm("expert_down", h, width, moe.layers, "expert"),
        ]
        if moe.shared_intermediate_size:
            shared = -(-moe.shared_intermediate_size // tp)
            gemms.append(Gemm("shared_gate_up", 2 * shared, h, moe.layers, "token"))
            gemms.append(Gemm("shared_down", h, shared, moe.layers, "token"))
        return gemms

    def with_weights(self, name: str) -> "Model":
        """The same model with its linear layers and experts stored in another format."""
        stored = precision(name, where=self.name).name
        return replace(self, weight_dtype=stored, expert_dtype=stored)
