"""Rebuilds the shipped GPU profiles from the measurement files.

    python -m mltwin.calibration.profiles --data $MLTWIN_DATA --write

Without ``--write`` it prints the fits and compares them with what is shipped.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mltwin.models.gpu.operators import (
    CollectiveCost,
    DecodeCost,
    ElementwiseCost,
    GemmCost,
    MixedCost,
    MoeCost,
    Operators,
    PrefillCost,
)
from mltwin.models.gpu.profile import (
    FORMAT,
    GpuProfile,
    Host,
    Power,
    Provenance,
    shipped_path,
)
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from . import fit, read
from .ragged import MEASURED, SOFTWARE, mixed_of
from .sources import H200, SOURCES, Source

ALL = (*SOURCES, H200)
HEAD_SIZES = (64, 128, 256)
LEAST_ROWS = 1000
LEAST_EXPERT_ROWS = 50
# A format whose fastest GEMMs take longer was timed with its launches, which an engine hides.
LAUNCH_BOUND_S = 1e-4
# Share of the data sheet's bandwidth that element-wise kernels reach on the H100.
ASSUMED_SHARE = 0.7
POWER_GPU = "a100-80gb"
# Share of the bandwidth that decoding uses at the batch sizes of serving.
DECODE_USE = 0.6
MOE_FORMATS = {
    **{name: name for name in ("bfloat16", "fp8", "fp8_block", "nvfp4")},
    "int4_wo": "int4",
    "w4a16_mxfp4": "mxfp4",
}

HOST = Host(
    iteration_s=5e-4,
    sequence_s=7e-6,
    hop_s=1e-5,
    basis="assumed: about 0.5 ms an iteration and 5-10 us a sequence reproduce published "
    "vLLM runs; not measured on this GPU",
)


class Builder:
    """Fits one profile, operator by operator, and keeps the books."""

    def __init__(self, data: str | Path, source: Source) -> None:
        self.data, self.source, self.facts = data, source, source.facts
        self.provenance: list[Provenance] = []

    def _file(self, kind: str, name: str) -> tuple[str, Path]:
        relative = f"{self.source.folder}/{kind}/{self.source.version}/{name}"
        return relative, read.source_path(self.data, relative)

    def _record(
        self,
        operator: str,
        file: tuple[str, Path],
        method: str,
        error: fit.FitError,
        rows: pd.DataFrame,
        sizes: tuple[str, ...],
        software: str | None = None,
    ) -> None:
        if error.held_rows == 0:
            method += " (none fell among them: the error is that of the fitted rows)"
        self.provenance.append(
            Provenance(
                operator=operator,
                file=file[0],
                sha256=read.sha256(file[1]),
                software=software or self.source.version,
                rows=error.rows,
                held_rows=error.held_rows,
                method=method,
                median=error.median,
                p95=error.p95,
                bias=error.bias,
                sigma=error.sigma,
                valid={s: (float(rows[s].min()), float(rows[s].max())) for s in sizes},
            )
        )

    def build(self) -> GpuProfile:
        gemm = self.gemm()
        operators = Operators(
            gemm=gemm,
            decode=self.decode(),
            prefill=self.prefill(),
            all_reduce=self.all_reduce(),
            elementwise=self.elementwise(gemm["bfloat16"]),
            moe=self.moe(),
            collectives=self.collectives(),
            mixed=self.mixed(),
        )
        return GpuProfile(
            format=FORMAT,
            name=self.source.name,
            engine=self.source.version.replace("-", " "),
            facts=self.facts,
            power=self.power(),
            host=HOST,
            operators=operators,
            provenance=tuple(self.provenance),
        )

    def gemm(self) -> dict[str, GemmCost]:
        file = self._file("gemm", "gemm_perf.csv.gz")
        table = read.read_gemm(file[1])
        costs = {}
        for dtype, rows in table.groupby("dtype", sort=True):
            dtype = str(dtype)
            least = fit.GEMM_LEAST.get(dtype, 64)
            rows = rows[(rows["n"] >= least) & (rows["k"] >= least)]
            if len(rows) < LEAST_ROWS or rows["seconds"].quantile(0.05) > LAUNCH_BOUND_S:
                continue
            narrow = 1.0 if dtype == "bfloat16" else self.source.narrow.get(dtype, 2.0)
            cost, error = fit.fit_gemm(
                rows,
                sms=self.facts.sms,
                flops=self.facts.peak_flops["bfloat16"] * narrow,
                bandwidth=self.facts.hbm_bandwidth,
                weight_bytes=precision(dtype).weight_bytes,
                # Quantising on the fly reads 2 bytes, writes 1 and reads it again.
                activation_bytes=2.0 if dtype == "bfloat16" else 4.0,
            )
            costs[dtype] = cost
            method = (
                f"wave-quantised roofline and boosted trees; n, k >= {least}; "
                "a fifth of (n, k) held out"
            )
            self._record(f"gemm.{dtype}", file, method, error, rows, ("m", "n", "k"))
        return costs

    def decode(self) -> dict[str, dict[int, DecodeCost]]:
        file = self._file("attention", "generation_attention_perf.csv.gz")
        table = read.read_decode_attention(file[1])
        costs: dict[str, dict[int, DecodeCost]] = {}
        for (kv_dtype, head_dim), rows in _groups(table):
            cost, error = fit.fit_decode(
                rows,
                sms=self.facts.sms,
                bandwidth=self.facts.hbm_bandwidth,
                kv_bytes=precision(kv_dtype).weight_bytes,
                l2_bytes=self.facts.l2_bytes,
                # FlashAttention-2 does not split an ungrouped head.
                serial=self.source.serial and kv_dtype == "bfloat16",
            )
            costs.setdefault(kv_dtype, {})[head_dim] = cost
            method = (
                "overhead and p-norm of work items and bytes (sizes within L2 left out), and "
                "boosted trees; a fifth of head configurations held out"
            )
            self._record(
                f"decode.{kv_dtype}.{head_dim}", file, method, error, rows[rows["context"] > 128],
                ("batch", "context", "heads", "kv_heads"),
            )  # fmt: skip
        return costs

    def prefill(self) -> dict[str, dict[int, PrefillCost]]:
        file = self._file("attention", "context_attention_perf.csv.gz")
        table = read.read_prefill_attention(file[1])
        costs: dict[str, dict[int, PrefillCost]] = {}
        for (kv_dtype, head_dim), rows in _groups(table):
            cost, error = fit.fit_prefill(
                rows, flops=self.facts.peak_flops["bfloat16"], sms=self.facts.sms
            )
            costs.setdefault(kv_dtype, {})[head_dim] = cost
            method = (
                "overhead and p-norm of pairs and longest chain, and boosted trees; "
                "a fifth of head configurations held out"
            )
            self._record(
                f"prefill.{kv_dtype}.{head_dim}", file, method, error, rows[rows["tokens"] >= 16],
                ("batch", "tokens", "heads", "kv_heads"),
            )  # fmt: skip
        return costs

    def all_reduce(self) -> dict[int, CollectiveCost]:
        version = self.source.comm or self.source.version
        relative = f"{self.source.folder}/comm/{version}/custom_allreduce_perf.csv"
        file = (relative, read.source_path(self.data, relative))
        table = read.read_all_reduce(file[1])
        method = "table of sizes, CUDA graph rows; error with every fifth size left out"
        costs = {}
        for gpus in sorted(set(table["gpus"].tolist())):
            rows = table[table["gpus"] == gpus]
            costs[gpus], error = fit.fit_collective(rows, bandwidth=self.facts.nvlink_bandwidth)
            self._record(f"all_reduce.{gpus}", file, method, error, rows, ("size_bytes",))
        return costs

    def collectives(self) -> dict[str, dict[int, CollectiveCost]]:
        """NCCL's, 2-byte numbers; of the newest version that was measured."""
        folder = read.source_folder(self.data, f"{self.source.folder}/comm")
        versions = sorted(folder.glob("nccl-*"))
        if not versions:
            return {}
        relative = f"{self.source.folder}/comm/{versions[-1].name}/nccl_perf.csv"
        file = (relative, read.source_path(self.data, relative))
        table = read.read_nccl(file[1])
        method = "table of sizes; error with every fifth size left out"
        costs: dict[str, dict[int, CollectiveCost]] = {}
        for (name, gpus), rows in table.groupby(["op", "gpus"], sort=True):
            cost, error = fit.fit_collective(rows, bandwidth=self.facts.nvlink_bandwidth)
            costs.setdefault(str(name), {})[int(str(gpus))] = cost
            self._record(
                f"nccl.{name}.{gpus}", file, method, error, rows, ("size_bytes",),
                versions[-1].name,
            )  # fmt: skip
        return costs

    def elementwise(self, gemm: GemmCost) -> ElementwiseCost:
        if not self.source.activation:
            return ElementwiseCost(gemm.overhead_s, ASSUMED_SHARE * self.facts.hbm_bandwidth)
        relative = self.source.activation
        file = (relative, read.source_path(self.data, relative))
        rows = read.read_mlp_activation(file[1])
        cost, error = fit.fit_elementwise(
            rows, kernel_s=gemm.overhead_s, bandwidth=self.facts.hbm_bandwidth
        )
        method = (
            "bandwidth of the gated activation at 512 tokens and more; kernel overhead that of the "
            "smallest GEMM in a graph; a fifth of token counts held out"
        )
        self._record(
            "elementwise",
            file,
            method,
            error,
            rows[rows["tokens"] >= 512],
            ("size_bytes",),
            "vidur profile, 2024",
        )
        return cost

    def moe(self) -> dict[str, MoeCost]:
        file = self._file("moe", "moe_perf.csv.gz")
        table = read.read_moe(file[1])
        # Routing in practice is uneven: the milder measured power law, not the balanced rows.
        table = table[table["distribution"] == "power_law_1.01"]
        keys = [c for c in table if c not in ("seconds", "kernel")]
        # Several kernels of one shape: an engine's tuner takes the fastest.
        table = table.groupby(keys, as_index=False)[["seconds"]].min()
        costs = {}
        for dtype, rows in table.groupby("dtype", sort=True):
            stored = MOE_FORMATS.get(str(dtype))
            rows = fit.usable_experts(rows)
            if stored is None or len(rows) < LEAST_EXPERT_ROWS:
                continue
            narrow = self.source.narrow.get(stored, 2.0 if stored.startswith("fp8") else 1.0)
            cost, error = fit.fit_moe(
                rows,
                flops=self.facts.peak_flops["bfloat16"] * narrow,
                bandwidth=self.facts.hbm_bandwidth,
                weight_bytes=precision(stored).weight_bytes,
            )
            costs[stored] = cost
            method = (
                "p-norm of compute and expert reads, and boosted trees; fastest kernel of a shape; "
                "power law 1.01, gated, at most 8 shards and 16384 tokens; a fifth of shapes "
                "held out"
            )
            self._record(
                f"moe.{stored}", file, method, error, rows, ("tokens", "hidden", "width", "experts")
            )
        return costs

    def mixed(self) -> MixedCost | None:
        """Attention calls of prompts and decodes together, where anything is known of them."""
        found = mixed_of(self.data, self.source)
        if found is None:
            return None
        if found.error is not None and found.file is not None and found.rows is not None:
            kernels = read.source_folder(self.data, "")
            file = (str(found.file.relative_to(kernels)), found.file)
            software = SOFTWARE if self.source.name in MEASURED else None
            self._record(
                "mixed", file, found.method, found.error, found.rows, found.sizes, software
            )
        return found.cost

    def power(self) -> Power:
        """Average draw by phase: a law of use fitted to whole runs of the A100, of other GPUs at
        the same share of their TDP."""
        if not self.source.splitwise_gpu:
            return Power(None, None, None, "not measured")
        file = "splitwise/perf_model.csv"
        path = read.source_path(self.data, file)
        facts = next(s.facts for s in SOURCES if s.splitwise_gpu == POWER_GPU)
        rows = fit.power_rows(
            read.read_splitwise(path),
            POWER_GPU,
            bandwidth=facts.hbm_bandwidth,
            flops=facts.peak_flops["bfloat16"],
        )
        law, error = fit.fit_power(rows, facts.tdp_w)
        source = f"{file}: W = busy u^g fitted to the A100's runs; prompts at u = 1, decoding at "
        source += f"u = {DECODE_USE}"
        if self.source.splitwise_gpu == POWER_GPU:
            sizes = ("tp", "prompt_tokens", "batch")
            method = "average draw against use; a fifth of runs held out"
            self._record("power", (file, path), method, error, rows, sizes, "splitwise")
        else:
            law = law.scaled(self.facts.tdp_w)
            source += "; of this GPU none was recorded: the A100's share of TDP"
        return Power(
            busy_prefill_w=round(float(law.watts(0.0, 1.0)), 1),
            busy_decode_w=round(float(law.watts(DECODE_USE)), 1),
            idle_w=None,
            source=source,
        )


