"""Rows of ``silicon_sample``: measured closed-loop runs, what each was, which are the same."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

FILE = "groundtruth/aiconfigurator/silicon_sample.csv.gz"
CORE_MODELS = ("llama-3.1-70b", "gpt-oss-120b", "minimax-m2.5")
RESULTS = ("silicon_ttft_ms", "silicon_tpot_ms")
LABELS = ("id", "silicon_data_source")
_NEEDED = (
    "silicon_data_source",
    "backend",
    "model_path",
    "system",
    "precision",
    "mode",
    "isl",
    "osl",
    "batch_size",
    *RESULTS,
)
_CONFIG = ("backend", "model_path", "system", "precision", "mode", "isl", "osl")
# Origins whose client is known: lengths uniform in [0.8 L, L], ten prompts a slot, all at once.
_KNOWN = re.compile(r"^(db-dump|source_file=\d{4}-\d\d-\d\d\.csv)")
_CONCURRENCY = re.compile(r"silicon_concurrency=(\d+)")


@dataclass(frozen=True)
class Side:
    """Workers of one kind: how many, and the plan of each."""

    workers: int
    tp: int
    pp: int
    dp: int
    ep: int
    batch: int


@dataclass(frozen=True)
class Run:
    """One measured run.

    Attributes:
        row_id: as in the file.
        engine, version, model, system, precision: the deployment.
        prompt, output: nominal tokens.
        concurrency: of the client.
        known: its protocol is known.
        sides: one of aggregated runs, (prefill, decode) of disaggregated ones.
        ttft_s, tpot_s: measured.
        config: hash of everything but the results.
    """

    row_id: str
    engine: str
    version: str
    model: str
    system: str
    precision: str
    prompt: int
    output: int
    concurrency: int
    known: bool
    sides: tuple[Side, ...]
    ttft_s: float
    tpot_s: float
    config: str

    @property
    def disaggregated(self) -> bool:
        return len(self.sides) == 2

    @property
    def family(self) -> str:
        """Model, engine, system, precision."""
        return f"{self.model} {self.engine} {self.system} {self.precision}"

    def core(self, shipped: str) -> bool:
        """Aggregated, protocol known, tensor parallel, of the feasibility study's families."""
        side = self.sides[0]
        return (
            not self.disaggregated
            and self.known
            and shipped in CORE_MODELS
            and side.dp == 1
            and side.tp <= 8
        )


def find_rows(data: str | Path) -> Path:
    """The file of rows: ``data`` itself, or where a data folder holds it.

    Raises:
        InputError: there is none.
    """
    path = Path(data)
    if path.is_file():
        return path
    for place in (path / FILE, path / "silicon_sample.csv.gz", path / "silicon_sample.csv"):
        if place.is_file():
            return place
    raise InputError("no silicon_sample.csv[.gz]", where=str(path), mend="give --data FILE")


def read_runs(data: str | Path) -> list[Run]:
    """Deduplicated runs in the order of the file.

    Rows with equal configuration and equal TPOT are re-exports of one run: the first stays.

    Raises:
        InputError: no such file, a column that is missing, a value that is none.
    """
    path = find_rows(data)
    try:
        frame = pd.read_csv(path)
    except Exception as error:
        raise InputError(f"cannot be read ({error})", where=str(path)) from None
    missing = [name for name in _NEEDED if name not in frame]
    if missing:
        raise InputError(f"columns {missing} are missing", where=str(path))
    for name in RESULTS:
        wrong = frame.index[~(frame[name] > 0)]
        if len(wrong):
            raise InputError(
                f"{name} is {frame[name][wrong[0]]!r}", where=f"{path}, data row {wrong[0] + 1}"
            )
    keys = [c for c in frame if c not in (*LABELS, "silicon_ttft_ms")]
    frame = frame.drop_duplicates(keys).reset_index(drop=True)
    runs = [_run(row, str(path), number) for number, row in enumerate(frame.to_dict("records"), 1)]
    return _once(runs)


