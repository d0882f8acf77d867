"""A GPU profile made of measured tables instead of fits."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mltwin.models.gpu.operators import ElementwiseCost
from mltwin.models.gpu.profile import Facts, Host, Power
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from .answers import EMPIRICAL, SCALED, Answers
from .attention import TableDecode, TablePrefill
from .collectives import TableCollective, TableExchange
from .gemm import Quantise, TableGemm, plausible
from .interpolate import fastest, groups
from .linear import TableLinearAttention
from .mla import TableMlaDecode, TableMlaPrefill
from .moe import TableMoe, moe_table
from .package import Tables, nearest_versions
from .resolver import ENGINES, TABLE_FORMATS, Deployment, resolve

DISTRIBUTION = "power_law_1.01"
"""Routing in practice is uneven: the milder measured power law."""
SMS = {"h100_sxm": 132, "h200_sxm": 132, "b200_sxm": 148, "b300_sxm": 148, "gb200": 152}
# Kernels besides GEMMs and attention inside a graph, and the bandwidth they reach.
KERNEL_S = 2e-6
REACHED = 0.8
# vLLM: two add-norms, activation, rotary embedding, cache write. SGLang writes the cache with the
# rotary embedding. TensorRT-LLM does both inside its attention and the norms inside its all-reduce.
KERNELS_A_LAYER = {"vllm": 5, "sglang": 4, "trtllm": 2}
SLOWER = 2.0
HOST = Host(
    iteration_s=5e-4,
    sequence_s=7e-6,
    hop_s=1e-5,
    basis="assumed: about 0.5 ms an iteration and 5-10 us a sequence",
)


@dataclass
class MeasuredOperators:
    """What :class:`mltwin.models.gpu.operators.Operators` holds, from tables."""

    gemm: dict[str, Any]
    decode: dict[str, dict[int, Any]]
    prefill: dict[str, dict[int, Any]]
    all_reduce: dict[int, Any]
    elementwise: ElementwiseCost
    moe: dict[str, Any] = field(default_factory=dict)
    mixed: Any = None
    collectives: dict[str, dict[int, Any]] = field(default_factory=dict)
    mla_decode: dict[str, Any] = field(default_factory=dict)
    mla_prefill: dict[str, Any] = field(default_factory=dict)
    linear_attention: Any = None
    moe_exchange: Any = None


@dataclass
class MeasuredProfile:
    """A profile for :class:`mltwin.models.gpu.IterationModel` that reads measured tables.

    ``deployment`` says which formats and tables were chosen, ``answers`` (filled as the profile is
    used) how exact they are; ``provenance`` lists the files.
    """

    name: str
    engine: str
    facts: Facts
    host: Host
    power: Power
    operators: MeasuredOperators
    deployment: Deployment
    answers: Answers
    provenance: tuple[str, ...]


def silicon_profile(
    system: str,
    engine: str,
    model: str,
    precision: str,
    version: str | None = None,
    folder: str | Path | None = None,
) -> MeasuredProfile:
    """The profile of a deployment.

    Args:
        system: e.g. ``h200_sxm``.
        engine: ``vllm``, ``sglang`` or ``trtllm``.
        model, precision: see :func:`mltwin.calibration.silicon.resolver.resolve`.
        version: of the engine; the nearest measured one is read.
        folder: tables of the package's form (default: the installed package).

    Raises:
        InputError: no tables, or unknown names.
    """
    tables = Tables(system, folder)
    deployment = resolve(engine, system, model, precision, version)
    return _Builder(tables, engine, version, deployment).build()


class _Builder:
    def __init__(
        self, tables: Tables, engine: str, version: str | None, deployment: Deployment
    ) -> None:
        self.tables, self.engine, self.version = tables, engine, version
        self.deployment, self.model = deployment, deployment.model
        self.answers = Answers(notes=list(deployment.notes))
        self.sources: list[str] = []
        self.facts = system_facts(tables)

    def build(self) -> MeasuredProfile:
        operators = MeasuredOperators(
            gemm=self._gemms(),
            decode={},
            prefill={},
            all_reduce=self._all_reduces(),
            elementwise=ElementwiseCost(
                KERNEL_S, REACHED * self.facts.hbm_bandwidth, KERNELS_A_LAYER[self.engine]
            ),
            collectives=self._collectives(),
        )
        self._attention(operators)
        if self.model.moe:
            operators.moe = {self.model.expert_dtype: self._experts()}
            operators.moe_exchange = self._exchange()
        if self.model.linear:
            operators.linear_attention = self._linear()
        return MeasuredProfile(
            name=f"{self.tables.system} ({self.engine} tables)",
            engine=self.engine,
            facts=self.facts,
            host=HOST,
            power=Power(None, None, None, "not in the tables"),
            operators=operators,
            deployment=self.deployment,
            answers=self.answers,
            provenance=tuple(dict.fromkeys(self.sources)),
        )

    def _read(
        self, family: str, table: str, framework: str, version: str | None = None
    ) -> pd.DataFrame | None:
        frame = self.tables.read(family, table, framework, version)
        if frame is not None:
            self.sources.append(frame.attrs["source"])
        return frame

    def _own(self, family: str, table: str, framework: str | None = None) -> pd.DataFrame:
        """A table of the engine, or of another one where it has none."""
        wanted = framework or self.engine
        for name in (wanted, *(e for e in ENGINES if e != wanted)):
            frame = self._read(family, table, name, self.version if name == self.engine else None)
            if frame is not None:
                if name != wanted:
                    self.answers.add(table, SCALED, f"{table}: {name}'s table for {wanted}")
                return frame
        raise InputError(
            f"no table {table!r} of any engine", where=str(self.tables.folder / self.tables.system)
        )

    def _gemms(self) -> dict[str, TableGemm]:
        wanted = {"bfloat16": self.engine, self.model.weight_dtype: self.deployment.gemm_framework}
        found = {}
        for stored, framework in wanted.items():
            if stored in TABLE_FORMATS:
                found[stored] = self._gemm(stored, framework)
        return found

    def _gemm(self, stored: str, framework: str) -> TableGemm:
        rows = self._gemm_rows(stored, framework)
        quantise = None
        if self.deployment.static_fp8 and stored == "fp8":
            parts = [
                self._read("quantize", name, framework, self.version)
                for name in ("computescale", "scale_matrix")
            ]
            quantise = Quantise([p for p in parts if p is not None])
        narrow = {"fp8": 2, "fp8_block": 2, "nvfp4": 4}.get(stored, 1)
        return TableGemm(
            rows,
            peak_flops=self.facts.peak_flops["bfloat16"] * narrow,
            bandwidth=self.facts.hbm_bandwidth,
            weight_bytes=precision(stored).weight_bytes,
            answers=self.answers,
            name=f"GEMM {stored}",
            quantise=quantise,
        )

    def _gemm_rows(self, stored: str, framework: str) -> pd.DataFrame:
        """Rows of a format; implausible shapes are replaced by another engine's."""
        frames = {}
        for name in (framework, *(e for e in ENGINES if e != framework)):
            frame = self._read("gemm", "gemm", name, self.version if name == framework else None)
            if frame is not None:
                rows = frame[frame["gemm_dtype"].isin(TABLE_FORMATS[stored])]
                if len(rows):
                    frames[name] = rows[["m", "n", "k", "seconds"]]
        if not frames:
            raise InputError(
                f"no GEMM of {stored} was measured on {self.tables.system}",
                mend="use another precision",
            )
        names = list(frames)
        if names[0] != framework:
            self.answers.add(f"GEMM {stored}", SCALED, f"GEMM {stored}: {names[0]}'s table")
        return _plausible(self.tables, stored, names[0], frames)

    def _attention(self, operators: MeasuredOperators) -> None:
        kv = self.deployment.kv_dtype
        if self.model.mla:
            self._mla(operators, kv)
        prefill = self._own("attention", "context_attention")
        decode = self._own("attention", "generation_attention")
        for stored in {"bfloat16", kv}:
            wanted = self.deployment.attention_dtype if stored == "fp8" else "bfloat16"
            prefills = TablePrefill(_by_size(_formats(prefill, wanted, stored)), self.answers)
            decodes = TableDecode(_by_size(_formats(decode, wanted, stored)), self.answers)
            sizes = {*(size for size in (64, 128, 256)), self.model.head_dim}
            if self.model.mla:
                sizes |= {self.model.mla.latent}
            operators.prefill[stored] = _Any(prefills, sizes)
            operators.decode[stored] = _Any(decodes, sizes)

    def _mla(self, operators: MeasuredOperators, kv: str) -> None:
        prefill, decode = (
            self._own("mla", f"{phase}_mla", "trtllm" if self.engine == "vllm" else None)
            for phase in ("context", "generation")
        )
        operators.mla_prefill[kv] = TableMlaPrefill(
            prefill[prefill["kv_cache_dtype"] == kv], self.answers
        )
        operators.mla_decode[kv] = TableMlaDecode(
            decode[decode["kv_cache_dtype"] == kv], self.answers
        )

    def _experts(self) -> TableMoe:
        """The engine's expert times in the best of the formats that anyone measured.

        Another engine's where its own were measured with a kernel that it would not keep: at the
        median over ``SLOWER`` times as slow.
        """
        framework = self.deployment.moe_framework
        found: dict[str, pd.DataFrame] = {}
        for stored in self.deployment.moe_formats:
            for name in (framework, *(e for e in ENGINES if e != framework)):
                rows = self._expert_rows(name, stored)
                if rows is not None:
                    found[name] = rows
            if found:
                break
        if not found:
            raise InputError(
                f"no experts of {self.model.expert_dtype} were measured on {self.tables.system}"
            )
        chosen = next(iter(found))
        typical = {name: _typical(rows, self.model.moe) for name, rows in found.items()}
        best = min(typical, key=lambda name: typical[name])
        if typical[chosen] > SLOWER * typical[best]:
            chosen = best
        if chosen != framework:
            self.answers.add("experts", SCALED, f"experts: {chosen}'s table for {self.engine}")
        return moe_table(found[chosen], self.facts, self.model.expert_dtype, self.answers)

    def _expert_rows(self, name: str, stored: str) -> pd.DataFrame | None:
        """Rows of the model's experts in a format; None if there are none."""
        moe = self.model.moe
        assert moe is not None
        known = self.tables.versions("moe", "moe", name)
        # vLLM's campaigns before 0.24 called one kernel by name; the newest timed what the engine
        # picks.
        wanted = self.version if name == self.engine != "vllm" else None
        # A campaign need not have measured this model: the next one then.
        for version in nearest_versions(known, wanted) if known else ():
            frame = self._read("moe", "moe", name, version)
            assert frame is not None
            rows = frame[
                (frame["distribution"] == DISTRIBUTION)
                & (frame["hidden_size"] == self.model.hidden_size)
                & (frame["num_experts"] == moe.experts)
                & (frame["moe_dtype"] == stored)
                & ~frame["kernel_source"].str.contains("nongated")
            ]
            if len(rows):
                return rows
        return None

    def _all_reduces(self) -> dict[int, Any]:
        rows = self._own("comm", "custom_allreduce")
        if "backend" in rows:
            rows = rows[rows["backend"].str.endswith("graph")]
        found: dict[int, Any] = {
            gpus: TableCollective(group, "allreduce_dtype")
            for (gpus,), group in groups(rows, "num_gpus")
        }
        largest = max(found)
        group = rows[rows["num_gpus"] == largest]
        # Beyond what was measured latency grows with the steps of a tree; the switch's bandwidth
        # per GPU stays.
        for gpus in (3, 6, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 52, 64, 72):
            if gpus not in found:
                steps = max(1.0, 1 + 0.25 * float(pd.Series([gpus / largest]).map(_log2).iloc[0]))
                found[gpus] = _Flagged(
                    TableCollective(group, "allreduce_dtype", steps),
                    self.answers,
                    f"all-reduce over {gpus} GPUs is scaled from {largest}",
                )
        return found

    def _collectives(self) -> dict[str, dict[int, TableCollective]]:
        versions = self.tables.versions("comm", "nccl", "nccl")
        if not versions:
            return {}
        rows = self._read("comm", "nccl", "nccl", versions[-1])
        assert rows is not None
        rows = rows[rows["nccl_dtype"] == "half"]
        names = {"all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
                 "alltoall": "all_to_all", "all_reduce": "all_reduce"}  # fmt: skip
        found: dict[str, dict[int, TableCollective]] = {}
        for (op, gpus), group in rows.groupby(["op_name", "num_gpus"]):
            if op in names:
                found.setdefault(names[str(op)], {})[int(str(gpus))] = TableCollective(
                    group, "nccl_dtype"
                )
        return found

    def _exchange(self) -> TableExchange | None:
        """DeepEP for SGLang and TensorRT-LLM; vLLM gathers and scatters by default."""
        if self.engine == "vllm":
            return None
        moe = self.model.moe
        assert moe is not None
        low = self._deepep("wideep_deepep_ll", ("dispatch_avg_t_us", "combine_avg_t_us"))
        normal = self._deepep(
            "wideep_deepep_normal",
            ("dispatch_transmit_us", "dispatch_notify_us", "combine_transmit_us",
             "combine_notify_us"),
        )  # fmt: skip
        if low is None and normal is None:
            return None
        return TableExchange(low, normal, self.model.hidden_size, moe.experts_per_token)

    def _deepep(self, table: str, columns: tuple[str, ...]) -> pd.DataFrame | None:
        rows = self._read("comm", table, "sglang")
        if rows is None:
            return None
        moe = self.model.moe
        assert moe is not None
        same = rows[
            (rows["hidden_size"] == self.model.hidden_size) & (rows["num_experts"] == moe.experts)
        ]
        if same.empty:
            same = rows[rows["hidden_size"] == rows["hidden_size"].max()]
            self.answers.add("expert exchange", EMPIRICAL, f"{table}: of another model")
        total = same[list(columns)].sum(axis=1) * 1e-6
        return fastest(same.assign(seconds=total), ["num_token"])

    def _linear(self) -> TableLinearAttention | None:
        rows = self._own("linear_attention", "gdn")
        return TableLinearAttention(rows, self.model.hidden_size, self.answers)