def transfer(profile: GpuProfile, source: Source) -> GpuProfile:
    """A GPU of the same chip with other memory: bandwidths of the operators scale with it.

    Nothing of it was measured: the provenance says so, and its errors are those of the original.
    """
    ratio = source.facts.hbm_bandwidth / profile.facts.hbm_bandwidth
    o = profile.operators

    def faster(cost: Any) -> Any:
        return dataclasses.replace(cost, bandwidth=cost.bandwidth * ratio)

    operators = dataclasses.replace(
        o,
        gemm={k: faster(v) for k, v in o.gemm.items()},
        decode={k: {d: faster(c) for d, c in v.items()} for k, v in o.decode.items()},
        elementwise=faster(o.elementwise),
        moe={k: faster(v) for k, v in o.moe.items()},
    )
    provenance = tuple(
        dataclasses.replace(p, method=f"taken from {profile.name}, bandwidth scaled: {p.method}")
        for p in profile.provenance
    )
    return dataclasses.replace(
        profile,
        name=source.name,
        facts=source.facts,
        operators=operators,
        provenance=provenance,
    )


def _groups(table: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    """Rows of each (KV format, head size) without window; fall-back kernels are left out, and of
    several kernels of one point the fastest counts."""
    table = table[(table["window"] == 0) & ~table["kernel"].str.contains("triton")]
    names = [c for c in table if c not in ("seconds", "kernel")]
    table = table.groupby(names, as_index=False)[["seconds"]].min()
    table = table[table["head_dim"].isin(HEAD_SIZES)]
    keys = zip(table["kv_dtype"].tolist(), table["head_dim"].tolist(), strict=True)
    for kv_dtype, head_dim in sorted(set(keys)):
        here = (table["kv_dtype"] == kv_dtype) & (table["head_dim"] == head_dim)
        yield (kv_dtype, head_dim), table[here]


def build_profile(data: str | Path, name: str) -> GpuProfile:
    """The profile ``name``, fitted anew from the files under ``data``.

    Raises:
        InputError: an unknown name or a missing file.
    """
    for source in ALL:
        if source.name == name:
            if source.transfer_of:
                return transfer(build_profile(data, source.transfer_of), source)
            return Builder(data, source).build()
    raise InputError(f"no profile {name!r}", mend=f"use one of {[s.name for s in ALL]}")


def main(arguments: list[str] | None = None) -> int:
    """Fits all profiles, prints their errors, and writes or compares them."""
    parser = argparse.ArgumentParser(description="Fit the shipped GPU profiles.")
    parser.add_argument("--data", default=os.environ.get("MLTWIN_DATA"))
    parser.add_argument("--write", action="store_true", help="overwrite the shipped files")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error("give --data or set MLTWIN_DATA")
    same = True
    for source in ALL:
        profile = build_profile(options.data, source.name)
        print(f"{profile.name}: {len(profile.to_json())} bytes")
        for p in profile.provenance:
            print(
                f"  {p.operator:24s} rows {p.rows:6d} held {p.held_rows:5d} "
                f"median {p.median:6.1%} p95 {p.p95:6.1%} bias {p.bias:+6.1%} sigma {p.sigma:.3f}"
            )
        path = shipped_path(source.name)
        if options.write:
            path.write_text(profile.to_json(), encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != profile.to_json():
            same = False
            print(f"  differs from {path.name}")
    return 0 if same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
