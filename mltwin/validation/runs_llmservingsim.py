"""LLMServingSim's measured vLLM runs, replayed request by request.

Protocol. Lengths, arrivals, batch limits and KV blocks are those of the run; iteration times come
from the kernel tables of that very GPU and model (:mod:`mltwin.calibration.llmservingsim`), or
from a shipped GPU profile where there are none; the scheduler is the preset ``vllm_0.19``. Nothing
is fitted to the runs.

- Host overhead is 0: vLLM 0.19 schedules asynchronously, so the host works while the GPU does.
- Blocks that the workload file says are shared with an earlier prompt are found in the cache, if
  they are still there; so are those of pre-empted requests.
- vLLM stamps ``queued_ts`` in its core's loop, between iterations. The measured TTFT and latency
  count from there, and so do the predicted ones: from the first iteration start at or after the
  arrival.
- Attention-data-parallel ranks run in lock-step, as the experts of every layer need all of them.
  They are one replica of dp times the batch, the token budget and the KV blocks; prompts of one
  iteration beyond a typical one are on the other ranks.
- Batches up to the largest captured CUDA graph are padded to a captured size.
- GPUs exchange tokens over the links that the run's ``cluster_config.json`` names.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.calibration.llmservingsim import LayerTables, MeasuredIterations, tables_folder
from mltwin.calibration.silicon.resolver import known_model
from mltwin.engines import Engine, make_engine
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import Model
from mltwin.models.llm.precision import precision
from mltwin.models.serving.tables import IterationCells
from mltwin.serving_cluster import cells_of, engine_kind
from mltwin.sim.errors import InputError
from mltwin.workloads.read_vllm import MeasuredRun, read_measured

from .deployment import load_bin_of_share
from .deployment import run as run_kernel
from .links import PROFILES, collectives, links
from .pairs import Pair

SOURCE = "llmservingsim"
FOLDER = "groundtruth/llmservingsim"
ENGINE = "vllm_0.19"
CLUSTER = "cluster_config.json"
HOST_S = 0.0
BLOCK_TOKENS = 16
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda values: float(np.mean(values)),
    "p50": lambda values: float(np.quantile(values, 0.5)),
    "p99": lambda values: float(np.quantile(values, 0.99)),
}


@dataclass(frozen=True)
class Setup:
    """A run's folder and what its ``meta.json`` says.

    Attributes:
        folder: of the run; ``<gpu>/<model>``.
        gpu, model, version: as upstream names them.
        tp, dp: of the engine.
        max_batch, max_tokens: of one rank.
        blocks: KV blocks of one rank; None where not recorded.
        block_tokens: tokens of a block.
        caching: prefixes are cached.
        dataset: name of the workload file, without its ending.
    """

    folder: Path
    gpu: str
    model: str
    version: str
    tp: int
    dp: int
    max_batch: int
    max_tokens: int
    blocks: int | None
    block_tokens: int
    caching: bool
    dataset: str

    @classmethod
    def read(cls, folder: Path) -> "Setup":
        """The setup of a run.

        Raises:
            InputError: ``meta.json`` cannot be read or lacks something.
        """
        path = folder / "meta.json"
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            engine, cache = meta["engine_kwargs"], meta.get("kv_cache") or {}
            return cls(
                folder=folder,
                gpu=folder.parent.name,
                model=str(meta["model"]),
                version=str(meta.get("vllm_version", "")),
                tp=int(engine.get("tensor_parallel_size", 1)),
                dp=int(engine.get("data_parallel_size", 1)),
                max_batch=int(engine["max_num_seqs"]),
                max_tokens=int(engine["max_num_batched_tokens"]),
                blocks=cache.get("num_gpu_blocks"),
                block_tokens=int(cache.get("block_size") or BLOCK_TOKENS),
                caching=bool(cache.get("enable_prefix_caching", True)),
                dataset=Path(str(meta.get("dataset_path", ""))).stem,
            )
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not the meta.json of a run ({error!r})", where=str(path)) from None


def find_runs(data: str | Path) -> list[Path]:
    """Folders of runs under ``data`` (a data folder, or one of runs), sorted."""
    root = Path(data)
    place = root / FOLDER if (root / FOLDER).is_dir() else root
    if (root / "groundtruth").is_dir() and place == root:
        return []
    return sorted(
        path.parent
        for path in place.rglob("requests.jsonl")
        if (path.parent / "meta.json").is_file()
    )


def validate_llmservingsim(
    data: str | Path, kernels: str | Path | None = None, **options: Any
) -> list[Pair]:
    """Replay every run under ``data``.

    Args:
        data: a data folder, or a folder of runs in upstream's form.
        kernels: the data folder that holds the kernel tables (default: ``data``).
        options: of :func:`replay`, for studies of what each choice does.

    Returns:
        Pairs of the mean, median and p99 of TTFT, TPOT and latency (``e2e``) of each run.

    Raises:
        InputError: a run that cannot be read.
    """
    pairs = []
    for folder in find_runs(data):
        setup = Setup.read(folder)
        run = read_measured(folder / "requests.jsonl", clock="arrival_time")
        measured = {"ttft": run.ttft_s, "tpot": run.tpot_s, "e2e": run.e2e_s}
        try:
            predicted, notes = replay(setup, run, data if kernels is None else kernels, **options)
        except InputError as error:
            predicted, notes = {}, [f"not answered: {error}"]
        label = {
            "source": SOURCE,
            "row_id": f"{setup.gpu}/{folder.name}",
            "gpu": setup.gpu,
            "engine": f"vllm {setup.version}",
            "model": setup.model,
            "mode": "agg",
            "load_bin": load_bin(folder),
            "confidence": "tables" if not notes else "see note",
            "note": "; ".join(notes),
        }
        for name, values in measured.items():
            assert values is not None
            known = np.isfinite(values)
            for statistic, of in STATISTICS.items():
                guess = of(predicted[name][known]) if predicted else None
                pairs.append(
                    Pair(
                        metric=f"{name}_{statistic}",
                        measured=of(values[known]),
                        predicted=guess,
                        **label,
                    )
                )
    return pairs


def mean_abs_pct(pairs: Iterable[Pair]) -> float:
    """Mean absolute error of the means of TTFT, TPOT and latency over all answered runs, in per
    cent; NaN where none is."""
    errors = [abs(p.error_pct) for p in pairs if p.metric.endswith("_mean")]
    known = [error for error in errors if np.isfinite(error)]
    return float(np.mean(known)) if known else float("nan")


def load_bin(folder: Path) -> str:
    """By the share of requests whose wait for a place in the batch lasted over a tenth of their
    whole stay: ``past`` the knee for more than a quarter, ``at`` for more than 2 %, else
    ``below``."""
    path = folder / "requests.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    waited = np.array([row["scheduled_ts"] - row["queued_ts"] for row in rows])
    whole = np.array([row["last_token_ts"] - row["queued_ts"] for row in rows])
    return load_bin_of_share(float(np.mean(waited > 0.1 * whole)))


def replay(
    setup: Setup,
    run: MeasuredRun,
    kernels: str | Path,
    *,
    host_s: float = HOST_S,
    skewed: bool = True,
    caching: bool | None = None,
    prefixes: bool = True,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Predicted seconds of each request by quantity (ttft, tpot, e2e), and notes.

    Raises:
        InputError: no tables and no profile, or a model that is not known.
    """
    trace = run.trace
    prompts, outputs = np.asarray(trace.prompt, np.int64), np.asarray(trace.output, np.int64)
    model = load_model(known_model(setup.model))
    longest = int((prompts + outputs).max()) + 1
    typical = float(np.sum(prompts.astype(float) ** 2) / prompts.sum())
    cells, notes = _cells(setup, model, kernels, longest, typical, host_s, skewed)
    cached = setup.caching if caching is None else caching
    blocks = setup.dp * (setup.blocks or _blocks(setup, model, longest))
    kind = engine_kind(_engine(setup), cells, blocks)
    columns = _no_blocks(len(prompts)) if cached else {}
    if cached and prefixes:
        columns, said = _prefixes(setup, prompts)
        notes += said
    replayed = run_kernel(
        kind,
        np.asarray(trace.arrival, np.int64),
        prompts,
        outputs,
        where=str(setup.folder),
        batches=True,
        block_tokens=setup.block_tokens,
        prefix_caching=cached,
        **columns,
    )
    arrival = np.asarray(trace.arrival, np.int64)
    before = (stamped(arrival, replayed.outcome.batches) - arrival) * 1e-12
    found = {
        "ttft": replayed.ttft_s - before,
        "tpot": replayed.tpot_s,
        "e2e": replayed.e2e_s - before,
    }
    return found, notes


