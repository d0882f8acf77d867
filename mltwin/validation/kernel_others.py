"""Kernels of other sources: Vidur's GEMMs, LLMServingSim's attention of prompts and decodes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .kernel_errors import error_row, errors_of, row_of
from .kernel_report import HELD_MODEL, NOISE, OURS, REPEATS, UNSEEN, KernelRow

if TYPE_CHECKING:
    from mltwin.calibration.sources import Source

VIDUR, MIXED = "gemm.float16", "mixed"
LEAST_ROWS = 200


def vidur_rows(data: Path, source: "Source", refit: bool) -> list[KernelRow]:
    """Vidur's GEMMs: each of its models held out in turn, none of its shapes in the fit; and the
    noise of those that were timed twice. Nothing of a GPU or folder without them."""
    from mltwin.calibration.baselines import ROOFLINE, learned, repeats, roofline
    from mltwin.calibration.vidur_cases import GPUS, vidur_case

    case = vidur_case(data, source)
    if case is None:
        return []
    rows = []
    noise = repeats(data, GPUS[source.name])
    if noise is not None:
        basis = "Vidur's fp16 GEMMs timed twice in one campaign"
        rows.append(row_of(REPEATS, source.name, VIDUR, NOISE, basis, noise, 0))
    models = sorted(set(case.rows["model"])) if refit else []
    predicted: dict[str, Any] = {}
    for model in models:
        own = (case.rows["model"] == model).to_numpy(bool)
        shapes = case.shapes()
        seen = ~np.isin(shapes, shapes[own])
        if seen.sum() < LEAST_ROWS:
            continue
        cost, _ = case.only(seen).fit()
        found = {OURS: case.predict(cost), ROOFLINE: roofline(case, seen), **learned(case, seen)}
        for predictor, times in found.items():
            predicted.setdefault(predictor, np.full(len(own), np.nan))[own] = times[own]
    basis = f"Vidur, each of {len(models)} models"
    for predictor, times in predicted.items():
        rows.append(errors_of(HELD_MODEL, case, np.isfinite(times), times, basis, predictor))
    return rows


def mixed_rows(data: Path, source: "Source", refit: bool) -> list[KernelRow]:
    """Attention calls that hold a prompt and decodes: pairs of decodes and their length held out,
    then each model; the halves of every call are given to all predictors."""
    from mltwin.calibration import fit, ragged, read
    from mltwin.calibration.baselines import learn

    if not refit or source.name not in ragged.MEASURED:
        return []
    data = data.parent if data.name == "kernels" else data
    name = ragged.MEASURED[source.name]
    if not read.source_folder(data, "llmservingsim").is_dir():
        return []
    if name not in set(read.layer_folders(data)["gpu"]):
        return []
    gpu = ragged.measured(data, name)
    table = gpu.rows
    measured = table["seconds"].to_numpy(float)
    halves = table[["prefill_s", "decode_s"]].to_numpy(float)
    names = ["prefill_tokens", "prefill_context", "decodes", "decode_context", "heads", "kv_heads"]
    sizes = np.log2(table[names].to_numpy(float) + 1)
    shapes = fit.shapes(table, "decodes", "decode_context", "heads", "kv_heads")
    splits = {(UNSEEN, ragged.SOFTWARE): read.held_out(table["decodes"], table["decode_context"])}
    for model in sorted(set(table["model"])):
        splits[HELD_MODEL, str(model)] = (table["model"] == model).to_numpy(bool)
    rows = []
    for (task, basis), held in splits.items():
        if (~held).sum() < LEAST_ROWS or not held.any():
            continue
        # Of a model, a fit that saw four fifths of the others; else its own held-out fifth.
        cost, _ = gpu.fit(table[~held]) if task == HELD_MODEL else gpu.fit()
        found = {OURS: fit.mixed_seconds(cost, table), **learn(sizes, halves, measured, ~held)}
        for predictor, times in found.items():
            what = (task, source.name, MIXED, predictor, basis)
            rows.append(error_row(*what, times, measured, held, shapes))
    return rows


OTHERS: dict[str, Callable[[Path, "Source", bool], list[KernelRow]]] = {
    VIDUR: vidur_rows,
    MIXED: mixed_rows,
}
"""By operator: from the data folder, the GPU, and whether to fit, to rows."""
