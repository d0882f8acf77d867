"""Hugging Face ``config.json`` in, :class:`Model` out.

Families name the same thing differently; the tables below hold the names we know. A field that
is missing or looks misspelt stops the reading, because a silently wrong shape would give a
plausible wrong answer.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .model import LINEAR, LinearAttention, Mla, Model, Moe, SparseAttention
from .precision import precision

_DATA = Path(__file__).parent / "data"

_ALIASES = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size", "ffn_dim", "n_inner"),
    "vocab_size": ("vocab_size",),
    "max_context": ("max_position_embeddings", "n_positions"),
    "dtype": ("torch_dtype", "dtype"),
    "experts": ("num_local_experts", "n_routed_experts", "num_experts"),
    "experts_per_token": ("num_experts_per_tok", "experts_per_token"),
    "moe_intermediate_size": ("moe_intermediate_size",),
    "shared_experts": ("n_shared_experts",),
    "shared_intermediate_size": ("shared_expert_intermediate_size",),
    "dense_first": ("first_k_dense_replace",),
    "moe_step": ("decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step"),
    "window": ("sliding_window",),
}

_OTHER_KEYS = (
    "layer_types",
    "sliding_window_pattern",
    "use_sliding_window",
    "max_window_layers",
    "attention_bias",
    "mlp_bias",
    "tie_word_embeddings",
    "quantization_config",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "qk_nope_head_dim",
    "v_head_dim",
    "mlp_only_layers",
    "topk_method",
    "attn_output_gate",
    "full_attention_interval",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
    "index_topk",
    "index_n_heads",
    "index_head_dim",
    "text_config",
    "model_type",
    "architectures",
)
_KNOWN_KEYS = tuple(k for names in _ALIASES.values() for k in names) + _OTHER_KEYS

# Fields that look like a misspelling of a known one but are not.
_LOOKALIKES = frozenset(
    {
        "hidden_act",
        "num_experts_per_token",
        "num_attention_layers",
        "max_sequence_length",
        "qk_head_dim",
        "rope_head_dim",
        "moe_layers",
        "moe_layer_step",
        "num_shared_experts",
        "intermediate_size_mlp",
        "hidden_sizes",
        "num_nextn_predict_layers",
    }
)

_GATED_ACTIVATIONS = frozenset(
    {"llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "deepseek_v2",
     "deepseek_v3", "gpt_oss", "gemma", "gemma2", "gemma3_text", "phi3", "glm4", "kimi_k2",
     "minimax_m2", "glm_moe_dsa",
     "qwen3_5_moe_text", "qwen3_next"}
)  # fmt: skip
_UNGATED = frozenset({"opt", "gpt2", "gpt_neox", "phi", "starcoder2", "gpt_bigcode"})
_QK_NORM = frozenset(
    {"qwen3", "qwen3_moe", "gemma3_text", "minimax_m2", "qwen3_5_moe_text", "qwen3_next"}
)


def model_names() -> list[str]:
    """Names of the models that are shipped."""
    return sorted(path.stem for path in _DATA.glob("*.json"))


def load_model(source: str | Path | Mapping[str, Any]) -> Model:
    """A model from a ``config.json``, a folder that holds one, a dict or a shipped name.

    Raises:
        InputError: no such file or name, not JSON, or a field that is missing or wrong.
    """
    if isinstance(source, Mapping):
        return parse_config(source)
    path = Path(source)
    if path.is_dir():
        path = path / "config.json"
    if not path.exists():
        shipped = _DATA / f"{str(source).lower()}.json"
        if path.suffix == ".json" or not shipped.exists():
            raise InputError(
                f"no model {str(source)!r}",
                mend=_suggestion(str(source).lower(), model_names())
                + f"give a config.json or one of {model_names()}",
            )
        path = shipped
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not JSON ({error})", where=str(path)) from None
    if not isinstance(config, Mapping):
        raise InputError("not a JSON object", where=str(path), mend="give a config.json")
    name = path.parent.name if path.name == "config.json" else path.stem
    return parse_config(config, name=name, where=str(path))


def parse_config(
    config: Mapping[str, Any], *, name: str | None = None, where: str | None = None
) -> Model:
    """A model from the fields of a ``config.json``; ``text_config`` is opened if present.

    Raises:
        InputError: a field is missing, misspelt, of the wrong type, or unsupported.
    """
    name = name or str(config.get("_name_or_path") or config.get("model_type") or "model")
    return _Reader(config, name, where or name).model()


def _suggestion(wrong: str, known: list[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""


class _Reader:
    """Reads one config; every ``_x`` method answers for one group of fields."""

    def __init__(self, config: Mapping[str, Any], name: str, where: str) -> None:
        nested = config.get("text_config")
        outer = {k: v for k, v in config.items() if k != "text_config"}
        # The nested text model wins; the wrapper holds dtype and quantisation.
        self.config = {**outer, **nested} if isinstance(nested, Mapping) else outer
        self.name, self.where = name, where
        self.family = str(self.config.get("model_type", "llama")).lower()
        self._check_spelling()

    def _check_spelling(self) -> None:
        for key in self.config:
            if key in _KNOWN_KEYS or key in _LOOKALIKES:
                continue
            close = difflib.get_close_matches(key, _KNOWN_KEYS, n=1, cutoff=0.92)
            if close and close[0] not in self.config:
                raise InputError(
                    f"unknown field {key!r}", where=self.where, mend=f"did you mean {close[0]!r}?"
                )

    def _find(self, field: str) -> tuple[str, Any]:
        for key in _ALIASES[field]:
            if self.config.get(key) is not None:
                return key, self.config[key]
        return _ALIASES[field][0], None

    def _integer(self, field: str, default: int | None = None, least: int = 1) -> int:
        key, value = self._find(field)
        if value is None:
            if default is not None:
                return default
            raise InputError(
                f"field {key!r} is missing",
                where=self.where,
                mend=_suggestion(key, list(self.config)) + f"add {key!r}",
            )
        return self._as_integer(key, value, least)

    def _as_integer(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(
                f"field {key!r} is {value!r}", where=self.where, mend=f"give a number >= {least}"
            )
        return value

    def model(self) -> Model:
        hidden, layers, heads = (self._integer(f) for f in ("hidden_size", "layers", "heads"))
        if "head_dim" not in self.config and hidden % heads and not self.config.get("kv_lora_rank"):
            raise InputError(
                f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}",
                where=self.where,
                mend="give 'head_dim'",
            )
        context = self._integer("max_context", 8192)
        dtype = self._find("dtype")[1] or "bfloat16"
        plain = precision(str(dtype), where=self.where).name
        weights, experts = self._quantization(plain)
        bias = bool(self.config.get("attention_bias", False))
        opt = self.family == "opt"
        return Model(
            name=self.name,
            hidden_size=hidden,
            layers=layers,
            heads=heads,
            kv_heads=self._kv_heads(heads),
            head_dim=self._integer("head_dim", hidden // heads),
            intermediate_size=self._intermediate_size(hidden),
            vocab_size=self._integer("vocab_size"),
            windows=self._windows(layers),
            max_context=context,
            dtype=plain,
            weight_dtype=weights,
            expert_dtype=experts,
            tied_embeddings=bool(self.config.get("tie_word_embeddings", opt)),
            gated_mlp=self._gated(),
            qkv_bias=bias or opt or self.family in ("qwen2", "qwen2_moe", "gpt2"),
            output_bias=(bias and self.family != "qwen2") or opt or self.family == "gpt2",
            mlp_bias=bool(self.config.get("mlp_bias", False)) or opt or self.family == "gpt2",
            qk_norm=self.family in _QK_NORM,
            qk_norm_over_heads=self.family == "minimax_m2",
            attention_sinks=self.family == "gpt_oss",
            layer_norm_bias=self.family in _UNGATED,
            # OPT's position table starts with two padding rows.
            position_embeddings=context + 2 if opt else context if self.family == "gpt2" else 0,
            gated_attention=bool(self.config.get("attn_output_gate", False)),
            mla=self._mla(),
            moe=self._moe(layers),
            linear=self._linear(layers),
            sparse=self._sparse(),
        )

    def _kv_heads(self, heads: int) -> int:
        kv_heads = self._integer("kv_heads", heads)
        if heads % kv_heads:
            raise InputError(
                f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}",
                where=self.where,
            )
        return kv_heads

    def _intermediate_size(self, hidden: int) -> int:
        if self.family == "gpt2":
            return self._integer("intermediate_size", 4 * hidden)
        # A model whose layers all have experts may leave the dense width out.
        fallback = self._find("moe_intermediate_size")[1]
        return self._integer("intermediate_size", fallback)

    def _gated(self) -> bool:
        if self.family in _UNGATED:
            return False
        if self.family in _GATED_ACTIVATIONS:
            return True
        return str(self.config.get("hidden_act", "silu")).lower() in ("silu", "swiglu", "swish")

    def _windows(self, layers: int) -> tuple[int, ...]:
        """Each layer's window; 0 is full attention, LINEAR linear attention."""
        if self.config.get("linear_num_key_heads") is not None:
            full = self._as_integer(
                "full_attention_interval", self.config.get("full_attention_interval", 4), 1
            )
            return tuple(0 if (i + 1) % full == 0 else LINEAR for i in range(layers))
        if self.config.get("use_sliding_window") is False or self._find("window")[1] is None:
            return (0,) * layers
        window = self._integer("window")
        types = self.config.get("layer_types")
        if types is not None:
            if not isinstance(types, list) or len(types) != layers:
                raise InputError(f"'layer_types' must list {layers} layers", where=self.where)
            return tuple(window if "sliding" in str(t) else 0 for t in types)
        period = self.config.get("sliding_window_pattern")
        if period is None and self.family == "gemma2":
            period = 2
        if period is not None:
            period = self._as_integer("sliding_window_pattern", period, 1)
            return tuple(0 if (i + 1) % period == 0 else window for i in range(layers))
        if self.family in ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"):
            full = self._as_integer(
                "max_window_layers", self.config.get("max_window_layers", layers), 0
            )
            return tuple(0 if i < full else window for i in range(layers))
        return (window,) * layers

    def _mla(self) -> Mla | None:
        if self.config.get("kv_lora_rank") is None:
            return None
        sizes = {}
        for key in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"):
            if key not in self.config:
                raise InputError(
                    f"field {key!r} is missing",
                    where=self.where,
                    mend=_suggestion(key, list(self.config)) + "latent attention needs it",
                )
            sizes[key] = self._as_integer(key, self.config[key], 1)
        rank = self.config.get("q_lora_rank")
        return Mla(**sizes, q_lora_rank=rank and self._as_integer("q_lora_rank", rank, 1))

    def _linear(self, layers: int) -> LinearAttention | None:
        if self.config.get("linear_num_key_heads") is None:
            return None
        sizes = {}
        for key in ("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim"):
            if key not in self.config:
                raise InputError(
                    f"field {key!r} is missing", where=self.where, mend="linear layers need it"
                )
            sizes[key] = self._as_integer(key, self.config[key], 1)
        return LinearAttention(
            layers=self._windows(layers).count(LINEAR),
            key_heads=sizes["linear_num_key_heads"],
            value_heads=sizes["linear_num_value_heads"],
            head_dim=sizes["linear_key_head_dim"],
            kernel=self._as_integer(
                "linear_conv_kernel_dim", self.config.get("linear_conv_kernel_dim", 4), 1
            ),
        )

    def _sparse(self) -> SparseAttention | None:
        if self.config.get("index_topk") is None:
            return None
        keys = ("index_topk", "index_n_heads", "index_head_dim")
        return SparseAttention(*(self._as_integer(k, self.config.get(k), 1) for k in keys))

    def _moe(self, layers: int) -> Moe | None:
        if self._find("experts")[1] is None:
            return None
        experts, chosen = self._integer("experts"), self._integer("experts_per_token")
        if chosen > experts:
            raise InputError(f"{chosen} experts per token of {experts}", where=self.where)
        width = self._integer("moe_intermediate_size", self._find("intermediate_size")[1])
        shared = self._integer("shared_experts", 0, least=0) * width
        return Moe(
            experts=experts,
            experts_per_token=chosen,
            intermediate_size=width,
            layers=self._moe_layers(layers),
            shared_intermediate_size=self._integer("shared_intermediate_size", shared, least=0),
            shared_gate=self.family in ("qwen2_moe", "qwen3_5_moe_text", "qwen3_next"),
            router_bias=self.family in ("gpt_oss", "minimax_m2")
            or self.config.get("topk_method") == "noaux_tc",
            expert_bias=self.family == "gpt_oss",
        )

    def _moe_layers(self, layers: int) -> int:
        first = self._integer("dense_first", 0, least=0)
        step = self._integer("moe_step", 1)
        dense = self.config.get("mlp_only_layers") or ()
        # DeepSeek counts its step from layer 0, the others from layer 1.
        shift = 0 if self.family.startswith(("deepseek", "kimi", "glm_moe")) else 1
        return sum(i >= first and (i + shift) % step == 0 and i not in dense for i in range(layers))

    def _quantization(self, plain: str) -> tuple[str, str]:
        """(format of the linear layers, format of the experts)."""
        quant = self.config.get("quantization_config")
        if not quant:
            return plain, plain
        if not isinstance(quant, Mapping):
            raise InputError("'quantization_config' is not an object", where=self.where)
        method = str(quant.get("quant_method", quant.get("quant_algo", ""))).lower()
        if method == "mxfp4":
            return plain, "mxfp4"
        stored = self._stored_format(method, quant)
        return stored, stored

    def _stored_format(self, method: str, quant: Mapping[str, Any]) -> str:
        if method in ("fp8", "fbgemm_fp8"):
            return "fp8_block" if quant.get("weight_block_size") else "fp8"
        if method in ("awq", "gptq"):
            bits = quant.get("bits", quant.get("w_bit", 4))
            if bits in (4, 8):
                return "int4" if bits == 4 else "int8"
        if method == "modelopt" and "fp8" in str(quant.get("quant_algo", "")).lower():
            return "fp8"
        if method == "compressed-tensors":
            groups = quant.get("config_groups") or {}
            weights = [g.get("weights") or {} for g in groups.values() if isinstance(g, Mapping)]
            kinds = {(w.get("type"), w.get("num_bits")) for w in weights}
            known = {("float", 8): "fp8", ("int", 8): "int8", ("int", 4): "int4"}
            if len(kinds) == 1 and (kind := kinds.pop()) in known:
                return known[kind]
        raise InputError(
            f"unsupported quantization_config (quant_method {method!r})",
            where=self.where,
            mend="supported: fp8, awq and gptq of 4 or 8 bits, mxfp4, modelopt FP8, "
            "compressed-tensors of one 4- or 8-bit kind",
        )