class _Any(dict[int, Any]):
    """One table under every head size: it picks the nearest by itself."""

    def __init__(self, table: Any, sizes: set[int]) -> None:
        super().__init__({size: table for size in sizes})


class _Flagged:
    """An operator whose use is noted as empirical."""

    def __init__(self, operator: Any, answers: Answers, note: str) -> None:
        self.operator, self.answers, self.note = operator, answers, note

    def seconds(self, size_bytes: Any) -> Any:
        """Seconds of the operator."""
        self.answers.add("all-reduce", EMPIRICAL, self.note)
        return self.operator.seconds(size_bytes)


def _typical(rows: pd.DataFrame, moe: Any) -> float:
    """Geometric mean of the times of batches that decode, experts not split over ranks; of the
    model's own experts where they were measured."""
    import numpy as np

    same = (rows["inter_size"] == moe.intermediate_size) & (rows["topk"] == moe.experts_per_token)
    rows = rows[same] if same.any() else rows
    some = rows[(rows["num_tokens"] <= 256) & (rows["moe_ep_size"] == 1)]
    some = some if len(some) else rows
    fastest = some.groupby(["num_tokens", "moe_tp_size"])["seconds"].min()
    return float(np.exp(np.log(fastest[fastest.index.get_level_values(1) <= 8]).mean()))


