"""Which number formats and which tables a deployment really uses.

A deployment's label ("fp4") says little: checkpoints quantise some layers and not others, engines
pick kernels by GPU, and a table may hold work that a deployment does not do. The rules below go by
model family, engine and GPU generation, each with its reason.
"""

import re
from dataclasses import dataclass, field, replace

from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import Model
from mltwin.sim.errors import InputError

ENGINES = ("vllm", "sglang", "trtllm")
BLACKWELL = ("b200_sxm", "b300_sxm", "gb200", "gb300", "rtx_pro_6000_server")

# Model names as deployments write them -> shipped names.
NAMES = {
    "deepseek-r1": "deepseek-r1",
    "deepseek-v3": "deepseek-v3",
    "minimax-m2": "minimax-m2.5",
    "gpt-oss-120b": "gpt-oss-120b",
    "llama-3.1-70b": "llama-3.1-70b",
    "llama-3.3-70b": "llama-3.1-70b",
    "llama-3.1-8b": "llama-3.1-8b",
    "llama-3.1-405b": "llama-3.1-405b",
    "qwen3-235b-a22b": "qwen3-235b-a22b",
    "qwen3-30b-a3b": "qwen3-30b-a3b",
    "qwen3-32b": "qwen3-32b",
    "qwen3.5-397b": "qwen3.5-397b-a17b",
    "kimi-k2": "kimi-k2.5",
    "glm-5": "glm-5",
    "mixtral-8x7b": "mixtral-8x7b",
    "llama-2-70b": "llama-2-70b",
}
TABLE_FORMATS = {
    "bfloat16": ("bfloat16",),
    "float16": ("bfloat16",),
    "fp8": ("fp8",),
    "fp8_block": ("fp8_block",),
    "nvfp4": ("nvfp4",),
    "int4": ("int4_wo",),
    "mxfp4": ("w4a16_mxfp4",),
}


@dataclass(frozen=True)
class Deployment:
    """A model as an engine serves it on a GPU.

    Attributes:
        model: with the formats of its linear layers and experts.
        kv_dtype: of the KV cache.
        attention_dtype: in which prefill attention multiplies.
        gemm_framework, moe_framework: whose tables to read.
        moe_formats: names of the experts' format in the tables, the best kernel first.
        static_fp8: activations are scaled by constants of the checkpoint, so that the dynamic
            quantisation in the table is taken off.
        notes: what was decided and why.
    """

    model: Model
    kv_dtype: str
    attention_dtype: str
    gemm_framework: str
    moe_framework: str
    moe_formats: tuple[str, ...]
    static_fp8: bool = False
    notes: tuple[str, ...] = field(default=())


def known_model(name: str) -> str:
    """The shipped name of a model that a deployment calls ``name``.

    Raises:
        InputError: none of the known families is in the name.
    """
    key = name.lower().rsplit("/", 1)[-1].replace("meta-", "")
    for part in sorted(NAMES, key=len, reverse=True):
        if part in key:
            return NAMES[part]
    raise InputError(f"no model of the family of {name!r}", mend=f"known are {sorted(NAMES)}")