def _once(runs: list[Run]) -> list[Run]:
    """Runs of equal configuration and equal results only once: exports repeat each other."""
    seen: dict[tuple[object, ...], Run] = {}
    for run in runs:
        key = (run.engine, run.model, run.system, run.prompt, run.output, run.concurrency,
               run.sides, run.ttft_s, run.tpot_s)  # fmt: skip
        seen.setdefault(key, run)
    return list(seen.values())


def _run(row: Mapping[str, Any], path: str, number: int) -> Run:
    where = f"{path}, run {number}"
    source = str(row["silicon_data_source"])
    found = _CONCURRENCY.search(source)
    disaggregated = row["mode"] == "disagg"
    sides = (
        (_side(row, "prefill_", where), _side(row, "decode_", where))
        if disaggregated
        else (_side(row, "", where),)
    )
    if found:
        concurrency = int(found[1])
    elif disaggregated:
        decode = sides[1]
        concurrency = max(1, decode.batch * decode.workers * decode.dp)
    else:
        concurrency = max(1, sides[0].batch * sides[0].dp)
    return Run(
        row_id=str(row.get("id", number)),
        engine=str(row["backend"]),
        version=str(row.get("backend_version", "")),
        model=str(row["model_path"]),
        system=str(row["system"]),
        precision=_precision(row),
        prompt=int(row["isl"]),
        output=int(row["osl"]),
        concurrency=concurrency,
        known=bool(_KNOWN.match(source)),
        sides=sides,
        ttft_s=float(row["silicon_ttft_ms"]) / 1e3,
        tpot_s=float(row["silicon_tpot_ms"]) / 1e3,
        config=hashlib.sha256(
            repr([sides, concurrency, *(row[c] for c in _CONFIG)]).encode()
        ).hexdigest(),
    )


def _precision(row: Mapping[str, Any]) -> str:
    """The label; an FP8 row whose layers are scaled by blocks says so, and no label means the
    format that the model is published in."""
    label = row["precision"]
    if not isinstance(label, str):
        return "bf16"
    if label == "fp8" and row.get("gemm_quant_mode") == "fp8_block":
        return "fp8_block"
    return label


def _side(row: Mapping[str, Any], prefix: str, where: str) -> Side:
    def count(name: str, default: int) -> int:
        value = row.get(prefix + name)
        # Empty and 0 both stand for "not told".
        if value is None or value == 0 or (isinstance(value, float) and np.isnan(value)):
            return default
        if value < 1 or int(value) != value:
            raise InputError(f"{prefix + name} is {value!r}", where=where)
        return int(value)

    tp, dp, ep = _plan(
        count("tp_size", 1),
        count("attention_dp_size", 1),
        count("moe_tp_size", 1),
        count("moe_ep_size", 1),
    )
    return Side(
        workers=count("num_workers", 1),
        tp=tp,
        pp=count("pp_size", 1),
        dp=dp,
        ep=ep,
        batch=count("batch_size", 1),
    )


def _plan(tp: int, dp: int, moe_tp: int, moe_ep: int) -> tuple[int, int, int]:
    """(tp, dp, ep) of a worker.

    Two exports write a group of g GPUs with expert parallelism as g x g: (tp, moe_tp, moe_ep) =
    (64, 8, 8) stands beside (8, 1, 8) with the same results to the last digit, (dp, moe_tp,
    moe_ep) = (64, 8, 8) beside (8, 1, 8), and likewise for 4 and 2. With attention-data
    parallelism they also write (tp, dp, moe_ep) = (g, g, g g).
    """
    if moe_tp == moe_ep > 1 and tp * dp == moe_tp * moe_ep:
        return (moe_tp, 1, moe_ep) if dp == 1 else (1, moe_ep, moe_ep)
    if moe_tp == 1 and tp == dp > 1 and moe_ep == tp * dp:
        return 1, dp, dp
    return tp, dp, moe_ep


def development(run: Run) -> bool:
    """The fifth of configurations on which modelling rules were chosen; the rest is the test."""
    return int(run.config[:8], 16) % 5 == 0