def stamped(arrival: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Ticks of the first iteration start at or after each arrival; the arrival itself where the
    replica is idle. A row of ``batches`` holds equal iterations one after another."""
    starts, ends = batches["start"].astype(np.int64), batches["end"].astype(np.int64)
    row = np.searchsorted(starts, arrival, side="right") - 1
    known = np.maximum(row, 0)
    busy = (row >= 0) & (arrival < ends[known])
    each = np.maximum((ends - starts) // np.maximum(batches["iterations"], 1), 1)[known]
    since = arrival - starts[known]
    after = starts[known] - (-since // each) * each
    return np.where(busy, np.minimum(after, ends[known]), arrival)


def _engine(setup: Setup) -> Engine:
    return make_engine(
        ENGINE,
        max_batch=setup.dp * setup.max_batch,
        max_tokens=setup.dp * setup.max_tokens,
    )


def _blocks(setup: Setup, model: Model, longest: int) -> int:
    """KV blocks of a rank where the run did not record them: from the memory that upstream's
    ``cluster_config.json`` gives, less the weights; without it as many as all requests need."""
    path = setup.folder / CLUSTER
    most = setup.max_batch * -(-longest // setup.block_tokens)
    if not path.is_file():
        return most
    try:
        memory = json.loads(path.read_text("utf-8"))["nodes"][0]["instances"][0]["npu_mem"]
        room = float(memory["mem_size"]) * 2**30 * float(memory.get("mem_util", 0.9))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"not a cluster_config.json ({error!r})", where=str(path)) from None
    routed = model.routed_parameters * precision(model.expert_dtype).weight_bytes
    weights = (model.weight_bytes - routed + routed / setup.dp) / setup.tp
    each = model.kv_bytes_per_token_per_gpu(setup.tp, 1, None) * setup.block_tokens
    return max(-(-longest // setup.block_tokens), int((room - weights) / each))


def _cells(
    setup: Setup,
    model: Model,
    kernels: str | Path,
    longest: int,
    typical: float,
    host_s: float,
    skewed: bool,
) -> tuple[IterationCells, list[str]]:
    notes: list[str] = []
    try:
        folder = tables_folder(kernels, setup.gpu, setup.model, setup.tp)
    except InputError:
        if setup.gpu not in PROFILES:
            raise
        notes.append(f"no kernel tables: shipped profile {PROFILES[setup.gpu]}")
        times: Any = IterationModel(
            model,
            PROFILES[setup.gpu],
            tp=setup.tp,
            dp=setup.dp,
            ep=setup.dp if setup.dp > 1 else 1,
            host_overhead_s=host_s,
        )
    else:
        all_reduce, exchange = collectives(
            setup.gpu, setup.tp, setup.dp, model, links(setup.folder / CLUSTER)
        )
        times = MeasuredIterations(
            LayerTables.read(folder),
            model,
            tp=setup.tp,
            dp=setup.dp,
            all_reduce=all_reduce,
            exchange=exchange,
            prompt=typical,
            host_s=host_s,
            graph_sizes=graph_sizes(setup.max_batch),
            skewed=skewed,
            max_context=longest,
        )
    return cells_of(times, _engine(setup), longest), notes


def graph_sizes(max_batch: int) -> list[int]:
    """Token counts for which vLLM 0.19 captures CUDA graphs: 1, 2, 4, then steps of 8 to 256 and
    of 16 to twice ``max_batch``, at most 512 (vllm/config/vllm.py; the lists in ``meta.json``)."""
    last = min(2 * max_batch, 512)
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, last + 1, 16)]
    return [size for size in sizes if size <= last]


def _no_blocks(count: int) -> dict[str, np.ndarray]:
    """Prompts that share nothing."""
    return {
        "block_start": np.zeros(count, np.int64),
        "block_count": np.zeros(count, np.int32),
        "block_ids": np.zeros(0, np.int32),
    }


def _prefixes(setup: Setup, prompts: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """Block ids of prompts that share a prefix with an earlier one.

    The workload file tells how many tokens request i shares, not with whom: taken is the first
    earlier prompt of as many whole blocks, or else the first that is long enough.
    """
    path = setup.folder.parent.parent / "workloads" / f"{setup.dataset}.csv"
    if not path.is_file():
        return _no_blocks(len(prompts)), [f"no workload file {path.name}: no shared prefixes"]
    from mltwin.calibration.read.files import read_columns

    frame = read_columns(path, ("input_toks", "shared_prefix_toks"))
    if len(frame) != len(prompts) or np.any(frame["input_toks"].to_numpy() != prompts):
        raise InputError("its prompts are not those of requests.jsonl", where=str(path))
    shared = frame["shared_prefix_toks"].to_numpy(np.int64) // setup.block_tokens
    whole = prompts // setup.block_tokens
    ids: list[list[int]] = []
    fresh = 0
    for i, (blocks, share) in enumerate(zip(whole.tolist(), shared.tolist(), strict=True)):
        same = [j for j in range(i) if whole[j] == share] or [
            j for j in range(i) if whole[j] > share
        ]
        start = ids[same[0]][:share] if share and same else []
        own = list(range(fresh, fresh + blocks - len(start)))
        fresh += len(own)
        ids.append([*start, *own])
    counts = np.array([len(row) for row in ids], np.int32)
    return {
        "block_start": np.concatenate([[0], np.cumsum(counts[:-1], dtype=np.int64)]),
        "block_count": counts,
        "block_ids": np.array([b for row in ids for b in row], np.int32),
    }, []
