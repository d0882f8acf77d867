"""Vidur's projections as GEMMs: models of 2023 on two GPUs, each shape with its model's name."""

from pathlib import Path

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

from .cases import Case
from .read import read_columns
from .sources import Source

GPUS = {"a100-sxm-80gb": "a100", "h100-sxm-80gb": "h100"}
"""A profile's name and Vidur's."""
OPERATOR = "gemm.float16"
OPERATIONS = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")
_KEYS = (
    *("num_tokens", "num_tensor_parallel_workers", "n_head", "n_kv_head", "n_embd"),
    *("n_expanded_embd", "use_gated_mlp"),
)


def vidur_files(data: str | Path, gpu: str) -> list[Path]:
    """The files of one GPU (Vidur's name), in a folder that holds ``vidur/compute`` or is at most
    three folders above."""
    for above in ("vidur", "kernels/vidur", "*/kernels/vidur"):
        found = sorted(Path(data).glob(f"{above}/compute/{gpu}/**/mlp.csv*"))
        if found:
            return found
    return []


def vidur_case(data: str | Path, source: Source) -> Case | None:
    """All projections of a GPU, with a column ``model``; None where there is no file of it.

    Projections are split as in Megatron-LM: QKV and up (gate and up in one) by columns, output
    and down by rows. Times are medians, in float16, launched one by one.

    Raises:
        InputError: a file without a column, or with a time or size that is no positive number.
    """
    files = vidur_files(data, GPUS[source.name]) if source.name in GPUS else []
    if not files:
        return None
    rows = pd.concat([_gemms(path) for path in files], ignore_index=True)
    peak = source.facts.peak_flops["bfloat16"]
    options = {
        "sms": source.facts.sms,
        "flops": peak,
        "bandwidth": source.facts.hbm_bandwidth,
        "weight_bytes": 2.0,
        "activation_bytes": 2.0,
    }
    folder = files[0].parents[2]
    return Case(source, OPERATOR, "gemm", rows, folder, "vidur 2024", peak, 2.0, options)


def _gemms(path: Path) -> pd.DataFrame:
    times = {name: f"time_stats.{name}.median" for name in OPERATIONS}
    table = read_columns(path, (*_KEYS, *times.values()))
    numbers = table[[*_KEYS, *times.values()]].apply(pd.to_numeric, errors="coerce").astype(float)
    bad = ~(np.isfinite(numbers) & (numbers >= 0))
    for name in numbers.columns[bad.any()]:
        row = int(np.flatnonzero(bad[name])[0])
        raise InputError(
            f"{name} is {table[name].iloc[row]}", where=f"{path}, data row {row + 1}",
            mend="give a positive number",
        )  # fmt: skip
    h, tp = numbers["n_embd"], numbers["num_tensor_parallel_workers"]
    size = h / numbers["n_head"]
    inner = numbers["n_expanded_embd"] / tp
    queries = numbers["n_head"] * size / tp
    keys = 2 * numbers["n_kv_head"] * size / tp
    shapes = {
        "attn_pre_proj": (queries + keys, h),
        "attn_post_proj": (h, queries),
        "mlp_up_proj": (inner * (1 + numbers["use_gated_mlp"]), h),
        "mlp_down_proj": (h, inner),
    }
    parts = [
        pd.DataFrame(
            {"m": numbers["num_tokens"], "n": n, "k": k, "seconds": numbers[times[name]] * 1e-3}
        )
        for name, (n, k) in shapes.items()
    ]
    rows = pd.concat(parts, ignore_index=True).assign(model=path.parent.name)
    # A time of 0 is below the resolution of 1 us.
    return rows[rows["seconds"] > 0].astype({"m": int, "n": int, "k": int})
