"""A small Llama as an OpenVINO graph, weights from a seed: nothing is downloaded or shipped.

The graph has the form in which Hugging Face models are exported (inputs ``input_ids``,
``attention_mask``, ``position_ids``, ``beam_idx``; the KV cache as state variables; one
scaled-dot-product attention a layer), which the engine turns into paged attention. What the tokens
mean is of no interest here, only what they cost.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.cachedir import user_cache
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import FITS, uniforms

_FORMAT = 2
_LARGEST = 2**31 - 1
_MASKED = -65504.0


@dataclass(frozen=True)
class TinyLlama:
    """Sizes of the model; ``inner`` is the width of the gated MLP."""

    layers: int = 8
    width: int = 512
    heads: int = 8
    kv_heads: int = 4
    inner: int = 1408
    vocabulary: int = 4096
    seed: int = 0

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.width // self.heads

    @property
    def key(self) -> str:
        """Short hash of all sizes."""
        text = json.dumps([_FORMAT, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def model_folder(model: TinyLlama, root: Path | None = None) -> Path:
    """The folder of the model's files, built when it is not there yet (under the user's cache).

    Raises:
        InputError: OpenVINO is not installed, or the folder cannot be written.
    """
    folder = (root or user_cache() / "mltwin" / "local-engine") / f"llama-{model.key}"
    if (folder / "config.json").is_file():
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _save(model, folder)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(folder)) from None
    return folder


def _save(model: TinyLlama, folder: Path) -> None:
    openvino = import_openvino()
    openvino.save_model(build_graph(model), folder / "openvino_model.xml", compress_to_fp16=False)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": model.layers,
        "hidden_size": model.width,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocabulary,
    }
    generation = {"eos_token_id": model.vocabulary - 1}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    # Last, as it says that the folder is whole.
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def import_openvino() -> Any:
    """The openvino package.

    Raises:
        InputError: it is not installed.
    """
    try:
        import openvino
        import openvino_genai  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the local engine needs openvino-genai ({error})",
            mend="pip install mltwin[localtwin]",
        ) from None
    return openvino


def build_graph(model: TinyLlama) -> Any:
    """The model as an ``openvino.Model``.

    Raises:
        InputError: OpenVINO is not installed.
    """
    import_openvino()
    return _Builder(model).build()


class _Builder:
    """Builds the graph of one model, layer by layer."""

    def __init__(self, model: TinyLlama) -> None:
        from openvino import opset13

        self.model = model
        self.op = opset13
        self.weights = 0
        self.sinks: list[Any] = []

    def build(self) -> Any:
        from openvino import Model

        op, model = self.op, self.model
        ids, mask, positions, beam = inputs = self._inputs()
        self.beam = beam
        self.batch = op.gather(op.shape_of(ids), self._ints(0), self._int(0))
        self.mask = self._causal_mask(mask, positions)
        self.cos, self.sin = self._rotary(positions)
        hidden = op.gather(
            self._weight(model.vocabulary, model.width), op.convert(ids, "i32"), self._int(0)
        )
        for layer in range(model.layers):
            hidden = op.add(hidden, self._attention(self._norm(hidden), layer))
            hidden = op.add(hidden, self._mlp(self._norm(hidden)))
        logits = self._linear(self._norm(hidden), model.vocabulary, model.width)
        logits.output(0).get_tensor().set_names({"logits"})
        return Model([op.result(logits, name="logits")], self.sinks, list(inputs), "llama")

    def _inputs(self) -> tuple[Any, Any, Any, Any]:
        from openvino import PartialShape, Type

        def parameter(name: str, shape: list[int], kind: Any) -> Any:
            made = self.op.parameter(PartialShape(shape), kind, name=name)
            made.output(0).get_tensor().set_names({name})
            return made

        return (
            parameter("input_ids", [-1, -1], Type.i64),
            parameter("attention_mask", [-1, -1], Type.i64),
            parameter("position_ids", [-1, -1], Type.i64),
            parameter("beam_idx", [-1], Type.i32),
        )

    def _int(self, value: int) -> Any:
        return self.op.constant(np.array(value, np.int64))

    def _ints(self, *values: int) -> Any:
        return self.op.constant(np.array(values, np.int64))

    def _float(self, value: float) -> Any:
        return self.op.constant(np.array(value, np.float32))

    def _weight(self, *shape: int) -> Any:
        self.weights += 1
        drawn = uniforms(self.model.seed, FITS, self.weights, np.arange(math.prod(shape)))
        # Standard deviation 0.02, as transformers are usually begun with.
        values = 0.02 * math.sqrt(12.0) * (drawn - 0.5)
        return self.op.constant(values.astype(np.float32).reshape(shape))

    def _linear(self, x: Any, out: int, into: int) -> Any:
        return self.op.matmul(x, self._weight(out, into), False, True)

    def _norm(self, x: Any) -> Any:
        """Root-mean-square norm (Zhang and Sennrich, 2019), all gains 1."""
        op = self.op
        square = op.reduce_mean(op.multiply(x, x), self._ints(-1), True)
        scaled = op.multiply(
            x, op.divide(self._float(1.0), op.sqrt(op.add(square, self._float(1e-5))))
        )
        gain = np.ones((1, 1, self.model.width), np.float32)
        return op.multiply(scaled, op.constant(gain))

    def _rotary(self, positions: Any) -> tuple[Any, Any]:
        """Cosine and sine of each position and half head (Su et al., RoFormer, section 3.2)."""
        op, dim = self.op, self.model.head_dim
        frequency = (1.0 / 10000 ** (np.arange(0, dim, 2) / dim)).astype(np.float32)
        angle = op.multiply(
            op.convert(op.unsqueeze(positions, self._int(-1)), "f32"),
            op.constant(frequency.reshape(1, 1, -1)),
        )
        angle = op.concat([angle, angle], -1)
        one = self._int(1)
        return op.unsqueeze(op.cos(angle), one), op.unsqueeze(op.sin(angle), one)

    def _rotate(self, x: Any) -> Any:
        op, half = self.op, self.model.head_dim // 2
        one, axis = self._ints(1), self._ints(3)
        left = op.slice(x, self._ints(0), self._ints(half), one, axis)
        right = op.slice(x, self._ints(half), self._ints(_LARGEST), one, axis)
        turned = op.concat([op.multiply(right, self._float(-1.0)), left], -1)
        return op.add(op.multiply(x, self.cos), op.multiply(turned, self.sin))

    def _causal_mask(self, mask: Any, positions: Any) -> Any:
        op, zero = self.op, self._int(0)
        total = op.gather(op.shape_of(mask), self._int(1), zero)
        keys = op.unsqueeze(op.range(zero, total, self._int(1), "i64"), self._ints(0, 1, 2))
        queries = op.unsqueeze(op.unsqueeze(positions, self._int(1)), self._int(3))
        shown = op.unsqueeze(op.convert(mask, "boolean"), self._ints(1, 2))
        allowed = op.logical_and(op.less_equal(keys, queries), shown)
        return op.select(allowed, self._float(0.0), self._float(_MASKED))

    def _heads(self, x: Any, heads: int) -> Any:
        shape = self._ints(0, 0, heads, self.model.head_dim)
        return self.op.transpose(self.op.reshape(x, shape, True), self._ints(0, 2, 1, 3))

    def _attention(self, x: Any, layer: int) -> Any:
        op, model = self.op, self.model
        kv_width = model.kv_heads * model.head_dim
        query = self._rotate(self._heads(self._linear(x, model.width, model.width), model.heads))
        key = self._rotate(self._heads(self._linear(x, kv_width, model.width), model.kv_heads))
        value = self._heads(self._linear(x, kv_width, model.width), model.kv_heads)
        mixed = op.scaled_dot_product_attention(
            query,
            self._cached(key, layer, "key"),
            self._cached(value, layer, "value"),
            self.mask,
            self._float(model.head_dim**-0.5),
        )
        joined = op.reshape(
            op.transpose(mixed, self._ints(0, 2, 1, 3)), self._ints(0, 0, model.width), True
        )
        return self._linear(joined, model.width, model.width)

    def _cached(self, now: Any, layer: int, name: str) -> Any:
        """Past and present keys or values, each shared by the query heads of its group."""
        from openvino import PartialShape, Type
        from openvino.op.util import Variable, VariableInfo

        op, model = self.op, self.model
        empty = op.concat([self.batch, self._ints(model.kv_heads, 0, model.head_dim)], 0)
        info = VariableInfo()
        info.data_shape = PartialShape([-1, model.kv_heads, -1, model.head_dim])
        info.data_type = Type.f32
        info.variable_id = f"past_key_values.{layer}.{name}present.{layer}.{name}"
        variable = Variable(info)
        state = op.read_value(op.broadcast(self._float(0.0), empty), variable)
        whole = op.concat([op.gather(state, self.beam, self._int(0)), now], -2)
        self.sinks.append(op.assign(whole, variable))
        shape, zero = op.shape_of(whole), self._int(0)
        group = self._ints(model.heads // model.kv_heads)
        wide = op.concat(
            [
                op.gather(shape, self._ints(0, 1), zero),
                group,
                op.gather(shape, self._ints(2, 3), zero),
            ],
            0,
        )
        repeated = op.broadcast(op.unsqueeze(whole, self._int(2)), wide, "BIDIRECTIONAL")
        return op.reshape(repeated, self._ints(0, model.heads, -1, model.head_dim), True)

    def _mlp(self, x: Any) -> Any:
        """Gated MLP with SiLU (Shazeer, "GLU Variants Improve Transformer", section 2)."""
        op, model = self.op, self.model
        gate = op.swish(self._linear(x, model.inner, model.width))
        up = self._linear(x, model.inner, model.width)
        return self._linear(op.multiply(gate, up), model.width, model.inner)
