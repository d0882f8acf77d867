"""Attention calls that hold prompts and decodes, of the GPUs with a profile.

    python -m mltwin.calibration.ragged --data $MLTWIN_DATA

prints the error on held-out calls, on a model and on a GPU that the fit did not see, beside what
the sum and the longer of the two halves give.

What happens in such a call depends on the kernel (names as in the tables of aiconfigurator):

- FlashAttention-2 (A100, L40S, RTX PRO 6000 with a 16-bit cache) neither splits nor packs decodes
  beside a prompt: :class:`mltwin.models.gpu.operators.MixedCost` with ``chain_s``. Measured on
  the RTX PRO 6000 (and the RTX 4090, which has no profile); the A100 and the L40S take the form
  from there and their own chain from their prompts.
- FlashInfer and TensorRT-LLM kernels (B200; a cache of 8 bits) run each half by itself: the sum.
  Frontier's tables confirm it for FlashInfer within 2 % (median).
- FlashAttention-3 (H100, H200) packs and splits in either case, and no mixed call of it was
  measured: nothing is said.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import MixedCost
from mltwin.sim.errors import InputError

from . import fit, read
from .sources import SOURCES, Source

HEAD_DIM = 128
"""Of every layer that LLMServingSim's shared tables hold; their files do not say."""
MEASURED = {"rtx-pro-6000": "RTXPRO6000"}
RAGGED = ("a100-sxm-80gb", "l40s", "rtx-pro-6000")
APART = ("b200",)
SOFTWARE = "vllm-0.19.0"


@dataclass(frozen=True)
class Measured:
    """A GPU whose mixed calls were timed.

    Attributes:
        sms, bandwidth, l2_bytes: of the data sheet.
        rows: of :func:`mltwin.calibration.fit.mixed_rows`, and the columns model and split.
        files: where they come from.
    """

    sms: int
    bandwidth: float
    l2_bytes: float
    rows: pd.DataFrame
    files: tuple[Path, ...]

    def fit(self, rows: pd.DataFrame | None = None) -> tuple[MixedCost, fit.FitError]:
        """The cost, from all rows or from some."""
        return fit.fit_mixed(
            self.rows if rows is None else rows,
            sms=self.sms,
            bandwidth=self.bandwidth,
            l2_bytes=self.l2_bytes,
        )


@dataclass(frozen=True)
class Mixed:
    """What a profile holds of mixed calls; ``error`` and ``file`` are None where nothing of them
    was fitted.

    Attributes:
        rows: that were fitted to, for their ranges.
        sizes: columns of ``rows`` that are sizes.
    """

    cost: MixedCost
    method: str
    error: fit.FitError | None = None
    file: Path | None = None
    rows: pd.DataFrame | None = None
    sizes: tuple[str, ...] = ()