def resolve(
    engine: str, system: str, model: str, precision: str, version: str | None = None
) -> Deployment:
    """The formats and tables of a deployment.

    Args:
        engine: ``vllm``, ``sglang`` or ``trtllm``.
        system: GPU system, e.g. ``h200_sxm``.
        model: its published name.
        precision: the deployment's label: bf16, fp8, fp8_block, fp4 (nvfp4), int4.
        version: of the engine (None: a recent one).

    Raises:
        InputError: an unknown engine, model or label.
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}", mend=f"use one of {list(ENGINES)}")
    shipped = known_model(model)
    plain = load_model(shipped)
    label = precision.lower()
    blackwell = system in BLACKWELL
    notes: list[str] = []
    weights, experts, kv = _formats(shipped, label, blackwell, notes)
    if engine == "sglang" and not blackwell and kv == "fp8":
        # Recipes name an fp8 cache for Blackwell only; elsewhere the engine's default counts.
        kv = "bfloat16"
        notes.append("SGLang keeps its KV cache in bfloat16 on Hopper")
    if engine == "vllm" and blackwell and shipped == "minimax-m2.5" and recent_vllm(version):
        kv = "fp8"
        notes.append("recipes of vLLM 0.19 on serve MiniMax with an fp8 KV cache on Blackwell")
    stored = replace(plain, weight_dtype=weights, expert_dtype=experts)
    moe_framework, moe_formats = _expert_tables(engine, shipped, experts, blackwell, notes)
    gemm_framework = engine
    if engine == "trtllm" and weights == "nvfp4":
        gemm_framework = "vllm"
        notes.append(
            "TensorRT-LLM's NVFP4 table times the quantisation of activations apart from the "
            "product, which its engine fuses: vLLM's table is read"
        )
    return Deployment(
        model=stored,
        kv_dtype=kv,
        attention_dtype="fp8" if kv == "fp8" and engine in ("trtllm", "sglang") else "bfloat16",
        gemm_framework=gemm_framework,
        moe_framework=moe_framework,
        moe_formats=moe_formats,
        static_fp8=engine == "trtllm" and weights == "fp8",
        notes=tuple(notes),
    )


def recent_vllm(version: str | None) -> bool:
    """Whether a version of vLLM is 0.19 or later; nightly builds and no version count as such."""
    if version is None or version.startswith("nightly"):
        return True
    numbers = re.findall(r"\d+", version)
    return tuple(map(int, numbers[:2])) >= (0, 19) if len(numbers) > 1 else False


def _formats(shipped: str, label: str, blackwell: bool, notes: list[str]) -> tuple[str, str, str]:
    """(linear layers, experts, KV cache)."""
    if shipped == "gpt-oss-120b":
        notes.append("gpt-oss is published in MXFP4 with bfloat16 attention, whatever the label")
        # The recipes serve it with an fp8 KV cache where the GPU has a kernel for it.
        return "bfloat16", "mxfp4", "fp8" if blackwell else "bfloat16"
    if label in ("bf16", "bfloat16"):
        return "bfloat16", "bfloat16", "bfloat16"
    if label in ("fp4", "nvfp4"):
        if shipped.startswith("llama"):
            return "nvfp4", "nvfp4", "fp8"
        notes.append("NVFP4 checkpoints of expert models leave attention in bfloat16")
        return "bfloat16", "nvfp4", "fp8"
    if label == "int4":
        notes.append("the INT4 checkpoint leaves attention and shared experts in bfloat16")
        return "bfloat16", "int4", "bfloat16"
    if label in ("fp8", "fp8_block"):
        if shipped.startswith("llama") and label == "fp8":
            return "fp8", "fp8", "fp8"
        if shipped != "llama-3.1-8b":
            notes.append("published FP8 checkpoints of this family scale blocks of 128 x 128")
        return "fp8_block", "fp8_block", "fp8" if shipped.startswith("deepseek") else "bfloat16"
    raise InputError(
        f"unknown precision {label!r}", mend="use bf16, fp8, fp8_block, fp4 (nvfp4) or int4"
    )


def _expert_tables(
    engine: str, shipped: str, experts: str, blackwell: bool, notes: list[str]
) -> tuple[str, tuple[str, ...]]:
    """Whose expert tables, and which of their formats."""
    formats = TABLE_FORMATS[experts]
    if experts == "mxfp4" and blackwell:
        notes.append("on Blackwell MXFP4 experts multiply activations in MXFP8")
        return ("trtllm" if engine == "trtllm" else "sglang"), ("w4a8_mxfp4_mxfp8", *formats)
    if experts == "fp8_block" and blackwell and engine == "trtllm":
        notes.append(
            "TensorRT-LLM's table of block-scaled experts on Blackwell holds DeepGEMM, the recipes "
            "name the TRTLLM back end: SGLang's table of that kernel is read"
        )
        return "sglang", formats
    if experts == "mxfp4" and engine == "trtllm":
        notes.append(
            "TensorRT-LLM's MXFP4 table on Hopper holds a fall-back kernel: vLLM's is read"
        )
        return "vllm", formats
    return engine, formats
