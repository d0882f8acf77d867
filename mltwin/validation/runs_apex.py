"""apex_plus's vLLM 0.6.0 runs on H100: open-loop traces, known by their means.

Protocol, from the scripts upstream (microsoft/apex_plus, vllm/*.sh and vllm/trace.py, MIT):

- vLLM 0.6.0 with its defaults and 97 % of the memory. Contexts beyond 32k turn chunked prefill on
  there, with 512 tokens an iteration; the model's own limit is kept, so both models run so.
- Mistral Large runs with dynamic fp8 weights and an fp8 KV cache, Llama in bfloat16.
- ``N TP`` is one replica on N GPUs, ``2DP4TP_i`` one of two replicas on 4 GPUs with a trace of its
  own.
- Requests are sent at their offsets; those that ended early are replayed at the length served.
- TTFT is the server's own mean; TPOT its sum of token gaps over all generated tokens; latency the
  mean of requests (``e2e``).

SGLang's rows hold no usable TPOT and the expert-parallel form of a dense model: left out. Host
overhead is the shipped profile's assumption.
"""

import csv
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.engines import Engine, make_engine
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.llm.config import load_model
from mltwin.serving_cluster import cells_of, engine_kind
from mltwin.sim.errors import InputError

from .deployment import Replayed, load_bin_of
from .deployment import run as run_kernel
from .pairs import UNKNOWN, Pair

SOURCE = "apex_plus"
GPU = "h100-sxm-80gb"
MODELS = {"llama": ("llama-3.1-70b", None), "mistral": ("mistral-large-2407", "fp8")}
ENGINE_NAME = "vllm 0.6.0"
MEMORY = 0.97
CHUNK_TOKENS = 512
RESULTS = "serving_results.csv"
_PLAN = re.compile(r"_(?:(\d+)DP)?(\d+)TP(?:_fp8)?(?:_(\d+))?$")
_TICKS_PER_NS = 1000


@dataclass(frozen=True)
class ApexRun:
    """One row of ``serving_results.csv``.

    Attributes:
        name: of the result file.
        family: ``llama`` or ``mistral``.
        tp: GPUs of the replica.
        trace: the trace's path below ``traces``, without its ending.
        ttft_s, tpot_s, latency_s: means of TTFT and token gaps, sum of latencies.
    """

    name: str
    family: str
    tp: int
    trace: str
    ttft_s: float
    tpot_s: float
    latency_s: float


