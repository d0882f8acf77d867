"""Rows of ``silicon_sample``: measured closed-loop runs, what each was, which are the same."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

from .silicon_deployed import Served, serve

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
_MEASURED = re.compile(r"measured=(\d{4}-\d\d-\d\d)")
_IMAGE = re.compile(r"(?:image=|; )((?:ngc:|lmsysorg/|vllm/)[^\s;]+)")
_PLACE = re.compile(r"_(\d+)$")


@dataclass(frozen=True)
class Side:
    """Workers of one kind: how many, and the plan of each.

    ``told``: the row says how many; ``group``: GPUs of one worker as the row has them.
    """

    workers: int
    tp: int
    pp: int
    dp: int
    ep: int
    batch: int
    told: bool = field(default=True, repr=False, compare=False)
    group: int = field(default=1, repr=False, compare=False)


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
        export, place: the file that upstream took it from, and the run's number there (-1: none).
        measured, image: day and server image, where told.
        served: of a disaggregated run, how it was served.
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
    export: str = field(default="", compare=False)
    place: int = field(default=-1, compare=False)
    measured: str = field(default="", compare=False)
    image: str = field(default="", compare=False)
    served: Served | None = field(default=None, compare=False)

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
                f"{name} is {frame[name][wrong[0]]}", where=f"{path}, data row {wrong[0] + 1}"
            )
    slots = frame["silicon_data_source"].astype(str).str.extract(_CONCURRENCY)[0]
    keys = frame.drop(columns=[c for c in (*LABELS, "silicon_ttft_ms") if c in frame])
    again = keys.assign(slots=slots).duplicated()
    frame = frame[~again].reset_index(drop=True)
    rows = cast(list[dict[str, Any]], frame.to_dict("records"))
    runs = [_run(row, str(path), number) for number, row in enumerate(rows, 1)]
    runs = _once(runs)
    return [
        replace(run, served=served) if served else run
        for run, served in zip(runs, serve(runs), strict=True)
    ]


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
    row_id = str(row.get("id", number))
    found = _CONCURRENCY.search(source)
    measured, image, place = _MEASURED.search(source), _IMAGE.search(source), _PLACE.search(row_id)
    disaggregated = row["mode"] == "disagg"
    prefixes = ("prefill_", "decode_") if disaggregated else ("",)
    sides = tuple(_side(row, prefix, where) for prefix in prefixes)
    if found:
        concurrency = int(found[1])
    elif disaggregated:
        decode = sides[1]
        concurrency = max(1, decode.batch * decode.workers * decode.dp)
    else:
        concurrency = max(1, sides[0].batch * sides[0].dp)
    return Run(
        row_id=row_id,
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
        export=source.partition(";")[0],
        place=int(place[1]) if place else -1,
        measured=measured[1] if measured else "",
        image=image[1] if image else "",
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
        told=count("num_workers", 0) > 0,
        group=count("tp_size", 1) * count("attention_dp_size", 1),
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
