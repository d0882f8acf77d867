"""Rates of training kernels, fitted to whole forward passes and to PyTorch's kernels.

A profile's matrix products were timed alone and in short bursts. In a run that goes on, the GPU is
at its power limit and the products take longer: by how much is read from whole prompts of
Llama-2-70B (Splitwise, two GPUs, one prompt), less what the profile says of everything else.
Bandwidths are those that additions (the largest), LayerNorm and GELU of PyTorch reached (Vidur).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mltwin.calibration.read.files import read_columns, source_folder, source_path
from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.gpu.profile import load_profile
from mltwin.models.training.operators import flash2_factor
from mltwin.models.training.operators_rates import TrainingRates

SPLITWISE = {"h100-sxm-80gb": "h100-80gb", "a100-sxm-80gb": "a100-80gb"}
VIDUR = {"h100-sxm-80gb": "h100", "a100-sxm-80gb": "a100"}
LEAST_TOKENS = 1024
"""Of a prompt: below, launching kernels counts for something."""
GPUS = 2


def fit_training_rates(data: str | Path, gpu: str) -> TrainingRates:
    """The rates of one GPU type, from the measurements below ``data``.

    Raises:
        InputError: a file is missing.
    """
    ratios = prompt_ratios(data, gpu)
    bandwidth = {name: _bandwidth(data, gpu, name) for name in ("norm", "activation", "pointwise")}
    return TrainingRates(
        gemm_time=round(float(np.median(ratios)), 3),
        **{name: float(f"{value:.4g}") for name, value in bandwidth.items()},
        basis=f"splitwise, {len(ratios)} prompts; vidur compute/{VIDUR[gpu]}",
    )


def prompt_ratios(data: str | Path, gpu: str) -> np.ndarray:
    """Matrix products' time within each measured prompt over the profile's."""
    path = source_path(data, "splitwise/perf_model.csv")
    keys = ("model", "hardware", "tensor_parallel", "batch_size", "prompt_size", "prompt_time")
    rows = read_columns(path, keys)
    wanted = (rows["hardware"] == SPLITWISE[gpu]) & (rows["tensor_parallel"] == GPUS)
    wanted &= (rows["batch_size"] == 1) & (rows["prompt_size"] >= LEAST_TOKENS)
    wanted &= rows["model"] == "llama2-70b"
    profile = load_profile(gpu)
    model = IterationModel("llama-2-70b", profile, tp=GPUS)
    found = []
    for tokens, times in rows[wanted].groupby("prompt_size")["prompt_time"]:
        parts = model.breakdown([(int(str(tokens)), 0)])
        attention = float(parts["attention"]) * flash2_factor(profile)
        rest = sum(float(parts[k]) for k in ("elementwise", "communication", "head", "host"))
        found += [(t * 1e-3 - attention - rest) / float(parts["gemm"]) for t in times]
    return np.array(found)


def _tables(data: str | Path, gpu: str) -> Iterator[tuple[str, pd.DataFrame]]:
    folder = source_folder(data, f"vidur/compute/{VIDUR[gpu]}")
    for path in sorted(folder.glob("*/*/mlp.csv*")):
        yield path.parent.name, pd.read_csv(path)


def _bandwidth(data: str | Path, gpu: str, name: str) -> float:
    """Bytes/s: of additions, the median at the most numbers; of LayerNorm and GELU (phi-2's, the
    only ones PyTorch runs there), at the most tokens."""
    largest: list[tuple[float, float]] = []
    for model, table in _tables(data, gpu):
        if (model == "phi-2") != (name != "pointwise"):
            continue
        for row in table.to_dict("records"):
            size, seconds = _size_and_time(row, name)
            largest.append((size, size / seconds))
    most = max(size for size, _ in largest)
    return float(np.median([rate for size, rate in largest if size == most]))


def _size_and_time(row: dict[Any, Any], name: str) -> tuple[float, float]:
    tokens, h = float(row["num_tokens"]), float(row["n_embd"])
    column = {"norm": "input_layernorm", "activation": "mlp_act", "pointwise": "add"}[name]
    seconds = float(row[f"time_stats.{column}.median"]) * 1e-3
    if name == "activation":
        inner = float(row["n_expanded_embd"]) / float(row["num_tensor_parallel_workers"])
        return 4 * tokens * inner, seconds
    return (4 if name == "norm" else 6) * tokens * h, seconds