def measured(data: str | Path, gpu: str) -> Measured:
    """The tables of LLMServingSim for ``RTXPRO6000`` or ``RTX4090``, one after another.

    Raises:
        InputError: there are none, or another GPU.
    """
    sheets = {
        # NVIDIA Ada GPU architecture paper: AD102 as in the RTX 4090.
        "RTX4090": (128, 1.008e12, 72 * 2**20),
        **{
            ours: (s.facts.sms, s.facts.hbm_bandwidth, s.facts.l2_bytes)
            for s in SOURCES
            for name, ours in MEASURED.items()
            if s.name == name
        },
    }
    if gpu not in sheets:
        raise InputError(f"mixed attention of {gpu!r}", mend=f"measured are {sorted(sheets)}")
    folders = read.layer_folders(data)
    folders = folders[folders["gpu"] == gpu]
    parts, files = [], []
    for model, tp, folder in zip(folders["model"], folders["tp"], folders["folder"], strict=True):
        files.append(read.layer_file(folder, "attention"))
        shape = read.read_layer_shape(Path(folder).parent / "meta.yaml")
        rows = fit.mixed_rows(
            read.read_mixed_attention(files[-1]),
            heads=shape.heads // tp,
            kv_heads=max(1, shape.kv_heads // tp),
            head_dim=HEAD_DIM,
        )
        parts.append(rows.assign(model=model, split=tp))
    if not parts:
        raise InputError(f"no tables of {gpu}", where=str(Path(data) / "kernels/llmservingsim"))
    sms, bandwidth, l2_bytes = sheets[gpu]
    return Measured(sms, bandwidth, l2_bytes, pd.concat(parts, ignore_index=True), tuple(files))


def chain(data: str | Path, source: Source) -> tuple[MixedCost, fit.FitError, Path, pd.DataFrame]:
    """Chain and overhead of a GPU from its own prompts; the error, the file and the rows."""
    name = f"{source.folder}/attention/{source.version}/context_attention_perf.csv.gz"
    path = read.source_path(data, name)
    table = read.read_prefill_attention(path)
    kernel = ~table["kernel"].str.contains("triton|flashinfer")
    plain = (table["window"] == 0) & (table["kv_dtype"] == "bfloat16") & kernel
    rows = table[plain & (table["head_dim"] == HEAD_DIM)]
    found, error = fit.fit_chain(rows, sms=source.facts.sms)
    return found, error, path, rows


def mixed_of(data: str | Path, source: Source) -> Mixed | None:
    """What the profile of ``source`` holds of mixed calls; None: nothing is known.

    Raises:
        InputError: a measurement file is missing.
    """
    if source.name in APART:
        return Mixed(MixedCost(), "kernels of their own for prompts and decodes: the sum")
    if source.name not in RAGGED:
        return None
    sizes: tuple[str, ...] = ("prefill_tokens", "prefill_context", "decodes", "decode_context")
    if source.name in MEASURED:
        gpu = measured(data, MEASURED[source.name])
        cost, error = gpu.fit()
        method = (
            f"ragged FlashAttention-2 call, {SOFTWARE}, {len(gpu.files)} tables; "
            "a fifth of (decodes, context) held out"
        )
        return Mixed(cost, method, error, gpu.files[0], gpu.rows, sizes)
    name = next(iter(MEASURED))
    gpu = measured(data, MEASURED[name])
    own, error, path, rows = chain(data, source)
    cost = fit.transfer_mixed(
        gpu.fit()[0],
        own,
        bandwidth=source.facts.hbm_bandwidth,
        of_bandwidth=gpu.bandwidth,
        l2_bytes=source.facts.l2_bytes,
    )
    method = (
        f"taken from {name} with the chain of its own prompts that do not fill the GPU (the error "
        "is that of those prompts); a fifth of head configurations held out"
    )
    return Mixed(cost, method, error, path, rows, ("batch", "tokens", "heads"))


def error_text(predicted: object, seconds: object) -> str:
    """Median, 95th percentile of the absolute relative error, and median of the signed one."""
    error = np.asarray(predicted, float) / np.asarray(seconds, float) - 1
    p50, p95 = np.quantile(np.abs(error), [0.5, 0.95])
    return f"{p50:6.1%} {p95:6.1%} {np.median(error):+6.1%}"


def print_errors(data: str | Path) -> None:
    """The tables of the module's docstring."""
    gpus = {name: measured(data, name) for name in ("RTX4090", *MEASURED.values())}
    print("absolute relative error, median and p95, and bias")
    for name, gpu in gpus.items():
        rows, (cost, error) = gpu.rows, gpu.fit()
        seconds = rows["seconds"]
        print(
            f"{name}: {error.held_rows} held-out calls {error.median:.1%} {error.p95:.1%}; {cost}"
        )
        halves = rows[["prefill_s", "decode_s"]]
        print(f"  sum of the halves   {error_text(halves.sum(axis=1), seconds)}")
        print(f"  longer half         {error_text(halves.max(axis=1), seconds)}")
        overlap, kept = fit.fit_overlap(rows)
        print(f"  p-norm {overlap.power:.2f}, held out {kept.median:6.1%} {kept.p95:6.1%}")
        for model in sorted(set(rows["model"])):
            other, some = rows[rows["model"] != model], rows[rows["model"] == model]
            if len(other):
                said = fit.mixed_seconds(gpu.fit(other)[0], some)
                print(f"  unseen {model}: {error_text(said, some['seconds'])}")
    source = next(s for s in SOURCES if s.name in MEASURED)
    target, origin = gpus[MEASURED[source.name]], gpus["RTX4090"]
    moved = fit.transfer_mixed(
        origin.fit()[0],
        chain(data, source)[0],
        bandwidth=target.bandwidth,
        of_bandwidth=origin.bandwidth,
        l2_bytes=target.l2_bytes,
    )
    said = fit.mixed_seconds(moved, target.rows)
    print(f"RTX4090 with the prompts of {source.name}: {error_text(said, target.rows['seconds'])}")


def main(arguments: list[str] | None = None) -> int:
    """Prints the errors."""
    parser = argparse.ArgumentParser(description="Errors of the mixed attention fits.")
    parser.add_argument("--data", default=os.environ.get("MLTWIN_DATA"))
    options = parser.parse_args(arguments)
    if not options.data:
        raise InputError("no measured data", mend="give --data or set MLTWIN_DATA")
    print_errors(options.data)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(problem.exit_code)
