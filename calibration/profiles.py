"""Rebuilds the shipped GPU profiles from the measurement files.

    python -m mltwin.calibration.profiles --data $MLTWIN_DATA --write

Without ``--write`` it prints the fits and compares them with what is shipped.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mltwin.models.gpu.operators import (
    AllReduceCost,
    DecodeCost,
    ElementwiseCost,
    GemmCost,
    MoeCost,
    Operators,
    PrefillCost,
)
from mltwin.models.gpu.profile import (
    FORMAT,
    Facts,
    GpuProfile,
    Host,
    Power,
    Provenance,
    shipped_path,
)
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from . import fit, read

HOST = Host(
    iteration_s=5e-4,
    sequence_s=7e-6,
    hop_s=1e-5,
    basis="assumed: about 0.5 ms an iteration and 5-10 us a sequence reproduce published "
    "vLLM runs; not measured on this GPU",
)


@dataclass(frozen=True)
class Source:
    """Which files make one profile."""

    name: str
    facts: Facts
    folder: str
    version: str
    prefill_kernel: str
    moe_kernels: dict[str, tuple[str, str]]
    activation: str
    splitwise_gpu: str


SOURCES = (
    Source(
        name="h100-sxm-80gb",
        facts=Facts(
            source="NVIDIA H100 Tensor Core GPU data sheet (SXM5 80 GB); dense peaks; links are "
            "one direction; usable memory as CUDA reports it, about",
            sms=132,
            l2_bytes=50 * 2**20,
            peak_flops={"bfloat16": 989e12, "fp8": 1979e12, "int8": 1979e12},
            hbm_bytes=80 * 2**30,
            usable_bytes=84_900_000_000,
            hbm_bandwidth=3.35e12,
            nvlink_bandwidth=450e9,
            host_link_bandwidth=64e9,
            gpus_per_node=8,
            tdp_w=700.0,
        ),
        folder="aiconfigurator/h100_sxm",
        version="vllm-0.24.0",
        prefill_kernel="vllm_flash_attn_fa3",
        moe_kernels={
            "bfloat16": ("bfloat16", "vllm_unquantizedfusedmoe_triton_tritonexperts"),
            "fp8": ("fp8", "vllm_modeloptfp8moe_flashinfer_cutlass_flashinferexperts"),
            "fp8_block": ("fp8_block", "vllm_fp8moe_triton_tritonexperts"),
            "int4": ("int4_wo", "vllm_compressedtensorswna16marlinmoe_marlin_marlinexperts"),
            "mxfp4": (
                "w4a16_mxfp4",
                "vllm_gptossmxfp4moe_triton_oaitritonmxfp4expertsmonolithic",
            ),
        },
        activation="vidur/compute/h100/meta-llama/Llama-2-70b-hf/mlp.csv.gz",
        splitwise_gpu="h100-80gb",
    ),
    Source(
        name="a100-sxm-80gb",
        facts=Facts(
            source="NVIDIA A100 Tensor Core GPU data sheet (SXM4 80 GB); dense peaks; links are "
            "one direction; usable memory as CUDA reports it, about",
            sms=108,
            l2_bytes=40 * 2**20,
            peak_flops={"bfloat16": 312e12, "int8": 624e12},
            hbm_bytes=80 * 2**30,
            usable_bytes=84_900_000_000,
            hbm_bandwidth=2.039e12,
            nvlink_bandwidth=300e9,
            host_link_bandwidth=32e9,
            gpus_per_node=8,
            tdp_w=400.0,
        ),
        folder="aiconfigurator/a100_sxm",
        version="vllm-0.14.0",
        prefill_kernel="vllm_flash_attn",
        moe_kernels={"bfloat16": ("bfloat16", "vllm_fused_moe")},
        activation="vidur/compute/a100/meta-llama/Llama-2-70b-hf/mlp.csv.gz",
        splitwise_gpu="a100-80gb",
    ),
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
        )
        return GpuProfile(
            format=FORMAT,
            name=self.source.name,
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
        for dtype in sorted(table["dtype"].unique()):
            rows = table[table["dtype"] == dtype]
            least = fit.GEMM_LEAST[dtype]
            rows = rows[(rows["n"] >= least) & (rows["k"] >= least)]
            narrow = 1 if dtype == "bfloat16" else 2
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
                f"wave-quantised roofline and smooth residual; n, k >= {least}; "
                "a fifth of (n, k) held out"
            )
            self._record(f"gemm.{dtype}", file, method, error, rows, ("m", "n", "k"))
        return costs

    def decode(self) -> dict[str, dict[int, DecodeCost]]:
        file = self._file("attention", "generation_attention_perf.csv.gz")
        table = read.read_decode_attention(file[1])
        table = table[(table["window"] == 0) & (table["kernel"] == self.source.prefill_kernel)]
        costs: dict[str, dict[int, DecodeCost]] = {}
        for (kv_dtype, head_dim), rows in _groups(table):
            cost, error = fit.fit_decode(
                rows,
                sms=self.facts.sms,
                bandwidth=self.facts.hbm_bandwidth,
                kv_bytes=precision(kv_dtype).weight_bytes,
                l2_bytes=self.facts.l2_bytes,
                # FlashAttention-2 does not split an ungrouped head.
                serial=self.source.prefill_kernel == "vllm_flash_attn",
            )
            costs.setdefault(kv_dtype, {})[head_dim] = cost
            method = (
                "overhead and p-norm of work items and bytes; sizes within L2 left out; "
                "a fifth of head configurations held out"
            )
            self._record(
                f"decode.{kv_dtype}.{head_dim}", file, method, error, rows[rows["context"] > 128],
                ("batch", "context", "heads", "kv_heads"),
            )  # fmt: skip
        return costs

    def prefill(self) -> dict[str, dict[int, PrefillCost]]:
        file = self._file("attention", "context_attention_perf.csv.gz")
        table = read.read_prefill_attention(file[1])
        table = table[(table["window"] == 0) & (table["kernel"] == self.source.prefill_kernel)]
        costs: dict[str, dict[int, PrefillCost]] = {}
        for (kv_dtype, head_dim), rows in _groups(table):
            cost, error = fit.fit_prefill(rows, flops=self.facts.peak_flops["bfloat16"])
            costs.setdefault(kv_dtype, {})[head_dim] = cost
            method = (
                "overhead and p-norm of pairs and longest chain; "
                "a fifth of head configurations held out"
            )
            self._record(
                f"prefill.{kv_dtype}.{head_dim}", file, method, error, rows[rows["tokens"] >= 16],
                ("batch", "tokens", "heads", "kv_heads"),
            )  # fmt: skip
        return costs

    def all_reduce(self) -> dict[int, AllReduceCost]:
        file = self._file("comm", "custom_allreduce_perf.csv")
        table = read.read_all_reduce(file[1])
        costs = {}
        for gpus in sorted(set(table["gpus"].tolist())):
            rows = table[table["gpus"] == gpus]
            cost, error = fit.fit_all_reduce(rows, bandwidth=self.facts.nvlink_bandwidth)
            costs[gpus] = cost
            method = "p-norm of latency and bandwidth, CUDA graph rows; every fifth size held out"
            self._record(f"all_reduce.{gpus}", file, method, error, rows, ("size_bytes",))
        return costs

    def elementwise(self, gemm: GemmCost) -> ElementwiseCost:
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
        costs = {}
        for stored, (dtype, kernel) in self.source.moe_kernels.items():
            rows = fit.usable_experts(
                table[(table["dtype"] == dtype) & (table["kernel"] == kernel)]
            )
            narrow = 2 if dtype.startswith("fp8") else 1
            cost, error = fit.fit_moe(
                rows,
                flops=self.facts.peak_flops["bfloat16"] * narrow,
                bandwidth=self.facts.hbm_bandwidth,
                weight_bytes=precision(stored).weight_bytes,
            )
            costs[stored] = cost
            method = (
                f"p-norm of compute and expert reads; {kernel}; power law 1.01, gated, at most 8 "
                "shards and 16384 tokens, no expert parallelism; a fifth of shapes held out"
            )
            self._record(
                f"moe.{stored}", file, method, error, rows, ("tokens", "hidden", "width", "experts")
            )
        return costs

    def power(self) -> Power:
        """Average draw by phase: few output tokens are prefill, many are decode."""
        path = read.source_path(self.data, "splitwise/perf_model.csv")
        rows = read.read_splitwise(path)
        rows = rows[(rows["gpu"] == self.source.splitwise_gpu) & rows["power"].notna()]
        if rows.empty:
            return Power(None, None, None, "not recorded in any measurement we have")
        share = rows.assign(
            prefill=rows["prompt_s"] / (rows["prompt_s"] + rows["token_s"] * rows["output_tokens"])
        )
        decode = share[share["prefill"] < 0.1]["power"].median() * self.facts.tdp_w
        busy = share[share["prefill"] > 0.5]["power"]
        prefill = None if busy.empty else round(float(busy.median()) * self.facts.tdp_w, 1)
        return Power(
            busy_prefill_w=prefill,
            busy_decode_w=round(float(decode), 1),
            idle_w=None,
            source="splitwise/perf_model.csv, average_power x TDP, median of runs that spend over "
            "half (prefill) or under a tenth (decode) of their time on the prompt",
        )


def _groups(table: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    """Rows of each (KV format, head size)."""
    keys = zip(table["kv_dtype"].tolist(), table["head_dim"].tolist(), strict=True)
    for kv_dtype, head_dim in sorted(set(keys)):
        here = (table["kv_dtype"] == kv_dtype) & (table["head_dim"] == head_dim)
        yield (kv_dtype, head_dim), table[here]


def build_profile(data: str | Path, name: str) -> GpuProfile:
    """The profile ``name``, fitted anew from the files under ``data``.

    Raises:
        InputError: an unknown name or a missing file.
    """
    for source in SOURCES:
        if source.name == name:
            return Builder(data, source).build()
    raise InputError(f"no profile {name!r}", mend=f"use one of {[s.name for s in SOURCES]}")


def main(arguments: list[str] | None = None) -> int:
    """Fits all profiles, prints their errors, and writes or compares them."""
    parser = argparse.ArgumentParser(description="Fit the shipped GPU profiles.")
    parser.add_argument("--data", default=os.environ.get("MLTWIN_DATA"))
    parser.add_argument("--write", action="store_true", help="overwrite the shipped files")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.error("give --data or set MLTWIN_DATA")
    same = True
    for source in SOURCES:
        profile = build_profile(options.data, source.name)
        print(f"{profile.name}: {len(profile.to_json())} bytes")
        for p in profile.provenance:
            print(
                f"  {p.operator:24s} rows {p.rows:6d} held {p.held_rows:5d} "
                f"median {p.median:6.1%} p95 {p.p95:6.1%} bias {p.bias:+6.1%}"
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
