"""MLPerf Inference v5.1 server runs: Poisson arrivals at the rate that each submitter chose.

Protocol. Requests come at ``target_qps`` over all GPUs of the submission, lengths are drawn from
the evaluation set, outputs scaled to the mean that the run served (its tokens over its samples).
Replicas share the load evenly. A steady window is scored: arrivals of the middle half.

Deployments are those of NVIDIA's public submission code (closed/NVIDIA/configs of v5.0), all in fp8
with an fp8 KV cache: llama2-70b on one H200 SXM a replica, 2048 sequences and 1536 tokens
an iteration (interactive: 512 and 256); llama3.1-405b on eight H200, 512 and 2560. An iteration
holds no more sequences than tokens. Other submissions are not answered: they are tuned to sit at a
latency limit, where a guess at the deployment decides the answer. Kernels come from the measured
tables of the package aiconfigurator-core.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.calibration.silicon import silicon_profile
from mltwin.engines import Engine, make_engine
from mltwin.models.gpu.iteration import IterationModel
from mltwin.serving_cluster import cells_of, engine_kind
from mltwin.sim.errors import InputError
from mltwin.sim.rng import LENGTHS
from mltwin.sim.rng_arrays import exponentials, integers
from mltwin.sim.ticks import ticks

from .deployment import Replayed, load_bin_of
from .deployment import run as run_kernel
from .pairs import UNKNOWN, Pair

SOURCE = "mlperf"
RESULTS = "llm_runs.csv"
REQUESTS = 12_000
BLOCK_TOKENS = 32
MEMORY = 0.95
# (part of the accelerator's name, system of its tables), the first that fits.
SYSTEMS = (("H200-SXM", "h200_sxm"),)
# model -> (name of the deployment's model, file of lengths, longest output)
MODELS = {
    "llama2-70b": ("llama-2-70b", "llama2-70b-99", 1024),
    "llama3.1-405b": ("llama-3.1-405b", "llama3-1-405b", 2000),
}
# (model, scenario, system) -> GPUs of a replica, sequences, tokens of an iteration
KNOWN = {
    ("llama2-70b", "Server", "h200_sxm"): (1, 2048, 1536),
    ("llama2-70b", "Interactive", "h200_sxm"): (1, 512, 256),
    ("llama3.1-405b", "Server", "h200_sxm"): (8, 512, 2560),
}
METRICS = {
    "ttft_mean": "ttft_mean_ns",
    "ttft_p50": "ttft_p50.00_ns",
    "ttft_p99": "ttft_p99.00_ns",
    "tpot_mean": "tpot_mean_ns",
    "tpot_p50": "tpot_p50.00_ns",
    "tpot_p99": "tpot_p99.00_ns",
}
_STREAM_ARRIVALS = 1


@dataclass(frozen=True)
class MlperfRun:
    """One row of ``llm_runs.csv``; times in seconds.

    Attributes:
        row_id: submitter, system, model and scenario.
        gpu, gpus: accelerator, and how many there are in all.
        software, precision, model, scenario: as in the row.
        rate: requests a second, over all GPUs.
        output: mean output tokens served.
        measured: seconds by metric.
    """

    row_id: str
    gpu: str
    gpus: int
    software: str
    precision: str
    model: str
    scenario: str
    rate: float
    output: float
    measured: dict[str, float]

    @property
    def family(self) -> str:
        """The model without its accuracy target."""
        return self.model.removesuffix("-99.9").removesuffix("-99")


def read_runs(folder: str | Path) -> list[MlperfRun]:
    """Rows with an arrival rate and latencies.

    Raises:
        InputError: no such file, a missing column, or a value that is none.
    """
    path = Path(folder) / RESULTS
    found: list[MlperfRun] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    for number, row in enumerate(rows, 2):
        try:
            if row["scenario"] == "Offline" or not row["ttft_p50.00_ns"]:
                continue
            found.append(_run(row, number))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(f"not a run ({error!r})", where=f"{path}, line {number}") from None
    return found


def _run(row: dict[str, str], number: int) -> MlperfRun:
    measured = {name: float(row[column]) * 1e-9 for name, column in METRICS.items() if row[column]}
    return MlperfRun(
        row_id=f"{number}: {row['submitter']} {row['system']} {row['model']} {row['scenario']}",
        gpu=row["accelerator"] or "-",
        gpus=int(row["accelerators_per_node"] or 1) * int(row["nodes"] or 1),
        software=row["software"].partition(",")[0],
        precision=row["weight_data_types"],
        model=row["model"],
        scenario=row["scenario"],
        rate=float(row["target_qps"]),
        output=float(row["completed_tokens_per_s"]) / float(row["completed_samples_per_s"]),
        measured=measured,
    )


def validate_mlperf(folder: str | Path, **changes: Any) -> list[Pair]:
    """Replay every server run of a folder.

    Args:
        folder: holds ``llm_runs.csv`` and ``dataset_lengths``.
        changes: of :func:`replay`, for studies of what each choice does.

    Raises:
        InputError: a row or a file of lengths that cannot be read.
    """
    done: dict[tuple[Any, ...], tuple[dict[str, float], str, str, str]] = {}
    pairs = []
    for run in read_runs(folder):
        # Submissions that differ in hardware that the twin does not know are one replay.
        key = (run.gpu, run.gpus, run.precision, run.family, run.scenario, run.rate, run.output)
        if key not in done:
            done[key] = _answer(folder, run, changes)
        predicted, load, confidence, note = done[key]
        pairs += [
            Pair(
                source=SOURCE,
                row_id=run.row_id,
                gpu=run.gpu,
                engine=run.software,
                model=run.family,
                mode="agg",
                load_bin=load,
                metric=metric,
                measured=value,
                predicted=predicted.get(metric),
                confidence=confidence,
                note=note,
            )
            for metric, value in run.measured.items()
        ]
    return pairs


def _answer(
    folder: str | Path, run: MlperfRun, changes: dict[str, Any]
) -> tuple[dict[str, float], str, str, str]:
    """(seconds by metric, load bin, confidence, note)."""
    try:
        replayed, chosen = replay(folder, run, **changes)
    except InputError as error:
        return {}, UNKNOWN, "", f"not answered: {error}"
    found = {}
    for name, values in (("ttft", replayed.ttft_s[chosen]), ("tpot", replayed.tpot_s[chosen])):
        known = values[np.isfinite(values)]
        found[f"{name}_mean"] = float(np.mean(known))
        for percent in (50, 99):
            found[f"{name}_p{percent}"] = float(np.quantile(known, percent / 100))
    return found, load_bin_of(replayed), "published deployment", ""


def replay(
    folder: str | Path, run: MlperfRun, *, requests: int = REQUESTS, seed: int = 0
) -> tuple[Replayed, np.ndarray]:
    """Simulate one replica's share of a run: what became of requests, and which of them count.

    Raises:
        InputError: a deployment that is not known, no tables, or one that does not fit.
    """
    system = next((s for part, s in SYSTEMS if part in run.gpu), "")
    deployment = KNOWN.get((run.family, run.scenario, system))
    if deployment is None or "TensorRT" not in run.software or run.precision != "fp8":
        raise InputError("its deployment is not published")
    tp, batch, tokens = deployment
    name, lengths, most = MODELS[run.family]
    prompts, outputs = _lengths(Path(folder) / "dataset_lengths" / f"{lengths}.csv")
    picked = np.asarray(integers(seed, LENGTHS, np.arange(requests), len(prompts)), np.int64)
    prompts, outputs = prompts[picked], outputs[picked]
    scaled = np.rint(outputs * (run.output / np.mean(outputs)))
    outputs = np.clip(scaled, 1, most).astype(np.int64)
    longest = 1 << int((prompts + outputs).max()).bit_length()
    times, cells, engine = _lowered(system, name, tp, min(batch, tokens), tokens, longest)
    kind = engine_kind(engine, cells, times.kv_blocks(BLOCK_TOKENS, MEMORY))
    rate = run.rate * times.tp / run.gpus
    gaps = exponentials(seed, _STREAM_ARRIVALS, np.arange(requests)) / rate
    arrival = ticks(np.cumsum(gaps))
    replayed = run_kernel(
        kind, arrival, prompts, outputs, where=run.row_id, block_tokens=BLOCK_TOKENS
    )
    chosen = np.arange(requests // 4, 3 * requests // 4)
    return replayed, chosen


def _lengths(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(prompts, outputs) of an evaluation set, in tokens."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(int(r["input_length"]), int(r["output_length"])) for r in csv.DictReader(file)]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a file of lengths ({error!r})", where=str(path)) from None
    if not rows:
        raise InputError("no lengths", where=str(path))
    table = np.maximum(np.array(rows, np.int64), 1)
    return table[:, 0], table[:, 1]


@functools.lru_cache(maxsize=32)
def _lowered(
    system: str, name: str, tp: int, batch: int, tokens: int, longest: int
) -> tuple[IterationModel, Any, Engine]:
    profile = silicon_profile(system, "trtllm", name, "fp8")
    deployment = profile.deployment
    times = IterationModel(deployment.model, profile, tp=tp, kv_dtype=deployment.kv_dtype)
    engine = make_engine(
        "trtllm",
        max_batch=batch,
        max_tokens=tokens,
        chunked=True,
        reserve="prompt",
        refuse_over_budget=False,
    )
    return times, cells_of(times, engine, longest), engine
