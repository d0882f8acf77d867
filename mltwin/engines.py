"""Serving engines by name: the scheduler flags that make the model behave like each of them.

A preset says how an engine forms batches, not how fast its kernels are (that is the GPU profile).
Each value is the engine's own default, from the source named in `PRESETS`; a scenario may change
any of them. The words of `reserve` and the rules behind all flags: `mltwin.models.serving`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from mltwin.sim.errors import InputError

from .fields import Section, build, close_to


class Engine(Section):
    """Flags of an engine's scheduler."""

    max_batch: int = Field(256, ge=1, lt=2**20, description="sequences in an iteration")
    max_tokens: int = Field(8192, ge=1, lt=2**20, description="token budget of an iteration")
    mixed: bool = Field(True, description="prefill and decode share an iteration")
    chunked: bool = Field(True, description="prompts are cut to the token budget (mixed only)")
    reserve: Literal["chunk", "prompt", "full"] = Field(
        "chunk", description="KV blocks taken at admission; full: prompt and output"
    )
    static: bool = Field(False, description="no admission while anything decodes (split only)")
    wait_iterations: int = Field(
        0, ge=0, lt=2**31, description="decode iterations between prefills while requests wait"
    )
    peak: bool = Field(False, description="admit by the largest future token use")
    preemption: Literal["recompute", "swap"] = Field(
        "recompute", description="what becomes of a pre-empted request's KV"
    )
    watermark: float = Field(0.0, ge=0, lt=1, description="share of KV blocks kept free")


# name -> (flags, what it stands for and where the values come from)
PRESETS: dict[str, tuple[Engine, str]] = {
    "vllm_v1": (
        Engine(max_batch=256, max_tokens=8192, reserve="chunk"),
        "vLLM V1: prefill and decode in one iteration under a token budget, decodes first, blocks "
        "taken chunk by chunk, recompute. Defaults max_num_seqs 256 and max_num_batched_tokens "
        "8192 of its server on 80 GB GPUs (vllm/engine/arg_utils.py, vllm/v1/core/sched).",
    ),
    "vllm_v0": (
        Engine(
            max_batch=256,
            max_tokens=4096,
            mixed=False,
            chunked=False,
            reserve="prompt",
            watermark=0.01,
        ),
        "vLLM V0: whole prompts first, decode only when none can be admitted (Kwon et al., SOSP "
        "2023); watermark 0.01, max_num_batched_tokens = max(context, 2048), 4096 here.",
    ),
    "sarathi": (
        Engine(max_batch=128, max_tokens=512, reserve="prompt", watermark=0.01),
        "Sarathi-Serve: chunked prefill piggy-backed on decodes (Agrawal et al., OSDI 2024); chunk "
        "512, batch 128 as in the paper's evaluation.",
    ),
    "orca": (
        Engine(max_batch=128, max_tokens=32768, chunked=False, reserve="full"),
        "Orca: iteration-level batching of whole prompts with decodes, memory for the longest "
        "output reserved at admission (Yu et al., OSDI 2022, sections 3.1 and 4.2).",
    ),
    "static": (
        Engine(
            max_batch=32,
            max_tokens=32768,
            mixed=False,
            chunked=False,
            reserve="full",
            static=True,
        ),
        "FasterTransformer: a batch is formed, runs until its last request ends, then the next "
        "(request-level batching, the baseline of Yu et al., OSDI 2022, section 2).",
    ),
    "lightllm": (
        Engine(
            max_batch=1000,
            max_tokens=8448,
            mixed=False,
            chunked=False,
            reserve="prompt",
            wait_iterations=10,
            peak=True,
        ),
        "LightLLM: prefill every 10 decode iterations at most, admission by the largest future "
        "token use (router_max_wait_tokens 10, running_max_req_size 1000; Gong et al., ASPLOS "
        "2025, section 4).",
    ),
    "trtllm": (
        Engine(max_batch=256, max_tokens=8192, chunked=False, reserve="full"),
        "TensorRT-LLM in-flight batching with GUARANTEED_NO_EVICT: prompt and output reserved, "
        "nothing is ever pre-empted; max_num_tokens 8192, chunked context off.",
    ),
    "distserve": (
        Engine(max_batch=256, max_tokens=16384, mixed=False, chunked=False, reserve="prompt"),
        "DistServe's instances: whole prompts first come, first served on prefill replicas, decode "
        "batches by memory on the others (Zhong et al., OSDI 2024, section 4.3).",
    ),
}
DEFAULT_ENGINE = "vllm_v1"


def engine_names() -> list[str]:
    """Names of the presets."""
    return list(PRESETS)


def make_engine(spec: str | Mapping[str, Any], **overrides: Any) -> Engine:
    """An engine from a preset's name, or a table with `name` and flags; None overrides nothing.

    Raises InputError for an unknown name or flag, or a value that does not fit; its `where` is
    the flag.
    """
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", DEFAULT_ENGINE)
    if name not in PRESETS:
        raise InputError(f"unknown engine {name!r}", mend=close_to(str(name), PRESETS))
    flags = {**given, **{k: v for k, v in overrides.items() if v is not None}}
    engine = build(Engine, {**PRESETS[name][0].model_dump(), **flags})
    if engine.chunked and not engine.mixed:
        raise InputError(
            "a split engine cannot chunk prompts", where="chunked", mend="set chunked = false"
        )
    if engine.mixed and engine.max_tokens < engine.max_batch:
        raise InputError(
            f"{engine.max_tokens} is below max_batch {engine.max_batch}",
            where="max_tokens",
            mend="each decoding sequence of a mixed engine needs a token",
        )
    return engine
