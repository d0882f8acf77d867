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
    async_scheduling: bool = Field(
        False, description="an iteration is planned when the one before it starts"
    )
    admit_whole_prompt: bool = Field(
        False, description="admit only where all blocks of the prompt would fit (reserve chunk)"
    )
    refuse_over_budget: bool = Field(
        False, description="refuse prompts longer than max_tokens (engines that do not chunk)"
    )
    keep_preempted: bool = Field(
        False, description="with prefix caching: blocks of a pre-empted request stay cached"
    )
    batch_wait_iterations: int = Field(
        0, ge=0, lt=2**31, description="decode iterations for which prompts wait for more; 0: off"
    )
    batch_wait_ratio: float = Field(
        0.0, ge=0, le=1, description="they wait for this share of max_tokens"
    )


# name -> (flags, what it stands for and where the values come from)
PRESETS: dict[str, tuple[Engine, str]] = {
    "vllm_v1": (
        Engine(max_batch=256, max_tokens=8192, reserve="chunk"),
        "vLLM V1: prefill and decode in one iteration under a token budget, decodes first, blocks "
        "taken chunk by chunk, recompute. Defaults max_num_seqs 256 and max_num_batched_tokens "
        "8192 of its server on 80 GB GPUs (vllm/engine/arg_utils.py, vllm/v1/core/sched).",
    ),
    "vllm_0.19": (
        Engine(
            max_batch=1024,
            max_tokens=8192,
            async_scheduling=True,
            admit_whole_prompt=True,
            keep_preempted=True,
        ),
        "vLLM 0.19: as vllm_v1, with async_scheduling and scheduler_reserve_full_isl on, the "
        "defaults that a 0.19.0 server reports of itself (vllm/config/scheduler.py); with prefix "
        "caching, blocks that a pre-empted request filled stay in the cache "
        "(vllm/v1/core/kv_cache_manager.py). max_num_seqs 1024 and max_num_batched_tokens 8192 of "
        "its server on GPUs of 70 GB and more but the A100 (256 and 2048 elsewhere, "
        "vllm/engine/arg_utils.py).",
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
        Engine(
            max_batch=2048,
            max_tokens=8192,
            chunked=False,
            reserve="full",
            async_scheduling=True,
            refuse_over_budget=True,
        ),
        "TensorRT-LLM 1.x, PyTorch backend: in-flight batching with GUARANTEED_NO_EVICT (prompt "
        "and output reserved, nothing is ever pre-empted), overlap scheduler on, chunked context "
        "off; prompts above max_num_tokens are refused (tensorrt_llm/llmapi/llm.py). "
        "max_batch_size 2048, max_num_tokens 8192 (tensorrt_llm/llmapi/llm_args.py); batch waiting "
        "(batch_wait_timeout_iters, batch_wait_max_tokens_ratio) is off by default.",
    ),
    "sglang": (
        Engine(
            max_batch=2048,
            max_tokens=8192,
            mixed=False,
            chunked=False,
            reserve="prompt",
            async_scheduling=True,
        ),
        "SGLang: prefill before decode, never in one iteration (enable_mixed_chunk off), overlap "
        "scheduling on, at most chunked_prefill_size 8192 tokens of prompts in an iteration "
        "(python/sglang/srt/server_args.py, managers/scheduler.py). Limits: longer prompts run "
        "whole instead of in chunks; admission looks at the prompt's blocks only, without "
        "SGLang's estimate of output (new_token_ratio).",
    ),
    "openvino": (
        Engine(max_batch=256, max_tokens=256),
        "OpenVINO GenAI ContinuousBatchingPipeline with dynamic_split_fuse: one token for each "
        "decode first, then prompts first come, first served, the last one chunked; "
        "max_num_batched_tokens 256 (its SchedulerConfig), max_num_seqs not looked at, so that "
        "the token budget bounds the batch. Its KV blocks hold 32 tokens: set block_tokens.",
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
    if engine.chunked and engine.refuse_over_budget:
        raise InputError(
            "an engine that chunks prompts takes them at any length",
            where="refuse_over_budget",
            mend="set chunked = false, or refuse_over_budget = false",
        )
    if engine.admit_whole_prompt and engine.reserve != "chunk":
        raise InputError(
            f"reserve = '{engine.reserve}' takes the whole prompt's blocks already",
            where="admit_whole_prompt",
            mend="leave it out, or set reserve = 'chunk'",
        )
    if (engine.batch_wait_iterations > 0) != (engine.batch_wait_ratio > 0):
        raise InputError(
            f"{engine.batch_wait_iterations} iterations and a ratio of {engine.batch_wait_ratio}",
            where="batch_wait_iterations",
            mend="give both batch_wait_iterations and batch_wait_ratio, or neither",
        )
    if engine.mixed and engine.max_tokens < engine.max_batch:
        raise InputError(
            f"{engine.max_tokens} is below max_batch {engine.max_batch}",
            where="max_tokens",
            mend="each decoding sequence of a mixed engine needs a token",
        )
    return engine
