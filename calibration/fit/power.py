"""Power of a GPU against how much of its memory bandwidth or arithmetic is in use."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import Array, Number
from mltwin.sim.errors import InputError

from .robust import FitError, fit_error, robust_fit

LONGEST_PROMPT = 4096
LEAST_ROWS = 8


@dataclass(frozen=True)
class ServedModel:
    """What a measured model moves and computes.

    Attributes:
        parameters: weights, each of which a token is multiplied with once.
        kv_token_bytes: keys and values of one token.
        weight_bytes: bytes of one weight.
    """

    parameters: float
    kv_token_bytes: float
    weight_bytes: float = 2.0


# Touvron et al. 2023 (80 layers, 8 KV heads of 128); BigScience 2022 (70 layers, hidden 14336).
MODELS = {
    "llama2-70b": ServedModel(6.898e10, 2 * 2 * 8 * 128 * 80),
    "bloom-176b": ServedModel(1.7625e11, 2 * 2 * 14336 * 70),
}


@dataclass(frozen=True)
class PowerLaw:
    """Watts of one GPU: busy x u^exponent, u = max(memory use, compute_weight x compute use, 1).

    Uses are shares of the data sheet's bandwidth and of its dense peak. Arithmetic draws more
    than its share of the peak says (``compute_weight`` above 1), and full power is reached below
    full use. What the GPU draws when idle cannot be told from loaded runs: the law holds for u
    between ``valid``.
    """

    busy_w: float
    exponent: float
    compute_weight: float
    tdp_w: float
    valid: tuple[float, float] = (0.0, 1.0)

    def watts(self, memory_use: Number = 0.0, compute_use: Number = 0.0) -> Array:
        """Watts of one GPU."""
        use = np.maximum(
            np.asarray(memory_use, float), self.compute_weight * np.asarray(compute_use)
        )
        return np.asarray(self.busy_w * np.clip(use, 0.0, 1.0) ** self.exponent)

    def scaled(self, tdp_w: float) -> "PowerLaw":
        """The law of another GPU at equal shares of its TDP: assumed, not measured."""
        return replace(self, busy_w=round(self.busy_w * tdp_w / self.tdp_w, 1), tdp_w=tdp_w)


def power_rows(table: pd.DataFrame, gpu: str, *, bandwidth: float, flops: float) -> pd.DataFrame:
    """Runs of one GPU whose power was recorded, with the use of memory and arithmetic by phase.

    Args:
        table: of :func:`mltwin.calibration.read.read_splitwise`.
        gpu: as the table names it, e.g. ``a100-80gb``.
        bandwidth, flops: of the data sheet.

    Returns:
        The table's columns and prompt_memory, prompt_compute, token_memory, token_compute (uses),
        prompt_share (of the run's time). Prompts above 4096 tokens are left out: at 8192 the
        recorded average (0.17 to 0.18 of TDP however many GPUs share the work, at a peak of 1)
        is not that of the run.

    Raises:
        InputError: nothing is left, or a model whose size is not known.
    """
    rows = table[(table["gpu"] == gpu) & table["power"].notna()]
    rows = rows[rows["prompt_tokens"] <= LONGEST_PROMPT]
    if rows.empty:
        raise InputError(f"no run of {gpu!r} with its power recorded")
    unknown = sorted(set(rows["model"]) - set(MODELS))
    if unknown:
        raise InputError(f"model {unknown[0]!r}", mend=f"known are {sorted(MODELS)}")
    models = [MODELS[name] for name in rows["model"]]
    size = np.array([m.parameters for m in models])
    read = np.array([m.parameters * m.weight_bytes for m in models])
    cached = np.array([m.kv_token_bytes for m in models])
    prompt = (rows["prompt_tokens"] * rows["batch"]).to_numpy(float)
    mean_context = (rows["prompt_tokens"] + rows["output_tokens"] / 2) * rows["batch"]
    memory, compute = rows["tp"] * bandwidth, rows["tp"] * flops
    tokens_s = rows["token_s"] * rows["output_tokens"]
    return rows.assign(
        prompt_memory=read / memory / rows["prompt_s"],
        prompt_compute=2 * size * prompt / compute / rows["prompt_s"],
        token_memory=(read + cached * mean_context) / memory / rows["token_s"],
        token_compute=2 * size * rows["batch"] / compute / rows["token_s"],
        prompt_share=rows["prompt_s"] / (rows["prompt_s"] + tokens_s),
    )


def average_watts(law: PowerLaw, rows: pd.DataFrame) -> Array:
    """What the law says of whole runs: its two phases by their share of the time."""
    prompt, token = (
        law.watts(rows[f"{phase}_memory"].to_numpy(float), rows[f"{phase}_compute"].to_numpy(float))
        for phase in ("prompt", "token")
    )
    share = rows["prompt_share"].to_numpy(float)
    return np.asarray(prompt * share + token * (1 - share))


def fit_power(rows: pd.DataFrame, tdp_w: float) -> tuple[PowerLaw, FitError]:
    """The law of one GPU from average draws of whole runs; runs are held out.

    Args:
        rows: of :func:`power_rows`; their power is a share of ``tdp_w``.

    Raises:
        InputError: fewer than 8 runs, or all at nearly one use.
    """
    use = rows["token_memory"].to_numpy(float)
    if len(rows) < LEAST_ROWS or use.max() < 1.5 * use.min():
        raise InputError(
            f"{len(rows)} runs at uses of {use.min():.2f} to {use.max():.2f}",
            mend=f"give at least {LEAST_ROWS} runs whose uses differ by half",
        )
    measured = rows["power"].to_numpy(float) * tdp_w
    held = held_out(rows["tp"], rows["prompt_tokens"], rows["batch"])
    bounds = {
        "busy_w": (0.3 * tdp_w, 0.9 * tdp_w, 1.2 * tdp_w),
        "exponent": (0.05, 0.5, 2.0),
        "compute_weight": (0.2, 1.5, 8.0),
    }

    def watts(p: dict[str, float]) -> Array:
        return average_watts(_law(p, tdp_w), rows[~held])

    found = robust_fit(watts, measured[~held], bounds)
    valid = (round(float(use.min()), 3), round(float(use.max()), 3))
    law = replace(_law(found, tdp_w), valid=valid)
    return law, fit_error(average_watts(law, rows), measured, held)


def _law(found: dict[str, float], tdp_w: float) -> PowerLaw:
    return PowerLaw(found["busy_w"], found["exponent"], found["compute_weight"], float(tdp_w))