def read_runs(folder: str | Path) -> list[ApexRun]:
    """vLLM's rows of ``serving_results.csv``.

    Raises:
        InputError: no such file, a missing column, or a value that is none.
    """
    path = Path(folder) / RESULTS
    found = []
    for number, row in enumerate(_rows(path), 2):
        try:
            if row["engine"] != "vllm":
                continue
            name = Path(row["result_file"]).stem
            plan = _PLAN.search(name)
            family = name.partition("_")[0]
            if plan is None or family not in MODELS:
                raise ValueError(f"result file {name!r}")
            found.append(
                ApexRun(
                    name=name,
                    family=family,
                    tp=int(plan[2]),
                    trace=row["trace_file"].removesuffix(".jsonl"),
                    ttft_s=float(row["mean_ttft_s"]),
                    tpot_s=float(row["mean_tpot_s"]),
                    latency_s=float(row["sum_request_latency_s"]),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a run ({error})", where=f"{path}, line {number}") from None
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None


def read_requests(folder: str | Path, run: ApexRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(arrivals in ticks, prompts, outputs) of a run, as served.

    Requests that upstream's log lacks (its first line is cut) keep their requested length.

    Raises:
        InputError: no such trace, or a value that is none.
    """
    root = Path(folder)
    trace = root / "traces" / f"{run.trace}.csv"
    change = root / "output_len_diff" / f"{run.name}.csv"
    try:
        served = {
            row["RequestID"]: (int(row["prompt_difference"]), int(row["output_len_diff"]))
            for row in (_rows(change) if change.is_file() else [])
        }
        rows = []
        for row in _rows(trace):
            more, later = served.get(row["RequestID"], (0, 0))
            prompt, output = int(row["ContextTokens"]) + more, int(row["GeneratedTokens"]) + later
            rows.append((int(row["StartTimeOffset"]), max(prompt, 1), max(output, 1)))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a trace ({error})", where=str(trace)) from None
    if not rows:
        raise InputError("no requests", where=str(trace))
    table = np.array(sorted(rows), np.int64)
    return table[:, 0] * _TICKS_PER_NS, table[:, 1], table[:, 2]


def validate_apex(folder: str | Path, **changes: Any) -> list[Pair]:
    """Replay every run of a folder in upstream's form.

    Args:
        folder: holds ``serving_results.csv``, ``traces`` and ``output_len_diff``.
        changes: of :func:`replay`, for studies of what each choice does.

    Raises:
        InputError: a row or a trace that cannot be read.
    """
    return [pair for run in read_runs(folder) for pair in _pairs(folder, run, changes)]


def _pairs(folder: str | Path, run: ApexRun, changes: dict[str, Any]) -> list[Pair]:
    measured = {"ttft_mean": run.ttft_s, "tpot_mean": run.tpot_s}
    predicted: dict[str, float] = {}
    load, note = UNKNOWN, "the trace is not stored upstream"
    if (Path(folder) / "traces" / f"{run.trace}.csv").is_file():
        arrival, prompts, outputs = read_requests(folder, run)
        measured["e2e_mean"] = run.latency_s / len(prompts)
        try:
            replayed = replay(run, arrival, prompts, outputs, **changes)
        except InputError as error:
            note = f"not answered: {error}"
        else:
            load, note = load_bin_of(replayed), ""
            gaps = np.nan_to_num(replayed.tpot_s) * (outputs - 1)
            predicted = {
                "ttft_mean": float(np.mean(replayed.ttft_s)),
                "tpot_mean": float(np.sum(gaps) / np.sum(outputs)),
                "e2e_mean": float(np.mean(replayed.e2e_s)),
            }
    return [
        Pair(
            source=SOURCE,
            row_id=run.name,
            gpu=GPU,
            engine=ENGINE_NAME,
            model=MODELS[run.family][0],
            mode="agg",
            load_bin=load,
            metric=metric,
            measured=value,
            predicted=predicted.get(metric),
            confidence="tables of another engine version",
            note=note,
        )
        for metric, value in measured.items()
    ]


def replay(
    run: ApexRun,
    arrival: np.ndarray,
    prompts: np.ndarray,
    outputs: np.ndarray,
    *,
    chunk_tokens: int = CHUNK_TOKENS,
    host_s: float | None = None,
) -> Replayed:
    """Simulate a run.

    Raises:
        InputError: a deployment that does not fit its GPUs.
    """
    longest = int((prompts + outputs).max()) + 1
    times, cells, engine = _lowered(
        run.family, run.tp, 1 << longest.bit_length(), chunk_tokens, host_s
    )
    kind = engine_kind(engine, cells, times.kv_blocks(gpu_memory_utilization=MEMORY))
    return run_kernel(kind, arrival, prompts, outputs, where=run.name)


@functools.lru_cache(maxsize=64)
def _lowered(
    family: str, tp: int, longest: int, chunk_tokens: int, host_s: float | None
) -> tuple[IterationModel, Any, Engine]:
    name, dtype = MODELS[family]
    times = IterationModel(
        load_model(name), GPU, tp=tp, dtype=dtype, kv_dtype=dtype, host_overhead_s=host_s,
        graphs="decode",
    )  # fmt: skip
    engine = make_engine("vllm_v0", mixed=True, chunked=True, max_tokens=chunk_tokens)
    return times, cells_of(times, engine, longest), engine
