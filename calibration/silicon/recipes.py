"""How engines are started for benchmarks: flags by engine and model family.

The runs come from public recipes (InferenceX, ``benchmarks/*.sh``, Apache-2.0); the flags below
are what those scripts, or the engine's defaults where they are silent, set. They go by family,
never by run.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Flags of a benchmark's server.

    Attributes:
        mixed, chunked, reserve, max_tokens, max_batch: as in the serving model's engines.
        asynchronous: the next iteration is planned while one runs.
        admit_whole_prompt: a prompt is admitted only if all of it fits.
        batch_wait_iterations, batch_wait_ratio: TensorRT-LLM's batch waiting.
        graphs: what is replayed as CUDA graphs.
        memory: share of a GPU's memory that the engine takes.
        frontend_s, frontend_token_s: from the client's send to the engine's queue.
    """

    mixed: bool = True
    chunked: bool = True
    reserve: str = "chunk"
    max_tokens: int = 8192
    max_batch: int = 1024
    asynchronous: bool = True
    admit_whole_prompt: bool = False
    batch_wait_iterations: int = 0
    batch_wait_ratio: float = 0.0
    graphs: str = "full"
    memory: float = 0.9
    frontend_s: float = 0.015
    frontend_token_s: float = 3e-6


def recipe(
    engine: str, model: str, system: str, prompt: int, output: int, tp: int, concurrency: int
) -> Recipe:
    """The recipe of an engine and a model family.

    Args:
        engine: ``vllm``, ``sglang`` or ``trtllm``.
        model: shipped name.
        system: GPU system.
        prompt, output: longest prompt and output in tokens.
        tp: tensor-parallel GPUs.
        concurrency: of the run; TensorRT-LLM's recipes set the batch to it.
    """
    if engine == "vllm":
        blackwell_llama = model.startswith("llama") and not system.startswith("h")
        return Recipe(
            admit_whole_prompt=True,
            # The Blackwell recipe of Llama captures graphs for decode only.
            graphs="decode" if blackwell_llama else "full",
        )
    if engine == "sglang":
        return Recipe(mixed=False, chunked=False, reserve="prompt", max_tokens=16384, memory=0.85)
    wait = model.startswith("llama") and prompt <= 1024 and output <= 1024 and tp < 8
    budget = 20_000 if model.startswith("gpt-oss") else prompt + output + 256
    return Recipe(
        chunked=False,
        reserve="full",
        max_tokens=max(budget, concurrency),
        max_batch=max(2048, concurrency),
        batch_wait_iterations=20 if wait else 0,
        batch_wait_ratio=0.9 if wait else 0.0,
    )
