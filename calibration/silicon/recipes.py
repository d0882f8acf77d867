"""How engines are started for benchmarks: flags by engine, model family and GPU generation.

The runs come from public recipes, InferenceX's ``benchmarks/*.sh`` (Apache-2.0), read script by
script; where a script is silent the engine's default counts. Rules go by family, never by run.
"""

from dataclasses import dataclass, replace

from .resolver import recent_vllm

# A layer launched kernel by kernel takes the host some 20 us a kernel, whatever the GPU. Kernels of
# a layer, counted in the engines' sources: four GEMMs with their quantisation, two norms, rotary
# embedding, cache write, attention, activation, two all-reduces; experts add router, sorting,
# quantisation and reduction; latent attention four projections, two norms, concatenation and their
# quantisation, and a shared expert; gated delta nets convolution, gates and the chunked scan; an
# indexer three projections, norm, rotary embedding, quantisation, scores and the choice of keys.
LAUNCH_KERNEL_S = 2e-5
KERNELS_DENSE, KERNELS_EXPERTS, KERNELS_LATENT, KERNELS_DELTA = 15, 25, 45, 40
KERNELS_SPARSE = KERNELS_LATENT + 12
LAUNCH_DENSE_S = KERNELS_DENSE * LAUNCH_KERNEL_S
# With piecewise graphs each layer's attention is called from the host between two graphs: some
# 100 us of Python, and two launches.
LAUNCH_PIECEWISE_S = 1.5e-4
# TensorRT-LLM's attention-data parallelism holds prompts until all ranks have one, so long at most.
BALANCE_ITERATIONS = 60


@dataclass(frozen=True)
class Recipe:
    """Flags of a benchmark's server.

    Attributes:
        mixed, chunked, reserve, max_tokens, max_batch, wait_iterations: as in the serving model's
            engines.
        asynchronous: the next iteration is planned while one runs.
        admit_whole_prompt: a prompt is admitted only if all of it fits.
        batch_wait_iterations, batch_wait_ratio: TensorRT-LLM's batch waiting.
        graphs: what is replayed as CUDA graphs.
        launch_s_per_layer: least time of a layer that is not.
        memory: share of a GPU's memory that the engine takes.
        frontend_s, frontend_token_s: from the client's send to the engine's queue.
    """

    mixed: bool = True
    chunked: bool = True
    reserve: str = "chunk"
    max_tokens: int = 8192
    max_batch: int = 1024
    wait_iterations: int = 0
    asynchronous: bool = True
    admit_whole_prompt: bool = False
    batch_wait_iterations: int = 0
    batch_wait_ratio: float = 0.0
    graphs: str = "full"
    launch_s_per_layer: float = LAUNCH_DENSE_S
    memory: float = 0.9
    frontend_s: float = 0.015
    frontend_token_s: float = 3e-6


def recipe(
    engine: str,
    model: str,
    system: str,
    precision: str,
    prompt: int,
    output: int,
    tp: int,
    dp: int,
    concurrency: int,
    version: str | None = None,
) -> Recipe:
    """The recipe of an engine and a model family.

    Args:
        engine: ``vllm``, ``sglang`` or ``trtllm``.
        model: shipped name.
        system: GPU system.
        precision: the deployment's label.
        prompt, output: longest prompt and output in tokens.
        tp, dp: GPUs of an attention rank, and attention-data-parallel ranks.
        concurrency: of the run; many recipes set the largest batch to it.
        version: of the engine (None: a recent one).
    """
    hopper = system.startswith("h")
    launch = LAUNCH_KERNEL_S * _kernels(model)
    if engine == "vllm":
        found = _vllm(model, system, precision, launch, concurrency)
        short = model.startswith(("minimax", "kimi")) and precision != "int4" and not hopper
        if short and recent_vllm(version):
            # From April 2026 on: two prompts' tokens an iteration.
            found = replace(found, max_tokens=2 * prompt, memory=0.9)
        return found
    if engine == "sglang":
        return _sglang(model, hopper, precision, launch, tp, concurrency)
    found = _trtllm(model, launch, prompt, output, tp, dp, concurrency)
    blocks = precision in ("fp8", "fp8_block") and not hopper and model.startswith("deepseek")
    if blocks and prompt <= 1024 and output <= 1024 and concurrency >= 64 and dp == 1:
        found = replace(found, batch_wait_iterations=40, batch_wait_ratio=0.8)
    return found