def _log2(value: float) -> float:
    import math

    return math.log2(value)


_PLAUSIBLE: dict[tuple[str, str, str, str], pd.DataFrame] = {}


def _plausible(
    tables: Tables, stored: str, framework: str, frames: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """:func:`mltwin.calibration.silicon.gemm.plausible`, once for each table."""
    key = (str(tables.folder), tables.system, stored, framework)
    if key not in _PLAUSIBLE:
        others = [rows for name, rows in frames.items() if name != framework]
        _PLAUSIBLE[key] = plausible(frames[framework], others)
    return _PLAUSIBLE[key]


def _formats(rows: pd.DataFrame, attention: str, kv: str) -> pd.DataFrame:
    """Rows of a KV format, of the wanted format of the products if it was measured."""
    stored = rows[rows["kv_cache_dtype"] == kv]
    wanted = stored[stored["attn_dtype"] == attention]
    return wanted if len(wanted) else stored


def _by_size(rows: pd.DataFrame) -> dict[tuple[int, int], pd.DataFrame]:
    """By head size and window; of several kernels of one point the fastest."""
    if "window_size" not in rows:
        rows = rows.assign(window_size=0)
    found = {}
    for (size, window), group in groups(rows, "head_dim", "window_size"):
        names = ["batch_size", "isl", "step", "num_heads", "num_key_value_heads"]
        found[(size, window)] = fastest(group, names)
    return found


@functools.lru_cache(maxsize=32)
def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    with path.open(encoding="utf-8") as file:
        return dict(yaml.safe_load(file))


def system_facts(tables: Tables) -> Facts:
    """Data-sheet facts of a system from the description beside its tables.

    Raises:
        InputError: no description.
    """
    for place in (tables.folder.parent, tables.folder / "specs", tables.folder):
        path = place / f"{tables.system}.yaml"
        if path.is_file():
            break
    else:
        raise InputError(f"no {tables.system}.yaml", where=str(tables.folder.parent))
    data = _yaml(path)
    gpu, node = data["gpu"], data["node"]
    return Facts(
        source=f"{path.name} of aiconfigurator (data-sheet values)",
        sms=SMS.get(tables.system, 132),
        l2_bytes=50 * 2**20,
        peak_flops={
            "bfloat16": float(gpu["bfloat16_tc_flops"]),
            "fp8": float(gpu.get("fp8_tc_flops", gpu["bfloat16_tc_flops"])),
        },
        hbm_bytes=int(gpu["mem_capacity"]),
        usable_bytes=int(gpu["mem_capacity"] * 0.985),
        hbm_bandwidth=float(gpu["mem_bw"]),
        nvlink_bandwidth=float(node["intra_node_bw"]),
        host_link_bandwidth=float(node["pcie_bw"]),
        gpus_per_node=int(node["num_gpus_per_node"]),
        tdp_w=float(gpu["power"]),
    )