def drafts_of_image(engine: str, model: str, system: str, version: str, dp: int) -> int:
    """Draft tokens of an aggregated run whose image was used with multi-token prediction only.

    On B200 the recipes run DeepSeek-R1 on TensorRT-LLM 1.2.0rc6.post2 without and on 1.2.0rc6.post3
    with it: three drafts, one with attention-data parallelism. Other images serve both.
    """
    on = (engine, model, system, version) == ("trtllm", "deepseek-r1", "b200_sxm", "1.2.0rc6.post3")
    return (1 if dp > 1 else 3) if on else 0


def _kernels(model: str) -> int:
    """Kernels of a layer."""
    if model.startswith(("llama", "mistral")):
        return KERNELS_DENSE
    if model.startswith("glm-5"):
        return KERNELS_SPARSE
    if model.startswith(("deepseek", "kimi")):
        return KERNELS_LATENT
    return KERNELS_DELTA if model.startswith("qwen3.5") else KERNELS_EXPERTS


def _vllm(model: str, system: str, precision: str, launch: float, concurrency: int) -> Recipe:
    hopper = system.startswith("h")
    if model.startswith("minimax"):
        return _vllm_minimax(system, precision, launch, concurrency)
    known = model.startswith(("llama-3.1-70b", "gpt-oss"))
    return Recipe(
        max_batch=(concurrency if hopper else 512) if known else 1024,
        admit_whole_prompt=True,
        # The Blackwell recipe of Llama captures graphs for decode only.
        graphs="decode" if model.startswith("llama-3.1-70b") and not hopper else "full",
        launch_s_per_layer=launch,
        memory=0.95 if model.startswith("kimi") else 0.9,
    )


def _vllm_minimax(system: str, precision: str, launch: float, concurrency: int) -> Recipe:
    """Piecewise graphs on Hopper; on Blackwell full ones, and for NVFP4 as many sequences as the
    client has slots."""
    hopper = system.startswith("h")
    running = {"h100_sxm": 256, "h200_sxm": 512}.get(system, 1024)
    return Recipe(
        max_batch=concurrency if precision == "fp4" else running,
        admit_whole_prompt=True,
        graphs="none" if hopper else "full",
        launch_s_per_layer=LAUNCH_PIECEWISE_S if hopper else launch,
        memory=0.9 if system == "h100_sxm" or precision == "fp4" else 0.95,
    )


def _sglang(
    model: str, hopper: bool, precision: str, launch: float, tp: int, concurrency: int
) -> Recipe:
    """Prefill first, launched kernel by kernel; on Blackwell the scheduler polls for new requests
    once in 10 or 30 iterations (``--scheduler-recv-interval``)."""
    wide = tp >= 8 or precision == "fp4" or model.startswith("qwen3.5")
    often = concurrency < 16 or not wide
    polls = 0 if hopper or model.startswith("glm") else 10 if often else 30
    budget = 16384 if precision == "fp4" else 32768
    running = {True: 512, False: 256 if precision == "fp4" else 128}[hopper]
    if model.startswith("glm"):
        running = concurrency
    return Recipe(
        mixed=False,
        chunked=False,
        reserve="prompt",
        max_tokens=budget,
        max_batch=running,
        wait_iterations=polls,
        graphs="decode",
        launch_s_per_layer=launch,
        memory=0.82 if model.startswith("qwen3.5") else 0.85,
    )


def _trtllm(
    model: str, launch: float, prompt: int, output: int, tp: int, dp: int, concurrency: int
) -> Recipe:
    """Whole prompts, memory for all of the output; graphs hold decode only."""
    wait, ratio = 0, 0.0
    if model.startswith("llama"):
        budget = prompt + output + 200
        if prompt <= 1024 and output <= 1024 and tp < 8:
            wait, ratio = 20, 0.9
    elif model.startswith("gpt-oss"):
        budget = 20_000
    else:
        budget = max(8192, concurrency + prompt + 64)
    if dp > 1:
        wait, ratio = _balance_wait(dp, concurrency / dp / output), 1.0
    return Recipe(
        chunked=False,
        reserve="full",
        max_tokens=max(budget, -(-concurrency // dp)),
        max_batch=max(512, concurrency),
        batch_wait_iterations=wait,
        batch_wait_ratio=ratio,
        graphs="decode",
        launch_s_per_layer=launch,
    )


def _balance_wait(dp: int, arrivals: float) -> int:
    """Iterations until each of the other ranks has a prompt too, if each gets ``arrivals`` an
    iteration: the mean of the largest of dp - 1 exponential times, H(dp - 1) / arrivals."""
    harmonic = sum(1.0 / i for i in range(1, dp))
    return int(min(BALANCE_ITERATIONS, harmonic / max(arrivals, 1e-9)))
